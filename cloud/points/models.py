"""Points as they are told: to members, staff, analysts. Amounts are programme units (`scale` digits of a point)."""

from datetime import date
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MOST = 10**12
"""Units that one operation may move: far from the 64 bits that a balance has."""


class Returns(StrEnum):
    """What a return takes back of the points that its goods had earned."""

    ONLY_PENDING = "only_pending"
    """What is not spendable yet, nothing else."""
    WITHIN_BALANCE = "within_balance"
    """What is left of them, then other points, as far as there are any."""
    UNLIMITED = "unlimited"
    """All: the rest is owed, and the next points pay it."""


class Due(BaseModel):
    """Points that expire, or turn spendable, on one day."""

    day: date
    amount: int


class WalletBalance(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    wallet: str
    name: str
    balance: int
    """All spendable points, those that are held too; below zero while a return is owed."""
    available: int
    """What may be spent now."""
    held: int
    pending: int
    expiries: list[Due]
    """Every day on which spendable points will expire, nearest first."""
    activations: list[Due]
    """When pending points become spendable; those that wait for something to happen have no day and are not here."""


class Balances(BaseModel):
    scale: int
    """Digits after the point: at 2, 150 units are 1.50 points."""
    wallets: list[WalletBalance]


class Movement(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    movement: int
    at_us: int
    wallet: str
    kind: str
    amount: int
    """Added to the balance; 0 for points that were awarded pending."""
    pending: int
    """Added to the pending points."""
    balance: int
    """The wallet's balance after it."""
    receipt: str | None
    rule: str | None
    reason: str
    expires_us: int | None
    """Of points that came: when they expire, null for never and for what is not known before the activation."""


class NewAdjustment(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    amount: int = Field(ge=-MOST, le=MOST)
    """Units: above zero credits, below debits."""
    reason: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    """A code by which cases are counted, such as `sorry` or `rule-missing`."""
    note: str = Field(default="", max_length=500)
    wallet: str = Field(default="main", max_length=63)
    expires_us: int | None = Field(default=None, gt=0, lt=4_102_444_800_000_000)


class Adjusted(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    adjustment: int
    state: Literal["posted", "waiting", "rejected"]
    """`waiting` until a second person approves it."""


class AdjustmentRow(BaseModel):
    adjustment: int
    card: str | None
    wallet: str
    amount: int
    reason: str
    note: str
    state: str
    asked_by: str
    asked_at_us: int
    decided_by: str | None
    decided_at_us: int | None


class Liability(BaseModel):
    """What is outstanding and what it will cost, for each wallet and each partner who pays for it ('' is the house)."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    wallet: str
    funder: str
    issued: int
    """Net of what returns took back."""
    outstanding: int
    """Spendable and pending, of all members."""
    cost: int
    """outstanding × (1 − expected breakage) × what a point is worth, in minor units of money, rounded up."""


class Reason(BaseModel):
    """Manual credits of one reason: a rule that covered it would have saved them."""

    reason: str
    credits: int
    amount: int


class LiabilityReport(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    scale: int
    breakage: float | None
    """The share of issued points that is expected to expire; null before a month's awards are all resolved."""
    rows: list[Liability]
    adjusted: int
    """Units that staff added, less what they took."""
    manual_share: float
    """Manual credits as a share of all credits, by count. At most 0.01 is good."""
    manual_reasons: list[Reason]


class Cohort(BaseModel):
    """What became of a month's awards."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    month: date
    issued: int
    """Net of what returns took back."""
    redeemed: int
    expired: int
    open: int
    breakage: float
    """expired ÷ issued."""
    unusual: bool
    """All of it resolved, and the breakage outside 15–20 %."""


class BreakageReport(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)
    cohorts: list[Cohort]
    share: float | None
    """Expected of awards that are still open; null before a month is resolved."""
    low: float
    """95 % interval of `share`."""
    high: float
    open: int
    expected_to_expire: int | None


class Statement(BaseModel):
    """A closed day."""

    day: date
    transfers: int
    issued: int
    redeemed: int
    expired: int
    adjusted: int
    outstanding: int
    digest: str
