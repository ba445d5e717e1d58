"""Columns of many rows as PostgreSQL arrays in binary, which `unnest` takes: made by joins of bytes, not by value.

psycopg writes a list as text, escaped element by element: for 500 batches and their payloads that costs more than
COPYing their 50,000 windows does. COPY itself cannot be used where a table is under row security.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format


class Array(bytes):
    """An array as PostgreSQL's `array_recv` reads it: dimensions, nulls?, element type, size, lower bound, elements."""

    oid: int
    """Of the array's type; these numbers are fixed in PostgreSQL's pg_type.dat."""


class Texts(Array):
    """text[]"""

    oid = 1009


class Blobs(Array):
    """bytea[]"""

    oid = 1001


class Uuids(Array):
    """uuid[]"""

    oid = 2951


class Bigints(Array):
    """bigint[]"""

    oid = 1016


class Integers(Array):
    """integer[]"""

    oid = 1007


_TEXT, _BYTEA, _UUID, _INT8, _INT4 = 25, 17, 2950, 20, 23


def texts(values: Sequence[str]) -> Texts:
    """Strings without NUL, which PostgreSQL does not hold."""
    return Texts(_head(_TEXT, len(values)) + b"".join([_text(value) for value in values]))


def blobs(values: Sequence[bytes]) -> Blobs:
    """Byte strings of any length."""
    parts = [part for value in values for part in (len(value).to_bytes(4, "big"), value)]
    return Blobs(_head(_BYTEA, len(values)) + b"".join(parts))


def uuids(values: Sequence[str]) -> Uuids:
    """UUIDs from their 32 hexadecimal digits."""
    size = b"\x00\x00\x00\x10"
    return Uuids(_head(_UUID, len(values)) + size * bool(values) + size.join([bytes.fromhex(v) for v in values]))


def bigints(values: Iterable[int]) -> Bigints:
    """Whole numbers of 64 bits."""
    return Bigints(_fixed(_INT8, np.fromiter(values, ">i8")))


def integers(values: Iterable[int]) -> Integers:
    """Whole numbers of 32 bits."""
    return Integers(_fixed(_INT4, np.fromiter(values, ">i4")))


@lru_cache(maxsize=16_384)
def _text(value: str) -> bytes:
    """An element; the names of tenants, stores and nodes come again and again."""
    data = value.encode()
    return len(data).to_bytes(4, "big") + data


def _fixed(element: int, values: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> bytes:
    rows = np.empty(values.size, [("length", ">i4"), ("value", values.dtype)])
    rows["length"] = values.itemsize
    rows["value"] = values
    return _head(element, values.size) + rows.tobytes()


def _head(element: int, size: int) -> bytes:
    return struct.pack(">iiiii", 1, 0, element, size, 1) if size else struct.pack(">iii", 0, 0, element)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> Array:
        return obj


for _kind in (Texts, Blobs, Uuids, Bigints, Integers):
    psycopg.adapters.register_dumper(_kind, type(f"{_kind.__name__}Dumper", (_ArrayDumper,), {"oid": _kind.oid}))
