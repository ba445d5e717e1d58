"""Visits over HTTP: when, through which zones, and what was bought. Members appear by the end of their card number."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from cloud import db
from cloud.access import Call, allow
from cloud.places.models import Name
from cloud.places.service import store_row
from cloud.visits.rules import PRESETS, Rule

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


class VisitRule(BaseModel):
    """What a visit is in a store; it holds for days that are not told yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ends_after_s: int = Field(
        ge=300, le=21_600, description="Who comes back within so many seconds goes on with the visit."
    )
    at_midnight: bool = Field(default=False, description="Whether every visit ends with the local day.")
    shortest_s: int = Field(default=0, ge=0, le=3600, description="A shorter visit passed by.")
    longest_s: int = Field(default=14_400, ge=600, le=86_400, description="A longer one is staff's.")
    engaged_s: int = Field(default=30, ge=1, le=3600, description="Seconds at a shelf after which somebody is engaged.")


class VisitRules(BaseModel):
    """A store's rule, the name of the preset that it is, and all presets."""

    rule: VisitRule
    preset: str | None
    presets: dict[str, VisitRule]


@router.get("/rule")
def visit_rule(store: Name, call: Annotated[Call, allow("analyst", "marketer", "admin")]) -> VisitRules:
    """What a visit is in this store, and what it is elsewhere."""
    store_row(call.conn, call.tenant, store)
    row = call.conn.execute(sql.visit_rule, {"tenant": call.tenant, "store": store}).fetchone()
    rule = Rule(*row) if row else Rule()
    return VisitRules(
        rule=VisitRule(**asdict(rule)),
        preset=next((name for name, preset in PRESETS.items() if preset == rule), None),
        presets={name: VisitRule(**asdict(preset)) for name, preset in PRESETS.items()},
    )


@router.put("/rule", status_code=204)
def put_visit_rule(store: Name, rule: VisitRule, call: Annotated[Call, allow("analyst", "admin")]) -> None:
    """Say what a visit is in this store, from the next day on that is told."""
    store_row(call.conn, call.tenant, store)
    call.conn.execute(sql.put_visit_rule, {"tenant": call.tenant, "store": store} | rule.model_dump())
