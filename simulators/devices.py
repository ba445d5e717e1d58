"""The senders of a day as arrays: who carries them, how often they send, and under which name."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import numpy as np

from contract.identity import TOKEN_SLOT_US, SubjectKind, beacon_subject, member_token
from simulators.adverts import (
    Advert,
    continuity_advert,
    ibeacon_advert,
    token_advert,
    wearable_advert,
)
from simulators.events import Bools, Spoof, Storm
from simulators.people import Person
from simulators.run import Member
from simulators.scenario import Beacon, Fixture, Scenario
from simulators.world import Day, card, staff_card
from simulators.zones import Floats, Ints

INTERVAL_MS = {"stranger": 300, "wearable": 1000, "beacon": 1000}
"""How often they advertise; tokens have theirs in the scenario."""
JITTER_US = 10_000
"""advDelay: every advert comes up to 10 ms later than its interval (Core 6.0, vol. 6 part B, 4.4.2.2.1)."""
NOBODY = -1
"""Owner of a device that hangs somewhere."""
ALWAYS_US = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Device:
    """One sender."""

    owner: int
    """Person, or NOBODY."""
    interval_us: int
    phase_us: int
    tx_db: float
    pocket_rad: float
    at: tuple[float, float] | None
    """Where it hangs, if it has no owner."""
    advert: Callable[[int], Advert]
    """What it sends in a slot."""
    subject: Callable[[int], int] | None
    """The subject that a node makes of it in a slot; None for devices that name nobody."""
    kind: SubjectKind | None
    slot_us: int = TOKEN_SLOT_US
    """How long it sends the same, before its address turns."""
    turns_us: int = 0
    """By how much earlier than at the slots of others: only tokens turn all at once."""
    on_us: tuple[int, int] = ALWAYS_US
    """From when to when it sends, besides its owner's stay."""

    def slot(self, at_us: int) -> int:
        """The slot that an instant lies in."""
        return (at_us + self.turns_us) // self.slot_us


