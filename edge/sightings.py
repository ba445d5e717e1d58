"""From an advert to a sighting: who, if anyone, was heard, and a digest of the radio that leads nowhere."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from contract.identity import SubjectKind, beacon_subject
from edge.frames.advert import Advert
from edge.frames.eddystone import EDDYSTONE, Eid, Tlm, Uid, parse_eddystone
from edge.frames.ibeacon import APPLE, parse_ibeacon

DAY_US = 24 * 3600 * 1_000_000
_CACHED_RADIOS = 8_192


@dataclass(frozen=True, slots=True)
class Sighting:
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
        self._day = -1
        self._key = b""
        self._known: dict[bytes, int] = {}

    def __call__(self, address: bytes, at_us: int) -> int:
        """The digest of an address, never 0. A sighting that comes late is told under the present key."""
        day = at_us // DAY_US
        if day > self._day:
            self._day, self._key, self._known = day, self._draw(32), {}
        radio = self._known.get(address)
        if radio is None:
            if len(self._known) >= _CACHED_RADIOS:
                self._known.clear()
            radio = int.from_bytes(blake2b(address, digest_size=4, key=self._key).digest(), "big") or 1
            self._known[address] = radio
        return radio


@lru_cache(maxsize=4_096)
def _apple_subject(payload: bytes) -> int | None:
    beacon = parse_ibeacon(payload)
    return beacon_subject(beacon.uuid, beacon.major, beacon.minor) if beacon else None


def sighting_of(advert: Advert, at_us: int, digest: RadioDigest) -> Sighting | None:
    """The sighting in an advert; None for a fixed beacon's frames that name nothing we track (UID, telemetry).

    Apple's Continuity messages carry no identity we may use: their payload is dropped here, the radio still counts.
    """
    eddystone = advert.service.get(EDDYSTONE)
    if eddystone is not None:
        frame = parse_eddystone(eddystone)
        if isinstance(frame, Eid):
            return Sighting(at_us, frame.token, SubjectKind.TOKEN, 0, advert.rssi)
        if isinstance(frame, Uid | Tlm):
            return None
    radio = digest(advert.address, at_us)
    apple = advert.manufacturer.get(APPLE)
    subject = _apple_subject(apple) if apple is not None else None
    return Sighting(at_us, subject, None if subject is None else SubjectKind.BEACON, radio, advert.rssi)
