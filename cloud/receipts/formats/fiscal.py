"""Russian fiscal receipts: the JSON that the tax service and the fiscal data operators give (FFD), and the QR code.

Names of the fields as in public samples of both; sums are in kopecks, quantities decimal. A document has its name by
three numbers: of the fiscal drive, of the document in it, and its sign.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import BinaryIO, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from cloud.errors import Invalid
from cloud.receipts.canonical import Discount, Found, Kind, Line, Receipt, Tender
from cloud.receipts.formats.mapping import zone_of
from cloud.receipts.formats.table import Place
from cloud.receipts.formats.values import local_us, price_and_discount, scaled, scaled_number

WRAPPERS = ("receipt", "document", "ticket", "data", "json", "content")
"""What operators put around the document."""
CORRECTIONS = (31, 41)
"""Form codes of a correction: of a receipt, and of the form that stands in for one."""
TENDERS = {"cashTotalSum": "cash", "ecashTotalSum": "card", "prepaymentSum": "prepayment", "creditSum": "credit",
           "provisionSum": "other"}  # fmt: skip
ROUNDING = 100
"""Kopecks: shops round the sum down to the rouble, which no line tells."""
_decoder = msgspec.json.Decoder(float_hook=Decimal)


class NotFiscal(Invalid):
    """The file is no JSON of fiscal documents."""


class FiscalKey(NamedTuple):
    """What a fiscal QR code says: enough to find the one receipt it was printed on."""

    receipt_uid: str
    """fn-i-fp."""
    at: datetime
    """The till's wall clock; seconds are 0 where the code does not tell them."""
    has_seconds: bool
    total: int
    """Kopecks; negative for a return, as the stored receipt's."""
    kind: Kind


def key_of_qr(text: str) -> FiscalKey | None:
    """A fiscal QR code's text, `t=20190418T2116&s=3943.26&fn=…&i=…&fp=…&n=1`; None if it is none."""
    if len(text) > 300:
        return None
    pairs = [part.partition("=") for part in text.strip().split("&")]
    said = {name: value for name, _, value in pairs}
    if len(said) != len(pairs) or not {"t", "s", "fn", "i", "fp", "n"} <= said.keys():
        return None
    total = scaled(said["s"], 2)
    kind = {"1": "sale", "2": "return"}.get(said["n"])
    at = _wall(said["t"])
    numbers = [said[name] for name in ("fn", "i", "fp")]
    if total is None or total < 0 or kind is None or at is None:
        return None
    if not all(re.fullmatch("[0-9]{1,16}", number) for number in numbers):
        return None
    sold = kind == "sale"
    return FiscalKey(uid_of(*map(int, numbers)), at, len(said["t"]) == 15, total if sold else -total,
                     "sale" if sold else "return")  # fmt: skip


def uid_of(drive: int, document: int, sign: int) -> str:
    """fn-i-fp without leading zeros: the code and the document write them differently."""
    return f"{drive}-{document}-{sign}"


def read(stream: BinaryIO, place: Place) -> Iterator[Found]:
    """Receipts of a file: one document, a list of them, or one a line. Raises NotFiscal."""
    zone = zone_of(place.zone)
    for number, value in _documents(stream.read()):
        document = _unwrapped(value)
        try:
            found = Found(number, _receipt(document, zone, place))
        except _Wrong as wrong:
            found = Found(number, None, wrong.field, str(wrong), _raw(value))
        yield found


class _Wrong(Exception):
    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


def _documents(content: bytes) -> Iterator[tuple[int, object]]:
    content = content.removeprefix(b"\xef\xbb\xbf").strip()
    try:
        whole = _decoder.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ArithmeticError) as error:
        if b"\n" not in content:
            raise NotFiscal(str(error)[:200]) from None
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.strip():
                yield number, _decoded(line, number)
        return
    if isinstance(whole, list):
        yield from enumerate(whole, 1)
    else:
        yield 1, whole


def _decoded(line: bytes, number: int) -> object:
    try:
        found: object = _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ArithmeticError) as error:
        raise NotFiscal(f"line {number}: {str(error)[:200]}") from None
    return found


