"""The senders of a day as arrays: who carries them, how often they send, and under which name."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import numpy as np

from contract.identity import SubjectKind, beacon_subject, member_token
from simulators.adverts import Advert, continuity_advert, ibeacon_advert, token_advert, wearable_advert
from simulators.people import Person
from simulators.run import Member
from simulators.scenario import Beacon, Scenario
from simulators.world import Day, card, staff_card
from simulators.zones import Floats, Ints

INTERVAL_MS = {"stranger": 300, "wearable": 1000, "beacon": 1000}
"""How often they advertise; tokens have theirs in the scenario."""
JITTER_US = 10_000
"""advDelay: every advert comes up to 10 ms later than its interval (Core 6.0, vol. 6 part B, 4.4.2.2.1)."""
NOBODY = -1
"""Owner of a device that hangs somewhere."""


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
    """What it sends in a 15-minute slot."""
    subject: Callable[[int], int] | None
    """The subject that a node makes of it in a slot; None for devices that name nobody."""
    kind: SubjectKind | None


class Devices:
    """All devices of a day, with the columns that the radio model needs."""

    def __init__(self, scenario: Scenario, seed: int, day: Day, members: Mapping[str, Member]) -> None:
        moving = iter([beacon for beacon in scenario.beacons if beacon.role == "asset"])
        found = [_carried(scenario, seed, day, person, members, moving) for person in day.people if person.radio]
        found += [_hanging(beacon) for beacon in scenario.beacons if beacon.role == "fixed"]
        self.all: tuple[Device, ...] = tuple(found)
        self.owner: Ints = np.array([device.owner for device in found], np.int64)
        self.interval_us: Ints = np.array([device.interval_us for device in found], np.int64)
        self.phase_us: Ints = np.array([device.phase_us for device in found], np.int64)
        self.tx_db: Floats = np.array([device.tx_db for device in found])
        self.pocket_rad: Floats = np.array([device.pocket_rad for device in found])
        self.hangs: Floats = np.array([device.at or (0.0, 0.0) for device in found])


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
        advert = partial(continuity_advert, name)
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


def _token_key(seed: int, person: Person, members: Mapping[str, Member]) -> bytes:
    """The key that the import gave the holder; a tag that was never enrolled has one of its own."""
    number = card(person.member) if person.member is not None else staff_card(person.index)
    if (known := members.get(number)) is not None:
        return bytes.fromhex(known.token_key_hex)
    return hashlib.sha256(f"tag {seed} {person.kind} {person.member} {person.index}".encode()).digest()
