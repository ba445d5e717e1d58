"""Occupancy and footfall without identity, and the counts of heads that calibrate them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from cloud.access import Call, allow
from cloud.analytics.kfloor import K_COUNT
from cloud.crowd import service
from cloud.crowd.models import Crowd, CrowdCalibration, CrowdSlot, Footfall, HeadCount
from cloud.places.models import Name

router = APIRouter(prefix="/v1/stores/{store}/crowd", tags=["crowd"])

Reader = Annotated[Call, allow("analyst", "marketer", "technician", "admin")]
Instant = Annotated[int, Query(ge=0, lt=4_102_444_800_000_000)]


@router.post("/counts")
def put_count(store: Name, count: HeadCount, call: Reader, request: Request) -> CrowdCalibration:
    """Heads counted at an instant, told again to correct them; answers with what all counts say together."""
    by, now_us = call.principal.login or "", request.app.state.clock.now_us()
    return _calibration(service.put_count(call.conn, call.tenant, store, count.at_us, count.people, by, now_us))


@router.get("")
def crowd(
    store: Name,
    call: Reader,
    request: Request,
    from_us: Instant,
    to_us: Instant,
    step: Annotated[int, Query(ge=300, le=3600, multiple_of=300, description="Seconds.")] = 600,
) -> Crowd:
    """How many people were in the store at once, and how many came: estimates, with intervals.

    Fewer than five are told as that. Of a store where nobody counted heads, devices are told.
    """
    found = service.occupancy(call.conn, call.tenant, store, from_us, to_us, step, request.app.state.clock.now_us())
    footfall = found.footfall
    return Crowd(
        of="people" if found.calibration.matched else "devices",
        calibration=_calibration(found.calibration),
        drift=bool(found.drift),
        drift_reasons=found.drift,
        step_s=step,
        occupancy=[CrowdSlot(at_us=one.at_us, **_floored(one.people, one.low, one.high)) for one in found.slots],
        footfall=Footfall(
            told_share=footfall.told_share,
            stay_s=footfall.stay_s,
            stay_known=footfall.stay_known,
            **_floored(footfall.visits, footfall.low, footfall.high),
        ),
    )


def _calibration(found: service.Calibration) -> CrowdCalibration:
    return CrowdCalibration(
        calibrated=found.matched > 0,
        method=found.method,
        source=found.source,
        counts=found.matched,
        people_per_device=found.ratio.people_per_device,
        error_people=found.error_people,
        fitted_at_us=found.fitted_us,
    )


def _floored(value: float | None, low: float, high: float) -> dict[str, Any]:
    """To a tenth. An estimate never says that nobody was there: below k it is "less than k", and so is its interval."""
    if value is None:
        return {"estimate": None, "less_than": None, "low": None, "high": None}
    if value < K_COUNT:
        return {"estimate": None, "less_than": K_COUNT, "low": None, "high": None}
    return {"estimate": round(value, 1), "less_than": None, "low": round(low, 1), "high": round(high, 1)}
