"""Receipts over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from cloud import db
from cloud.access import Call, allow
from cloud.errors import Invalid, NotAllowed
from cloud.places.models import Name
from cloud.places.service import store_row
from cloud.receipts.check import problems
from cloud.receipts.models import Receipt, ReceiptBatch, ReceiptRow, Stored

router = APIRouter(prefix="/v1/receipts", tags=["receipts"])
sql = db.statements("cloud.receipts")


@router.post("")
def post_receipts(body: ReceiptBatch, call: Annotated[Call, allow("till")]) -> Stored:
    """Store receipts, all or none. Sending one again changes nothing; a wrong sum is refused with its line."""
    own = call.principal.store
    for receipt in body.receipts:
        if own is not None and receipt.store != own:
            raise NotAllowed(f"this key is for store {own!r}")
    stores = list({r.store for r in body.receipts})
    known = frozenset(row[0] for row in call.conn.execute(sql.known_stores, {"tenant": call.tenant, "stores": stores}))
    wrong = [p for i, receipt in enumerate(body.receipts) for p in problems(receipt, i, known)]
    if wrong:
        raise Invalid(f"{len(wrong)} mistakes; nothing was stored", tuple(wrong))
    stored = sum(_store(call, receipt) for receipt in body.receipts)
    call.conn.execute(sql.tell_receipt, {"tenant": call.tenant})
    return Stored(stored=stored, duplicates=len(body.receipts) - stored)


def _store(call: Call, receipt: Receipt) -> bool:
    values = receipt.model_dump(exclude={"lines"}) | {"tenant": call.tenant}
    row = call.conn.execute(sql.put_receipt, values).fetchone()
    if row is None:
        return False
    key: dict[str, Any] = {"tenant": call.tenant, "receipt": row[0]}
    with call.conn.cursor() as cursor:
        cursor.executemany(sql.put_line, [line.model_dump() | key for line in receipt.lines])
    if receipt.coupon_codes and receipt.kind == "sale":
        call.conn.execute(sql.use_coupons, key | {"codes": receipt.coupon_codes, "at_us": receipt.at_us})
    return True


@router.get("")
def receipts(
    store: Name,
    call: Annotated[Call, allow("analyst", "marketer", "admin")],
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> list[ReceiptRow]:
    """The newest receipts of a store and how they were joined to visits."""
    store_row(call.conn, call.tenant, store)
    rows = call.conn.execute(sql.receipts, {"tenant": call.tenant, "store": store, "limit": limit})
    return [ReceiptRow(**dict(zip(ReceiptRow.model_fields, row, strict=True))) for row in rows]
