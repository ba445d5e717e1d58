"""A store at the pace of the shared clock, in one process: adverts, tags and probe requests, the till, phones."""

import asyncio
import heapq
import itertools
import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import date
from functools import partial

import httpx
import msgspec
import numpy as np

from contract.clock import Clock
from simulators import scenario_files as scenarios
from simulators.adverts import Advert, frame
from simulators.air import Air
from simulators.desk import Desk
from simulators.devices import JITTER_US, Devices
from simulators.events import Outages
from simulators.phone import App, Offer, Phone, shown_on
from simulators.probes import Probes, handsets
from simulators.radio import RadioModel
from simulators.rfid import Carried, Readers
from simulators.run import RunFiles, Sessions
from simulators.setup import consents
from simulators.summary import Summary, latencies, percentile
from simulators.tagged import Handled, card_epc, holds_card, pieces
from simulators.till import Receipt, Till, receipt_of
from simulators.truth import Shown, Trigger, TruthFile, triggers
from simulators.wifi_air import datagrams
from simulators.world import Day, World, card
from simulators.zones import Ints

logger = logging.getLogger(__name__)

STEP_S = 0.05
DRAIN_S = 5.0
"""How long the till may go on posting after the end."""


class Transmitters:
    """Which devices of a day send now, and what every node receives of them."""

    def __init__(
        self, devices: Devices, radio: RadioModel, outages: Outages, rng: np.random.Generator, now_us: int
    ) -> None:
        self._devices = devices
        self._radio = radio
        self._outages = outages
        self._rng = rng
        self._next_us: Ints = np.maximum(devices.from_us, now_us) + devices.phase_us
        self._adverts: dict[int, tuple[int, Advert]] = {}

    def send(self, now_us: int, air: Callable[[str, bytes], None]) -> None:
        """Gives the adverts due until now to the nodes that receive them."""
        devices = self._devices
        due = np.flatnonzero((self._next_us <= now_us) & (devices.from_us <= now_us) & (now_us < devices.to_us))
        if not len(due):
            return
        delay = devices.interval_us[due] + self._rng.integers(0, JITTER_US, len(due))
        self._next_us[due] = np.maximum(self._next_us[due] + delay, now_us)
        at_us = np.full(len(due), now_us, np.int64)
        xy, heading = devices.places(due, at_us)
        rssi, received = self._radio.hear(xy, heading + devices.pocket_rad[due], devices.tx_db[due], self._rng)
        if self._outages:
            received &= ~self._outages.off(at_us)
        dbm = np.rint(rssi).astype(int).tolist()
        adverts = [self._advert(int(device), now_us) for device in due]
        for j, node in enumerate(self._radio.nodes):
            frames = [frame(adverts[i], dbm[i][j]) for i in np.flatnonzero(received[:, j]).tolist()]
            if frames:
                air(node, b"".join(frames))

    def _advert(self, number: int, now_us: int) -> Advert:
        device = self._devices.all[number]
        slot, known = device.slot(now_us), self._adverts.get(number)
        if known is None or known[0] != slot:
            known = self._adverts[number] = slot, device.advert(slot)
        return known[1]


