"""Receipts as they travel over HTTP: money in minor units, quantities in thousandths."""

from datetime import date
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cloud.places.models import Name
from cloud.receipts import canonical

Money = int
State = Literal["parked", "refused", "stored", "discarded"]


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    line_no: int = Field(ge=1, le=10_000)
    sku: str = Field(max_length=100)
    name: str = Field(max_length=300)
    category: str = Field(max_length=200)
    qty: int = Field(ge=-(10**9), le=10**9)
    """Thousandths: 1000 is one piece, 2474 are 2.474 kg."""
    unit_price: Money = Field(ge=0, le=10**12)
    """Of one piece, kilogram or litre, in minor units: 299 are 2.99 EUR."""
    discount: Money = Field(default=0, ge=0, le=10**12)
    """Of the whole line, in minor units."""
    amount: Money
    """qty × unit_price ÷ 1000 − discount, rounded half away from zero."""


class Discount(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    amount: Money = Field(ge=-(10**15), le=10**15)
    """Taken off the whole receipt; negative where a return gives it back."""
    reason: str = Field(default="", max_length=300)


class Tender(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    kind: str = Field(max_length=50)
    """cash, card, points, …"""
    amount: Money = Field(ge=-(10**15), le=10**15)
    """Change is a tender of its own, negative."""


class MemberRef(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["card", "phone", "app", "tag"]
    value: str = Field(min_length=1, max_length=100)


class Original(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    receipt_uid: str = Field(min_length=1, max_length=100)
    store: Name | None = None
    """None: the same store."""


class Receipt(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    receipt_uid: str = Field(min_length=1, max_length=100)
    """Unique in its store: sent twice, it is stored once; with another content it is quarantined."""
    store: str
    till: str = Field(max_length=100)
    at_us: int = Field(gt=0, lt=4_102_444_800_000_000)
    """When it was paid: microseconds since 1970 UTC."""
    kind: canonical.Kind
    """A return's quantities and amounts are negative. A void without lines takes back all of its original."""
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    total: Money = Field(ge=-(2**63), lt=2**63)
    """The sum of the lines' amounts less the receipt's discounts, in minor units."""
    card: str | None = Field(default=None, max_length=100)
    """The same as a member_ref of the kind card."""
    member_ref: MemberRef | None = None
    coupon_codes: list[str] = Field(default=[], max_length=20)
    lines: list[Line] = Field(max_length=2_000)
    cashier: str | None = Field(default=None, max_length=100)
    business_date: date | None = None
    """None: the store's day of `at_us`."""
    original: Original | None = None
    """What a return, void or correction is about. One that is not known yet is waited for."""
    discounts: list[Discount] = Field(default=[], max_length=100)
    tenders: list[Tender] = Field(default=[], max_length=50)
    """How it was paid; if told, together the total."""
    source: str = Field(default="api", max_length=100)

    @model_validator(mode="after")
    def _one_member(self) -> Self:
        if self.card is not None and self.member_ref is not None:
            raise ValueError("say card or member_ref, not both")
        return self

    def canonical(self) -> canonical.Receipt:
        """The receipt as every format gives it."""
        ref = canonical.MemberRef("card", self.card) if self.card else None
        if self.member_ref:
            ref = canonical.MemberRef(self.member_ref.kind, self.member_ref.value)
        original = None
        if self.original:
            original = canonical.Original(self.original.receipt_uid, self.original.store or self.store)
        return canonical.Receipt(
            receipt_uid=self.receipt_uid,
            store=self.store,
            till=self.till,
            at_us=self.at_us,
            kind=self.kind,
            currency=self.currency,
            total=self.total,
            lines=tuple(canonical.Line(**line.model_dump()) for line in self.lines),
            cashier=self.cashier,
            business_date=self.business_date.isoformat() if self.business_date else None,
            original=original,
            member_ref=ref,
            discounts=tuple(canonical.Discount(d.amount, d.reason) for d in self.discounts),
            tenders=tuple(canonical.Tender(t.kind, t.amount) for t in self.tenders),
            coupon_codes=tuple(self.coupon_codes),
            source=self.source,
        )


class ReceiptBatch(BaseModel):
    receipts: list[Receipt] = Field(min_length=1, max_length=1_000)


class Stored(BaseModel):
    """What became of the receipts. What is not named did not happen."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    stored: int
    """Also those that had waited for one of these."""
    duplicates: int
    """There already, with the same content."""
    parked: int = 0
    """Waiting for the receipt that they take back."""
    quarantined: int = 0
    """Kept aside: another content is stored under the same name."""


class Quarantined(BaseModel):
    """A receipt that was not taken, and why."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    quarantine_id: int
    store: str | None
    receipt_uid: str | None
    source: str
    line: int | None
    """Where it begins in the file it came from."""
    state: State
    reason: str
    """A word to group by: the field that is wrong, `unreadable`, `contradicts` or `original`."""
    field: str | None
    detail: str
    at_us: int
    payload: dict[str, Any]
    """The canonical receipt, or `{"raw": …}` where none could be made of it."""


class Retry(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    receipt: Receipt | None = None
    """Mended by staff, in place of what came."""


class Retried(Stored):
    """What became of quarantined receipts."""


class IdentifiedRow(BaseModel):
    what: str
    receipts: int
    identified: int
    share: float


class Fall(BaseModel):
    """A store whose share of identified sales fell under its own mean."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    store: str
    share: float
    mean: float
    """Of the daily shares of the 28 days before."""
    fall_pp: float


class Identified(BaseModel):
    rows: list[IdentifiedRow]
    alerts: list[Fall]
    """Stores more than 5 percentage points under their mean on the last day asked for."""


class ReceiptRow(BaseModel):
    receipt_uid: str
    till: str
    at_us: int
    kind: str
    currency: str
    total: Money
    join_state: str
    confidence: float | None
    reason: str | None