def _unwrapped(value: object) -> dict[str, object]:
    """The document itself, whatever an operator put around it."""
    for _ in range(len(WRAPPERS) + 1):
        if not isinstance(value, dict):
            return {}
        inner = next((value[name] for name in WRAPPERS if isinstance(value.get(name), dict)), None)
        if "items" in value or inner is None:
            return value
        value = inner
    return {}


def _receipt(document: dict[str, object], zone: ZoneInfo, place: Place) -> Receipt:
    operation = document.get("operationType")
    if operation not in (1, 2):
        purchase = operation in (3, 4)
        raise _Wrong(
            "operationType", "the shop bought, nobody shopped" if purchase else f"{operation!r} is none of 1, 2"
        )
    kind: Kind = "sale" if operation == 1 else "return"
    back = 1 if operation == 1 else -1
    if document.get("receiptCode", document.get("code")) in CORRECTIONS:
        kind = "correction"
    items = document.get("items")
    if not isinstance(items, list) or not items:
        raise _Wrong("items", "no items")
    lines = tuple(_line(no, item, back) for no, item in enumerate(items, 1))
    total = _int(document, "totalSum")
    less = sum(line.amount for line in lines) * back - total
    tenders = tuple(
        Tender(word, back * amount)
        for name, word in TENDERS.items()
        if document.get(name) is not None and (amount := _int(document, name))
    )
    return Receipt(
        receipt_uid=uid_of(
            _int(document, "fiscalDriveNumber"), _int(document, "fiscalDocumentNumber"), _int(document, "fiscalSign")
        ),
        store=place.store,
        till=str(document.get("kktRegId") or "").strip()[:100],
        at_us=_at(document.get("dateTime"), zone),
        kind=kind,
        currency="RUB",
        total=total * back,
        lines=lines,
        cashier=str(document.get("operator") or "").strip()[:100] or None,
        discounts=(Discount(less * back, "rounded to the rouble"),) if 0 < less < ROUNDING else (),
        tenders=tenders,
        source=place.source,
    )


def _line(no: int, item: object, back: int) -> Line:
    if not isinstance(item, dict):
        raise _Wrong("items", f"item {no} is no object")
    name = str(item.get("name") or "").strip()[:300]
    amount, price = _int(item, "sum", no), _int(item, "price", no)
    told = item.get("quantity", 1)
    if isinstance(told, bool) or not isinstance(told, int | Decimal) or (qty := scaled_number(told, 3)) is None:
        raise _Wrong("quantity", f"item {no}: {told!r} is no quantity")
    # A fiscal document knows no article numbers: the printed code if there is one, else the name stands for it.
    sku = str(item.get("barcode") or item.get("gtin") or name)[:100]
    discount = price_and_discount(qty, price, amount)
    return Line(no, sku, name, "", qty * back, price, discount, amount * back)


def _int(source: dict[str, object], name: str, item: int | None = None) -> int:
    """A whole number, also where it comes as a text."""
    value = source.get(name)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value.strip()):
        return int(value)
    if isinstance(value, Decimal) and abs(value) < 10**18 and value == value.to_integral_value():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        return value
    where = f"item {item}: " if item else ""
    raise _Wrong(name, f"{where}{value!r} is no whole number" if value is not None else f"{where}is missing")


def _at(value: object, zone: ZoneInfo) -> int:
    """The till's wall clock: as a text, or as seconds that count it as if it were UTC."""
    wall: datetime | None = None
    if isinstance(value, int) and 0 < value < 4_102_444_800:
        wall = datetime(1970, 1, 1) + timedelta(seconds=value)  # noqa: DTZ001
    elif isinstance(value, str):
        wall = _wall(value)
    if wall is None:
        raise _Wrong("dateTime", f"{value!r} is no time" if value is not None else "is missing")
    try:
        return local_us(wall, zone)
    except (OverflowError, ValueError):
        raise _Wrong("dateTime", f"{value!r} is no time") from None


def _wall(text: str) -> datetime | None:
    """20190418T211655, 20190418T2116 and 2019-04-18T21:16:55."""
    for form in ("%Y%m%dT%H%M%S", "%Y%m%dT%H%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"):
        try:
            found = datetime.strptime(text, form)  # noqa: DTZ007
        except ValueError:
            continue
        if found.strftime(form) == text:  # strptime also takes 2019041T…, with one digit fewer
            return found
    return None


def _raw(value: object) -> str:
    return msgspec.json.encode(value).decode()[:100_000]
