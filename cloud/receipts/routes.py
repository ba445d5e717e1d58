"""Receipts over HTTP: in from the tills, what was not taken and why, and how many name their customer."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request

from cloud import db
from cloud.access import Call, allow
from cloud.errors import Invalid, NotAllowed, NotFound
from cloud.places.models import Name
from cloud.places.service import store_row
from cloud.receipts import identified, service
from cloud.receipts.canonical import Found
from cloud.receipts.check import problems
from cloud.receipts.models import (
    Identified,
    Quarantined,
    ReceiptBatch,
    ReceiptRow,
    Retried,
    Retry,
    State,
    Stored,
)

router = APIRouter(prefix="/v1/receipts", tags=["receipts"])
sql = db.statements("cloud.receipts")

Staff = Annotated[Call, allow("analyst", "marketer", "admin")]
Mender = Annotated[Call, allow("marketer", "admin")]
BIGINT = 2**63 - 1


@router.post("", response_model_exclude_defaults=True)
def post_receipts(body: ReceiptBatch, call: Annotated[Call, allow("till")], request: Request) -> Stored:
    """Store receipts, all or none. Sending one again changes nothing; a wrong sum is refused with its line.

    Another content under a stored name is quarantined; a return whose sale is not known yet waits for it.
    """
    own = call.principal.store
    for receipt in body.receipts:
        if own is not None and receipt.store != own:
            raise NotAllowed(f"this key is for store {own!r}")
    receipts = [receipt.canonical() for receipt in body.receipts]
    known = service.known_stores(call.conn, call.tenant, (r.store for r in receipts))
    now_us: int = request.app.state.clock.now_us()
    wrong = [p for i, receipt in enumerate(receipts) for p in problems(receipt, f"receipts[{i}].", known, now_us)]
    if wrong:
        raise Invalid(f"{len(wrong)} mistakes; nothing was stored", tuple(wrong))
    taken = service.store(call.conn, call.tenant, [Found(0, receipt) for receipt in receipts], "api")
    call.conn.execute(sql.tell_receipt, {"tenant": call.tenant})
    return _stored(taken)


@router.get("")
def receipts(
    store: Name,
    call: Staff,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[ReceiptRow]:
    """The newest receipts of a store and how they were joined to visits."""
    store_row(call.conn, call.tenant, store)
    rows = call.conn.execute(sql.receipts, {"tenant": call.tenant, "store": store, "limit": limit})
    return [ReceiptRow(**dict(zip(ReceiptRow.model_fields, row, strict=True))) for row in rows]


@router.get("/quarantine")
def quarantine(
    call: Staff,
    state: Annotated[list[State] | None, Query()] = None,
    store: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")] = None,
    before: Annotated[int | None, Query(ge=0, le=BIGINT)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[Quarantined]:
    """Receipts that were not taken, the newest first; without `state` those that still wait for somebody."""
    values = {"tenant": call.tenant, "states": state or ["parked", "refused"], "store": store, "before": before}
    rows = call.conn.execute(sql.quarantined, values | {"limit": limit})
    return [Quarantined(**dict(zip(Quarantined.model_fields, row, strict=True))) for row in rows]


@router.post("/quarantine/retry", response_model_exclude_defaults=True)
def retry_all(call: Mender, request: Request) -> Retried:
    """Offer everything in quarantine once more: after a store was made, say. Nothing is stored twice."""
    taken = service.retry(call.conn, call.tenant, request.app.state.clock.now_us())
    call.conn.execute(sql.tell_receipt, {"tenant": call.tenant})
    return _retried(taken)


@router.post("/quarantine/{quarantine_id}/retry", response_model_exclude_defaults=True)
def retry_one(quarantine_id: int, body: Retry, call: Mender, request: Request) -> Retried:
    """Offer one receipt once more, as it came or as staff mended it."""
    mended = body.receipt.canonical() if body.receipt else None
    _waiting(call, quarantine_id)
    taken = service.retry(call.conn, call.tenant, request.app.state.clock.now_us(), [quarantine_id], mended)
    call.conn.execute(sql.tell_receipt, {"tenant": call.tenant})
    return _retried(taken)


@router.post("/quarantine/{quarantine_id}/discard", status_code=204)
def discard(quarantine_id: int, call: Mender) -> None:
    """This one will not be stored. The row stays and tells who said so."""
    _waiting(call, quarantine_id)
    service.discard(call.conn, call.tenant, quarantine_id, call.principal.login or call.principal.kind)


@router.get("/identified")
def identified_share(
    call: Staff,
    first: date,
    last: date,
    by: identified.By = "day",
    store: Name | None = None,
) -> Identified:
    """Sales whose customer is known among all sales of the business days `first` to `last`."""
    if store is not None:
        store_row(call.conn, call.tenant, store)
    elif by in ("till", "cashier"):
        raise Invalid(f"say which store: a {by} has its name in a store only")
    rows = identified.shares(call.conn, call.tenant, by, first, last, store)
    return Identified(rows=rows, alerts=identified.falls(call.conn, call.tenant, last))


def _waiting(call: Call, quarantine_id: int) -> None:
    """Raises NotFound unless the row is there and still waits for somebody."""
    values = {"tenant": call.tenant, "quarantine_id": quarantine_id if abs(quarantine_id) <= BIGINT else 0}
    if call.conn.execute(sql.is_waiting, values).fetchone() is None:
        raise NotFound(f"nothing waits in quarantine under {quarantine_id}")


def _stored(taken: service.Taken) -> Stored:
    return Stored(stored=taken.stored, duplicates=taken.duplicates, parked=taken.parked, quarantined=taken.quarantined)


def _retried(taken: service.Taken) -> Retried:
    return Retried(**_stored(taken).model_dump())
