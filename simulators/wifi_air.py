"""Phones that look for Wi-Fi, as the bytes a receiver in monitor mode gives: to a file, an interface or a UDP port."""

import argparse
import heapq
import os
import random
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from simulators.pcap import Packet, write_radiotap

ENVIRONMENT = "AISLE_WIFI_AIR"
"""HOST:PORT where `listen` waits for frames."""

CHANNELS = (1, 6, 11)
BROADCAST = b"\xff" * 6
_REQUEST_GAP_US = 20_000
"""Between two requests of one scan."""
_TUNSETIFF, _TUNSETLINK = 0x400454CA, 0x400454CD  # linux/if_tun.h
_IFF_TAP_NO_PI = 0x1002
_MONITOR = 803
"""ARPHRD_IEEE80211_RADIOTAP."""


@dataclass(frozen=True, slots=True)
class Model:
    """What all phones of one kind say of themselves."""

    name: str
    rates: bytes
    more_rates: bytes
    ht: bytes
    """HT capabilities (26 bytes)."""
    extended: bytes
    """Extended capabilities."""
    vendor: tuple[bytes, ...]
    """Payloads of vendor elements: OUI, type, content."""
    randomises: bool = True
    """Whether it takes another address for each scan."""


def _ht(info: int, ampdu: int, mcs: int) -> bytes:
    return struct.pack("<HB", info, ampdu) + b"\xff" * mcs + bytes(16 - mcs) + bytes(7)


_BASIC, _OFDM = bytes.fromhex("02040b16"), bytes.fromhex("0c1218243048606c")
_FAST = bytes.fromhex("82848b960c121824")
_MICROSOFT, _WIFI_ALLIANCE, _BROADCOM = (
    bytes.fromhex("0050f208002400"),
    bytes.fromhex("506f9a16030103"),
    bytes.fromhex("00101802000010"),
)

MODELS = (
    Model("flagship", _BASIC, _OFDM, _ht(0x402D, 0x17, 2), bytes.fromhex("0400080400000040"), (_BROADCOM,)),
    Model("flagship of last year", _BASIC, _OFDM, _ht(0x002D, 0x17, 2), bytes.fromhex("0400088400000040"), ()),
    Model("tablet", _BASIC, _OFDM, _ht(0x19EF, 0x17, 2), bytes.fromhex("00000a02010000400000200001"), (_MICROSOFT,)),
    Model("middle class", _BASIC, _OFDM, _ht(0x012C, 0x03, 1), bytes.fromhex("000000000000004080"), (_WIFI_ALLIANCE,)),
    Model("cheap one", _FAST, _OFDM[4:], _ht(0x112C, 0x13, 1), bytes.fromhex("0000080000000040"), (_MICROSOFT,)),
    Model("watch", _BASIC, _OFDM, _ht(0x0020, 0x13, 1), bytes.fromhex("0000000000000040"), ()),
    Model("laptop", _BASIC, _OFDM, _ht(0x19EF, 0x13, 2), bytes.fromhex("0000080000000040"), (), randomises=False),
    Model("scanner gun", _FAST, _OFDM[4:], _ht(0x000C, 0x1B, 1), b"", (), randomises=False),
)


@dataclass(frozen=True, slots=True)
class Phone:
    """One device in the room."""

    model: Model
    rssi_dbm: float
    """Mean at the receiver."""
    every_s: float
    """Mean time from scan to scan."""
    address: bytes
    """The one its maker gave it."""


def phones(count: int, seed: int, models: Sequence[Model] = MODELS) -> list[Phone]:
    """So many phones, their models in turn; the same for the same seed."""
    draw = random.Random(seed)
    return [
        Phone(
            model=models[number % len(models)],
            rssi_dbm=draw.uniform(-68.0, -42.0),
            every_s=draw.uniform(15.0, 60.0),
            address=bytes.fromhex("00c0ca") + draw.randbytes(3),
        )
        for number in range(count)
    ]


def air(people: Sequence[Phone], start_us: int, seconds: float, seed: int) -> Iterator[Packet]:
    """All that is heard in a span of time, in its order. Each scan asks twice on each of CHANNELS."""
    return heapq.merge(
        *(
            _phone(phone, start_us, start_us + round(seconds * 1e6), random.Random(f"{seed}/{number}"))
            for number, phone in enumerate(people)
        )
    )


def probe_request(source: bytes, sequence: int, tagged: bytes) -> bytes:
    """An 802.11 frame that asks every access point to answer, without its check sequence."""
    return b"\x40\x00\x00\x00" + BROADCAST + source + BROADCAST + struct.pack("<H", (sequence & 0xFFF) << 4) + tagged


def tagged(model: Model, channel: int, ssid: bytes = b"") -> bytes:
    """The elements of a request, in the order of the standard."""
    elements = [(0, ssid), (1, model.rates), (50, model.more_rates), (3, bytes([channel])), (45, model.ht)]
    if model.extended:
        elements.append((127, model.extended))
    elements += [(221, payload) for payload in model.vendor]
    return b"".join(bytes([number, len(value)]) + value for number, value in elements)


