"""A batch's columns as numpy views, and many batches as one binary COPY buffer; no Python object per window."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contract.messages import SIGHTING_COLUMNS, Sightings

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 UTC, from where PostgreSQL counts its timestamps."""

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
COPY_TRAILER = struct.pack(">h", -1)

# Each field of a binary COPY row is its length and its big-endian bytes, the row a count of fields before them.
_FIELDS = (
    ("time", ">i8"),
    ("subject", ">i8"),
    ("node_key", ">i4"),
    ("radio", ">i4"),
    ("rssi", ">i2"),
    ("count", ">i2"),
    ("peak", ">i2"),
    ("kind", ">i2"),
)
ROW = np.dtype([("fields", ">i2")] + [(f"{n}{s}", ">i4" if s else t) for n, t in _FIELDS for s in ("_length", "")])


@dataclass(frozen=True, slots=True)
class Windows:
    """The rows of a sightings batch, one array a column, each of shape (n,)."""

    time_us: npt.NDArray[np.int64]
    subject: npt.NDArray[np.uint64]
    kind: npt.NDArray[np.uint8]
    radio: npt.NDArray[np.uint32]
    rssi_dbm: npt.NDArray[np.float32]
    peak_dbm: npt.NDArray[np.int8]
    count: npt.NDArray[np.uint16]


def windows(batch: Sightings) -> Windows:
    """Views of the columns: only time and RSSI are computed."""
    dt, subject, kind, radio, rssi, peak, count = (
        np.frombuffer(data, column.dtype) for column, data in zip(SIGHTING_COLUMNS, batch.columns, strict=True)
    )
    time_us = batch.header.t0 + dt.astype(np.int64) * 1_000
    return Windows(time_us, subject, kind, radio, rssi.astype(np.float32) / np.float32(10), peak, count)


def copy_rows(parts: Sequence[tuple[Windows, int]]) -> bytes:
    """The windows of many batches, each with its node's key, as the rows of a binary COPY into `sighting`."""
    rows = np.empty(sum(w.time_us.size for w, _ in parts), ROW)
    rows["fields"] = len(_FIELDS)
    for name, dtype in _FIELDS:
        rows[f"{name}_length"] = int(dtype[-1])
    start = 0
    for w, node_key in parts:
        here = rows[start : start + w.time_us.size]
        here["time"] = w.time_us - POSTGRES_EPOCH_US
        here["subject"] = w.subject.view(np.int64)
        here["node_key"] = node_key
        here["radio"] = w.radio.view(np.int32)
        here["rssi"] = np.rint(w.rssi_dbm * 10)
        here["count"] = np.minimum(w.count, 32_767)
        here["peak"] = w.peak_dbm
        here["kind"] = w.kind
        start += w.time_us.size
    return rows.tobytes()
