"""What every node of a scenario receives, advert by advert, each record beside its truth: same seed, same bytes.

Played as arrays, some minutes at once. A node knows what it received and when by its own clock; who sent it, from where
and when by the true clock is the truth. Adverts are told apart by number: an address and its bytes, in `AdvertBook`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from simulators.adverts import Advert
from simulators.devices import Devices
from simulators.events import Bools, Outages
from simulators.radio import RadioModel
from simulators.scenario import Scenario
from simulators.world import STAFF_BEFORE_US, Day, World
from simulators.zones import Floats, Ints, inside

HOUR_US = 3_600_000_000
PART_US = 600_000_000
"""What is played at once: arrays that the processor's cache still helps with."""
BATCH_US = 1_000_000
"""A node sends what it heard once a second."""
NOWHERE = -1
"""The zone of places outside every zone."""
SHOPPERS = ("member", "stranger")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one day that is played."""

    day: date
    from_us: int
    to_us: int | None
    """None: until everybody has left."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Every advert of a span and what the radio model made of it: n adverts, a column a node."""

    device: Ints
    at_us: Ints
    xy: Floats
    heading: Floats
    """The way the device looks, pocket included."""
    rssi_dbm: Floats
    """(n, nodes)"""
    received: Bools
    """(n, nodes)"""


@dataclass(frozen=True, slots=True)
class Records:
    """What nodes received in a span, in order of true time, and the truth of each record in the same row."""

    node: Ints
    at_us: Ints
    """By the node's clock."""
    advert: Ints
    rssi_dbm: Ints
    sent_us: Ints
    """When it is on its way to the broker, by the node's clock."""
    true_us: Ints
    device: Ints
    person: Ints
    """NOBODY for what hangs somewhere."""
    x_m: Floats
    y_m: Floats
    zone: Ints
    """Number in the scenario, or NOWHERE."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some minutes of a trace."""

    from_us: int
    to_us: int
    sent: Sent
    records: Records


class NodeClocks:
    """How far each node's clock is off: an offset since the morning, and a drift."""

    def __init__(self, scenario: Scenario, seed: int, day: Day, nodes: int) -> None:
        rng = np.random.default_rng([seed, day.date.toordinal(), 0x434C])
        clocks = scenario.clocks
        self._from_us = scenario.instant_us(day.date, "00:00")
        self.offset_us: Floats = rng.normal(0, clocks.offset_sd_ms * 1000 if clocks else 0.0, nodes)
        self.drift: Floats = rng.normal(0, clocks.drift_sd_ppm * 1e-6 if clocks else 0.0, nodes)

    def read(self, node: Ints, true_us: Ints) -> Ints:
        """What the nodes' clocks show at n true instants."""
        error = self.offset_us[node] + self.drift[node] * (true_us - self._from_us)
        shown: Ints = true_us + np.rint(error).astype(np.int64)
        return shown


