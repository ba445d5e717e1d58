"""What a simulated RFID reader hears and how it tells it: tags in reach by a script, and their TagReportData."""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edge.frames.llrp.codec import Bits, Element, Value
from simulators.llrp_limits import IMPINJ


class Answer(NamedTuple):
    """A tag's answer, as an antenna of the reader gets it."""

    epc: bytes
    antenna: int
    rssi_dbm: float
    phase_rad: float = 0.0
    doppler_hz: float = 0.0


Field = Callable[[int], Iterable[Answer]]
"""Who answers in a round of inventory at an instant, microseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True)
class ScriptedTag:
    """A tag that is in reach of an antenna for a while."""

    epc: bytes
    antenna: int = 1
    rssi_dbm: float = -55.0
    from_us: int = 0
    until_us: int = 1 << 62
    phase_rad: float = 0.0
    doppler_hz: float = 0.0


def scripted(tags: Sequence[ScriptedTag]) -> Field:
    """A field in which tags come and go by a script."""

    def answers(at_us: int) -> list[Answer]:
        return [
            Answer(tag.epc, tag.antenna, tag.rssi_dbm, tag.phase_rad, tag.doppler_hz)
            for tag in tags
            if tag.from_us <= at_us < tag.until_us
        ]

    return answers


@dataclass(slots=True)
class Read:
    """What a report will say of a tag."""

    answer: Answer
    first_us: int
    last_us: int
    place: int
    """Of the AISpec in its ROSpec, from 1."""
    times: int = 1


def tag_report(rospec_id: int, read: Read, content: Element, extras: set[int]) -> Element:
    """A TagReportData with the content that is wanted, in the standard's order."""
    answer = read.answer
    parts = [
        Element("EPC96", {"EPC": answer.epc})
        if len(answer.epc) == 12
        else Element("EPCData", {"EPC": Bits(8 * len(answer.epc), answer.epc)})
    ]
    told: list[tuple[str, str, str, Value]] = [
        ("EnableROSpecID", "ROSpecID", "ROSpecID", rospec_id),
        ("EnableSpecIndex", "SpecIndex", "SpecIndex", read.place),
        ("EnableInventoryParamSpecID", "InventoryParameterSpecID", "InventoryParameterSpecID", 1),
        ("EnableAntennaID", "AntennaID", "AntennaID", answer.antenna),
        ("EnablePeakRSSI", "PeakRSSI", "PeakRSSI", round(answer.rssi_dbm)),
        ("EnableChannelIndex", "ChannelIndex", "ChannelIndex", 1),
        ("EnableFirstSeenTimestamp", "FirstSeenUTC", "FirstSeen", read.first_us),
        ("EnableLastSeenTimestamp", "LastSeenUTC", "LastSeen", read.last_us),
        ("EnableTagSeenCount", "TagSeenCount", "TagSeenCount", min(read.times, 0xFFFF)),
    ]
    parts += [Element(name, {key: value}) for wanted, name, key, value in told if content.number(wanted)]
    memory = content.child("C1G2EPCMemorySelector")
    if memory is not None and memory.number("PCBitsEnabled"):
        parts.append(Element("C1G2PC", {"EPCMemoryLength": len(answer.epc) // 2}))
    if memory is not None and memory.number("CRCEnabled"):
        parts.append(Element("C1G2CRC", {"C1G2CRC": _crc16(answer.epc)}))
    if content.number("EnableAccessSpecID"):
        parts.append(Element("AccessSpecID", {"AccessSpecID": 0}))
    phase = round(answer.phase_rad / (2 * math.pi) * 4096) & 0xFFF
    impinj = [
        (52, 56, ">H", phase),
        (53, 57, ">h", round(answer.rssi_dbm * 100)),
        (67, 68, ">h", round(answer.doppler_hz * 16)),
    ]
    for enabled_by, subtype, format_, value in impinj:
        if enabled_by in extras:
            data = struct.pack(format_, value)
            parts.append(Element("Custom", {"VendorID": IMPINJ, "Subtype": subtype, "Data": data}))
    return Element("TagReportData", {}, tuple(parts))


def _crc16(epc: bytes) -> int:
    """CRC-16/GENIBUS over protocol control and EPC, as a tag keeps it (EPC Gen2, 6.3.2.1.2.1)."""
    crc = 0xFFFF
    for byte in struct.pack(">H", len(epc) // 2 << 11) + epc:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc ^ 0xFFFF
