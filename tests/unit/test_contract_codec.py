"""What is encoded decodes to the same, and whatever bytes arrive give a value or a ContractError."""

import json
import struct
from array import array
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.codec import (
    HEADER_ORDER,
    column_bytes,
    column_values,
    decode,
    decode_small,
    digest_of,
    encode,
    encode_json,
    encode_small,
    event_id,
    header_only,
    read_event_id,
)
from contract.errors import BadColumns, BadHeader, BadRows, ContractError, NotABatch, TooLarge
from contract.messages import (
    MAX_BYTES,
    MAX_ROWS,
    SIGHTING_COLUMNS,
    Ack,
    Batch,
    Column,
    Crowd,
    CrowdRow,
    Header,
    Health,
    Presence,
    PresenceRow,
    Rejection,
    Sightings,
    Status,
)

settings.register_profile("contract", deadline=None, database=None)
settings.load_profile("contract")

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
INSTANTS = st.integers(0, 253_402_300_799_999_999)
INT32 = st.integers(-(2**31) + 1, 2**31 - 1)
COUNTS = st.integers(0, 2**63 - 1)
NUMBERS = st.floats(min_value=0, allow_infinity=False)


def headers(kind: str, n: int) -> st.SearchStrategy[Header]:
    """Every header that a batch of this kind with n rows may have."""
    return st.builds(
        Header,
        kind=st.just(kind),
        tenant=NAMES,
        store=NAMES,
        node=NAMES,
        epoch=st.text("0123456789abcdef", min_size=32, max_size=32),
        seq=st.integers(1, 2**63 - 1),
        boot=st.from_regex(r"[ -~]{0,64}", fullmatch=True),
        clock=st.sampled_from(["trusted", "untrusted"]),
        t0=INSTANTS,
        n=st.just(n),
    )


def limits(column: Column) -> tuple[int, int]:
    """The least and the greatest number a column holds."""
    bits = 8 * column.width
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if column.dtype[1] == "i" else (0, 2**bits - 1)


@st.composite
def sightings(draw: st.DrawFn) -> Sightings:
    """A batch of 0 to 12 windows with any values its columns hold."""
    n = draw(st.integers(0, 12))
    columns = [draw(st.binary(min_size=n * column.width, max_size=n * column.width)) for column in SIGHTING_COLUMNS]
    return Sightings(draw(headers("sightings", n)), tuple(columns))


@st.composite
def presences(draw: st.DrawFn) -> Presence:
    """A presence batch of 1 to 5 rows."""
    row = st.builds(
        PresenceRow,
        subject=st.text("0123456789abcdef", min_size=16, max_size=16),
        kind=INT32,
        zone=NAMES,
        state=st.sampled_from(["enter", "exit"]),
        dt=INT32,
        since=INT32,
        confidence=st.floats(0, 1),
    )
    rows = tuple(draw(st.lists(row, min_size=1, max_size=5)))
    return Presence(draw(headers("presence", len(rows))), rows)


@st.composite
def crowds(draw: st.DrawFn) -> Crowd:
    """A crowd batch of 1 to 5 rows."""
    rows = tuple(draw(st.lists(st.builds(CrowdRow, INT32, INT32, INT32, INT32), min_size=1, max_size=5)))
    return Crowd(draw(headers("crowd", len(rows))), rows)


BATCHES: st.SearchStrategy[Batch] = st.one_of(sightings(), presences(), crowds())
SEQ = st.integers(1, 2**63 - 1)
ACKS = st.builds(
    Ack,
    epoch=st.text("0123456789abcdef", min_size=32, max_size=32),
    stored=st.lists(st.tuples(SEQ, SEQ), max_size=4).map(tuple),
    rejected=st.lists(st.builds(Rejection, SEQ, st.text()), max_size=3).map(tuple),
)
STATUSES = st.builds(Status, st.sampled_from(["online", "offline"]), st.text(), INSTANTS)
HEALTHS = st.builds(
    Health,
    at=INSTANTS,
    uptime_s=NUMBERS,
    clock=st.sampled_from(["trusted", "untrusted"]),
    adverts=COUNTS,
    adverts_per_s=NUMBERS,
    windows=COUNTS,
    outbox_rows=COUNTS,
    outbox_oldest_s=NUMBERS,
    dropped=COUNTS,
    reconnects=COUNTS,
    rss_mb=NUMBERS,
    restarts=COUNTS,
)
BASE = Header(
    kind="sightings",
    tenant="acme",
    store="main-street",
    node="node-1",
    epoch="0" * 32,
    seq=1,
    boot="b",
    clock="trusted",
    t0=1_795_168_805_000_000,
    n=1,
)
ONE = Sightings(BASE, tuple(column_bytes(column, [1]) for column in SIGHTING_COLUMNS))
CROWD = Crowd(msgspec.structs.replace(BASE, kind="crowd"), (CrowdRow(0, 300, 5, 0),))


