"""Receipts to visits: by the card, else by who stood at the till; every join keeps its confidence and its reason."""

from datetime import timedelta
from typing import Any

from psycopg import Connection

from cloud import db

sql = db.statements("cloud.receipts")

GIVE_UP = timedelta(minutes=30)
"""How far past the receipt the locator's story must be before the search ends."""
AFTER_TILL = timedelta(seconds=60)
"""A presence at the till must be told to its end before rivals can be counted."""

BY_CARD = 0.98
"""A card is shown by its holder; a visit of the same member at that minute is the same person."""
ALONE_AT_TILL = 0.75


def join_receipts(conn: Connection[Any]) -> int:
    """Join what can be joined now; returns how many. One transaction, opened by the caller."""
    joined = []
    for receipt, tenant, store, at, member, located_until in conn.execute(sql.open_receipts).fetchall():
        key = {"tenant": tenant, "store": store, "at": at, "member": member, "receipt": receipt}
        found = _visit(conn, key, settled=located_until >= at + AFTER_TILL)
        if found:
            visit, confidence, reason = found
            conn.execute(sql.join_visit, key | {"visit": visit, "confidence": confidence, "reason": reason})
            conn.execute(sql.set_join_state, {"receipt": receipt, "state": "joined"})
            joined.append(receipt)
        elif located_until >= at + GIVE_UP:
            conn.execute(sql.set_join_state, {"receipt": receipt, "state": "unmatched"})
    if joined:
        conn.execute(sql.count_conversions, {"receipts": joined})
    return len(joined)


def _visit(conn: Connection[Any], key: dict[str, Any], *, settled: bool) -> tuple[int, float, str] | None:
    if key["member"] is not None:
        row = conn.execute(sql.visit_by_card, key).fetchone()
        return (row[0], BY_CARD, "card of the visiting member") if row else None
    if not settled:
        return None
    row = conn.execute(sql.visits_at_till, key).fetchone()
    if row is None:
        return None
    visit, rivals = row
    reason = "alone at the till" if rivals == 1 else f"nearest in time of {rivals} at the till"
    return visit, ALONE_AT_TILL / rivals, reason
