"""From an advert to a sighting: who, if anyone, was heard, and a digest of the radio that leads nowhere."""

import os
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from contract.identity import SubjectKind, beacon_subject, eddystone_subject
from edge.frames.ad import advert_from_ad
from edge.frames.advert import Advert
from edge.frames.altbeacon import parse_altbeacon
from edge.frames.eddystone import EDDYSTONE, Eid, Etlm, Tlm, Uid, Url, parse_eddystone
from edge.frames.ibeacon import APPLE, parse_ibeacon

DAY_US = 24 * 3600 * 1_000_000
_CACHED_RADIOS = 8_192
_CACHED_NAMES = 8_192

_TOKEN = SubjectKind.TOKEN
_new = tuple.__new__


class Sighting(NamedTuple):
    """One advert, heard at one instant, with no address left in it."""

    at_us: int
    subject: int | None
    """8 bytes; None for a device that is nobody: it counts in the crowd and nowhere else."""
    kind: SubjectKind | None
    radio: int
    """Keyed digest of the address, 32 bits; 0 where the subject names the radio (a token)."""
    rssi: int
    """dBm."""


class RadioDigest:
    """Addresses to 32 bits under a key that is drawn at random for this process and UTC day, and kept nowhere.

    blake2b with a key is a MAC; 32 bits are enough to tell the radios of one store apart and too few to name one.
    """

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._until_us: int | None = None
        self._key = b""
        self._known: dict[bytes, int] = {}

    def __call__(self, address: bytes, at_us: int) -> int:
        """The digest of an address, never 0. A sighting that comes late is told under the present key."""
        if self._until_us is None or at_us >= self._until_us:
            self._until_us = (at_us // DAY_US + 1) * DAY_US
            self._key, self._known = self._draw(32), {}
        return self._known.get(address) or self._learn(address)

    def _learn(self, address: bytes) -> int:
        if len(self._known) >= _CACHED_RADIOS:
            self._known.clear()
        radio = int.from_bytes(blake2b(address, digest_size=4, key=self._key).digest(), "big") or 1
        self._known[address] = radio
        return radio


_Who = tuple[int | None, SubjectKind | None]
_NOBODY: _Who = (None, None)

_beacon_subject = lru_cache(maxsize=_CACHED_NAMES)(beacon_subject)
_eddystone_subject = lru_cache(maxsize=_CACHED_NAMES)(eddystone_subject)


def sighting_of(advert: Advert, at_us: int, digest: RadioDigest) -> Sighting | None:
    """The sighting in an advert; None for a fixed beacon's frames that name nothing we track (a URL, telemetry).

    Apple's Continuity messages carry no identity we may use: their payload is dropped here, the radio still counts.
    """
    who = _who(advert)
    if who is None:
        return None
    subject, kind = who
    radio = 0 if kind is SubjectKind.TOKEN else digest(advert.address, at_us)
    return Sighting(at_us, subject, kind, radio, advert.rssi)


def _who(advert: Advert) -> _Who | None:
    """Whom an advert names. None: a thing, but not which."""
    eddystone = advert.service.get(EDDYSTONE)
    if eddystone is not None:
        frame = parse_eddystone(eddystone)
        if isinstance(frame, Eid):
            return frame.token, SubjectKind.TOKEN
        if isinstance(frame, Uid):
            return _eddystone_subject(frame.namespace, frame.instance), SubjectKind.BEACON
        if isinstance(frame, Tlm | Etlm | Url):
            return None
    for company, payload in advert.manufacturer.items():
        beacon = (parse_ibeacon(payload) if company == APPLE else None) or parse_altbeacon(payload)
        if beacon is not None:
            return _beacon_subject(beacon.uuid, beacon.major, beacon.minor), SubjectKind.BEACON
    return _NOBODY


class RawSightings:
    """Adverts as raw AD structures to sightings: the same as `sighting_of(advert_from_ad(…), …)`, three times as fast.

    A beacon says the same for years: it remembers whom the bytes of an advert name. Only adverts that name a beacon or
    a token are remembered; what strangers' devices say is read and dropped.
    """

    def __init__(self, digest: RadioDigest) -> None:
        self._digest = digest
        self._known: dict[bytes, tuple[int, SubjectKind]] = {}

    def __call__(self, address: bytes, rssi: int, data: bytes, at_us: int) -> Sighting | None:
        """The sighting in one advert; None if there is none, or the RSSI is no measurement."""
        who = self._known.get(data)
        if who is None or not -127 < rssi <= 20:  # as rssi_plausible says; a call here would cost a tenth
            return self._read(address, rssi, data, at_us)
        subject, kind = who
        radio = 0 if kind is _TOKEN else self._digest(address, at_us)
        # Not Sighting(…): its generated __new__ is Python code and takes twice as long.
        return _new(Sighting, (at_us, subject, kind, radio, rssi))

    def _read(self, address: bytes, rssi: int, data: bytes, at_us: int) -> Sighting | None:
        advert = advert_from_ad(address, True, rssi, data)
        sighting = sighting_of(advert, at_us, self._digest) if advert is not None else None
        if sighting is not None and sighting.subject is not None and sighting.kind is not None:
            if len(self._known) >= _CACHED_NAMES:
                self._known.clear()
            self._known[data] = (sighting.subject, sighting.kind)
        return sighting
