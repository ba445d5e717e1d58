"""Segments, offers, campaigns and results as they enter and leave."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud.conditions.tree import Condition
from cloud.places.models import Name


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Segment(_Model):
    segment: Name
    name: str = Field(max_length=200)
    condition: Condition


class Offer(_Model):
    offer: Name
    name: str = Field(max_length=200)
    title: str = Field(max_length=80)
    body: str = Field(max_length=300)
    category: str = Field(max_length=200)
    """What must be bought; also the outcome that is measured."""
    discount_bp: int = Field(ge=0, le=10_000)
    """Hundredths of a percent: 2000 is 20 %."""
    ttl_s: int = Field(default=600, ge=10, le=600)


class Campaign(_Model):
    """Dwells in the zone for so long, is in the segment: gets the offer. One in ten gets nothing, to compare with."""

    campaign: Name
    name: str = Field(max_length=200)
    store: Name
    zone: Name
    dwell_s: int = Field(ge=1, le=3600)
    segment: Name
    offer: Name
    control_share: float = Field(default=0.10, ge=0.05, le=0.5)


class CampaignRow(Campaign):
    state: Literal["draft", "running", "stopped"]


class Arm(BaseModel):
    n: int
    bought: int
    rate: float | None


class Result(BaseModel):
    """What a campaign did: the lift first."""

    decided: int
    sent: int
    ghosts: int
    shown: int
    clicked: int
    used: int
    refused: dict[str, int]
    target: Arm
    control: Arm
    lift_pp: float | None
    ci_low_pp: float | None
    ci_high_pp: float | None
    verdict: Literal["works", "harms", "unknown"]
    note: str
