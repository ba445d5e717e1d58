"""Each format's small file becomes exactly these receipts; any bytes give receipts or the declared error."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud.errors import AisleError, Invalid
from cloud.receipts import check
from cloud.receipts.canonical import Found, Line, Receipt, digest
from cloud.receipts.check import MAX_LINES, Known, amount, problems
from cloud.receipts.formats import csv_file, fiscal, jsonl, parquet, poslog
from cloud.receipts.formats.choose import format_of, read
from cloud.receipts.formats.mapping import Mapping, MappingError, mapping_of
from cloud.receipts.formats.table import Place
from cloud.receipts.formats.values import scaled

DATA = Path(__file__).parents[1] / "data" / "receipts"
MOSCOW = Place("main", "Europe/Moscow", "file", "RUB")
NOW_US = 1_796_000_000_000_000
STORES = {"main": Known(None)}


def golden(name: str) -> list[Receipt]:
    """The canonical receipts that stand beside the file, one a line."""
    lines = (DATA / f"{name}.expected.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Receipt) for line in lines]


FILES = [
    ("flat.csv", "flat.toml"),
    ("layout-cp1251.txt", "layout.toml"),
    ("fiscal.json", None),
    ("poslog.xml", None),
    ("canonical.jsonl", None),
]


@pytest.mark.parametrize(("name", "mapping"), FILES)
def test_a_file_becomes_the_receipts_that_stand_beside_it(name: str, mapping: str | None) -> None:
    said = mapping_of((DATA / mapping).read_bytes(), mapping) if mapping else None
    with (DATA / name).open("rb") as stream:
        found = list(read(stream, format_of(name), said, MOSCOW))
    assert [one.problem for one in found] == [""] * len(found)
    receipts = [one.receipt for one in found]
    assert receipts == golden(name)
    assert [problems(r, "", STORES, NOW_US) for r in receipts if r] == [[]] * len(receipts)


def test_parquet_is_read_with_the_mapping_of_the_same_csv() -> None:
    import polars

    said = mapping_of((DATA / "flat.toml").read_bytes())
    frame = polars.read_csv(DATA / "flat.csv", separator=";", infer_schema=False)
    file = io.BytesIO()
    frame.write_parquet(file)
    file.seek(0)
    found = list(parquet.read(file, said, MOSCOW))
    assert [one.receipt for one in found] == golden("flat.csv")


def test_parquet_with_numbers_and_instants_gives_the_same_amounts() -> None:
    import polars

    columns = {
        "id": [7, 8, 7],
        "at": ["2026-11-24 10:00:00"] * 3,
        "qty": [1.0, 2.474, 3.0],
        "sum": [0.1 + 0.2, 4.92, 3.99],
    }
    frame = polars.DataFrame(columns).with_columns(polars.col("at").str.to_datetime())
    file = io.BytesIO()
    frame.write_parquet(file)
    said = mapping_of(b'sorted = false\n[columns]\nreceipt_uid="id"\nat="at"\nqty="qty"\nsku="id"\namount="sum"')
    found = [one.receipt for one in parquet.read(io.BytesIO(file.getvalue()), said, MOSCOW)]
    assert [(r.receipt_uid, r.total, [x.qty for x in r.lines]) for r in found if r] == [
        ("7", 30 + 399, [1000, 3000]),
        ("8", 492, [2474]),
    ]
    assert [problems(r, "", STORES, NOW_US) for r in found if r] == [[], []]


def test_parquet_of_many_batches_keeps_every_row_and_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    import polars

    monkeypatch.setattr(parquet, "BATCH_ROWS", 3)
    rows = range(1, 12)
    frame = polars.DataFrame(
        {"id": rows, "at": ["2026-11-24 10:00:00"] * 11, "qty": [1] * 11, "sku": rows, "sum": rows}
    )
    file = io.BytesIO()
    frame.write_parquet(file)
    found = list(parquet.read(io.BytesIO(file.getvalue()), mapping_of(FLAT), MOSCOW))
    assert [(one.line, one.receipt and one.receipt.receipt_uid) for one in found] == [(n, str(n)) for n in rows]


FLAT = b'[columns]\nreceipt_uid="id"\nat="at"\nqty="qty"\nsku="sku"\namount="sum"\n[constants]\ncurrency="EUR"\n'
HEAD = b"id,at,sku,qty,sum\n"
BAD_ROWS = [
    ("no number", b"1,2026-11-24 10:00:00,a,1,x\n", 2, "amount"),
    ("no quantity", b"1,2026-11-24 10:00:00,a,,1\n", 2, "qty"),
    ("no time", b"0,2026-11-24 10:00:00,a,1,1\n1,24.11.2026,a,1,1\n", 3, "at"),
    ("too many decimals", b"1,2026-11-24 10:00:00,a,1,1.005\n", 2, "amount"),
    ("a row that is too short", b"1,2026-11-24 10:00:00\n", 2, "qty"),
    ("the second row of a receipt", b"1,2026-11-24 10:00:00,a,1,1\n1,2026-11-24 10:00:00,a,?,1\n", 2, "qty"),
]


@pytest.mark.parametrize(("rows", "line", "field"), [pytest.param(*b[1:], id=b[0]) for b in BAD_ROWS])
def test_a_bad_row_is_told_with_its_line_and_field_and_its_text_is_kept(rows: bytes, line: int, field: str) -> None:
    found = [f for f in csv_file.read(io.BytesIO(HEAD + rows), mapping_of(FLAT), MOSCOW) if f.receipt is None]
    assert [(f.line, f.field) for f in found] == [(line, field)]
    assert found[0].raw in rows.decode()


BAD_MAPPINGS = [
    (b"[columns", "mapping"),
    (b"[columns]\nsku='a'", "columns.receipt_uid is needed"),
    (FLAT.replace(b"qty=", b"colour="), "columns.colour is no field"),
    (b"encoding='klingon'\n" + FLAT, "encoding 'klingon' is not known"),
    (b"zone='Mars/Base'\n" + FLAT, "zone 'Mars/Base' is not known"),
    (b"delimiter=';;'\n" + FLAT, "one character each"),
    (b"heading=false\n" + FLAT, "columns are numbers"),
    (b"money_digits=9\n" + FLAT, "money_digits is 0 to 4"),
]


@pytest.mark.parametrize(("text", "told"), BAD_MAPPINGS)
def test_a_mapping_is_refused_with_the_key_and_the_reason(text: bytes, told: str) -> None:
    with pytest.raises(MappingError, match=told):
        mapping_of(text)


def test_a_column_that_the_table_lacks_is_named() -> None:
    with pytest.raises(MappingError, match="no column 'sum'; it has id, at, sku, qty"):
        list(csv_file.read(io.BytesIO(b"id,at,sku,qty\n"), mapping_of(FLAT), MOSCOW))


LAUGHS = b'<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><POSLog>&b;</POSLog>'
XXE = b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><POSLog><Transaction>&x;</Transaction></POSLog>'


@pytest.mark.parametrize("document", [LAUGHS, XXE, b'<!DOCTYPE r SYSTEM "http://127.0.0.1/x.dtd"><POSLog/>'])
def test_a_document_type_is_refused_before_anything_is_read(document: bytes) -> None:
    with pytest.raises(poslog.NotPosLog, match="line 1: a document type or entity is refused"):
        list(poslog.read(io.BytesIO(document), MOSCOW))


def test_a_transaction_of_endless_elements_is_refused() -> None:
    deep = b"<POSLog><Transaction>" + b"<a>" * 200 + b"</a>" * 200 + b"</Transaction></POSLog>"
    with pytest.raises(poslog.NotPosLog, match="more elements than a receipt has"):
        list(poslog.read(io.BytesIO(deep), MOSCOW))


QR = "t=20190418T211655&s=3943.26&fn=9252440300000001&i=0000012345&fp=2897654321&n=1"
NAME = "9252440300000001-12345-2897654321"
CODES = [
    (QR, (NAME, "2019-04-18T21:16:55", True, 394326, "sale")),
    (QR.replace("T211655", "T2116"), (NAME, "2019-04-18T21:16:00", False, 394326, "sale")),
    (QR.replace("n=1", "n=2"), (NAME, "2019-04-18T21:16:55", True, -394326, "return")),
    (QR.replace("s=3943.26&", ""), None),
    (QR.replace("n=1", "n=3"), None),
    (QR + "&n=1", None),
    (QR.replace("20190418", "20190231"), None),
    (QR.replace("3943.26", "39.4326"), None),
    ("https://example.org/", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CODES)
def test_a_fiscal_code_names_its_receipt(text: str, wanted: tuple[object, ...] | None) -> None:
    key = fiscal.key_of_qr(text)
    assert (key and (key.receipt_uid, key.at.isoformat(), *key[2:])) == wanted


def test_a_fiscal_code_names_the_receipt_of_the_same_document() -> None:
    sale = golden("fiscal.json")[0]
    key = fiscal.key_of_qr(QR)
    assert key is not None
    assert (key.receipt_uid, key.total, key.kind) == (sale.receipt_uid, sale.total, sale.kind)


def _csv(content: bytes) -> Iterator[Found]:
    return csv_file.read(io.BytesIO(content), mapping_of(FLAT), MOSCOW)


def _ffd(content: bytes) -> Iterator[Found]:
    return fiscal.read(io.BytesIO(content), MOSCOW)


def _poslog(content: bytes) -> Iterator[Found]:
    return poslog.read(io.BytesIO(content), MOSCOW)


def _jsonl(content: bytes) -> Iterator[Found]:
    return jsonl.read(io.BytesIO(content), MOSCOW)


def _parquet(content: bytes) -> Iterator[Found]:
    return parquet.read(io.BytesIO(content), mapping_of(FLAT), MOSCOW)


def _seeds(name: str) -> st.SearchStrategy[bytes]:
    """Any bytes, and a good file with a piece replaced by any bytes."""
    good = (DATA / name).read_bytes()
    cuts = st.integers(0, len(good))
    spoiled = st.builds(
        lambda a, n, junk: good[:a] + junk + good[a + n :], cuts, st.integers(0, 30), st.binary(max_size=20)
    )
    return st.binary(max_size=300) | spoiled


READERS = [(_csv, "flat.csv"), (_ffd, "fiscal.json"), (_poslog, "poslog.xml"), (_jsonl, "canonical.jsonl"),
           (_parquet, "flat.csv")]  # fmt: skip


@pytest.mark.parametrize(("reader", "seed"), READERS)
def test_any_bytes_give_receipts_or_the_declared_error(reader: Callable[[bytes], Iterator[Found]], seed: str) -> None:
    @given(_seeds(seed))
    @example(b"")
    @example(b"\xff\xfe\x00")
    @example(b"[" * 100_000)
    @example(b'{"items":[1e999999999]}')
    @example(HEAD + b"1,0001-01-01 00:00:00,a,1,1\n")
    def prove(content: bytes) -> None:
        try:
            found = list(reader(content))
        except Invalid:
            return
        for one in found:
            if one.receipt is not None:  # what was read can be judged and named, whatever it holds
                problems(one.receipt, "", STORES, NOW_US)
                if not problems(one.receipt, "", STORES, NOW_US):
                    assert len(digest(one.receipt)) == 32

    prove()


@given(st.binary(max_size=400))
def test_any_mapping_is_a_mapping_or_the_declared_error(content: bytes) -> None:
    for name in ("m.toml", "m.json"):
        try:
            assert isinstance(mapping_of(content, name), Mapping)
        except AisleError:
            pass


@given(st.text(max_size=100))
def test_any_text_is_a_fiscal_code_or_none(text: str) -> None:
    assert fiscal.key_of_qr(text) is None or "&fn=" in text or text.startswith("fn=")


@given(st.integers(-(10**12), 10**12), st.integers(0, 3))
def test_a_number_written_by_a_till_is_read_back(value: int, digits: int) -> None:
    whole, part = divmod(abs(value), 10**digits)
    text = ("-" if value < 0 else "") + f"{whole:,}".replace(",", "\u00a0") + (f",{part:0{digits}}" if digits else "")
    assert scaled(text, digits, ",") == value


BASE = golden("canonical.jsonl")[0] if (DATA / "canonical.jsonl.expected.jsonl").exists() else None


def _changed(**changes: object) -> Receipt:
    assert BASE is not None
    return msgspec.structs.replace(BASE, **changes)


def _long() -> Receipt:
    assert BASE is not None
    line = BASE.lines[0]
    lines = tuple(msgspec.structs.replace(line, line_no=no) for no in range(1, 10_001))
    return _changed(lines=lines, total=line.amount * 10_000)


WRONG: list[tuple[str, Callable[[], Receipt], str]] = [
    ("unknown store", lambda: _changed(store="nowhere"), "store"),
    ("future date", lambda: _changed(at_us=NOW_US + 2 * 86_400_000_000), "at_us"),
    ("wrong sum", lambda: _changed(total=1), "total"),
    ("foreign currency", lambda: _changed(currency="USD"), "currency"),
    (
        "negative quantity",
        lambda: _changed(lines=(msgspec.structs.replace(_changed().lines[0], qty=-1000),)),
        "lines.qty",
    ),
    ("10,000 lines", _long, "lines"),
    ("a NUL in the name", lambda: _changed(receipt_uid="a\x00b"), "receipt_uid"),
    ("no date", lambda: _changed(business_date="2026-02-30"), "business_date"),
    ("tenders that do not make the total", lambda: _changed(tenders=({"kind": "cash", "amount": 1},)), "tenders"),
]


@pytest.mark.parametrize(("make", "field"), [pytest.param(*w[1:], id=w[0]) for w in WRONG])
def test_what_does_not_hold_is_told_by_its_field(make: Callable[[], Receipt], field: str) -> None:
    receipt = msgspec.convert(msgspec.to_builtins(make()), Receipt)
    assert field in {p.field for p in problems(receipt, "", {"main": Known("RUB")}, NOW_US)}


def test_a_name_may_be_an_emoji() -> None:
    line = msgspec.structs.replace(_changed().lines[0], name="☕ кофе 🇩🇪 👩‍👩‍👧")
    assert problems(_changed(lines=(line, *_changed().lines[1:])), "", STORES, NOW_US) == []


def test_a_receipt_of_as_many_lines_as_allowed_is_taken() -> None:
    full = _long()
    most = msgspec.structs.replace(full, lines=full.lines[:MAX_LINES], total=full.lines[0].amount * MAX_LINES)
    assert problems(msgspec.structs.replace(most, discounts=(), tenders=()), "", STORES, NOW_US) == []


def test_the_digest_knows_the_content_and_not_the_way_it_came() -> None:
    assert digest(_changed(source="a")) == digest(_changed(source="b"))
    for changes in ({"total": 1}, {"cashier": "x"}, {"till": "9"}, {"lines": ()}, {"coupon_codes": ("A",)}):
        assert digest(_changed(**changes)) != digest(_changed())


ROW = st.tuples(st.integers(-3000, 3000), st.integers(-1, 999), st.integers(-1, 99), st.integers(-1, 1))


@given(st.lists(ROW, max_size=4), st.sampled_from(["sale", "return", "void", "correction"]))
def test_the_quick_look_at_lines_agrees_with_the_one_that_tells_what_is_wrong(rows, kind) -> None:
    lines = tuple(
        Line(no // 2 + 1, "s", "n", "", qty, price, off, 0) for no, (qty, price, off, _) in enumerate(rows, 1)
    )
    lines = tuple(msgspec.structs.replace(x, amount=amount(x) + r[3]) for x, r in zip(lines, rows, strict=True))
    receipt = _changed(lines=lines, kind=kind)
    numbered = len({line.line_no for line in lines}) == len(lines)
    assert check._lines_hold(receipt) == (numbered and not any(check._line(line, kind) for line in lines))