# What is encoded decodes to the same


@given(BATCHES)
def test_a_batch_decodes_to_what_was_encoded(batch):
    assert decode(encode(batch)) == batch


@given(BATCHES)
def test_a_batch_decodes_to_what_its_json_twin_said(batch):
    twin = encode_json(batch)
    assert twin[:1] == b"{"
    assert decode(twin) == batch


@given(st.one_of(ACKS, STATUSES, HEALTHS))
def test_a_small_message_decodes_to_what_was_encoded(message):
    assert decode_small(encode_small(message), type(message)) == message


@given(BATCHES)
def test_the_header_alone_is_the_header(batch):
    assert header_only(encode(batch)) == header_only(encode_json(batch)) == batch.header


@given(st.sampled_from(SIGHTING_COLUMNS).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(*limits(c))))))
def test_a_column_keeps_its_numbers(pair):
    column, values = pair
    assert column_values(column, column_bytes(column, values)) == values


@pytest.mark.parametrize("column", SIGHTING_COLUMNS, ids=lambda column: column.name)
def test_a_column_holds_its_extremes_little_endian_and_refuses_one_more(column):
    low, high = limits(column)
    code = {"<i1": "b", "<u1": "B", "<i2": "h", "<u2": "H", "<i4": "i", "<u4": "I", "<u8": "Q"}[column.dtype]
    assert column_bytes(column, [low, high]) == struct.pack(f"<2{code}", low, high)
    assert column_values(column, struct.pack(f"<2{code}", low, high)) == [low, high]
    for value in (low - 1, high + 1, 2**200, -(2**200)):
        with pytest.raises(BadColumns, match=column.name):
            column_bytes(column, [value])


def test_the_array_types_behind_the_columns_have_the_widths_they_name():
    # The standard promises array's "I" and "i" two bytes only; on every machine we know they have four.
    assert [array(code).itemsize for code in "bBhHiIqQ"] == [1, 1, 2, 2, 4, 4, 8, 8]


def test_a_full_batch_of_five_thousand_windows_is_far_below_the_limit():
    n = 5_000
    full = Sightings(msgspec.structs.replace(BASE, n=n), tuple(bytes(n * column.width) for column in SIGHTING_COLUMNS))
    assert sum(column.width for column in SIGHTING_COLUMNS) == 22
    assert len(encode(full)) < n * 22 + 300 < MAX_BYTES / 2
    assert decode(encode(full)) == full


# A later minor version


def test_columns_and_fields_that_this_build_does_not_know_are_left_aside():
    *header, columns = msgspec.msgpack.decode(encode(ONE))
    assert decode(msgspec.msgpack.encode([*header, [*columns, b"\x07"], "a later field"])) == ONE
    twin = json.loads(encode_json(ONE))
    twin["columns"]["later"] = ["?"]
    assert decode(json.dumps(twin | {"later": 1}).encode()) == ONE
    rows = json.loads(encode(CROWD))
    rows["rows"][0]["later"] = None
    assert decode(json.dumps(rows | {"later": 1}).encode()) == CROWD


def test_of_a_key_that_comes_twice_the_last_counts():
    payload = encode(CROWD)
    assert decode(b'{"v":2,"n":{},"rows":[],' + payload[1:]) == CROWD
    with pytest.raises(BadHeader):
        decode(payload[:-1] + b',"seq":0}')


# Any bytes give a value or a ContractError

SMALL: dict[str, Callable[[bytes], Ack | Status | Health]] = {
    "ack": lambda payload: decode_small(payload, Ack),
    "status": lambda payload: decode_small(payload, Status),
    "health": lambda payload: decode_small(payload, Health),
}


