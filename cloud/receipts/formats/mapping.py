"""How a till's table is to be read: a TOML or JSON file that names its columns and how it writes numbers and dates."""

import codecs
import tomllib
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from cloud.errors import Invalid

HEAD_FIELDS = frozenset(
    "receipt_uid store till at date time kind currency total cashier business_date original original_store card phone"
    " discount".split()
)
LINE_FIELDS = frozenset("line_no sku name category qty unit_price line_discount amount price_total".split())
NEEDED_HEAD, NEEDED_LINE = frozenset({"receipt_uid"}), frozenset({"sku", "qty"})


class MappingError(Invalid):
    """The mapping of the table is wrong."""


class Kinds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which texts of the column `kind` say what; anything else is a mistake."""

    sale: tuple[str, ...] = ("sale", "")
    return_: tuple[str, ...] = msgspec.field(default=("return",), name="return")
    void: tuple[str, ...] = ("void",)
    correction: tuple[str, ...] = ("correction",)


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Header and lines in rows of their own, told apart by the text in one column."""

    column: int | str
    header: str
    line: str


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table's columns by the names of the canonical receipt. A column is its heading, or its number from 1."""

    columns: dict[str, int | str | tuple[str, ...]]
    """Several headings for one field are put together: a category from its levels, with ` > `."""
    line_columns: dict[str, int | str | tuple[str, ...]] = {}
    """In a layout of headers and lines: the columns of the lines' rows."""
    layout: Layout | None = None
    heading: bool = True
    """The first row names the columns."""
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8-sig"
    decimal: Literal[".", ","] = "."
    thousands: str = ""
    date_format: str = "%Y-%m-%d %H:%M:%S"
    """As in Python's strptime. With %z the zone stands in the text, else it is the store's."""
    money_digits: int = 2
    """Of the currency: 2 for cents and kopecks, 0 where the table holds minor units already."""
    qty_unit: Literal["pieces", "thousandths"] = "pieces"
    zero_is_one: bool = False
    """A quantity of 0 with an amount is one piece: some tills count no pieces of what is sold by its value."""
    discount_sign: Literal["positive", "negative"] = "positive"
    kinds: Kinds = Kinds()
    negative_returns: bool = True
    """False: the lines of a return are written with positive numbers."""
    constants: dict[str, str] = {}
    """What the table does not say: currency, till, store."""
    sorted: bool = True
    """The lines of one receipt stand together. False: they are gathered first, in memory."""
    zone: str | None = None
    """Where the clock of the table stands; without it the store's zone."""


def mapping_of(content: bytes, name: str = "mapping") -> Mapping:
    """A mapping from TOML or JSON. Raises MappingError with the key and the reason."""
    try:
        if name.endswith(".json"):
            found = msgspec.json.decode(content, type=Mapping)
        else:
            found = msgspec.convert(tomllib.loads(content.decode()), Mapping)
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MappingError(f"{name}: {error}") from None
    _check(found, name)
    return found


def _check(found: Mapping, name: str) -> None:
    for given, allowed, needed, table in (
        (found.columns, HEAD_FIELDS if found.layout else HEAD_FIELDS | LINE_FIELDS, NEEDED_HEAD, "columns"),
        (
            found.line_columns,
            LINE_FIELDS | {"receipt_uid"},
            NEEDED_LINE if found.layout else frozenset(),
            "line_columns",
        ),
    ):
        if unknown := sorted(given.keys() - allowed):
            raise MappingError(f"{name}: {table}.{unknown[0]} is no field; there are {', '.join(sorted(allowed))}")
        if missing := sorted(needed - given.keys()):
            raise MappingError(f"{name}: {table}.{missing[0]} is needed")
        if not found.heading and any(not isinstance(column, int) for column in given.values()):
            raise MappingError(f"{name}: {table}: without a heading, columns are numbers from 1")
        if any(isinstance(column, int) and column < 1 for column in given.values()):
            raise MappingError(f"{name}: {table}: columns are counted from 1")
    if found.layout and isinstance(found.layout.column, int) and found.layout.column < 1:
        raise MappingError(f"{name}: layout.column: columns are counted from 1")
    lines = found.line_columns if found.layout else found.columns
    if missing := sorted(NEEDED_LINE - lines.keys()):
        raise MappingError(f"{name}: columns.{missing[0]} is needed")
    if not {"amount", "unit_price"} & lines.keys():
        raise MappingError(f"{name}: columns.amount or columns.unit_price is needed")
    if "at" not in found.columns and "date" not in found.columns:
        raise MappingError(f"{name}: columns.at, or date and time, is needed")
    if unknown := sorted(found.constants.keys() - HEAD_FIELDS):
        raise MappingError(f"{name}: constants.{unknown[0]} is no field")
    if len(found.delimiter) != 1 or len(found.quote) != 1 or found.delimiter in '\r\n"' or found.quote in "\r\n":
        raise MappingError(f"{name}: delimiter and quote are one character each")
    if not 0 <= found.money_digits <= 4:
        raise MappingError(f"{name}: money_digits is 0 to 4")
    try:
        codecs.lookup(found.encoding)
        "".encode(found.encoding)
    except (LookupError, UnicodeError):
        raise MappingError(f"{name}: encoding {found.encoding!r} is not known") from None
    if found.zone is not None:
        zone_of(found.zone)


def zone_of(name: str) -> ZoneInfo:
    """A zone of the IANA database. Raises MappingError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise MappingError(f"zone {name!r} is not known") from None
