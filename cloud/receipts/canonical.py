"""The one receipt that every format becomes, version 1: money in minor units, quantities in thousandths."""

import hashlib
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["sale", "return", "void", "correction"]
VERSION = 1


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line as it was printed; in a return, quantity and amount are negative."""

    line_no: int
    sku: str
    name: str
    category: str
    """Path of names from the widest to the narrowest, with ` > ` between."""
    qty: int
    """Thousandths: 1000 is one piece, 2474 are 2.474 kg."""
    unit_price: int
    """Of one piece, kilogram or litre."""
    discount: int
    """Of the whole line, never negative: a return gives it back."""
    amount: int
    """qty × unit_price ÷ 1000 − discount, rounded half away from zero."""


class Discount(msgspec.Struct, frozen=True):
    """Taken off the whole receipt; negative where a return gives it back."""

    amount: int
    reason: str = ""


class Tender(msgspec.Struct, frozen=True):
    """One way in which it was paid; change is a negative one."""

    kind: str
    amount: int


class MemberRef(msgspec.Struct, frozen=True):
    """Whom the till recognised, as it said so."""

    kind: str
    """card, phone, app or tag."""
    value: str


class Original(msgspec.Struct, frozen=True):
    """The receipt that a return, void or correction is about."""

    receipt_uid: str
    store: str


class Receipt(msgspec.Struct, frozen=True):
    """What was paid, returned or undone at a till."""

    receipt_uid: str
    """Unique in its store."""
    store: str
    till: str
    at_us: int
    """When it was paid: microseconds since 1970 UTC."""
    kind: Kind
    currency: str
    total: int
    """The lines' amounts less the receipt's discounts."""
    lines: tuple[Line, ...]
    """A void may have none: it then takes back every line of its original."""
    cashier: str | None = None
    business_date: str | None = None
    """YYYY-MM-DD; None: the store's day of `at_us`."""
    original: Original | None = None
    member_ref: MemberRef | None = None
    discounts: tuple[Discount, ...] = ()
    tenders: tuple[Tender, ...] = ()
    """None told, or together the total."""
    coupon_codes: tuple[str, ...] = ()
    source: str = "api"
    """Where it came from. The only field that is no content: the same receipt may come by two ways."""


class Found(NamedTuple):
    """What an importer made of one receipt's place in its source: a receipt, or why not."""

    line: int
    """Where it begins, counted from 1: the line of a text, the row of a table, the receipt of a list."""
    receipt: Receipt | None
    field: str = ""
    problem: str = ""
    raw: str = ""
    """What stood there, where no receipt could be made of it."""
    store: str = ""
    """Whose it is then; empty where nobody knows."""


_packer = msgspec.msgpack.Encoder()


def digest(receipt: Receipt) -> bytes:
    """SHA-256 of the content: equal for the same receipt from another source, in any process."""
    r = receipt
    content = (
        r.receipt_uid,
        r.store,
        r.till,
        r.at_us,
        r.kind,
        r.currency,
        r.total,
        r.lines,
        r.cashier,
        r.business_date,
    )
    more = (r.original, r.member_ref, r.discounts, r.tenders, r.coupon_codes)
    return hashlib.sha256(_packer.encode((VERSION, *content, *more))).digest()
