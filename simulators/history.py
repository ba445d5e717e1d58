"""Days of a store's past, as fast as the product takes them: windows through real outboxes and uplinks, in lockstep.

A step of simulated time is published by all nodes, acknowledged and located; then the phones of the members present
show what they were offered, then the tills post. So cause comes before effect, whatever the speed.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import httpx
import msgspec
import numpy as np

from contract.codec import encode
from contract.messages import SIGHTING_COLUMNS, Header, Sightings
from edge.broker import Broker
from edge.config import NodeConfig, read_config
from edge.health import Heartbeat
from edge.machine import boot_id
from edge.outbox import Outbox
from edge.time_trust import NodeTime
from edge.uplink import Uplink
from simulators import scenario_files as scenarios
from simulators.devices import Devices
from simulators.events import Outages
from simulators.heard import Listener, Windows
from simulators.phone import App, LoggedOut, shown_on
from simulators.radio import RadioModel
from simulators.run import RunError, RunFiles, Sessions
from simulators.scenario import Scenario, days_back
from simulators.till import Till, receipt_of
from simulators.truth import Shown, TruthFile, triggers
from simulators.world import STAFF_BEFORE_US, Day, World, card

logger = logging.getLogger(__name__)

WINDOW_US = 10_000_000
POLL_S = 0.03
STALLED_S = 90.0
"""The product is given up when it gets nowhere for so long."""
AT_ONCE = 12
"""Phones that ask at the same time."""
AFTER_CLOSING_US = 45 * 60 * 1_000_000
"""A day's last step ends so long after closing: the product can close every visit."""
SHOWN_AFTER_US = (250_000, 900_000)
"""From sent to shown on a phone that is at hand."""


class SteppedClock:
    """A clock that stands where the history is."""

    def __init__(self, at_us: int) -> None:
        self.at_us = at_us

    def now_us(self) -> int:
        return self.at_us

    @property
    def trusted(self) -> bool:
        return True


class HistoryNode:
    """A node's outbox and uplink without its radio."""

    def __init__(self, path: Path, clock: SteppedClock) -> None:
        self.config: NodeConfig = read_config(path)
        self._boot = boot_id()
        folder = path.parent
        self.outbox = Outbox(folder / self.config.outbox.path, self.config.outbox.max_mb, "normal")
        broker = Broker(self.config.uplink, folder, self.config.address, clock, self._boot)
        heartbeat = Heartbeat(
            NodeTime(clock),
            self.outbox,
            self._boot,
            self.config.digest,
            counted=self,
            line=broker,
        )
        self.uplink = Uplink(broker, self.config.address, self.outbox, clock, heartbeat, 3600.0)
        self.adverts = 0  # history tells windows only
        self.windows = 0
        self.batches = 0

    def announce(self, at_us: int) -> None:
        """Says that nothing was heard until an instant."""
        nothing = (b"",) * len(SIGHTING_COLUMNS)
        self.outbox.put("sightings", at_us, 0, partial(self._encode, at_us, 0, nothing))
        self.batches += 1

    def publish(self, windows: Windows, end_us: int) -> None:
        """Puts a step's windows into the outbox, and that nothing more comes before its end."""
        for t0_us, columns in windows.batches(end_us):
            n = len(columns[0]) // 4
            self.outbox.put("sightings", t0_us, n, partial(self._encode, t0_us, n, columns))
            self.windows += n
            self.batches += 1

    def close(self) -> None:
        """Ends the uplink and closes the outbox; what was not acknowledged stays in it."""
        self.uplink.stop()
        self.outbox.close()

    def _encode(self, t0_us: int, n: int, columns: tuple[bytes, ...], epoch: str, seq: int) -> bytes:
        node = self.config.node
        header = Header(
            kind="sightings",
            tenant=node.tenant,
            store=node.store,
            node=node.node,
            epoch=epoch,
            seq=seq,
            boot=self._boot,
            clock="trusted",
            t0=t0_us,
            n=n,
        )
        return encode(Sightings(header, columns))


class Patience:
    """Watches a number that ought to fall."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last = -1
        self._since = time.monotonic()

    def see(self, left: int) -> None:
        """Raises RunError if the number has been the same for too long."""
        if left != self._last:
            self._last, self._since = left, time.monotonic()
        elif time.monotonic() - self._since > STALLED_S:
            raise RunError(f"history stands still: {left} {self._what}, for {STALLED_S:g} s")


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a day's history."""

    day: date
    from_us: int
    to_us: int


class HistoryResult(msgspec.Struct, frozen=True):
    """What was handed to the product and taken by it."""

    days: int
    steps: int
    events: int
    batches: int
    rejected_batches: int
    shown: int
    receipts: int
    receipts_refused: int
    from_us: int
    until_us: int
    seconds: float


