"""How fast RFID tag reports are read, from a message's bytes to values; sllurp and llrpkit on the same bytes."""

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from edge.frames.llrp.codec import encode_frame
from edge.frames.llrp.instants import ReaderTime
from edge.frames.llrp.reports import IMPINJ, TagReader
from edge.sources.llrp import tag_reads
from edge.tags import TagRead

TAGS_A_REPORT = 50
RO_ACCESS_REPORT = 61
PEERS_SHARE = 10
"""Peers get so much less to read: they are slow."""
SEEN_US = 1_790_000_000_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Tags a second on one core, medians. None where a peer is not installed."""

    llrp_tags_per_s: float
    llrp_impinj_tags_per_s: float
    """With Impinj's RSSI, phase and Doppler."""
    sllurp_tags_per_s: float | None
    llrpkit_tags_per_s: float | None
    tags: int


def measure(tags: int = 200_000, runs: int = 3) -> Figures:
    """A few seconds of it."""
    plain, impinj = _payloads(tags, impinj=False), _payloads(tags, impinj=True)
    few = plain[: max(1, len(plain) // PEERS_SHARE)]
    return Figures(
        llrp_tags_per_s=_median_rate(_ours, plain, runs),
        llrp_impinj_tags_per_s=_median_rate(_ours, impinj, runs),
        sllurp_tags_per_s=_peer_rate(_sllurp, few, runs),
        llrpkit_tags_per_s=_peer_rate(_llrpkit, few, runs),
        tags=tags,
    )


def _payloads(tags: int, impinj: bool) -> list[bytes]:
    """Reports as readers send them: EPC-96, antenna, peak RSSI, first seen, count."""
    return [
        b"".join(_tag(number, impinj) for number in range(first, min(first + TAGS_A_REPORT, tags)))
        for first in range(0, tags, TAGS_A_REPORT)
    ]


def _tag(number: int, impinj: bool) -> bytes:
    epc = (0x3074257BF7194E40 << 32 | number).to_bytes(12, "big")
    body = struct.pack(
        ">B12sBHBbBQBH", 0x8D, epc, 0x81, 1 + number % 4, 0x86, -40 - number % 30, 0x82, SEEN_US + number, 0x88, 1
    )
    if impinj:
        for subtype, format_, value in (
            (56, "H", number % 4096),
            (57, "h", -4000 - number % 3000),
            (68, "h", -number % 64),
        ):
            body += struct.pack(f">HHII{format_}", 1023, 14, IMPINJ, subtype, value)
    return struct.pack(">HH", 240, 4 + len(body)) + body


def _ours(payloads: Sequence[bytes]) -> int:
    """As the source does it."""
    reader, time_ = TagReader(), ReaderTime()
    names = {port: f"door/{port}" for port in range(1, 5)}
    reads: list[TagRead] = []
    tags = 0
    for payload in payloads:
        reads = tag_reads(reader.read(payload), time_, names, SEEN_US + 1_000_000)
        tags += len(reads)
    return tags


def _sllurp(payloads: Sequence[bytes]) -> int:
    from sllurp.llrp import LLRPMessage  # type: ignore[import-untyped]  # ships no types

    messages = [encode_frame(RO_ACCESS_REPORT, at, payload) for at, payload in enumerate(payloads)]
    return sum(len(LLRPMessage(msgbytes=message).msgdict["RO_ACCESS_REPORT"]["TagReportData"]) for message in messages)


def _llrpkit(payloads: Sequence[bytes]) -> int:
    from llrpkit.protocol import decode_message
    from llrpkit.protocol.messages import RO_ACCESS_REPORT as Report

    messages = [encode_frame(RO_ACCESS_REPORT, at, payload) for at, payload in enumerate(payloads)]
    tags = 0
    for message in messages:
        report = decode_message(message)
        assert isinstance(report, Report)
        tags += len(report.tag_report_datas)
    return tags


def _median_rate(read: Callable[[Sequence[bytes]], int], payloads: Sequence[bytes], runs: int) -> float:
    rates = []
    for _ in range(runs):
        began = time.perf_counter()
        tags = read(payloads)
        rates.append(tags / (time.perf_counter() - began))
    return median(rates)


def _peer_rate(read: Callable[[Sequence[bytes]], int], payloads: Sequence[bytes], runs: int) -> float | None:
    try:
        return _median_rate(read, payloads, runs)
    except ImportError:
        return None