def read_all(payload: bytes) -> None:
    """Every decoder takes the payload or raises a ContractError with a reason; what is taken can be written again."""
    header = header_only(payload)
    try:
        batch = decode(payload)
    except ContractError as error:
        assert error.reason == type(error).__name__ != "ContractError"
        assert str(error).encode()
    else:
        assert header == batch.header
        assert len(batch.columns[0]) == 4 * batch.header.n if isinstance(batch, Sightings) else True
        if len(encode(batch)) <= MAX_BYTES:
            assert decode(encode(batch)) == batch
    for read in SMALL.values():
        try:
            message = read(payload)
        except ContractError as error:
            assert error.reason in ("NotABatch", "TooLarge")
        else:
            assert read(encode_small(message)) == message


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
MSGPACK_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=16)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from([*HEADER_ORDER, "rows", "columns", "epoch", "stored", "rejected", "state", "boot", "at"])


@given(st.binary(max_size=200))
@example(b"")
@example(b"{")
@example(b"\x9c")
def test_any_bytes(payload):
    read_all(payload)


@given(BATCHES, st.data())
def test_any_truncated_batch(batch, data):
    for payload in (encode(batch), encode_json(batch)):
        cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
        read_all(cut)
        with pytest.raises(ContractError):
            decode(cut)


