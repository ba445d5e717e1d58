"""Points over HTTP: what members see of theirs, what staff adjust, what analysts are told."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Request

from cloud.access import Call, allow
from cloud.errors import Invalid, NotFound
from cloud.members.models import Card
from cloud.points import report, service
from cloud.points.models import (
    Adjusted,
    AdjustmentRow,
    Balances,
    BreakageReport,
    LiabilityReport,
    Movement,
    NewAdjustment,
)

router = APIRouter(tags=["points"])

Member = Annotated[Call, allow("member")]
Adjuster = Annotated[Call, allow("marketer", "admin")]
Analyst = Annotated[Call, allow("analyst", "marketer", "admin")]
Number = Annotated[int, Query(ge=1, lt=2**63)]


@router.get("/app/v1/points")
def points(request: Request, call: Member) -> Balances:
    """The member's wallets: balance, pending, and every day on which something expires."""
    return service.balance(call.conn, call.tenant, call.member_id, at_us=request.app.state.clock.now_us())


@router.get("/app/v1/points/history")
def history(
    request: Request, call: Member, before: Number | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[Movement]:
    """Every movement, newest first; `before` is the last movement of the page before."""
    now_us = request.app.state.clock.now_us()
    return service.history(call.conn, call.tenant, call.member_id, at_us=now_us, before=before, limit=limit)


@router.post("/v1/members/{card}/adjustments", status_code=201)
def adjust(
    card: Card,
    body: NewAdjustment,
    request: Request,
    call: Adjuster,
    idempotency_key: Annotated[str, Header(min_length=1, max_length=150)],
) -> Adjusted:
    """Credit or debit points by hand, with a reason. Above the programme's amount a second person must approve it."""
    if body.amount == 0:
        raise Invalid("an adjustment of nothing")
    row = call.conn.execute(service.sql.member_of_card, {"tenant": call.tenant, "card": card}).fetchone()
    if row is None:
        raise NotFound(f"no member has card {card}")
    done = service.adjust(
        call.conn,
        row[0],
        body.amount,
        key=f"adjust:{idempotency_key}",
        at_us=request.app.state.clock.now_us(),
        reason=body.reason,
        note=body.note,
        actor=_actor(call),
        expires_us=body.expires_us,
        wallet=body.wallet,
    )
    return Adjusted(adjustment=done.number, state="waiting" if done.waiting else "posted")


@router.get("/v1/points/adjustments")
def adjustments(
    call: Adjuster,
    state: Literal["waiting", "posted", "rejected"] = "waiting",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AdjustmentRow]:
    """What staff credited and debited, or what waits for a second person."""
    return service.adjustments(call.conn, call.tenant, state, limit)


@router.post("/v1/points/adjustments/{adjustment}/{decision}", status_code=204)
def decide(
    adjustment: Annotated[int, Path(ge=0, lt=2**63)],
    decision: Literal["approve", "reject"],
    request: Request,
    call: Adjuster,
) -> None:
    """The second person's word; whoever asked for it may only take it back."""
    now_us = request.app.state.clock.now_us()
    service.decide(call.conn, adjustment, approve=decision == "approve", at_us=now_us, actor=_actor(call))


@router.get("/v1/points/liability")
def liability(call: Analyst) -> LiabilityReport:
    """What is outstanding and what it will cost, by wallet and by the partner who pays for it."""
    return report.liability(call.conn, call.tenant)


@router.get("/v1/points/breakage")
def breakage(call: Analyst) -> BreakageReport:
    """Which share of each month's points expired unused, and what to expect of those that are open."""
    return report.breakage(call.conn, call.tenant)


def _actor(call: Call) -> str:
    """Who did it: the login, or the credential's digest where there is none."""
    return call.principal.login or f"key:{call.principal.secret_sha256.hex()[:16]}"
