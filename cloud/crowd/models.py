"""Counted heads as they enter, estimates as they leave: every figure says that it is one."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class HeadCount(BaseModel):
    """Everybody in the store at an instant, counted by hand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_us: int = Field(ge=0, lt=4_102_444_800_000_000, description="Microseconds since 1970 UTC.")
    people: int = Field(ge=0, le=100_000)


class CrowdCalibration(BaseModel):
    """What counts of devices stand for in this store."""

    calibrated: bool
    """Whether heads were counted while nodes listened; if not, estimates are of devices, not of people."""
    method: Literal["none", "ratio", "forest"]
    source: Literal["wifi", "stations", "ble"]
    counts: int
    """Counted spans of five minutes that it rests on."""
    people_per_device: float
    error_people: float | None
    """Mean error on days left out; null until heads were counted on two days."""
    fitted_at_us: int | None


class Estimate(BaseModel):
    """An estimate, or the k that it is less than; both null where nothing is known."""

    estimate: float | None
    less_than: int | None
    low: float | None
    high: float | None
    """From low to high the truth is meant to lie in 80 of 100 cases."""


class CrowdSlot(Estimate):
    """How many were there at once, the mean of a step."""

    at_us: int
    """When the step begins."""


class Footfall(Estimate):
    """How many came in the whole time: the time that people spent by how long one stays; somebody who comes twice is
    two. Never a number of unique visitors: phones change their addresses so that nobody can count those."""

    told_share: float
    """Of the time, that nodes told of; the rest counts as nobody."""
    stay_s: float
    stay_known: bool
    """Whether it is the mean of recognised visits here, or assumed."""


class Crowd(BaseModel):
    """Estimates of a store's occupancy and footfall, from counts that name nobody."""

    of: Literal["people", "devices"]
    """`devices` while the store is not calibrated."""
    calibration: CrowdCalibration
    drift: bool
    """Whether devices stand for another number of people than when heads were counted: count again."""
    drift_reasons: list[str]
    step_s: int
    occupancy: list[CrowdSlot]
    footfall: Footfall
