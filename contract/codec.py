"""Messages to bytes and back. Decoding is total: any bytes give a message or a ContractError that names what is wrong.

A sightings batch is a msgpack array `[v, kind, tenant, store, node, epoch, seq, boot, clock, t0, n, [column, …]]` whose
columns are little-endian bytes, ready for `numpy.frombuffer`. Its JSON twin (for debugging) is an object with the same
header names and `columns: {name: [numbers]}`. Small messages are JSON objects with `rows`.
"""

import hashlib
import re
import sys
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeVar

import msgspec

from contract.errors import (
    BadColumns,
    BadHeader,
    BadRows,
    ContractError,
    NotABatch,
    TooLarge,
    UnknownKind,
    UnknownVersion,
)
from contract.messages import (
    MAX_BYTES,
    MAX_ROWS,
    SIGHTING_COLUMNS,
    VERSION,
    Ack,
    Batch,
    Column,
    Crowd,
    CrowdRow,
    Header,
    Health,
    Presence,
    PresenceRow,
    Sightings,
    Status,
    TagRow,
    Tags,
)
from contract.topics import NAME

CONTENT_TYPE = "application/vnd.aisle.batch.v1+msgpack"
HEADER_ORDER = ("v", "kind", "tenant", "store", "node", "epoch", "seq", "boot", "clock", "t0", "n")
_YEAR_10000_US = 253_402_300_800_000_000  # Python's datetime ends there
_EPOCH = re.compile(r"[0-9a-f]{32}")
_SEQ = re.compile(r"[1-9][0-9]{0,18}")
_BOOT = re.compile(r"[ -~]{0,64}")
_SUBJECT = re.compile(r"[0-9a-f]{16}")
_ARRAY_TYPE = {"<i1": "b", "<u1": "B", "<i2": "h", "<u2": "H", "<i4": "i", "<u4": "I", "<i8": "q", "<u8": "Q"}
_EPC = re.compile(r"(?:[0-9a-f]{2}){1,62}")
_ROW_TYPES = {"presence": list[PresenceRow], "crowd": list[CrowdRow], "tags": list[TagRow]}
_WIDTHS = tuple(column.width for column in SIGHTING_COLUMNS)
KINDS = ("sightings", *_ROW_TYPES)


class _Wire(msgspec.Struct, array_like=True, frozen=True):
    """A sightings batch as the array that travels, in HEADER_ORDER."""

    v: Literal[1]
    kind: Literal["sightings"]
    tenant: str
    store: str
    node: str
    epoch: str
    seq: int
    boot: str
    clock: Literal["trusted", "untrusted"]
    t0: int
    n: int
    columns: list[bytes]


_WIRE = msgspec.msgpack.Decoder(_Wire)
_Small = TypeVar("_Small", Ack, Status, Health)


def column_bytes(column: Column, values: Sequence[int]) -> bytes:
    """Values packed as the column's little-endian dtype. Raises BadColumns if one does not fit."""
    try:
        packed = array(_ARRAY_TYPE[column.dtype], values)
    except (OverflowError, TypeError) as error:
        raise BadColumns(f"column {column.name}: {error}") from None
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def column_values(column: Column, data: bytes) -> list[int]:
    """The numbers in a column's bytes."""
    unpacked = array(_ARRAY_TYPE[column.dtype])
    unpacked.frombytes(data)
    if sys.byteorder == "big":
        unpacked.byteswap()
    return unpacked.tolist()


def encode(batch: Batch) -> bytes:
    """A batch as it travels: msgpack for sightings, JSON for the small kinds."""
    if isinstance(batch, Sightings):
        fields = [getattr(batch.header, name) for name in HEADER_ORDER]
        return msgspec.msgpack.encode([*fields, batch.columns])
    return msgspec.json.encode(msgspec.to_builtins(batch.header) | {"rows": msgspec.to_builtins(batch.rows)})


def encode_json(batch: Batch) -> bytes:
    """The JSON twin of a batch, for people and for debugging."""
    if not isinstance(batch, Sightings):
        return encode(batch)
    columns = {c.name: column_values(c, data) for c, data in zip(SIGHTING_COLUMNS, batch.columns, strict=True)}
    return msgspec.json.encode(msgspec.to_builtins(batch.header) | {"columns": columns})


def decode(payload: bytes) -> Batch:
    """The batch in a payload. Raises a ContractError, whatever the bytes are."""
    if len(payload) > MAX_BYTES:
        raise TooLarge(f"{len(payload)} bytes, at most {MAX_BYTES}")
    if payload[:1] == b"{":
        return _from_object(payload)
    try:
        wire = _WIRE.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return _from_array(payload)
    names = wire.kind, wire.tenant, wire.store, wire.node, wire.epoch
    return _sightings(_checked(Header(*names, wire.seq, wire.boot, wire.clock, wire.t0, wire.n)), wire.columns)


