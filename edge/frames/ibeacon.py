"""Apple's company payloads: iBeacon frames, and the Continuity messages that every Apple device sends.

iBeacon: Apple, Proximity Beacon Specification R1: 0x02 0x15, uuid, major, minor (big-endian), RSSI at 1 m.
"""

from typing import NamedTuple

APPLE = 0x004C

IBEACON = b"\x02\x15"
"""Type and length: how every iBeacon begins, and no Continuity message."""
_LENGTH = 23


class IBeacon(NamedTuple):
    """An iBeacon's name and its calibrated strength."""

    uuid: bytes
    major: int
    minor: int
    at_1m_dbm: int


def parse_ibeacon(payload: bytes) -> IBeacon | None:
    """The iBeacon in Apple's company data (without the company id), None if it is something else or cut short."""
    if len(payload) < _LENGTH or payload[:2] != IBEACON:
        return None
    power = payload[22]
    return IBeacon(
        uuid=payload[2:18],
        major=payload[18] << 8 | payload[19],
        minor=payload[20] << 8 | payload[21],
        at_1m_dbm=power - 256 if power > 127 else power,
    )
