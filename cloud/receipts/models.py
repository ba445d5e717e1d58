"""The canonical receipt, version 1: money in minor units, quantities in thousandths."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Money = int


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


class Receipt(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    receipt_uid: str = Field(min_length=1, max_length=100)
    """Unique in its store: sent twice, it is stored once."""
    store: str
    till: str = Field(max_length=100)
    at_us: int = Field(gt=0, lt=4_102_444_800_000_000)
    """When it was paid: microseconds since 1970 UTC."""
    kind: Literal["sale", "return"]
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    total: Money
    """The sum of the lines' amounts, in minor units."""
    card: str | None = None
    coupon_codes: list[str] = Field(default=[], max_length=20)
    lines: list[Line] = Field(min_length=1, max_length=2_000)


class ReceiptBatch(BaseModel):
    receipts: list[Receipt] = Field(min_length=1, max_length=1_000)


class Stored(BaseModel):
    stored: int
    duplicates: int


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
