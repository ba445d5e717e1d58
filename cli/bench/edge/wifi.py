"""How fast a node turns Wi-Fi frames into counts, beside two parsers on the same frames."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from cli import ROOT
from edge.frames.dot11 import elements, parse_management
from edge.wifi_crowd import WifiCrowd
from simulators.pcap import Packet, read_radiotap, write_radiotap
from simulators.wifi_air import air, phones

FRAMES = 40_000
PEER_FRAMES = {"dpkt": 4_000, "scapy": 400}
"""As many as each parses in about a second or two."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Frames a second of CPU time on one core; medians over the runs."""

    dot11_per_s: int
    """What a node does: bytes to frame, its elements walked for the fingerprint, counted, spans closed."""
    dot11_parse_per_s: int
    """Bytes to frame with the list of all its elements: what the peers do."""
    dpkt_per_s: int | None
    """None where it is not installed."""
    scapy_per_s: int | None
    frames: int
    spans: int
    """Spans that were told in one run."""


def measure(pcaps: Sequence[Path] = (), runs: int = 5) -> Figures:
    """Over recordings, or over a simulated hour of 150 phones where none are named. Raises PcapError."""
    packets = [packet for path in pcaps for packet in read_radiotap(path)] or _synthetic()
    counted = [_count(packets) for _ in range(runs)]
    parsed = [_parse(packets) for _ in range(runs)]
    peers = {name: _peer(name, packets[:: max(1, len(packets) // most)]) for name, most in PEER_FRAMES.items()}
    return Figures(
        dot11_per_s=round(median(rate for rate, _ in counted)),
        dot11_parse_per_s=round(median(parsed)),
        dpkt_per_s=peers["dpkt"],
        scapy_per_s=peers["scapy"],
        frames=len(packets),
        spans=counted[0][1],
    )


def _synthetic() -> list[Packet]:
    return list(islice(air(phones(150, seed=7), 1_790_000_100_000_000, 3_600.0, seed=7), FRAMES))


def _count(packets: Sequence[Packet]) -> tuple[float, int]:
    crowd, spans = WifiCrowd(), 0
    begun = time.process_time()
    for at_us, data in packets:
        due_us = crowd.due_us()
        if due_us is not None and due_us <= at_us:
            spans += crowd.close(at_us) is not None
        frame = parse_management(data)
        if frame is not None:
            crowd.add(frame, at_us)
    return len(packets) / (time.process_time() - begun), spans


def _parse(packets: Sequence[Packet]) -> float:
    begun = time.process_time()
    for _, data in packets:
        frame = parse_management(data)
        if frame is not None:
            elements(frame.tagged)
    return len(packets) / (time.process_time() - begun)


def _peer(name: str, packets: Sequence[Packet]) -> int | None:
    with tempfile.TemporaryDirectory(prefix="aisle-bench-") as folder:
        path = Path(folder) / "frames.pcap"
        write_radiotap(path, packets)
        done = subprocess.run(
            [sys.executable, "-m", "cli.bench.edge.wifi_peers", name, str(path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    return round(float(done.stdout)) if done.returncode == 0 else None
