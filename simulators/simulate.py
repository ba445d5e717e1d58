"""A scenario from its people to files, as fast as the machine can; on demand with a report on whether to believe it."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from simulators import scenario_files as scenarios
from simulators.calibration import RadioCalibration, departing, people_checks
from simulators.checks import Check, law
from simulators.devices import NOBODY
from simulators.invariants import Lifetimes, Tally, check_adverts, check_part, check_people, check_receipts
from simulators.radio import RadioModel
from simulators.scenario import Scenario
from simulators.till import Receipt, receipt_of
from simulators.trace import DayTrace, Part, shopper_hours, spans
from simulators.trace_files import DayFiles, Folder, Manifest
from simulators.world import Day, World

PLAYED_TWICE = 9
"""Parts at the beginning of a trace that are played again: they must come out alike to the last bit."""


class Simulated(msgspec.Struct, frozen=True):
    """What a simulation came to."""

    folder: str
    manifest: Manifest
    seconds: float
    """Of one core: to draw, play and write it, without the report."""
    shopper_hours_per_min: float
    calibration: tuple[Check, ...] = ()
    invariants: tuple[Check, ...] = ()

    @property
    def failed(self) -> int:
        """Checks that failed."""
        return sum(check.verdict == "fail" for check in (*self.calibration, *self.invariants))


class Auditor:
    """Looks at all of a trace while it is played. Its own time is no part of the simulation's."""

    def __init__(self, scenario: Scenario, seed: int, radio: RadioModel) -> None:
        self._scenario = scenario
        self._seed = seed
        self._radio = RadioCalibration(scenario, seed, radio)
        self._tally = Tally()
        self._lifetimes = Lifetimes()
        self._digest = hashlib.sha256()
        self._parts = 0
        self.seconds = 0.0

    def see(self, trace: DayTrace, part: Part) -> None:
        """Looks at a part of a day."""
        with self._timed():
            carried = trace.devices.owner != NOBODY
            self._radio.see(part, carried, trace.devices.interval_us, trace.outages.off(part.sent.at_us))
            check_part(self._scenario, trace, part, self._tally)
            self._lifetimes.see(part)
            if self._parts < PLAYED_TWICE:
                self._digest.update(_bytes(part))
                self._parts += 1

    def close(self, trace: DayTrace, receipts: list[tuple[int, Receipt]]) -> None:
        """Looks at a day that is over."""
        with self._timed():
            check_people(self._scenario, trace.day, self._tally)
            check_receipts(self._scenario, trace.day, receipts, self._tally)
            check_adverts(trace, self._tally)
            self._lifetimes.check(trace, self._tally)
            self._lifetimes = Lifetimes()

    def calibration(self, world: World) -> tuple[Check, ...]:
        """Every figure beside its target."""
        return tuple(departing([*people_checks(world), *self._radio.checks()], self._scenario.departs))

    def invariants(self, folder: Folder, records: int) -> tuple[Check, ...]:
        """Every law, those of the files last."""
        heard, truth = folder.rows()
        files = law(
            "files hold each record and its truth", abs(heard - records) + abs(truth - records), records, "records"
        )
        return (*self._tally.checks(), files, self._again())

    def _again(self) -> Check:
        """Plays the beginning once more from nothing but the scenario and the seed."""
        world, digest = World(self._scenario, self._seed), hashlib.sha256()
        span = next(spans(self._scenario, None))
        day = world.day(span.day)
        trace = DayTrace(world, RadioModel(self._scenario, self._seed), day)
        parts = trace.parts(span.from_us, int(day.leaves_us.max()))
        for part, _ in zip(parts, range(self._parts), strict=False):
            digest.update(_bytes(part))
        return law(
            "the same seed gives the same bytes", int(digest.digest() != self._digest.digest()), self._parts, "parts"
        )

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.process_time()
        yield
        self.seconds += time.process_time() - begun


def simulate(name: str, seed: int, hours: float | None, folder: Path, report: bool) -> Simulated:
    """Plays a scenario into a folder. Raises ScenarioError and TraceError."""
    begun = time.process_time()
    world = World(scenarios.load(name), seed)
    scenario, radio, files = world.scenario, RadioModel(world.scenario, seed), Folder(folder)
    auditor = Auditor(scenario, seed, radio) if report else None
    files.clear()
    shopped, counts, ends_us = 0.0, np.zeros(4, np.int64), []
    played = list(spans(scenario, hours))
    for span in played:
        day = world.day(span.day, span.to_us)
        to_us = int(day.leaves_us.max()) if span.to_us is None else span.to_us
        trace = DayTrace(world, radio, day)
        out = DayFiles(files, scenario, trace)
        for part in trace.parts(span.from_us, to_us):
            out.add(part)
            counts[0] += len(part.records.node)
            if auditor is not None:
                auditor.see(trace, part)
        receipts = _receipts(scenario, seed, day, to_us)
        out.finish(receipts, to_us)
        if auditor is not None:
            auditor.close(trace, receipts)
        counts[1:] += len(trace.book.adverts), len(receipts), int((day.enters_us < to_us).sum())
        shopped += shopper_hours(day, span.from_us, to_us)
        ends_us.append(to_us)
    records, adverts, bills, people = counts.tolist()
    manifest = Manifest(
        scenario=scenario.name,
        seed=seed,
        from_us=played[0].from_us,
        to_us=ends_us[-1],
        days=tuple(span.day.isoformat() for span in played),
        shopper_hours=round(shopped, 3),
        records=records,
        adverts=adverts,
        receipts=bills,
        people=people,
        sha256=files.digests(),
    )
    files.finish(manifest)
    seconds = time.process_time() - begun - (auditor.seconds if auditor is not None else 0.0)
    return Simulated(
        folder=str(folder),
        manifest=manifest,
        seconds=round(seconds, 3),
        shopper_hours_per_min=round(60 * shopped / seconds, 1),
        calibration=auditor.calibration(world) if auditor is not None else (),
        invariants=auditor.invariants(files, records) if auditor is not None else (),
    )


def _receipts(scenario: Scenario, seed: int, day: Day, until_us: int) -> list[tuple[int, Receipt]]:
    """The receipts of a day until an instant, in order, with their buyers. Nobody was shown an offer."""
    found = [(person.index, receipt_of(scenario, seed, day, person, None)) for person in day.people]
    printed = [(buyer, receipt) for buyer, receipt in found if receipt is not None and receipt.at_us < until_us]
    return sorted(printed, key=lambda each: (each[1].at_us, each[0]))


def _bytes(part: Part) -> bytes:
    records = part.records
    columns = (records.node, records.at_us, records.advert, records.rssi_dbm, records.sent_us, records.true_us)
    return b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
