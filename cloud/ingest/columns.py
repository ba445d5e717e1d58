"""A batch's columns as numpy views, and many batches as the rows of one binary COPY; no Python object per window."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contract.messages import SIGHTING_COLUMNS, Sightings

POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01 UTC, from where PostgreSQL counts its timestamps."""
DAY_US = 86_400_000_000

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
_EMPTY_ROW = np.zeros((), ROW)
_EMPTY_ROW["fields"] = len(_FIELDS)
for _name, _dtype in _FIELDS:
    _EMPTY_ROW[f"{_name}_length"] = int(_dtype[-1])


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


@dataclass(frozen=True, slots=True)
class CopyRows:
    """Rows for a binary COPY into `sighting`, between COPY_HEADER and COPY_TRAILER."""

    data: memoryview
    days: tuple[int, ...]
    """The days that the rows lie in, counted from 1970-01-01 UTC."""


def copy_rows(batches: Sequence[Sightings], node_keys: Sequence[int]) -> CopyRows:
    """The windows of at least one batch, each with its node's key: every column of all batches is converted at once."""
    counts = [batch.header.n for batch in batches]
    dt, subject, kind, radio, rssi, peak, count = (
        np.frombuffer(b"".join([batch.columns[i] for batch in batches]), column.dtype)
        for i, column in enumerate(SIGHTING_COLUMNS)
    )
    t0_us = np.array([batch.header.t0 for batch in batches], np.int64)
    time_us = np.repeat(t0_us, counts) + dt.astype(np.int64) * 1_000
    rows = np.full(time_us.size, _EMPTY_ROW)
    rows["time"] = time_us - POSTGRES_EPOCH_US
    rows["subject"] = subject.view(np.int64)
    rows["node_key"] = np.repeat(np.array(node_keys, np.int32), counts)
    rows["radio"] = radio.view(np.int32)
    rows["rssi"] = rssi
    rows["count"] = np.minimum(count, 32_767)
    rows["peak"] = peak
    rows["kind"] = kind
    return CopyRows(rows.view(np.uint8).data, _days(time_us))


def _days(time_us: npt.NDArray[np.int64]) -> tuple[int, ...]:
    first, last = (int(day) for day in (time_us.min() // DAY_US, time_us.max() // DAY_US)) if time_us.size else (0, -1)
    if last - first > 1:  # a node's clock or its backlog: days between may be empty
        return tuple(np.unique(time_us // DAY_US).tolist())
    return tuple(range(first, last + 1))