class Devices:
    """All devices of a day, with the columns that the radio model needs."""

    def __init__(self, scenario: Scenario, seed: int, day: Day, members: Mapping[str, Member]) -> None:
        moving = iter([beacon for beacon in scenario.beacons if beacon.role == "asset"])
        found = [_carried(scenario, seed, day, person, members, moving) for person in day.people if person.radio]
        found += [_hanging(beacon) for beacon in scenario.beacons if beacon.role == "fixed"]
        found += [_fixture(scenario, fixture) for fixture in scenario.fixtures]
        found += [_impostor(scenario, seed, day, spoof) for spoof in scenario.spoofs]
        found += [
            device
            for number, storm in enumerate(scenario.storms)
            for device in _storm(scenario, seed, day, number, storm)
        ]
        self._day = day
        self.all: tuple[Device, ...] = tuple(found)
        self.owner: Ints = np.array([device.owner for device in found], np.int64)
        self.interval_us: Ints = np.array([device.interval_us for device in found], np.int64)
        self.phase_us: Ints = np.array([device.phase_us for device in found], np.int64)
        self.tx_db: Floats = np.array([device.tx_db for device in found])
        self.pocket_rad: Floats = np.array([device.pocket_rad for device in found])
        self.hangs: Floats = np.array([device.at or (0.0, 0.0) for device in found])
        hanging, on_us = self.owner == NOBODY, np.array([device.on_us for device in found], np.int64).reshape(-1, 2)
        self.from_us: Ints = np.where(hanging, on_us[:, 0], day.enters_us[self.owner])
        self.to_us: Ints = np.where(hanging, on_us[:, 1], day.leaves_us[self.owner])

    def sent(self, of: Bools, from_us: int, to_us: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Every advert of the devices `of` (a mask) in a span: device and instant, device by device."""
        first = np.maximum(self.from_us, from_us)
        last = np.minimum(self.to_us, to_us)
        chosen = np.flatnonzero(of & (first < last))
        interval = self.interval_us[chosen] + JITTER_US // 2
        begin = first[chosen] + (self.phase_us[chosen] - first[chosen]) % interval
        count = np.maximum(-((begin - last[chosen]) // interval), 0)
        device = np.repeat(chosen, count)
        nth = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        at_us = np.repeat(begin, count) + nth * np.repeat(interval, count)
        at_us += rng.integers(0, JITTER_US, len(at_us))
        return device, np.minimum(at_us, last[device] - 1)

    def places(self, device: Ints, at_us: Ints) -> tuple[Floats, Floats]:
        """Where devices are (n, 2) at n instants, and the way their owners look (n,); 0 for those that hang."""
        xy, heading = self.hangs[device], np.zeros(len(device))
        carried = self.owner[device] != NOBODY
        xy[carried], heading[carried] = self._day.at(self.owner[device[carried]], at_us[carried])
        return xy, heading


def _carried(
    scenario: Scenario, seed: int, day: Day, person: Person, members: Mapping[str, Member], moving: Iterator[Beacon]
) -> Device:
    name = hashlib.sha256(f"{seed} {day.date} {person.index}".encode()).digest()
    subject: Callable[[int], int] | None = None
    kind: SubjectKind | None = None
    if person.radio == "beacon":
        return _beacon(next(moving), person.index, None, person.carried.phase_us)
    if person.radio in ("tag", "phone"):
        key = _token_key(seed, person, members)
        advert, subject, kind = partial(token_advert, key), partial(member_token, key), SubjectKind.TOKEN
    elif person.radio == "stranger":
        turns_us = int.from_bytes(name[:4], "big") * 1_000_000 % TOKEN_SLOT_US
        return replace(_device(scenario, person, partial(continuity_advert, name), None, None), turns_us=turns_us)
    else:
        fixed = wearable_advert(name)
        return _device(scenario, person, lambda _slot: fixed, None, None)
    return _device(scenario, person, advert, subject, kind)


def _device(
    scenario: Scenario,
    person: Person,
    advert: Callable[[int], Advert],
    subject: Callable[[int], int] | None,
    kind: SubjectKind | None,
) -> Device:
    carried = person.carried
    interval_ms = INTERVAL_MS.get(person.radio or "", scenario.radio.token_interval_ms)
    phase_us = carried.phase_us % (interval_ms * 1000)
    return Device(
        person.index, interval_ms * 1000, phase_us, carried.tx_db, carried.pocket_rad, None, advert, subject, kind
    )


def _hanging(beacon: Beacon) -> Device:
    assert beacon.x_m is not None and beacon.y_m is not None, "checked on load"
    return _beacon(beacon, NOBODY, (beacon.x_m, beacon.y_m), 0)


def _beacon(beacon: Beacon, owner: int, at: tuple[float, float] | None, phase_us: int) -> Device:
    advert = ibeacon_advert(beacon.uuid, beacon.major, beacon.minor)
    subject = beacon_subject(UUID(beacon.uuid).bytes, beacon.major, beacon.minor)
    interval_us = INTERVAL_MS["beacon"] * 1000
    return Device(
        owner, interval_us, phase_us, 0.0, 0.0, at, lambda _slot: advert, lambda _slot: subject, SubjectKind.BEACON
    )


def _fixture(scenario: Scenario, fixture: Fixture) -> Device:
    advert = wearable_advert(f"{scenario.store.store} {fixture.label}".encode())
    at = fixture.x_m, fixture.y_m
    return Device(NOBODY, INTERVAL_MS["wearable"] * 1000, 0, 0.0, 0.0, at, lambda _slot: advert, None, None)


def _impostor(scenario: Scenario, seed: int, day: Day, spoof: Spoof) -> Device:
    """The beacon's advertisement from another address and place: a clone knows the id, not the chip."""
    meant = next(beacon for beacon in scenario.beacons if beacon.label == spoof.label)
    real = _beacon(meant, NOBODY, (spoof.x_m, spoof.y_m), INTERVAL_MS["beacon"] * 500)
    name = hashlib.sha256(f"spoof {seed} {spoof.label}".encode()).digest()
    advert = replace(real.advert(0), address=bytes([name[0] | 0xC0]) + name[1:6])
    return replace(real, advert=lambda _slot: advert, on_us=spoof.span_us(scenario, day.date))


def _storm(scenario: Scenario, seed: int, day: Day, number: int, storm: Storm) -> Iterator[Device]:
    for sender in range(storm.senders):
        name = hashlib.sha256(f"storm {seed} {number} {sender}".encode()).digest()
        draw, slot_us = int.from_bytes(name[:6], "big"), round(storm.address_s * 1e6)
        yield Device(
            owner=NOBODY,
            interval_us=storm.interval_ms * 1000,
            phase_us=draw % (storm.interval_ms * 1000),
            tx_db=0.0,
            pocket_rad=0.0,
            at=(storm.x_m, storm.y_m),
            advert=partial(continuity_advert, name),  # what looks like a stranger's phone, and is another in every slot
            subject=None,
            kind=None,
            slot_us=slot_us,
            turns_us=draw % slot_us,
            on_us=storm.span_us(scenario, day.date),
        )


def _token_key(seed: int, person: Person, members: Mapping[str, Member]) -> bytes:
    """The key that the import gave the holder; a tag that was never enrolled has one of its own."""
    number = card(person.member) if person.member is not None else staff_card(person.index)
    if (known := members.get(number)) is not None:
        return bytes.fromhex(known.token_key_hex)
    return hashlib.sha256(f"tag {seed} {person.kind} {person.member} {person.index}".encode()).digest()