def radiotap(frame: bytes, channel: int, rssi: int) -> bytes:
    """A frame as a receiver with two antennas gives it: header, frame, check sequence.

    In the way of ath9k: TSFT, flags, rate, channel, signal, receive flags; then signal and antenna, twice.
    """
    strength = rssi & 0xFF
    weaker = max(rssi - 4, -127) & 0xFF
    header = struct.pack(
        "<BBHIIIQBBHHBxHBBBB",
        *(0, 0, 38, 0xA000402F, 0xA0000820, 0x00000820),
        *(0, 0x10, 2, 2407 + 5 * channel, 0x00A0, strength, 0),
        *(strength, 0, weaker, 1),
    )
    return header + frame + struct.pack("<I", zlib.crc32(frame))


def _phone(phone: Phone, start_us: int, end_us: int, draw: random.Random) -> Iterator[Packet]:
    # The first scan comes soon: somebody who enters looks at the phone, or it looks for a network it knows.
    at_us = start_us + round(draw.uniform(0, min(phone.every_s, 20.0)) * 1e6)
    sequence = draw.randrange(4096)
    while at_us < end_us:
        source = phone.address
        if phone.model.randomises:
            noise = draw.randbytes(6)
            source = bytes([noise[0] & 0xFC | 0x02]) + noise[1:]  # locally administered, one device
            sequence = draw.randrange(4096)
        for number, channel in enumerate(sorted(CHANNELS * 2)):
            rssi = round(min(max(draw.gauss(phone.rssi_dbm, 2.0), -95.0), -20.0))
            frame = probe_request(source, sequence + number, tagged(phone.model, channel))
            heard_us = at_us + number * _REQUEST_GAP_US
            if heard_us < end_us:
                yield Packet(heard_us, radiotap(frame, channel, rssi))
        sequence += 2 * len(CHANNELS)
        at_us += round(max(5.0, draw.gauss(phone.every_s, phone.every_s / 5)) * 1e6)


@contextmanager
def monitor(name: str) -> Iterator[Callable[[bytes], None]]:
    """A network interface whose link type is radiotap, and what makes it hear a frame. Needs root and /dev/net/tun.

    To the node it is an adapter in monitor mode; it is gone afterwards. Raises OSError where it cannot be made.
    """
    import fcntl

    device = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP_NO_PI))
        fcntl.ioctl(device, _TUNSETLINK, _MONITOR)
        yield lambda packet: _write(device, packet)
    finally:
        os.close(device)


@contextmanager
def wire(interface: str) -> Iterator[Callable[[bytes], None]]:
    """What puts a frame on an interface, such as one end of a veth pair. Needs CAP_NET_RAW; raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        yield lambda packet: _send(sender, packet)


def hear_wire(interface: str) -> socket.socket:
    """A node's `[wifi] backend` for an end of a veth pair: the node's own socket, without asking for monitor mode."""
    from edge.sources.packets import open_packets

    return open_packets(interface)


def listen(_interface: str) -> socket.socket:
    """A node's `[wifi] backend` without any rights: frames that come as datagrams to ENVIRONMENT.

    Raises ValueError if that is no HOST:PORT, OSError if the port is taken.
    """
    found = os.environ.get(ENVIRONMENT, "")
    host, _, port = found.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{ENVIRONMENT}: found {found!r}, expected HOST:PORT")
    ears = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        ears.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        ears.bind((host, int(port)))
    except OSError:
        ears.close()
        raise
    ears.setblocking(False)
    return ears


@contextmanager
def datagrams(host: str, port: int) -> Iterator[Callable[[bytes], None]]:
    """What sends a frame to a node that `listen`s; one that does not hears nothing, as in a radio's air."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        yield lambda packet: _send_to(sender, packet, (host, port))


def _write(device: int, packet: bytes) -> None:
    os.write(device, packet)


def _send(sender: socket.socket, packet: bytes) -> None:
    sender.send(packet)


def _send_to(sender: socket.socket, packet: bytes, where: tuple[str, int]) -> None:
    sender.sendto(packet, where)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m simulators.wifi_air --pcap F | --interface I | --to HOST:PORT`."""
    parser = argparse.ArgumentParser(prog="python -m simulators.wifi_air", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--pcap", type=Path, help="write a capture file and end")
    where.add_argument("--interface", help="put frames on this interface, at their times")
    where.add_argument("--to", help="send frames to HOST:PORT, at their times")
    parser.add_argument("--phones", type=int, default=20, help="how many devices (default 20)")
    parser.add_argument("--for", dest="seconds", type=float, default=300.0, help="seconds of air (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same air (default 1)")
    options = parser.parse_args(arguments)
    packets = air(phones(options.phones, options.seed), time.time_ns() // 1_000, options.seconds, options.seed)
    if options.pcap is not None:
        print(write_radiotap(options.pcap, packets), "frames")
        return 0
    host, _, port = (options.to or "").rpartition(":")
    with wire(options.interface) if options.interface else datagrams(host, int(port)) as send:
        for at_us, packet in packets:
            time.sleep(max(0.0, at_us / 1e6 - time.time()))
            send(packet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