class AdvertBook:
    """Numbers what is on the air on a day: a device sends one advert per slot."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices.all
        self._slot_us: Ints = np.array([device.slot_us for device in devices.all], np.int64)
        self._turns_us: Ints = np.array([device.turns_us for device in devices.all], np.int64)
        self._known: dict[tuple[int, int], int] = {}
        self._numbers: dict[tuple[int, Advert], int] = {}
        self.adverts: list[Advert] = []
        self.device: list[int] = []
        """Who sends it: the truth."""

    def numbers(self, device: Ints, at_us: Ints) -> Ints:
        """The numbers of adverts sent by n devices at n instants; new ones in order of device and time."""
        slot = (at_us + self._turns_us[device]) // self._slot_us[device]
        base = int(slot.min(initial=0))
        span = int(slot.max(initial=0)) - base + 1
        pairs, row = np.unique(device * span + (slot - base), return_inverse=True)
        known = [self._number(int(pair) // span, base + int(pair) % span) for pair in pairs]
        return np.array(known, np.int64)[row]

    def _number(self, device: int, slot: int) -> int:
        found = self._known.get((device, slot))
        if found is None:
            advert = self._devices[device].advert(slot)
            found = self._numbers.setdefault((device, advert), len(self.adverts))
            if found == len(self.adverts):
                self.adverts.append(advert)
                self.device.append(device)
            self._known[device, slot] = found
        return found


class DayTrace:
    """A day of a world, as the nodes receive it."""

    def __init__(self, world: World, radio: RadioModel, day: Day) -> None:
        scenario = world.scenario
        self.day = day
        self.radio = radio
        self.devices = Devices(scenario, world.seed, day, {})
        self.book = AdvertBook(self.devices)
        self.clocks = NodeClocks(scenario, world.seed, day, len(radio.nodes))
        self.outages = Outages(scenario, day.date, radio.nodes)
        self._scenario = scenario
        self._seed = world.seed
        self._cuts = [(*cut.span_us(scenario, day.date), cut.drain_per_s) for cut in scenario.cuts]
        self._backlog = np.zeros((len(self._cuts), len(radio.nodes)), np.int64)

    def parts(self, from_us: int, to_us: int) -> Iterator[Part]:
        """A span piece by piece, in order. A trace is played once: backlogs go on from part to part."""
        while from_us < to_us:
            end_us = min((from_us // PART_US + 1) * PART_US, to_us)
            rng = np.random.default_rng([self._seed, self.day.date.toordinal(), from_us // 1_000_000, 0x5452])
            sent = self._send(from_us, end_us, rng)
            yield Part(from_us, end_us, sent, self._record(sent))
            from_us = end_us

    def _send(self, from_us: int, to_us: int, rng: np.random.Generator) -> Sent:
        devices = self.devices
        device, at_us = devices.sent(np.ones(len(devices.all), bool), from_us, to_us, rng)
        order = np.argsort(at_us, kind="stable")
        device, at_us = device[order], at_us[order]
        xy, heading = devices.places(device, at_us)
        heading += devices.pocket_rad[device]
        rssi, received = self.radio.hear(xy, heading, devices.tx_db[device], rng)
        if self.outages:
            received &= ~self.outages.off(at_us)
        return Sent(device, at_us, xy, heading, rssi, received)

    def _record(self, sent: Sent) -> Records:
        row, node = np.nonzero(sent.received)
        true_us, device = sent.at_us[row], sent.device[row]
        at_us = self.clocks.read(node, true_us)
        return Records(
            node=node,
            at_us=at_us,
            advert=self.book.numbers(sent.device, sent.at_us)[row],
            rssi_dbm=np.rint(sent.rssi_dbm[row, node]).astype(np.int64),
            sent_us=self._sent_us(node, at_us),
            true_us=true_us,
            device=device,
            person=self.devices.owner[device],
            x_m=sent.xy[row, 0],
            y_m=sent.xy[row, 1],
            zone=zones_of(self._scenario, sent.xy)[row],
        )

    def _sent_us(self, node: Ints, at_us: Ints) -> Ints:
        """Live, a record leaves with its second's batch; in a cut it waits for the end and those before it."""
        leaves_us: Ints = (at_us // BATCH_US + 1) * BATCH_US
        for number, (begins_us, ends_us, drain_per_s) in enumerate(self._cuts):
            for each in range(len(self.radio.nodes)):
                rows = np.flatnonzero((node == each) & (begins_us <= leaves_us) & (leaves_us < ends_us))
                nth = self._backlog[number, each] + np.arange(1, len(rows) + 1)
                leaves_us[rows] = ends_us + np.rint(nth * 1e6 / drain_per_s).astype(np.int64)
                self._backlog[number, each] += len(rows)
        return leaves_us


def zones_of(scenario: Scenario, xy: Floats) -> Ints:
    """The number of the zone that each of n places lies in, or NOWHERE."""
    found = np.full(len(xy), NOWHERE, np.int64)
    for number, zone in enumerate(scenario.zones):
        found[inside(zone.polygon, xy[:, 0], xy[:, 1])] = number
    return found


def spans(scenario: Scenario, hours: float | None) -> Iterator[Span]:
    """What is played: the scenario's whole day, or its first `hours` of opening, over days if need be."""
    day, left_us = scenario.day, None if hours is None else round(hours * HOUR_US)
    while left_us is None or left_us > 0:
        opens_us, closes_us = scenario.hours_us(day)
        whole = left_us is None or left_us >= closes_us - opens_us
        yield Span(day, opens_us - STAFF_BEFORE_US, None if whole or left_us is None else opens_us + left_us)
        if left_us is None:
            return
        day, left_us = day + timedelta(days=1), left_us - (closes_us - opens_us)


def shopper_hours(day: Day, from_us: int, to_us: int) -> float:
    """How long shoppers, taken together, are in the store during a span."""
    shoppers = np.array([person.kind in SHOPPERS for person in day.people])
    stay_us = np.minimum(day.leaves_us, to_us) - np.maximum(day.enters_us, from_us)
    return float(np.maximum(stay_us[shoppers], 0).sum() / HOUR_US)
