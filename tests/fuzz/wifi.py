"""Wi-Fi: radiotap and management frames, their elements, capture files."""

import functools
import struct
from collections.abc import Iterator
from pathlib import Path

from edge.frames.dot11 import (
    EXTENDED_CAPABILITIES,
    HT_CAPABILITIES,
    capabilities,
    channel,
    elements,
    is_local,
    parse_management,
)
from edge.frames.radiotap import parse_radiotap
from edge.wifi_crowd import WifiCrowd
from simulators.pcap import PcapError, read_radiotap, write_radiotap
from simulators.wifi_air import BROADCAST, MODELS, air, phones, probe_request, radiotap, tagged
from tests.fuzz.target import RECORDINGS, Target, scratch

NOW_US = 1_790_078_400_000_000
LATEST_US = (1 << 32) * 1_000_000
"""Where the seconds of a pcap file end."""


def read_packet(data: bytes) -> None:
    """a packet of a monitor interface: radiotap, management frame, elements, the crowd"""
    tap = parse_radiotap(data)
    frame = parse_management(data)
    assert frame == parse_management(data), "read otherwise when its layout is known"
    if tap is None:
        assert frame is None
        return
    assert tap == parse_radiotap(data)
    assert 8 <= tap.length <= len(data) and 0 <= tap.flags <= 255
    if frame is None:
        return
    assert 0 <= frame.subtype < 16 and 0 <= frame.sequence < 4096
    assert (frame.rssi, frame.mhz) == (tap.rssi, tap.mhz)
    assert len(frame.destination) == len(frame.source) == len(frame.bssid) == 6
    assert frame.tagged in data
    is_local(frame.source)
    if frame.mhz is not None:
        number = channel(frame.mhz)
        assert number is None or 1 <= number <= 233
    read_elements(frame.tagged)
    crowd = WifiCrowd(bytes)
    crowd.add(frame, NOW_US)
    crowd.close(NOW_US + 600_000_000)


def read_elements(data: bytes) -> None:
    """the elements of a management frame"""
    found = elements(data)
    told = [bytes([number, len(value)]) + value for number, value in found]
    assert data.startswith(b"".join(told))
    wanted = (HT_CAPABILITIES, EXTENDED_CAPABILITIES)
    assert capabilities(data) == b"".join(each for each in told if each[0] in wanted)


def packets() -> Iterator[bytes]:
    yield from (packet.data for packet in list(air(phones(8, 1), NOW_US, 20.0, 1))[:24])
    request = probe_request(b"\x02\0\0\0\1\0", 9, tagged(MODELS[0], 11, b"shop"))
    for subtype in (0x00, 0x10, 0x20, 0x50, 0x80, 0xD0):
        yield radiotap(bytes([subtype]) + request[1:24] + bytes(12) + request[24:], 6, -50)
    for path in sorted((RECORDINGS / "wifi_brno" / "pcap").glob("*.pcap"))[:3]:
        yield from (packet.data for _, packet in zip(range(12), read_radiotap(path), strict=False))


def tags() -> Iterator[bytes]:
    yield from (tagged(model, 6, BROADCAST) for model in MODELS)


def read_capture(data: bytes) -> None:
    """a capture file, pcap or pcapng"""
    path = _file()
    path.write_bytes(data)
    try:
        found = list(read_radiotap(path))
    except PcapError:
        return
    assert sum(len(packet.data) for packet in found) <= len(data)
    kept = [packet for packet in found if packet.at_us < LATEST_US]
    assert write_radiotap(path, kept) == len(kept)
    assert list(read_radiotap(path)) == kept


@functools.cache
def _file() -> Path:
    return scratch() / "capture"


def captures() -> Iterator[bytes]:
    path = scratch() / "seed"
    write_radiotap(path, list(air(phones(2, 1), NOW_US, 5.0, 1))[:4])
    yield path.read_bytes()
    yield from (begun.read_bytes()[:900] for begun in sorted((RECORDINGS / "wifi_brno" / "pcap").glob("*.pcap"))[:2])
    yield from (_pcapng("<"), _pcapng(">"))


def _pcapng(order: str) -> bytes:
    """A section, a radiotap interface that counts in nanoseconds, a packet, and one of the simple kind."""

    def block(kind: int, format_: str, *values: int | bytes) -> bytes:
        body = struct.pack(order + format_, *values)
        size = struct.pack(f"{order}I", len(body) + 12)
        return struct.pack(f"{order}I", kind) + size + body + size

    section = block(0x0A0D0D0A, "IHHq", 0x1A2B3C4D, 1, 0, -1)
    interface = block(1, "HHIHH4sHH", 127, 0, 0xFFFF, 9, 1, b"\x09", 0, 0)
    packet = block(6, "IIIII8s", 0, 5, 6, 8, 8, bytes.fromhex("0000080000000000"))
    return section + interface + packet + block(3, "I4s", 1, b"x")


TARGETS = [
    Target("wifi-packet", read_packet, packets, longest=1024),
    Target("wifi-elements", read_elements, tags, longest=512),
    Target("wifi-capture", read_capture, captures, longest=4096),
]