@given(st.one_of(BATCHES.map(encode), BATCHES.map(encode_json), ACKS.map(encode_small)), st.data())
def test_any_batch_with_flipped_bits(payload, data):
    spoiled = bytearray(payload)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(payload) - 1), min_size=1, max_size=4)):
        spoiled[bit // 8] ^= 1 << bit % 8
    read_all(bytes(spoiled))


@given(st.dictionaries(FIELDS | st.text(max_size=8), JSON_VALUES, max_size=8))
def test_any_json_object(fields):
    # json.dumps writes NaN, Infinity and lone surrogates too, which are no JSON: those must be refused, not raise.
    read_all(json.dumps(fields).encode())


@given(BATCHES, FIELDS, JSON_VALUES)
def test_any_json_value_in_any_field_of_a_batch(batch, field, value):
    read_all(json.dumps(json.loads(encode_json(batch)) | {field: value}).encode())


@given(presences() | crowds(), st.data(), JSON_VALUES)
def test_any_json_value_in_any_field_of_a_row(batch, data, value):
    fields = json.loads(encode(batch))
    fields["rows"][-1][data.draw(st.sampled_from(sorted(fields["rows"][-1])))] = value
    read_all(json.dumps(fields).encode())


@given(sightings(), st.sampled_from(SIGHTING_COLUMNS), st.lists(JSON_VALUES, max_size=3))
def test_any_json_values_in_a_column(batch, column, values):
    fields = json.loads(encode_json(batch))
    fields["columns"][column.name] += values
    fields["n"] = len(fields["columns"][column.name])
    read_all(json.dumps(fields).encode())


@given(sightings(), st.integers(0, len(HEADER_ORDER)), MSGPACK_VALUES)
def test_any_msgpack_value_in_any_place_of_a_batch(batch, place, value):
    fields = msgspec.msgpack.decode(encode(batch))
    fields[place] = value
    read_all(msgspec.msgpack.encode(fields))


@given(MSGPACK_VALUES)
def test_any_msgpack_value(value):
    read_all(msgspec.msgpack.encode(value))


DIGITS = b'{"v":1,"kind":"crowd","tenant":"t","store":"s","node":"n","epoch":"' + b"0" * 32 + b'","boot":"b",'
NASTY = {
    "arrays without end": b"\x91" * 100_000,
    "maps without end": b"\x81" * 100_000,
    "maps as keys": b"\x81" * 3 + b"\x01\x02\x03",
    "an array that says it has 4 milliard values": b"\xdd\xff\xff\xff\xff",
    "a map that says it has 4 milliard values": b"\xdf\xff\xff\xff\xff",
    "a string of 4 GiB": b"\xdb\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "an instant far away": b"\x9c\xc7\x0c\xff" + b"\xff" * 12,
    "an unused first byte": b"\xc1",
    "a string that is not UTF-8": b"\x9c\x01\xa2\xff\xfe",
    "JSON that is not UTF-8": b'{"v":"\xff"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"v":1}'.encode("utf-16-le"),
    "NaN": DIGITS + b'"seq":NaN}',
    "Infinity": DIGITS + b'"seq":-Infinity}',
    "a number beyond a double": DIGITS + b'"seq":1e999}',
    "an integer of 20 digits": DIGITS + b'"seq":' + b"9" * 20 + b"}",
    "an integer of 5,000 digits": DIGITS + b'"seq":' + b"9" * 5_000 + b"}",
    "an integer of 200,000 digits": DIGITS + b'"seq":' + b"9" * 200_000 + b"}",
    "a version of 200,000 digits": b'{"v":' + b"9" * 200_000 + b"}",
    "objects without end": b'{"v":' * 50_000,
    "lists without end": b'{"v":' + b"[" * 200_000,
    "an unknown field of lists without end": DIGITS + b'"x":' + b"[" * 200_000,
    "a key of 200 kB": b'{"' + b"k" * 200_000 + b'":1}',
    "a lone surrogate": b'{"kind":"\\ud800"}',
    "text after the batch": encode(CROWD) + b"{}",
    "bytes after the batch": encode(ONE) + b"\x00",
}


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_payload_is_refused_with_a_reason(name):
    read_all(NASTY[name])
    with pytest.raises(ContractError):
        decode(NASTY[name])


@pytest.mark.parametrize("where", ["v", "kind", "seq", "rows"])
def test_json_nested_to_any_depth_is_refused(where):
    # Around 990 levels the decoder still takes it and whoever walks or prints the value no longer can.
    fields = json.loads(encode(CROWD))
    for depth in (1, 10, 100, *range(850, 1010), 5_000):
        text = json.dumps(fields | {where: "HERE"}).replace('"HERE"', "[" * depth + "]" * depth)
        with pytest.raises(ContractError):
            decode(text.encode())
        header_only(text.encode())


@pytest.mark.parametrize("place", range(len(HEADER_ORDER) + 1))
def test_msgpack_nested_to_any_depth_is_refused(place):
    parts = [msgspec.msgpack.encode(field) for field in msgspec.msgpack.decode(encode(ONE))]
    for depth in (1, 10, 100, *range(850, 1010), 5_000):
        parts[place] = b"\x91" * depth + b"\x90"
        with pytest.raises(ContractError):
            decode(b"\x9c" + b"".join(parts))
        header_only(b"\x9c" + b"".join(parts))


# Each error has its case


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("v", 2, "UnknownVersion"),
        ("v", True, "UnknownVersion"),  # in Python True == 1
        ("v", None, "UnknownVersion"),
        ("v", 1.0, "BadHeader"),
        ("kind", "faces", "UnknownKind"),  # a stream that is named and not sent yet
        ("kind", ["sightings"], "UnknownKind"),
        ("tenant", "Acme", "BadHeader"),
        ("store", "", "BadHeader"),
        ("node", "n/1", "BadHeader"),
        ("node", "n\n", "BadHeader"),
        ("epoch", "F" * 32, "BadHeader"),
        ("epoch", "0" * 31, "BadHeader"),
        ("seq", 0, "BadHeader"),
        ("seq", True, "BadHeader"),
        ("seq", 1.0, "BadHeader"),
        ("seq", 2**63, "BadHeader"),
        ("boot", "b" * 65, "BadHeader"),
        ("boot", "a\0b", "BadHeader"),
        ("clock", "sundial", "BadHeader"),
        ("t0", -1, "BadHeader"),
        ("t0", 253_402_300_800_000_000, "BadHeader"),
        ("t0", 1.5, "BadHeader"),
        ("n", -1, "BadHeader"),
        ("n", False, "BadHeader"),
        ("n", MAX_ROWS + 1, "TooLarge"),
        ("n", 2, "BadColumns"),
    ],
)
def test_a_wrong_header_field_is_refused_for_its_reason_in_both_encodings(field, value, reason):
    fields = msgspec.msgpack.decode(encode(ONE))
    fields[HEADER_ORDER.index(field)] = value
    twin = json.loads(encode_json(ONE)) | {field: value}
    for payload in (msgspec.msgpack.encode(fields), json.dumps(twin).encode()):
        with pytest.raises(ContractError) as caught:
            decode(payload)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("rssi", [True]),
        ("rssi", [-70.0]),
        ("rssi", ["-70"]),
        ("rssi", [None]),
        ("rssi", -70),
        ("rssi", []),
        ("rssi", [-32769]),
        ("count", [-1]),
        ("subject", [2**64]),
        ("dt", None),
    ],
)
def test_a_json_column_of_anything_but_n_fitting_whole_numbers_is_refused(column, values):
    twin = json.loads(encode_json(ONE))
    twin["columns"][column] = values
    with pytest.raises(BadColumns):
        decode(json.dumps(twin).encode())


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        [],
        [1],
        [{}],
        [{"dt": 0, "span_s": 300, "radios": 5}],
        [{"dt": 0.0, "span_s": 300, "radios": 5, "strong": 0}],
        [{"dt": True, "span_s": 300, "radios": 5, "strong": 0}],
        [{"dt": 2**31, "span_s": 300, "radios": 5, "strong": 0}],  # a database column would refuse it later
        [{"dt": 0, "span_s": 300, "radios": 10**20, "strong": 0}],
        [{"dt": 0, "span_s": 300, "radios": 5, "strong": 0}] * 2,  # n says 1
    ],
)
def test_rows_that_do_not_fit_their_kind_are_refused(rows):
    with pytest.raises(BadRows):
        decode(json.dumps(json.loads(encode(CROWD)) | {"rows": rows}).encode())


