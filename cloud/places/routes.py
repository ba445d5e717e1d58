"""Stores and their plans over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from cloud import db
from cloud.access import STAFF_ROLES, Call, allow
from cloud.places import service
from cloud.places.models import Fitted, Heard, Name, Plan, Store, Survey

router = APIRouter(prefix="/v1/stores", tags=["places"])
sql = db.statements("cloud.places")

Staff = Annotated[Call, allow(*STAFF_ROLES)]
Instant = Annotated[int, Query(ge=0, le=4_102_444_800_000_000, description="Microseconds since 1970 UTC.")]
Technician = Annotated[Call, allow("technician", "admin")]


@router.get("")
def stores(call: Staff) -> list[Store]:
    """The stores one may look at."""
    return [
        Store(store=s, name=n, tz=tz, demo=demo)
        for s, n, tz, demo in call.conn.execute(sql.stores, {"tenant": call.tenant})
    ]


@router.put("/{store}", status_code=204)
def put_plan(store: Name, plan: Plan, call: Technician) -> None:
    """Make a store or replace its plan."""
    service.put_plan(call.conn, call.tenant, store, plan)


@router.get("/{store}/plan")
def read_plan(store: Name, call: Staff) -> Plan:
    """Floors, zones, nodes and beacons of a store."""
    return service.read_plan(call.conn, call.tenant, store)


@router.put("/{store}/floors/{floor}/survey")
def put_survey(store: Name, floor: Name, survey: Survey, call: Technician) -> Fitted:
    """Fit the floor's radio map from what the nodes heard of the surveyor's tag at known places."""
    return service.put_survey(call.conn, call.tenant, store, floor, survey)


@router.get("/{store}/heard")
def heard(
    store: Name,
    uuid: UUID,
    major: Annotated[int, Query(ge=0, le=65535)],
    minor: Annotated[int, Query(ge=0, le=65535)],
    from_us: Instant,
    to_us: Instant,
    call: Technician,
) -> list[Heard]:
    """What each node heard of an enrolled asset beacon, for a walk test: a span of ten minutes at most."""
    return service.heard(call.conn, call.tenant, store, (uuid, major, minor), from_us, to_us)
