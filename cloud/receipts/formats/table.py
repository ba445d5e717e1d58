"""Rows of texts into receipts, as a mapping says: one row a line, or header and lines in rows of their own.

The reader of a large file spends its time here, so prices and quantities that were read once are remembered, and what
is the same in all lines of a receipt is read once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cloud.receipts.canonical import Discount, Found, Kind, Line, MemberRef, Original, Receipt
from cloud.receipts.formats.mapping import Mapping, MappingError, zone_of
from cloud.receipts.formats.values import local_us, price_and_discount, scaled

Row = Sequence[str]
Numbered = tuple[int, Row]
Column = Callable[[Row], str]
REMEMBERED = 100_000
"""Numbers remembered by their text; a store has some thousand prices."""
MOST_ROWS = 20_000
"""Rows kept for one receipt; more are a file whose receipts are not told apart."""


class Place(NamedTuple):
    """Where and when the table was written."""

    store: str
    zone: str
    source: str
    currency: str | None = None


class _Wrong(Exception):
    """A field of a row that cannot be read."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field, self.problem = field, problem


def receipts(rows: Iterable[Numbered], mapping: Mapping, place: Place) -> Iterator[Found]:
    """Every receipt of the table, good or bad, in its order. Raises MappingError where a column is not there."""
    rows = iter(rows)
    heading: Row | None = None
    if mapping.heading:
        first = next(rows, None)
        heading = first[1] if first else ()
    reader = _Reader(mapping, heading, place)
    groups = _grouped_by_layout(rows, reader) if mapping.layout else _grouped(rows, reader, mapping.sorted)
    for group in groups:
        yield reader.receipt(group)


def _grouped(rows: Iterator[Numbered], reader: "_Reader", is_sorted: bool) -> Iterator[list[Numbered]]:
    """Rows of one receipt after the other."""
    uid = reader.head["receipt_uid"]
    if not is_sorted:
        gathered: dict[str, list[Numbered]] = {}
        for row in rows:
            if row[1]:
                gathered.setdefault(uid(row[1]), []).append(row)
        yield from gathered.values()
        return
    group: list[Numbered] = []
    of = ""
    for row in rows:
        if not row[1]:
            continue
        mine = uid(row[1])
        if group and (mine != of or len(group) >= MOST_ROWS):
            yield group
            group = []
        of = mine
        group.append(row)
    if group:
        yield group


def _grouped_by_layout(rows: Iterator[Numbered], reader: "_Reader") -> Iterator[list[Numbered]]:
    """A header and the lines after it."""
    layout = reader.mapping.layout
    assert layout is not None
    which = reader.column(layout.column, "layout.column")
    group: list[Numbered] = []
    for row in rows:
        if not row[1]:
            continue
        if which(row[1]).strip() == layout.header and group:
            yield group
            group = []
        group.append(row)
        if len(group) >= MOST_ROWS:
            yield group
            group = []
    if group:
        yield group