def test_a_batch_without_rows_is_refused_unless_it_says_that_nothing_was_heard():
    silent = Sightings(msgspec.structs.replace(BASE, n=0), (b"",) * len(SIGHTING_COLUMNS))
    assert decode(encode(silent)) == decode(encode_json(silent)) == silent
    with pytest.raises(BadHeader):
        decode(json.dumps(json.loads(encode(CROWD)) | {"n": 0, "rows": []}).encode())


def test_a_payload_over_the_limit_is_refused_before_it_is_read():
    for payload in (b"\x91" * (MAX_BYTES + 1), b"{" + b" " * MAX_BYTES):
        with pytest.raises(TooLarge):
            decode(payload)
        with pytest.raises(TooLarge):
            decode_small(payload, Ack)


def test_a_small_kind_as_msgpack_is_refused():
    fields = [getattr(CROWD.header, name) for name in HEADER_ORDER]
    with pytest.raises(ContractError, match="crowd travels as JSON"):
        decode(msgspec.msgpack.encode([*fields, []]))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b'{"epoch":"x","stored":[[1]]}', Ack),
        (b'{"epoch":"x","stored":[[1,true]]}', Ack),
        (b'{"epoch":"x","stored":[[1,2.0]]}', Ack),
        (b'{"epoch":"x","rejected":[{"seq":1}]}', Ack),
        (b'{"stored":[]}', Ack),
        (b"[]", Ack),
        (b'{"state":"asleep","boot":"b","at":1}', Status),
        (b'{"state":"online","boot":"b","at":"1"}', Status),
        (b"{}", Health),
        (b"\xff", Health),
    ],
)
def test_a_small_message_of_wrong_types_is_refused(payload, kind):
    with pytest.raises(NotABatch):
        decode_small(payload, kind)


NO_ID = ["", "7", f"{'a' * 32}/", f"{'a' * 32}/0", f"{'A' * 32}/1", f"{'a' * 32}/{2**63}", f"{'a' * 32}/-1"]


@pytest.mark.parametrize("text", NO_ID)
def test_a_batchs_id_reads_back_and_nothing_else_does(text: str) -> None:
    assert read_event_id(event_id("0f" * 16, 2**63 - 1)) == ("0f" * 16, 2**63 - 1)
    assert read_event_id(text) is None


def test_an_ack_names_a_batch_by_its_number_and_its_content() -> None:
    first, other, last = (digest_of(text).hex() for text in (b"1", b"2", b"9"))
    ack = Ack("0f" * 16, ((1, 2), (9, 9)), digests="".join(digest[:8] for digest in (first, other, last)))
    assert ack.names(1, first) and ack.names(2, other) and ack.names(9, last)
    assert not ack.names(1, other) and not ack.names(9, first), "another content of that name"
    assert not ack.names(3, first)
    assert Ack("0f" * 16, ((1, 2),)).names(2, last), "an early cloud told numbers only"
