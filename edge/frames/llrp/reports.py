"""Tag reports, fast: the TagReportData of a RO_ACCESS_REPORT as columns.

A reader tells all tags of one ROSpec in the same way, so a report is mostly one layout repeated: the bytes that are
headers are compared for all tags at once (as one long number under a mask), and `struct` then cuts all values out. What
does not repeat is read tag by tag in the same way. The general codec reads the same, many times slower; a test holds
both together.
"""

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from edge.frames.llrp.tables import PARAMETERS

IMPINJ = 25882
"""Impinj's IANA enterprise number, as in VendorID and DeviceManufacturer."""

TAG_REPORT_DATA = 240
CUSTOM = 1023
EPC_DATA = 241
EPC_MOST = 62
"""Bytes: the 496 bits that a tag's protocol control word can tell (EPC Gen2, 6.3.2.1.2.2)."""
MILLIBELS = 100
"""ImpinjPeakRSSI is in 0.01 dBm."""
PHASE_STEP = 2 * math.pi / 4096
"""ImpinjRFPhaseAngle counts 4096 to a full turn."""
DOPPLER_STEP = 1 / 16
"""ImpinjRFDopplerFrequency is in 1/16 Hz."""
LAYOUTS_MOST = 64
"""A shop sees a handful: one for each length of EPC."""

_TLV = struct.Struct(">HH")
_CUSTOM = struct.Struct(">II")
"""Vendor and subtype, behind the header."""
_TV_VALUES = {
    1: ("antenna", "H"),
    2: ("utc", "Q"),
    3: ("uptime", "Q"),
    4: ("last_utc", "Q"),
    5: ("last_uptime", "Q"),
    6: ("rssi", "b"),
    8: ("times", "H"),
    13: ("epc", "12s"),
}
"""Parameters whose value is wanted: what it is called here, and its format."""
_IMPINJ_VALUES = {56: ("phase", "H"), 57: ("fine_rssi", "h"), 68: ("doppler", "h")}
"""Subtypes of Impinj's parameters in TagReportData (Octane LLRP, 4.3)."""
_TV_SIZES = {number: shape.size for number, shape in PARAMETERS.items() if number < 0x80}


class TagColumns(NamedTuple):
    """What a report tells, a column a value, an entry a tag."""

    epc: Sequence[bytes]
    antenna: Sequence[int]
    """Its port, from 1; 0 if not told."""
    rssi: Sequence[float | None]
    """dBm: Impinj's to 0.01, others to 1."""
    seen_us: Sequence[int]
    """First seen, microseconds by the reader: since 1970 UTC or since its start, as its clock allows. 0 if not told."""
    times: Sequence[int]
    """How often it answered since the last report."""
    phase_rad: Sequence[float | None]
    """0 to 2π."""
    doppler_hz: Sequence[float | None]


class _Layout:
    """Where the values of a TagReportData stand, and which bytes must be as they are for that to hold."""

    def __init__(self, names: tuple[str, ...], cut: struct.Struct, mask: bytes, headers: bytes) -> None:
        self.names = names
        self.cut = cut
        self.mask = mask
        self.headers = headers

    def holds(self, data: bytes, n: int) -> bool:
        """Whether the bytes are n tags in this layout."""
        mask, headers = _repeated(self, n)
        return int.from_bytes(data, "big") & mask == headers

    def columns(self, data: bytes, n: int) -> TagColumns:
        """The values of n tags for which it holds."""
        found = dict(zip(self.names, zip(*self.cut.iter_unpack(data), strict=True), strict=True))
        none = [None] * n
        zeros = [0] * n
        rssi: Sequence[float | None] = none
        if "fine_rssi" in found:
            rssi = [value / MILLIBELS for value in found["fine_rssi"]]
        elif "rssi" in found:
            rssi = [float(value) for value in found["rssi"]]
        seen = next((found[name] for name in ("utc", "uptime", "last_utc", "last_uptime") if name in found), zeros)
        phase, doppler = found.get("phase"), found.get("doppler")
        return TagColumns(
            found["epc"],
            found.get("antenna", zeros),
            rssi,
            seen,
            found.get("times") or [1] * n,
            none if phase is None else [(value & 0xFFF) * PHASE_STEP for value in phase],
            none if doppler is None else [value * DOPPLER_STEP for value in doppler],
        )