def steps(scenario: Scenario, until_us: int, days: int, step_minutes: int) -> list[Step]:
    """The steps of `days` whole days before the day of `until_us`, and of that day up to it; nights are left out."""
    last = scenario.date_of(until_us)
    return [step for day in [*days_back(last, days), last] for step in _of_day(scenario, day, until_us, step_minutes)]


def _of_day(scenario: Scenario, day: date, until_us: int, step_minutes: int) -> Iterator[Step]:
    opens_us, closes_us = scenario.hours_us(day)
    at_us, end_us = opens_us - STAFF_BEFORE_US, min(closes_us + AFTER_CLOSING_US, until_us // WINDOW_US * WINDOW_US)
    while at_us < end_us:
        to_us = min(at_us + step_minutes * 60_000_000, end_us)
        yield Step(day, at_us, to_us)
        at_us = to_us


class History:
    """Walks through the steps."""

    def __init__(
        self, world: World, files: RunFiles, client: httpx.AsyncClient, staff: httpx.AsyncClient, truth: TruthFile
    ) -> None:
        """`client` is the phones' and the till's; `staff` is logged in and may read the progress."""
        self._staff = staff
        self._world = world
        self._scenario = world.scenario
        self._files = files
        self._client = client
        self._truth = truth
        self._sessions = Sessions(files.phones)
        self._radio = RadioModel(world.scenario, world.seed)
        self._clock = SteppedClock(0)
        self._shown: dict[int, Shown] = {}
        self._seen: set[int] = set()
        self.till = Till(client, files.run.till_key, lambda _receipt: None)
        self.nodes: dict[str, HistoryNode] = {}
        self.shown = 0

    def open(self) -> None:
        """Opens the outboxes and connects. Raises what a node's start raises, and RunError if the nodes do not fit."""
        for path in self._files.nodes:
            node = HistoryNode(path, self._clock)
            self.nodes[node.config.node.node] = node
        if set(self.nodes) != set(self._radio.nodes):
            raise RunError(f"RUN.json: nodes: {sorted(self.nodes)}, the scenario has {sorted(self._radio.nodes)}")
        for node in self.nodes.values():
            node.uplink.start()

    def close(self) -> None:
        """Hangs up."""
        for node in self.nodes.values():
            node.close()

    async def play(self, plan: list[Step], progress: Callable[[Step, float], None]) -> None:
        """All steps in order; `progress` hears of each, with the share done."""
        day: Day | None = None
        for node in self.nodes.values():  # all must be known before the first of them tells of a whole step
            node.announce(plan[0].from_us)
        await asyncio.to_thread(self._wait_for_acks)
        for number, step in enumerate(plan, 1):
            if day is None or day.date != step.day:
                day = await asyncio.to_thread(self._begin, step.day, plan[-1].to_us)
            self._clock.at_us = step.to_us
            rng = np.random.default_rng([self._world.seed, step.day.toordinal(), step.from_us // 1_000_000])
            heard = await asyncio.to_thread(self._listener.hear, step.from_us, step.to_us, rng)
            for name, node in self.nodes.items():
                node.publish(heard[name], step.to_us)
            await asyncio.to_thread(self._wait_for_acks)
            await self._settled()
            await self._show(day, step)
            await self._pay(day, step)
            progress(step, number / len(plan))

    @property
    def events(self) -> int:
        """Windows put into the outboxes so far."""
        return sum(node.windows for node in self.nodes.values())

    def _begin(self, date_: date, until_us: int) -> Day:
        day = self._world.day(date_)
        devices = Devices(self._scenario, self._world.seed, day, self._files.members)
        outages = Outages(self._scenario, date_, self._radio.nodes)
        self._listener = Listener(devices, self._radio, outages, WINDOW_US)
        self._shown = {}
        stays = [stay for stay in day.intervals() if stay.exit_us <= until_us]
        self._truth.write_all("zone", stays)
        found = triggers(day, stays, self._scenario.campaign)
        self._truth.write_all("trigger", [trigger for trigger in found if trigger.at_us <= until_us])
        return day

    def _wait_for_acks(self) -> None:
        """Returns once every outbox is empty: the product's database has it all. Raises RunError if that stalls."""
        patience = Patience("batches that the product does not acknowledge")
        while left := sum(node.outbox.rows() for node in self.nodes.values()):
            patience.see(left)
            time.sleep(POLL_S)

    async def _settled(self) -> None:
        """Returns once the product has located and decided all that it has stored. Raises RunError if that stalls."""
        patience = Patience("things that the product does not get done (GET /v1/progress/queue)")
        while True:
            try:
                answer = (await self._staff.get("/v1/progress/queue")).raise_for_status()
            except httpx.TransportError as error:
                logger.info("progress: %r, will ask again", error, extra={"action": "progress_retry"})
            else:
                left = int(answer.json()["queue"])
                if left == 0:
                    return
                patience.see(left)
            await asyncio.sleep(POLL_S)

    async def _show(self, day: Day, step: Step) -> None:
        """The phones of the members who were in the store during the step show what came."""
        limit = asyncio.Semaphore(AT_ONCE)
        present = (day.enters_us < step.to_us) & (day.leaves_us > step.from_us)
        await asyncio.gather(*(self._look(day, int(person), step, limit) for person in np.flatnonzero(present)))

    async def _look(self, day: Day, index: int, step: Step, limit: asyncio.Semaphore) -> None:
        person = day.people[index]
        member = self._files.members.get(card(person.member)) if person.member is not None and person.app else None
        if member is None:
            return
        app = App(self._client, member, self._sessions)
        async with limit:
            await app.log_in()
            try:
                offers = await app.offers()
            except LoggedOut:
                await app.log_in(afresh=True)
                offers = await app.offers()
            for offer in offers:
                delay = np.random.default_rng([self._world.seed, index, offer.sent_us // 1_000_000])
                at_us = max(offer.sent_us, person.enters_us) + int(delay.integers(*SHOWN_AFTER_US))
                # Expired by the product's clock, which stands at the end of history, is not expired at that time.
                if offer.state not in ("sent", "expired") or offer.push_id in self._seen or at_us >= step.to_us:
                    continue
                if at_us < min(offer.expires_us, person.leaves_us):
                    self._seen.add(offer.push_id)
                    shown = shown_on(day, index, offer, at_us)
                    self._truth.write("shown", shown)
                    self.shown += 1
                    if offer.offer == self._scenario.campaign.offer:
                        self._shown.setdefault(index, shown)
                    await app.report(offer.push_id, "shown", at_us)
                    if person.response.clicks:
                        await app.report(offer.push_id, "clicked", at_us + 2_000_000)

    async def _pay(self, day: Day, step: Step) -> None:
        for person in day.people:
            if person.till_us is not None and step.from_us <= person.till_us < step.to_us:
                receipt = receipt_of(self._scenario, self._world.seed, day, person, self._shown.get(person.index))
                if receipt is not None:
                    record = {"person": person.index, "receipt": msgspec.to_builtins(receipt)}
                    self._truth.write("receipt", record)
                    self.till.ring_up(receipt)
        await self.till.drained()


def _client(api: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=api, headers={"X-Aisle": "1"}, timeout=30.0, trust_env=False)


async def history(files: RunFiles, until_us: int, days: int) -> HistoryResult:
    """Plays the run's past until an instant and tells its progress on stdout, a JSON line a step.

    Raises RunError if the run lacks what history needs, httpx.HTTPStatusError if the product refuses it.
    """
    run, begun = files.run, time.monotonic()
    if run.admin is None or not run.nodes:
        raise RunError("RUN.json: history needs `admin` and `nodes`")
    world = World(scenarios.load(run.scenario), run.seed)
    plan = steps(world.scenario, until_us, days, run.step_minutes)
    if not plan:
        raise RunError(f"nothing of the past lies before {until_us}")

    def tell(step: Step, share: float) -> None:
        at = datetime.fromtimestamp(step.to_us / 1e6, UTC).isoformat()
        print(json.dumps({"at": at, "share": round(share, 4), "events": past.events}), flush=True)

    with TruthFile(files.truth) as truth:
        async with _client(run.api) as client, _client(run.api) as staff:
            login = {"login": run.admin.login, "password": run.admin.password}
            (await staff.post("/v1/session", json=login)).raise_for_status()
            past = History(world, files, client, staff, truth)
            till = asyncio.create_task(past.till.run())
            try:
                past.open()
                await past.play(plan, tell)
            finally:
                till.cancel()
                await asyncio.gather(till, return_exceptions=True)
                await asyncio.to_thread(past.close)
    nodes = past.nodes.values()
    return HistoryResult(
        days=len({step.day for step in plan}),
        steps=len(plan),
        events=past.events,
        batches=sum(node.batches for node in nodes),
        rejected_batches=sum(node.outbox.rejected[0] for node in nodes),
        shown=past.shown,
        receipts=past.till.stored,
        receipts_refused=past.till.refused,
        from_us=plan[0].from_us,
        until_us=plan[-1].to_us,
        seconds=round(time.monotonic() - begun, 3),
    )