class _Reader:
    """A mapping that has met its table."""

    def __init__(self, mapping: Mapping, heading: Row | None, place: Place) -> None:
        self.mapping = mapping
        self._place = place
        self._heading = {name.strip(): index for index, name in reversed(list(enumerate(heading or ())))}
        self._zone: ZoneInfo = zone_of(mapping.zone or place.zone)
        self.head = {name: self.column(said, f"columns.{name}") for name, said in mapping.columns.items()}
        of_lines = mapping.line_columns if mapping.layout else mapping.columns
        self.line = {name: self.column(said, f"line_columns.{name}") for name, said in of_lines.items()}
        self._money: dict[str, int] = {}
        self._qty: dict[str, int] = {}
        k = mapping.kinds
        kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (
            ("sale", k.sale), ("return", k.return_), ("void", k.void), ("correction", k.correction))  # fmt: skip
        self._kinds: dict[str, Kind] = {text.lower(): kind for kind, texts in kinds for text in texts}
        empty: Column = lambda row: ""  # noqa: E731
        self._sku, self._qty_of = self.line["sku"], self.line["qty"]
        self._name = self.line.get("name", empty)
        self._category = self.line.get("category", empty)
        self._unit_price, self._amount = self.line.get("unit_price"), self.line.get("amount")
        self._discount, self._line_no = self.line.get("line_discount"), self.line.get("line_no")

    def column(self, said: int | str | tuple[str, ...], key: str) -> Column:
        """How to find a column's text in a row; a row that is too short has nothing there."""
        if isinstance(said, tuple):
            parts = [self.column(part, key) for part in said]
            return lambda row: " > ".join(text for part in parts if (text := part(row)))
        if isinstance(said, int):
            index = said - 1
        elif said in self._heading:
            index = self._heading[said]
        else:
            raise MappingError(
                f"{key}: the table has no column {said!r}; it has {', '.join(reversed(self._heading)) or 'none'}"
            )

        def get(row: Row) -> str:
            return row[index] if index < len(row) else ""

        return get

    def receipt(self, group: list[Numbered]) -> Found:
        """One receipt from its rows."""
        number, first = group[0]
        try:
            return Found(number, self._receipt(group, first))
        except _Wrong as wrong:
            raw = "\n".join(self.mapping.delimiter.join(row) for _, row in group[:200])
            return Found(number, None, wrong.field, wrong.problem, raw[:100_000])

    def _receipt(self, group: list[Numbered], first: Row) -> Receipt:
        layout = self.mapping.layout
        rows = group
        if layout:
            which = self.column(layout.column, "layout.column")
            if which(first).strip() != layout.header:
                raise _Wrong("layout", f"row {group[0][0]} is a line without a header")
            rows = group[1:]
            for number, row in rows:
                if which(row).strip() != layout.line:
                    raise _Wrong("layout", f"row {number} is neither header nor line: {which(row)[:40]!r}")
        said = self._kind(first)
        back = -1 if said in ("return", "void") and not self.mapping.negative_returns else 1
        lines = tuple([self._read_line(no, number, row, back) for no, (number, row) in enumerate(rows, 1)])
        discount = self._money_of("discount", first, 0) * back
        if self.mapping.discount_sign == "negative":
            discount = -discount
        net = sum([line.amount for line in lines]) - discount
        store = self._text("store", first) or self._place.store
        original = self._text("original", first)
        return Receipt(
            receipt_uid=self._text("receipt_uid", first),
            store=store,
            till=self._text("till", first),
            at_us=self._at(first),
            kind=said,
            currency=self._text("currency", first) or self._place.currency or "",
            total=self._money_of("total", first, None) * back if "total" in self.head else net,
            lines=lines,
            cashier=self._text("cashier", first) or None,
            business_date=self._business_date(first),
            original=Original(original, self._text("original_store", first) or store) if original else None,
            member_ref=self._member(first),
            discounts=(Discount(discount),) if discount else (),
            source=self._place.source,
        )

    def _read_line(self, no: int, number: int, row: Row, back: int) -> Line:
        text = self._qty_of(row)
        qty = self._qty.get(text)
        if qty is None:
            qty = self._remember_qty(text, number)
        amount = self._line_money(self._amount, "amount", number, row) if self._amount else None
        if qty == 0 and amount and self.mapping.zero_is_one:
            qty = 1000
        price = self._line_money(self._unit_price, "unit_price", number, row) if self._unit_price else None
        discount = self._line_money(self._discount, "line_discount", number, row) if self._discount else None
        if discount is not None and self.mapping.discount_sign == "negative":
            discount = -discount
        if discount is not None:
            discount = abs(discount) if qty < 0 or back < 0 else discount
        if price is None:
            if amount is None:
                raise _Wrong("amount", f"row {number}: neither amount nor unit price")
            gross = abs(amount) + (discount or 0)
            # The price rounded up gives the amount or a little more, and that little is told as a discount.
            price = -(-gross * 1000 // abs(qty)) if qty else gross
            discount = (discount or 0) + (abs(qty) * price + 500) // 1000 - gross
        elif amount is None:
            product = (abs(qty) * price + 500) // 1000 - (discount or 0)
            amount = product if qty >= 0 else -product
        elif discount is None:
            discount = price_and_discount(qty, price, amount)
        if self._line_no:
            found = scaled(self._line_no(row), 0)
            if found is None:
                raise _Wrong("line_no", f"row {number}: {self._line_no(row)[:40]!r} is no number")
            no = found
        return Line(no, self._sku(row), self._name(row), self._category(row), qty * back, price, discount or 0,
                    amount * back)  # fmt: skip

    def _line_money(self, column: Column, field: str, number: int, row: Row) -> int:
        text = column(row)
        value = self._money.get(text)
        if value is not None:
            return value
        value = scaled(text, self.mapping.money_digits, self.mapping.decimal, self.mapping.thousands)
        if value is None:
            raise _Wrong(field, f"row {number}: {text[:40]!r} is no amount of money")
        if len(self._money) < REMEMBERED:
            self._money[text] = value
        return value

    def _remember_qty(self, text: str, number: int) -> int:
        digits = 3 if self.mapping.qty_unit == "pieces" else 0
        qty = scaled(text, digits, self.mapping.decimal, self.mapping.thousands)
        if qty is None:
            raise _Wrong("qty", f"row {number}: {text[:40]!r} is no quantity")
        if len(self._qty) < REMEMBERED:
            self._qty[text] = qty
        return qty

    def _text(self, field: str, row: Row) -> str:
        column = self.head.get(field)
        return (column(row).strip() if column else "") or self.mapping.constants.get(field, "")

    def _money_of(self, field: str, row: Row, otherwise: int | None) -> int:
        text = self._text(field, row)
        if not text and otherwise is not None:
            return otherwise
        value = scaled(text, self.mapping.money_digits, self.mapping.decimal, self.mapping.thousands)
        if value is None:
            raise _Wrong(field, f"{text[:40]!r} is no amount of money")
        return value

    def _kind(self, row: Row) -> Kind:
        text = self._text("kind", row)
        kind = self._kinds.get(text.lower())
        if kind is None:
            raise _Wrong("kind", f"{text[:40]!r} is no kind; the mapping's `kinds` says which texts are")
        return kind

    def _at(self, row: Row) -> int:
        text = self._text("at", row) or f"{self._text('date', row)} {self._text('time', row)}".strip()
        try:
            return local_us(datetime.strptime(text, self.mapping.date_format), self._zone)  # noqa: DTZ007
        except (ValueError, OverflowError):
            form = self.mapping.date_format
            raise _Wrong("at", f"{text[:40]!r} is no time of the form {form!r}") from None

    def _business_date(self, row: Row) -> str | None:
        text = self._text("business_date", row)
        if not text:
            return None
        for form in ("%Y-%m-%d", self.mapping.date_format.split(" ")[0].split("T")[0]):
            try:
                return datetime.strptime(text, form).date().isoformat()  # noqa: DTZ007
            except ValueError:
                continue
        raise _Wrong("business_date", f"{text[:40]!r} is no date")

    def _member(self, row: Row) -> MemberRef | None:
        for kind in ("card", "phone"):
            value = self._text(kind, row)
            if value:
                return MemberRef(kind, value)
        return None
