"""`./aisle eval wifi`: probe requests in recordings, read and counted by the node's own code."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from edge.frames.dot11 import PROBE_REQUEST, Frame, capabilities, elements, is_local, parse_management
from edge.frames.radiotap import BAD_FCS, HAS_FCS, parse_radiotap
from edge.wifi_crowd import Devices
from simulators.pcap import Packet, read_radiotap

PASSES = 5
"""The speed told is the median of so many passes over all frames."""


@dataclass(frozen=True, slots=True)
class WifiReport:
    """What the recordings hold, all taken together."""

    frames: int
    """Packets, of whatever kind."""
    probe_requests: int
    parse_errors: int
    """Packets whose header is no radiotap, and management frames that end too early or within an element.

    Data and control frames, and those the receiver itself marked as damaged, are no errors.
    """
    macs: int
    """Distinct addresses that sent probe requests."""
    randomized: int
    """Those among them that the device made up (locally administered)."""
    device_estimate: int
    """How many devices that may have been, by the rule of `edge.wifi_crowd`, the recordings taken as one span."""
    frames_per_s: float
    """From bytes to a frame with all its elements, a second of CPU time on one core; the median of some passes."""


def evaluate(pcaps: Sequence[Path]) -> WifiReport:
    """Reads pcap and pcapng files of radiotap frames. Raises PcapError (a ValueError): the file and the reason."""
    packets = [packet for path in pcaps for packet in read_radiotap(path)]
    requests, errors = 0, 0
    macs: set[bytes] = set()
    devices = Devices()
    for at_us, data in packets:
        frame = parse_management(data)
        errors += _is_error(data, frame)
        if frame is not None and frame.subtype == PROBE_REQUEST:
            requests += 1
            macs.add(frame.source)
            devices.add(capabilities(frame.tagged), frame.source, at_us)
    return WifiReport(
        frames=len(packets),
        probe_requests=requests,
        parse_errors=errors,
        macs=len(macs),
        randomized=sum(map(is_local, macs)),
        device_estimate=min(devices.estimate(), len(macs)),
        frames_per_s=round(_speed(packets), 1),
    )


def _is_error(data: bytes, frame: Frame | None) -> bool:
    if frame is not None:
        return sum(2 + len(value) for _, value in elements(frame.tagged)) != len(frame.tagged)
    tap = parse_radiotap(data)
    if tap is None:
        return True
    if tap.flags & BAD_FCS:
        return False
    whole = len(data) - tap.length - (4 if tap.flags & HAS_FCS else 0)
    return whole < 2 or data[tap.length] & 0x0F == 0  # a management frame, yet None: it ends before its header does


def _speed(packets: Sequence[Packet]) -> float:
    if not packets:
        return 0.0
    seconds = []
    for _ in range(PASSES):
        begun = time.process_time()
        for _, data in packets:
            frame = parse_management(data)
            if frame is not None:
                elements(frame.tagged)
        seconds.append(time.process_time() - begun)
    return len(packets) / median(seconds)
