"""What really happened, as JSON lines beside the run. Nothing of it is ever sent to the product."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from simulators.scenario import Campaign
from simulators.world import Day, ZoneInterval, card

EARLY_US = 5_000_000
"""An offer shown so much before the dwell was complete is still taken for that dwell's."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A dwell in the campaign's zone became long enough."""

    person: int
    card: str | None
    zone: str
    entered_us: int
    at_us: int
    """The trigger instant: entry + the campaign's dwell."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An offer was shown on a phone."""

    person: int
    card: str
    push_id: int
    offer: str
    coupon: str | None
    sent_us: int
    expires_us: int
    at_us: int


class TruthFile:
    """Appends records while entered; each line is {"what": KIND, …}."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, what: str, record: object) -> None:
        """One record, on disk (the operating system's) at once."""
        self._file.write(msgspec.json.encode({"what": what} | msgspec.to_builtins(record)) + b"\n")
        self._file.flush()

    def write_all(self, what: str, records: Iterable[object]) -> None:
        """Many records, in one go."""
        lines = [msgspec.json.encode({"what": what} | msgspec.to_builtins(record)) + b"\n" for record in records]
        self._file.write(b"".join(lines))
        self._file.flush()


def triggers(day: Day, intervals: Iterable[ZoneInterval], campaign: Campaign) -> list[Trigger]:
    """The day's dwells in the campaign's zone that were long enough, in order of their trigger instants."""
    dwell_us = campaign.dwell_s * 1_000_000
    found = []
    for stay in intervals:
        if stay.zone == campaign.zone and stay.exit_us - stay.enter_us >= dwell_us:
            member = day.people[stay.person].member
            number = None if member is None else card(member)
            found.append(Trigger(stay.person, number, stay.zone, stay.enter_us, stay.enter_us + dwell_us))
    return sorted(found, key=lambda trigger: (trigger.at_us, trigger.person))


def trigger_of(shown: Shown, of_person: Iterable[Trigger]) -> Trigger | None:
    """The trigger that a shown offer answers: the person's latest before it; None if there was none."""
    before = [trigger for trigger in of_person if trigger.at_us <= shown.at_us + EARLY_US]
    return max(before, key=lambda trigger: trigger.at_us, default=None)
