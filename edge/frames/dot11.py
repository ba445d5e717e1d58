"""802.11 management frames behind their radiotap header (IEEE 802.11-2020, 9.3.3), with the elements they carry."""

import struct
from typing import NamedTuple

from edge.frames.radiotap import BAD_FCS, HAS_FCS, parse_radiotap

ASSOCIATION_REQUEST = 0
REASSOCIATION_REQUEST = 2
PROBE_REQUEST = 4
PROBE_RESPONSE = 5
BEACON = 8
ACTION = 13

SSID = 0
HT_CAPABILITIES = 45
EXTENDED_CAPABILITIES = 127

_HEADER = 24
_HT_CONTROL = 4
_ORDER, _PROTECTED = 0x80, 0x40

_FIXED = {0: 4, 1: 6, 2: 10, 3: 6, 4: 0, 5: 12, 8: 12, 10: 2, 11: 6, 12: 2}
"""Bytes of fixed fields between header and elements, by subtype (9.3.3). Others carry no elements, or not at once."""


class Frame(NamedTuple):
    """One management frame as it was heard. It holds addresses: it lives in memory and is never written anywhere."""

    subtype: int
    destination: bytes
    source: bytes
    """6 bytes, as printed."""
    bssid: bytes
    sequence: int
    """Counts up from 0 to 4095, then round again."""
    rssi: int | None
    """dBm; None where the receiver did not measure."""
    mhz: int | None
    """Centre of the channel the receiver was on: a strong frame is heard on its neighbours too."""
    tagged: bytes
    """The elements as bytes, see `elements`; empty where they are encrypted."""


_fields = struct.Struct("<BBxx6s6s6sH").unpack_from


def parse_management(packet: bytes) -> Frame | None:
    """The management frame in a packet. None for data and control frames, for a bad FCS, and if it is cut short."""
    tap = parse_radiotap(packet)
    if tap is None:
        return None
    at, flags, mhz, rssi = tap
    end = len(packet)
    if flags:
        if flags & BAD_FCS:
            return None
        if flags & HAS_FCS:
            end -= 4
    if end - at < _HEADER:
        return None
    kind, control, destination, source, bssid, sequence = _fields(packet, at)
    if kind & 0x0F:  # version 0, type 0: management
        return None
    subtype = kind >> 4
    at += _HEADER
    if control & (_ORDER | _PROTECTED):
        at = end if control & _PROTECTED else at + _HT_CONTROL
    at += _FIXED.get(subtype, end)
    return Frame(subtype, destination, source, bssid, sequence >> 4, rssi, mhz, packet[at:end])


def elements(tagged: bytes) -> list[tuple[int, bytes]]:
    """(id, value) of every whole element; reading ends where one overruns the bytes."""
    found = []
    at, size = 0, len(tagged)
    while at + 2 <= size:
        end = at + 2 + tagged[at + 1]
        if end > size:
            break
        found.append((tagged[at], tagged[at + 2 : end]))
        at = end
    return found


def capabilities(tagged: bytes) -> bytes:
    """What tells models of devices apart best: the HT and the extended capabilities, as they are; empty without either.

    Of eleven mixed phones these two made 14 clusters (V-measure .87); all elements together made 163 (.75), since
    elements such as the name asked for and the present channel change from frame to frame.
    """
    found = b""
    at, size = 0, len(tagged)
    while at + 2 <= size:
        end = at + 2 + tagged[at + 1]
        if end > size:
            break
        if tagged[at] == HT_CAPABILITIES or tagged[at] == EXTENDED_CAPABILITIES:
            found += tagged[at:end]
        at = end
    return found


def channel(mhz: int) -> int | None:
    """The channel's number (IEEE 802.11-2020, annex E); None outside of the 2.4, 5 and 6 GHz bands."""
    if mhz == 2484:
        return 14
    for first, last, base in ((2412, 2472, 2407), (5160, 5885, 5000), (5955, 7115, 5950)):
        if first <= mhz <= last:
            return (mhz - base) // 5 if (mhz - base) % 5 == 0 else None
    return None


def is_local(address: bytes) -> bool:
    """Whether nobody assigned the address: a device made it up and may make up another for its next frame."""
    return bool(address) and bool(address[0] & 0x02)