class LiveStore:
    """Plays the days of a world from the instant it is made. Truth goes to a file, never to the product."""

    def __init__(
        self,
        world: World,
        files: RunFiles,
        clock: Clock,
        client: httpx.AsyncClient,
        truth: TruthFile,
        air: Air,
        readers: Readers,
        wifi: Mapping[str, Callable[[bytes], None]],
    ) -> None:
        """`wifi` sends a frame to a node that hears Wi-Fi."""
        self._world = world
        self._scenario = world.scenario
        self._files = files
        self._clock = clock
        self._client = client
        self._truth = truth
        self._air = air
        self._readers = readers
        self._wifi = wifi
        self._sessions = Sessions(files.phones)
        self._radio = RadioModel(world.scenario, world.seed)
        self._phones: dict[int, asyncio.Task[None]] = {}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._date: date | None = None
        self._days = -1
        self._shown: dict[tuple[int, int], Shown] = {}
        self.till = Till(client, files.run.till_key, self._receipt_stored)
        self.desk = Desk(client, files.run.desk_key)
        self._cards: dict[int, bytes] = {}
        self._heard = False
        self.from_us = clock.now_us()
        """Since when latencies count: the first moment at which every node listens."""
        self.people: set[tuple[int, int]] = set()
        self.members: set[tuple[int, int]] = set()
        self.triggers: list[Trigger] = []
        self.reachable = 0
        self.shown: list[Shown] = []
        self.bought = self.put_back = 0
        self.wifi_frames = 0

    async def run(self) -> None:
        """Until cancelled."""
        rng = np.random.default_rng()  # which advert is lost need not be repeatable: the clock is not either
        transmitters: Transmitters | None = None
        probes: Probes | None = None
        while True:
            now_us = self._clock.now_us()
            if self._scenario.date_of(now_us) != self._date:
                day = self._begin(self._scenario.date_of(now_us), now_us)
                devices = Devices(self._scenario, self._world.seed, day, self._files.members)
                outages = Outages(self._scenario, day.date, self._radio.nodes)
                transmitters = Transmitters(devices, self._radio, outages, rng, now_us)
                phones = handsets(self._scenario, self._world.seed, day)
                probes = Probes(self._scenario, day, phones, self._radio, now_us)
            if not self._heard and self._air.heard_by() == set(self._radio.nodes):
                self._heard, self.from_us = True, now_us
            while self._events and self._events[0][0] <= now_us:
                heapq.heappop(self._events)[2]()
            assert transmitters is not None and probes is not None
            transmitters.send(now_us, self._air.send)
            probes.send(now_us, self._send_wifi)
            await asyncio.sleep(STEP_S)

    async def stop(self) -> None:
        """Puts the phones away."""
        phones = list(self._phones.values())
        for phone in phones:
            phone.cancel()
        await asyncio.gather(*phones, return_exceptions=True)

    def _begin(self, today: date, now_us: int) -> Day:
        """Loads a day and writes down when what will happen; whoever is inside already goes on from where they are."""
        self._date, self._days = today, self._days + 1
        day = self._world.day(today)
        stays = day.intervals()
        for stay in stays:
            if stay.exit_us > now_us:
                self._at(stay.exit_us, partial(self._truth.write, "zone", stay))
        for trigger in triggers(day, stays, self._scenario.campaign):
            if trigger.at_us > now_us:
                self._at(trigger.at_us, partial(self._triggered, day, trigger))
        for person in day.people:
            if person.leaves_us <= now_us or person.kind in ("staff", "asset"):
                continue
            self._at(max(person.enters_us, now_us), partial(self._enter, day, person.index))
            self._at(person.leaves_us, partial(self._leave, person.index))
            if person.till_us is not None and person.till_us > now_us:
                self._at(person.till_us, partial(self._pay, day, person.index))
        self._lay_out(day, now_us)
        return day

    def _lay_out(self, day: Day, now_us: int) -> None:
        """The day's tagged things and cards, for the antennas to read."""
        tagged, seed = self._scenario.tagged, self._world.seed
        if tagged is None:
            return
        self._cards = {
            person.index: card_epc(tagged, person.member)
            for person in day.people
            if person.member is not None and holds_card(tagged, seed, person.member)
        }
        cards = [Carried(epc, index, day.people[index].enters_us) for index, epc in self._cards.items()]
        goods = pieces(self._scenario, seed, day)
        self._readers.open(day, goods, cards)
        for handled in (handled for piece in goods for handled in piece.handled):
            done_us = handled.taken_us if handled.back_us is None else handled.back_us
            if done_us > now_us:
                self._at(done_us, partial(self._handled, handled))

    def _at(self, at_us: int, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_us, next(self._order), happen))

    def _enter(self, day: Day, index: int) -> None:
        person = day.people[index]
        self.people.add((self._days, index))
        if person.member is None:
            return
        self.members.add((self._days, index))
        if index in self._cards:
            self.desk.enrol(card(person.member), self._cards[index])
        member = self._files.members.get(card(person.member))
        if person.app and member is not None:
            app = App(self._client, member, self._sessions)
            phone = Phone(app, self._clock, partial(self._show, day, index), partial(self._know, day, index))
            self._phones[index] = asyncio.create_task(phone.run(), name=f"phone {index}")

    def _leave(self, index: int) -> None:
        phone = self._phones.pop(index, None)
        if phone is not None:
            phone.cancel()

    def _triggered(self, day: Day, trigger: Trigger) -> None:
        self.triggers.append(trigger)
        person = day.people[trigger.person]
        if person.app and person.member is not None and card(person.member) in self._files.members:
            agreed = consents(self._scenario, self._world.seed, person.member)
            self.reachable += agreed["in_store_sensing"] and agreed["marketing_push"]
        self._truth.write("trigger", trigger)

    def _know(self, day: Day, index: int, offer: Offer) -> None:
        """An offer that was shown before this run and may still be used in it."""
        if offer.offer == self._scenario.campaign.offer and offer.sent_us >= day.people[index].enters_us:
            self._shown.setdefault((self._days, index), shown_on(day, index, offer, offer.sent_us))

    def _show(self, day: Day, index: int, offer: Offer, at_us: int) -> bool:
        person, shown = day.people[index], shown_on(day, index, offer, at_us)
        self.shown.append(shown)
        self._truth.write("shown", shown)
        if offer.offer != self._scenario.campaign.offer:
            return False
        self._shown.setdefault((self._days, index), shown)
        return person.response.clicks

    def _pay(self, day: Day, index: int) -> None:
        shown = self._shown.get((self._days, index))
        receipt = receipt_of(self._scenario, self._world.seed, day, day.people[index], shown)
        if receipt is not None:
            self._truth.write("receipt", {"person": index, "receipt": msgspec.to_builtins(receipt)})
            self.till.ring_up(receipt)

    def _handled(self, handled: Handled) -> None:
        """Somebody has put a piece into their bag, or back on the shelf."""
        if handled.back_us is None:
            self.bought += 1
        else:
            self.put_back += 1
        self._truth.write("handled", msgspec.to_builtins(handled) | {"epc": handled.epc.hex()})

    def _send_wifi(self, node: str, frame: bytes) -> None:
        send = self._wifi.get(node)
        if send is not None:
            self.wifi_frames += 1
            send(frame)

    def _receipt_stored(self, receipt: Receipt) -> None:
        logger.debug("receipt %s is stored", receipt.receipt_uid, extra={"action": "receipt_stored"})

    def summary(self) -> Summary:
        """The figures so far."""
        times, without, before = latencies(self.shown, self.triggers, self.from_us)
        return Summary(
            from_us=self.from_us,
            to_us=self._clock.now_us(),
            people=len(self.people),
            members=len(self.members),
            triggers_true=len(self.triggers),
            triggers_members=sum(trigger.card is not None for trigger in self.triggers),
            triggers_reachable=self.reachable,
            pushes_shown=len(self.shown),
            pushes_without_trigger=without,
            pushes_from_before=before,
            push_p50_ms=percentile(times, 50),
            push_p95_ms=percentile(times, 95),
            push_latencies_ms=tuple(times),
            receipts_stored=self.till.stored,
            receipts_refused=self.till.refused,
            receipts_waiting=self.till.waiting,
            air_bytes_dropped=self._air.dropped,
            things_bought=self.bought,
            things_put_back=self.put_back,
            cards_enrolled=self.desk.enrolled,
            tags_told=self._readers.told,
            wifi_frames=self.wifi_frames,
        )


