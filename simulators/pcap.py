"""Capture files: pcap of either byte order and resolution, and pcapng, as packets with their instants."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

RADIOTAP = 127
"""LINKTYPE_IEEE802_11_RADIOTAP: 802.11 frames behind radiotap headers (https://www.tcpdump.org/linktypes.html)."""

_NAMES = {
    0: "BSD loopback",
    1: "Ethernet",
    105: "802.11 without radiotap",
    113: "Linux cooked",
    119: "802.11 behind Prism headers",
    163: "802.11 behind AVS headers",
    251: "Bluetooth Low Energy",
    272: "nRF Sniffer",
    276: "Linux cooked v2",
}
_PCAP_UNITS = {0xA1B2C3D4: 1_000_000, 0xA1B23C4D: 1_000_000_000}
"""By magic: parts of a second in which the file counts."""
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDER = 0x1A2B3C4D
_TIME_RESOLUTION, _END_OF_OPTIONS = 9, 0


class PcapError(ValueError):
    """A file that is no capture of radiotap frames; `str()` has its name and the reason."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class Packet(NamedTuple):
    """A captured packet."""

    at_us: int
    """Microseconds since 1970 UTC."""
    data: bytes


def read_radiotap(path: Path) -> Iterator[Packet]:
    """The radiotap packets of a capture file. A last packet that was cut short, as by a full disk, is left out.

    Raises PcapError where the file cannot be read, is no capture, or holds frames of another link type.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PcapError(path, f"cannot be read: {error.strerror}") from None
    if len(content) < 24:
        raise PcapError(path, "found fewer than 24 bytes, expected a pcap or pcapng file")
    for order in "<>":
        (magic,) = struct.unpack_from(f"{order}I", content)
        if magic in _PCAP_UNITS:
            return _pcap(path, content, order, _PCAP_UNITS[magic])
    if magic == _SECTION:
        return _pcapng(path, content)
    raise PcapError(path, f"found {content[:4].hex()} at its begin, expected the magic number of pcap or pcapng")


def write_radiotap(path: Path, packets: Iterable[Packet]) -> int:
    """Writes a pcap file of radiotap packets, little-endian and in microseconds; returns how many."""
    count = 0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, RADIOTAP))
        for at_us, data in packets:
            file.write(struct.pack("<IIII", at_us // 1_000_000, at_us % 1_000_000, len(data), len(data)) + data)
            count += 1
    return count


def _expect_radiotap(path: Path, link: int) -> None:
    if link != RADIOTAP:
        raise PcapError(
            path,
            f"found link type {link} ({_NAMES.get(link, 'another')}), expected {RADIOTAP} (radiotap): "
            "capture in monitor mode with `tcpdump -y IEEE802_11_RADIO`",
        )


def _pcap(path: Path, content: bytes, order: str, unit: int) -> Iterator[Packet]:
    (link,) = struct.unpack_from(f"{order}I", content, 20)
    _expect_radiotap(path, link & 0x0FFF_FFFF)  # above: how long a check sequence is
    record = struct.Struct(f"{order}III4x")
    at, size = 24, len(content)
    while at + 16 <= size:
        seconds, part, length = record.unpack_from(content, at)
        at += 16
        if at + length > size:
            return
        yield Packet(seconds * 1_000_000 + part * 1_000_000 // unit, content[at : at + length])
        at += length


@dataclass(slots=True)
class _Section:
    """What the blocks of a section refer to."""

    order: str
    units: list[int] = field(default_factory=list)
    """Of each interface: parts of a second in which it counts."""


def _pcapng(path: Path, content: bytes) -> Iterator[Packet]:
    """By https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html: a row of blocks, each with its length."""
    section = _Section("<")
    at, size = 0, len(content)
    while at + 12 <= size:
        if struct.unpack_from("<I", content, at)[0] == _SECTION:  # reads the same in both orders
            section = _Section("<" if struct.unpack_from("<I", content, at + 8)[0] == _BYTE_ORDER else ">")
        kind, length = struct.unpack_from(f"{section.order}II", content, at)
        if length < 12 or length % 4:
            raise PcapError(path, f"found a block of {length} bytes at {at}, expected 12 or more, divisible by 4")
        if at + length > size:
            return
        body = content[at + 8 : at + length - 4]
        at += length
        try:
            packet = _block(path, section, kind, body)
        except (struct.error, IndexError):
            raise PcapError(path, f"found a block too short for its kind ({kind}) before {at}") from None
        if packet is not None:
            yield packet


def _block(path: Path, section: _Section, kind: int, body: bytes) -> Packet | None:
    if kind == _INTERFACE:
        (link,) = struct.unpack_from(f"{section.order}H", body)
        _expect_radiotap(path, link)
        section.units.append(_unit(section.order, body))
    elif kind == _ENHANCED:
        interface, high, low, length = struct.unpack_from(f"{section.order}IIII", body)
        at_us = (high << 32 | low) * 1_000_000 // section.units[interface]
        return Packet(at_us, body[20 : 20 + length])
    elif kind == _SIMPLE:
        raise PcapError(path, "found packets without time (simple packet blocks), expected enhanced ones")
    return None


def _unit(order: str, body: bytes) -> int:
    """Parts of a second in which an interface counts: microseconds unless its options say otherwise."""
    at = 8
    while at + 4 <= len(body):
        code, length = struct.unpack_from(f"{order}HH", body, at)
        if code == _END_OF_OPTIONS:
            break
        if code == _TIME_RESOLUTION and length:
            value = body[at + 4]
            return 1 << (value & 0x7F) if value & 0x80 else 10**value
        at += 4 + length + -length % 4
    return 1_000_000
