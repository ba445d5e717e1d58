"""Radiotap: what a receiver says about a frame it heard (strength, channel, FCS), by https://www.radiotap.org/fields/defined."""

import struct
from typing import NamedTuple

_FLAGS, _CHANNEL, _SIGNAL, _XCHANNEL = 1, 3, 5, 18
_TLV, _RADIOTAP_NAMESPACE, _VENDOR_NAMESPACE, _MORE = 28, 29, 30, 31

_SHAPES = (
    (8, 8),  # 0 TSFT: its alignment and its size, bytes; all fields stand in the order of their bits
    (1, 1),  # 1 flags
    (1, 1),  # 2 rate
    (2, 4),  # 3 channel: frequency and its flags
    (1, 2),  # 4 FHSS
    (1, 1),  # 5 antenna signal, dBm
    (1, 1),  # 6 antenna noise, dBm
    (2, 2),  # 7 lock quality
    (2, 2),  # 8 transmit attenuation
    (2, 2),  # 9 transmit attenuation, dB
    (1, 1),  # 10 transmit power, dBm
    (1, 1),  # 11 antenna
    (1, 1),  # 12 antenna signal, dB
    (1, 1),  # 13 antenna noise, dB
    (2, 2),  # 14 receive flags
    (2, 2),  # 15 transmit flags
    (1, 1),  # 16 RTS retries
    (1, 1),  # 17 data retries
    (4, 8),  # 18 extended channel
    (1, 3),  # 19 MCS
    (4, 8),  # 20 A-MPDU status
    (2, 12),  # 21 VHT
    (8, 12),  # 22 timestamp
    (2, 12),  # 23 HE
    (2, 12),  # 24 HE-MU
    (2, 6),  # 25 HE-MU, other user
    (1, 1),  # 26 zero-length PSDU
    (2, 4),  # 27 L-SIG
)

HAS_FCS, BAD_FCS = 0x10, 0x40
_LAYOUTS_MOST = 256
"""A driver writes two or three different headers; more than this come only from a file made to hurt."""


class Radiotap(NamedTuple):
    """The part of a radiotap header that matters here."""

    length: int
    """Bytes of the header: where the 802.11 frame begins."""
    flags: int
    """HAS_FCS: the frame ends with its check sequence; BAD_FCS: which did not fit."""
    mhz: int | None
    """Centre of the channel listened to."""
    rssi: int | None
    """dBm, of the first antenna that is told; None where the receiver does not measure."""


class _Layout(NamedTuple):
    """Where the fields stand in every header with the same presence words; 0 for one that is not there."""

    needs: int
    flags_at: int
    channel_at: int
    signal_at: int


_head = struct.Struct("<BxHI").unpack_from
_layouts: dict[int | bytes, _Layout] = {}


def parse_radiotap(packet: bytes) -> Radiotap | None:
    """The header in front of a frame. None if it is not version 0, cut short, or too short for its own fields."""
    if len(packet) < 8:
        return None
    version, length, present = _head(packet)
    if version or length > len(packet):
        return None
    if present >> _MORE:
        words = _presence(packet, length)
        layout = (_layouts.get(words) or _learn(words)) if words else None
    else:
        layout = _layouts.get(present) or _learn(present)
    if layout is None or layout.needs > length:
        return None
    _, flags_at, channel_at, signal_at = layout
    return Radiotap(
        length,
        packet[flags_at] if flags_at else 0,
        packet[channel_at] | packet[channel_at + 1] << 8 if channel_at else None,
        (packet[signal_at] ^ 0x80) - 0x80 if signal_at else None,
    )


def _presence(packet: bytes, length: int) -> bytes:
    """All presence words of a header; empty if they do not end within it."""
    end = 8
    while end <= length:
        if not packet[end - 1] >> 7:
            return packet[4:end]
        end += 4
    return b""


def _learn(key: int | bytes) -> _Layout:
    """Lays out the fields of one or several presence words. What follows a vendor's namespace is not looked for."""
    if len(_layouts) >= _LAYOUTS_MOST:
        _layouts.clear()
    raw = key if isinstance(key, bytes) else key.to_bytes(4, "little")
    at = 4 + len(raw)
    found: dict[int, int] = {}
    for (word,) in struct.iter_unpack("<I", raw):
        known = True
        for bit in range(_RADIOTAP_NAMESPACE):
            if not word >> bit & 1:
                continue
            if bit >= _TLV:  # fields of unknown size, in any number
                known = False
                break
            align, size = _SHAPES[bit]
            at = -(-at // align) * align  # counted from the header's first byte
            found.setdefault(bit, at)
            at += size
        # Only a word that says so is followed by one that counts its bits from 0 again.
        if not known or word >> _VENDOR_NAMESPACE & 1 or not word >> _RADIOTAP_NAMESPACE & 1:
            break
    channel_at = found.get(_CHANNEL) or (found[_XCHANNEL] + 4 if _XCHANNEL in found else 0)
    layout = _Layout(at, found.get(_FLAGS, 0), channel_at, found.get(_SIGNAL, 0))
    _layouts[key] = layout
    return layout
