"""How many sales have a known customer, and the stores where that share has fallen."""

from datetime import date
from typing import Literal

from psycopg import Connection
from psycopg.rows import TupleRow

from cloud import db
from cloud.receipts.models import Fall, IdentifiedRow

sql = db.statements("cloud.receipts")

FALL_PP = 5.0
"""Percentage points under the mean of the 28 days before: more is no chance of the day in a store of 300 sales."""
By = Literal["store", "till", "cashier", "day"]


def shares(
    conn: Connection[TupleRow], tenant: str, by: By, first: date, last: date, store: str | None
) -> list[IdentifiedRow]:
    """Sales and how many of them are identified, of the business days first to last."""
    values = {"tenant": tenant, "by": by, "first": first, "last": last, "store": store}
    rows = conn.execute(sql.identified, values)
    return [IdentifiedRow(what=what, receipts=n, identified=known, share=known / n) for what, n, known in rows]


def falls(conn: Connection[TupleRow], tenant: str, day: date) -> list[Fall]:
    """Stores whose share on that day is more than FALL_PP under their mean."""
    found = []
    for store, receipts, identified, mean in conn.execute(sql.identified_fall, {"tenant": tenant, "day": day}):
        share = int(identified) / int(receipts)
        fall_pp = 100 * (mean - share)
        if fall_pp > FALL_PP + 1e-9:  # exactly five, but for the rounding of a float, is not more than five
            found.append(Fall(store=store, share=share, mean=mean, fall_pp=fall_pp))
    return found
