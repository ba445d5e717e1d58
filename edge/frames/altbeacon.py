"""AltBeacon frames, of any company: https://github.com/AltBeacon/spec (version 1.0).

The company identifier is followed by 0xBEAC, a 20-byte identifier, the RSSI at 1 m and a byte of the maker's own. By
convention the identifier is 16 + 2 + 2 bytes, an iBeacon's uuid, major and minor.
"""

from typing import NamedTuple

CODE = b"\xbe\xac"
_LENGTH = 24


class AltBeacon(NamedTuple):
    """An AltBeacon's name and its calibrated strength."""

    uuid: bytes
    major: int
    minor: int
    at_1m_dbm: int


def parse_altbeacon(payload: bytes) -> AltBeacon | None:
    """The AltBeacon in a company's data (without the company id), None if it is something else or cut short."""
    if len(payload) < _LENGTH or payload[:2] != CODE:
        return None
    power = payload[22]
    return AltBeacon(
        uuid=payload[2:18],
        major=payload[18] << 8 | payload[19],
        minor=payload[20] << 8 | payload[21],
        at_1m_dbm=power - 256 if power > 127 else power,
    )