async def live(files: RunFiles) -> Summary:
    """Plays the run until SIGTERM or SIGINT; writes and returns its summary."""
    scenario = scenarios.load(files.run.scenario)
    world = World(scenario, files.run.seed)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    air = Air([node.node for node in scenario.nodes], files.run.air_port)
    readers = Readers(scenario, world.seed, files.clock, files.folder)
    with ExitStack() as stack, TruthFile(files.truth) as truth, readers:  # their ptys are there before the air is
        wifi = {node: stack.enter_context(datagrams("127.0.0.1", port)) for node, port in files.run.wifi_ports.items()}
        async with httpx.AsyncClient(base_url=files.run.api, limits=limits, trust_env=False) as client, air:
            print(json.dumps({"air_port": air.port}), flush=True)
            store = LiveStore(world, files, files.clock, client, truth, air, readers, wifi)
            tasks = [asyncio.create_task(work) for work in (store.run(), store.till.run(), store.desk.run())]
            ended = asyncio.create_task(stop.wait())
            await asyncio.wait([*tasks, ended], return_when=asyncio.FIRST_COMPLETED)
            tasks[0].cancel()
            await store.stop()
            try:
                async with asyncio.timeout(DRAIN_S):
                    await store.till.drained()
            except TimeoutError:
                print(f"{store.till.waiting} receipts were not taken by the product", file=sys.stderr)
            for task in (*tasks, ended):
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            summary = store.summary()
    files.summary.write_bytes(msgspec.json.encode(summary))
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return summary