def _from_array(payload: bytes) -> Sightings:
    """The same field by field: what is wrong is told by its name."""
    try:
        fields = msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise NotABatch(f"not msgpack: {error}") from None
    if not isinstance(fields, list) or len(fields) < len(HEADER_ORDER) + 1:
        raise NotABatch(f"expected an array of {len(HEADER_ORDER) + 1}: {', '.join(HEADER_ORDER)}, columns")
    header = _header(dict(zip(HEADER_ORDER, fields, strict=False)))
    if header.kind != "sightings":
        raise UnknownKind(f"{header.kind} travels as JSON, not as msgpack")
    columns = fields[len(HEADER_ORDER)]
    if not isinstance(columns, list) or not all(isinstance(column, bytes) for column in columns):
        raise BadColumns("expected an array of byte strings")
    return _sightings(header, columns)


def header_only(payload: bytes) -> Header | None:
    """The header of a batch whose rows may be broken, None where even the header does not read."""
    try:
        if payload[:1] == b"{":
            return _header(msgspec.json.decode(payload, type=dict[str, object]))
        fields = msgspec.msgpack.decode(payload)
        return _header(dict(zip(HEADER_ORDER, fields, strict=False))) if isinstance(fields, list) else None
    except (ContractError, msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        return None


def digest_of(payload: bytes) -> bytes:
    """16 bytes by which the ledger tells a batch from another of the same name."""
    return hashlib.blake2b(payload, digest_size=16).digest()


def event_id(epoch: str, seq: int) -> str:
    """A batch's CloudEvents `id`, which travels beside the payload: its name among those of its node."""
    return f"{epoch}/{seq}"


def read_event_id(text: str) -> tuple[str, int] | None:
    """Epoch and number of a batch; None if that is no such id."""
    epoch, _, seq = text.partition("/")
    if not _EPOCH.fullmatch(epoch) or not _SEQ.fullmatch(seq):
        return None
    return (epoch, int(seq)) if int(seq) < 2**63 else None


def _from_object(payload: bytes) -> Batch:
    try:
        fields = msgspec.json.decode(payload, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise NotABatch(f"not JSON: {error}") from None
    header = _header(fields)
    if header.kind == "sightings":
        return _sightings(header, _json_columns(fields.get("columns")))
    try:
        rows = tuple(msgspec.convert(fields.get("rows"), _ROW_TYPES[header.kind]))
    except msgspec.ValidationError as error:
        raise BadRows(str(error)) from None
    if not all(abs(x) < 2**31 for row in rows for x in msgspec.structs.astuple(row) if isinstance(x, int)):
        raise BadRows("a whole number needs more than 32 bits")
    if len(rows) != header.n:
        raise BadRows(f"n says {header.n}, there are {len(rows)} rows")
    match header.kind:
        case "presence":
            return Presence(header, _presence_rows(rows))
        case "tags":
            return Tags(header, _tag_rows(rows))
        case _:
            return Crowd(header, rows)


def _header(fields: dict[str, object]) -> Header:
    version = fields.get("v")
    if version != VERSION or isinstance(version, bool):
        raise UnknownVersion(f"{_told(version)}, this build reads {VERSION}")
    kind = fields.get("kind")
    if kind not in KINDS:
        raise UnknownKind(f"{_told(kind)}, expected one of {', '.join(KINDS)}")
    try:
        header = msgspec.convert({name: fields[name] for name in HEADER_ORDER if name in fields}, Header)
    except msgspec.ValidationError as error:
        raise BadHeader(str(error)) from None
    return _checked(header)


def _checked(header: Header) -> Header:
    """What types do not say."""
    for name in ("tenant", "store", "node"):
        if not _is_name(getattr(header, name)):
            raise BadHeader(f"{name} {getattr(header, name)!r} is not a name (a-z, 0-9 and -, at most 63)")
    if not _EPOCH.fullmatch(header.epoch):
        raise BadHeader(f"epoch {header.epoch!r} is not 32 hexadecimal digits")
    if not 1 <= header.seq < 2**63 or not 0 <= header.t0 < _YEAR_10000_US:
        raise BadHeader("seq or t0 is out of range")
    if not _BOOT.fullmatch(header.boot):  # PostgreSQL's text holds no NUL
        raise BadHeader("boot is not at most 64 printable ASCII characters")
    if header.n < (0 if header.kind == "sightings" else 1):
        raise BadHeader(f"n is {header.n}")
    if header.n > MAX_ROWS:
        raise TooLarge(f"{header.n} rows, at most {MAX_ROWS}")
    return header


@lru_cache(maxsize=16_384)
def _is_name(text: str) -> bool:
    """Remembered: the same nodes speak again and again."""
    return NAME.fullmatch(text) is not None


def _told(value: object) -> str:
    """A foreign value as an error names it; nested ones by type only, since their repr may recurse too deeply."""
    return repr(value)[:80] if isinstance(value, (str, int, float)) else type(value).__name__


def _sightings(header: Header, columns: Sequence[bytes]) -> Sightings:
    if len(columns) < len(SIGHTING_COLUMNS):
        raise BadColumns(f"{len(columns)} columns, expected {', '.join(c.name for c in SIGHTING_COLUMNS)}")
    known = tuple(columns[: len(SIGHTING_COLUMNS)])  # a later minor version may append columns: leave them aside
    n = header.n
    for data, width, column in zip(known, _WIDTHS, SIGHTING_COLUMNS, strict=True):
        if len(data) != width * n:
            raise BadColumns(f"column {column.name} has {len(data)} bytes, expected {width} × {n}")
    return Sightings(header, known)


def _json_columns(columns: object) -> list[bytes]:
    if not isinstance(columns, dict):
        raise BadColumns("expected an object of columns")
    packed = []
    for column in SIGHTING_COLUMNS:
        values = columns.get(column.name)
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise BadColumns(f"column {column.name}: expected a list of whole numbers")
        packed.append(column_bytes(column, values))
    return packed


def _presence_rows(rows: Sequence[PresenceRow]) -> tuple[PresenceRow, ...]:
    for row in rows:
        if not _SUBJECT.fullmatch(row.subject) or not NAME.fullmatch(row.zone) or not 0 <= row.confidence <= 1:
            raise BadRows("subject is 16 hexadecimal digits, zone a name, confidence from 0 to 1")
    return tuple(rows)


def _tag_rows(rows: Sequence[TagRow]) -> tuple[TagRow, ...]:
    for row in rows:
        if not _EPC.fullmatch(row.epc) or not NAME.fullmatch(row.zone):
            raise BadRows("epc is 1 to 62 bytes in lower-case hexadecimal digits, zone a name")
        if row.origin and not NAME.fullmatch(row.origin):
            raise BadRows("origin is a name, or empty")
        if row.rssi is not None and not -200 <= row.rssi <= 100:  # NaN is refused too
            raise BadRows(f"rssi {row.rssi} is no level in dBm")
    return tuple(rows)


def encode_small(message: Ack | Status | Health) -> bytes:
    """An ack, status or heartbeat as JSON."""
    return msgspec.json.encode(message)


def decode_small(payload: bytes, kind: type[_Small]) -> _Small:
    """An ack, status or heartbeat. Raises a ContractError, whatever the bytes are."""
    if len(payload) > MAX_BYTES:
        raise TooLarge(f"{len(payload)} bytes, at most {MAX_BYTES}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise NotABatch(f"not a {kind.__name__.lower()}: {error}") from None


def restamped(payload: bytes, t0_us: int, clock: str) -> bytes:
    """The same batch of any kind with another `t0` and `clock` in its header. Raises a ContractError if it is no batch.

    For a batch that was never sent: what was sent once keeps its bytes for ever.
    """
    try:
        if payload[:1] == b"{":
            named = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
            named |= {"t0": msgspec.Raw(msgspec.json.encode(t0_us)), "clock": msgspec.Raw(msgspec.json.encode(clock))}
            return msgspec.json.encode(named)
        fields = msgspec.msgpack.decode(payload, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise NotABatch(f"cannot be told anew: {error}") from None
    if len(fields) < len(HEADER_ORDER):
        raise NotABatch(f"expected an array of {', '.join(HEADER_ORDER)}, columns")
    fields[HEADER_ORDER.index("t0")] = msgspec.Raw(msgspec.msgpack.encode(t0_us))
    fields[HEADER_ORDER.index("clock")] = msgspec.Raw(msgspec.msgpack.encode(clock))
    return msgspec.msgpack.encode(fields)


__all__ = [
    "CONTENT_TYPE",
    "ContractError",
    "column_bytes",
    "column_values",
    "decode",
    "decode_small",
    "encode",
    "encode_json",
    "encode_small",
    "header_only",
    "restamped",
]
