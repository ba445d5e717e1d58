"""An offer as the member's app gets it."""

from typing import Literal

from pydantic import BaseModel, Field


class InboxItem(BaseModel):
    push_id: int
    title: str
    body: str
    offer: str
    coupon: str
    state: Literal["sent", "shown", "clicked", "dismissed", "used", "expired"]
    sent_us: int
    expires_us: int
    why: str


class Mark(BaseModel):
    state: Literal["shown", "clicked", "dismissed"]
    at_us: int | None = Field(default=None, gt=0, lt=4_102_444_800_000_000)
    """When it happened on the device; now if absent, in the future, or before the push was sent."""
