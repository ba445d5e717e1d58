"""Other parsers of Wi-Fi frames, timed in a process of their own: `python -m cli.bench.edge.wifi_peers NAME PCAP`.

scapy is under the GPL: it is called here as one calls a program, and nothing of the product imports it.
"""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from simulators.pcap import read_radiotap


def dpkt_parser() -> Callable[[bytes], object]:
    """Header, management fields and the elements that dpkt knows."""
    dpkt = importlib.import_module("dpkt.radiotap")  # it ships no types

    def parse(data: bytes) -> object:
        frame = dpkt.Radiotap(data).data
        return frame.mgmt.src, getattr(frame, "ssid", None)

    return parse


def scapy_parser() -> Callable[[bytes], object]:
    """All layers, elements included."""
    from scapy.layers.dot11 import Dot11Elt, RadioTap

    def parse(data: bytes) -> object:
        packet = RadioTap(data)
        return packet.addr2, packet.getlayer(Dot11Elt)

    return parse


PEERS = {"dpkt": dpkt_parser, "scapy": scapy_parser}


def main(name: str, path: Path) -> None:
    """Prints frames a second of CPU time; ends with 3 where the peer is not installed."""
    try:
        parse = PEERS[name]()
    except ImportError:
        sys.exit(3)
    frames = [packet.data for packet in read_radiotap(path)]
    begun = time.process_time()
    for data in frames:
        parse(data)
    print(len(frames) / (time.process_time() - begun))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