@lru_cache(maxsize=64)
def _repeated(layout: _Layout, n: int) -> tuple[int, int]:
    return int.from_bytes(layout.mask * n, "big"), int.from_bytes(layout.headers * n, "big")


class TagReader:
    """Reads reports and remembers their layouts; one for each reader."""

    def __init__(self) -> None:
        self._layouts: dict[int, _Layout] = {}

    def read(self, payload: bytes) -> TagColumns:
        """The tags of a RO_ACCESS_REPORT's payload. What is none, is cut short or has no EPC is left aside."""
        runs: list[TagColumns] = []
        at, repeats = 0, True
        while at + _TLV.size <= len(payload):
            kind, length = _TLV.unpack_from(payload, at)
            if length < _TLV.size or at + length > len(payload):
                break
            layout = self._known(payload[at : at + length]) if kind == TAG_REPORT_DATA else None
            if layout is not None:
                n = (len(payload) - at) // length if repeats else 1
                # Once the rest was not one layout repeated it is read tag by tag: to try each time would be quadratic.
                if n > 1 and not layout.holds(payload[at : at + n * length], n):
                    repeats, n = False, 1
                length *= n
                runs.append(layout.columns(payload[at : at + length], n))
            at += length
        if len(runs) < 2:
            return runs[0] if runs else NONE
        return TagColumns(*(list(chain.from_iterable(columns)) for columns in zip(*runs, strict=True)))

    def _known(self, data: bytes) -> _Layout | None:
        """The layout of one TagReportData. None if it is malformed."""
        layout = self._layouts.get(len(data))
        if layout is None or not layout.holds(data, 1):
            layout = _layout(data)
            if layout is not None:
                if len(self._layouts) >= LAYOUTS_MOST:
                    self._layouts.clear()
                self._layouts[len(data)] = layout
        return layout


NONE = TagColumns((), (), (), (), (), (), ())
"""A report without tags."""


def _layout(data: bytes) -> _Layout | None:
    """How a TagReportData is laid out, by walking through its parameters."""
    mask, names, format_ = bytearray(len(data)), [], ">"
    at = _covered(mask, 0, _TLV.size)
    format_ += f"{at}x"
    while at < len(data):
        value, value_format = "", ""
        if data[at] & 0x80:
            number = data[at] & 0x7F
            size = _TV_SIZES.get(number)
            if size is None:  # a parameter of unknown length: what follows cannot be found
                head, end = len(data) - at, len(data)
            else:
                head, end = 1, at + 1 + size
                value, value_format = _TV_VALUES.get(number, ("", ""))
        else:
            if at + _TLV.size > len(data):
                return None
            number, length = _TLV.unpack_from(data, at)
            head, end = _TLV.size, at + length
            if length < _TLV.size or end > len(data):
                return None
            if number == EPC_DATA and length >= 6:
                head = 6  # with the number of bits
                size = (data[at + 4] << 8 | data[at + 5]) + 7 >> 3
                if head + size != length or not 0 < size <= EPC_MOST:
                    return None
                value, value_format = "epc", f"{size}s"
            elif number == CUSTOM and length >= 12:
                head = 12  # with vendor and subtype, whoever's: in the next tag Impinj's may stand in the same place
                vendor, subtype = _CUSTOM.unpack_from(data, at + _TLV.size)
                if vendor == IMPINJ:
                    value, value_format = _IMPINJ_VALUES.get(subtype, ("", ""))
                if length < head + struct.calcsize(f">{value_format}"):
                    value, value_format = "", ""
        if end > len(data):
            return None
        _covered(mask, at, head)
        if value and value not in names:
            names.append(value)
            rest = end - at - head - struct.calcsize(f">{value_format}")
            format_ += f"{head}x{value_format}{rest}x"
        else:
            format_ += f"{end - at}x"
        at = end
    if "epc" not in names:
        return None
    headers = int.from_bytes(data, "big") & int.from_bytes(mask, "big")
    return _Layout(tuple(names), struct.Struct(format_), bytes(mask), headers.to_bytes(len(data), "big"))


def _covered(mask: bytearray, at: int, size: int) -> int:
    """Says that these bytes must be as they are; gives the place after them."""
    mask[at : at + size] = b"\xff" * size
    return at + size
