"""Visits over HTTP: when, through which zones, and what was bought. Members appear by the end of their card number."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from cloud import db
from cloud.access import Call, allow
from cloud.places.models import Name
from cloud.places.service import store_row

router = APIRouter(prefix="/v1/stores/{store}/visits", tags=["visits"])
sql = db.statements("cloud.visits")


class ZoneStay(BaseModel):
    zone: str
    dwell_s: int


class JoinedReceipt(BaseModel):
    receipt_uid: str
    total: int
    currency: str
    confidence: float
    reason: str


class Visit(BaseModel):
    visit_id: int
    started_us: int
    ended_us: int | None
    member: str
    zones: list[ZoneStay]
    receipt: JoinedReceipt | None


@router.get("")
def visits(
    store: Name,
    call: Annotated[Call, allow("analyst", "marketer", "admin")],
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[Visit]:
    """The newest visits of members who consent to being recognised."""
    store_row(call.conn, call.tenant, store)
    rows = call.conn.execute(sql.visits, {"tenant": call.tenant, "store": store, "limit": limit})
    return [
        Visit(
            visit_id=visit,
            started_us=started,
            ended_us=ended,
            member=f"…{card[-4:]}",
            zones=zones,
            receipt=JoinedReceipt(**dict(zip(JoinedReceipt.model_fields, receipt, strict=True)))
            if receipt[0]
            else None,
        )
        for visit, started, ended, card, zones, *receipt in rows
    ]
