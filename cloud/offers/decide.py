"""From a trigger that is due to what follows from it: decision, contact, coupon and push in one transaction."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row
from pydantic import TypeAdapter

from cloud import db
from cloud.conditions.compile import compile_condition
from cloud.conditions.tree import Condition
from cloud.offers.gate import Verdict, pass_gate

sql = db.statements("cloud.offers")
_condition: TypeAdapter[Condition] = TypeAdapter(Condition)

COUPON_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""No letters or digits that a cashier may read wrong."""


@dataclass(frozen=True, slots=True)
class Due:
    """A presence in a campaign's zone that has, or would have, lasted the campaign's dwell."""

    presence_id: int
    tenant_id: str
    campaign: str
    store_id: str
    visit_id: int
    member_id: UUID
    due_at: datetime
    tz: str
    stayed: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """A running campaign as it was asked for."""

    campaign: str
    name: str
    zone: str
    zone_name: str
    dwell_s: int
    control_share: float
    salt: str
    condition: Any
    offer: str
    title: str
    body: str
    ttl_s: int


def decide_due(conn: Connection[Any], now_us: int, limit: int = 100, history_until_us: int = 0) -> int:
    """Decide the triggers that are due; returns how many were taken. Each is a transaction of its own.

    What a node told too late for the offer to be of use is refused; not so in a demo's fast-forwarded past, which ends
    at `history_until_us`.
    """
    taken = 0
    while taken < limit:
        with conn.transaction(), conn.cursor(row_factory=class_row(Due)) as cursor:
            due = cursor.execute(sql.due, {"now": now_us, "limit": 1}).fetchone()
            if due is None:
                break
            conn.execute(sql.done, {"presence": due.presence_id, "campaign": due.campaign})
            _decide(conn, due, now_us if due.due_at.timestamp() * 1e6 > history_until_us else None)
            taken += 1
    return taken


def _decide(conn: Connection[Any], due: Due, now_us: int | None) -> None:
    """`now_us` is when an offer would go out, None for "in time"."""
    key: dict[str, Any] = {"tenant": due.tenant_id, "campaign": due.campaign, "visit": due.visit_id}
    conn.execute(sql.lock_member, {"tenant": due.tenant_id, "member": str(due.member_id)})
    wanted = _wanted(conn, due)
    if not due.stayed or wanted is None or conn.execute(sql.decided, key).fetchone():
        return
    if not in_segment(conn, due.tenant_id, due.member_id, wanted.condition, due.due_at):
        return
    if now_us is not None and now_us > due.due_at.timestamp() * 1e6 + wanted.ttl_s * 1e6:
        verdict = Verdict("refused", "too late", None)
    else:
        verdict = pass_gate(
            conn, due.tenant_id, due.member_id, due.visit_id, due.due_at, due.tz, wanted.salt, wanted.control_share
        )
    key |= {"member": due.member_id, "presence": due.presence_id, "at": due.due_at}
    row = conn.execute(
        sql.decide, key | {"outcome": verdict.outcome, "reason": verdict.reason, "arm": verdict.arm}
    ).fetchone()
    assert row is not None
    if verdict.outcome == "sent":
        _send(conn, wanted, key | {"decision": row[0]})


def _wanted(conn: Connection[Any], due: Due) -> Wanted | None:
    row = conn.execute(sql.campaign, {"tenant": due.tenant_id, "campaign": due.campaign}).fetchone()
    return Wanted(*row) if row else None


def _send(conn: Connection[Any], wanted: Wanted, key: dict[str, Any]) -> None:
    contact = conn.execute(sql.contact, key).fetchone()
    assert contact is not None
    code = "".join(secrets.choice(COUPON_LETTERS) for _ in range(10))
    why = f"You were at {wanted.zone_name} for {wanted.dwell_s} seconds and agreed to offers in the store."
    offer = {"offer": wanted.offer, "title": wanted.title, "body": wanted.body, "ttl_s": wanted.ttl_s, "why": why}
    key = key | offer | {"contact": contact[0], "code": code}
    conn.execute(sql.coupon, key)
    push = conn.execute(sql.push, key).fetchone()
    assert push is not None
    conn.execute(sql.tell_push, {"tenant": key["tenant"], "member": str(key["member"]), "push": str(push[0])})


def in_segment(conn: Connection[Any], tenant: str, member: UUID, condition: object, at: datetime) -> bool:
    """Whether the condition holds for a member at an instant."""
    compiled = compile_condition(_condition.validate_python(condition))
    row = conn.execute(
        "SELECT coalesce((" + compiled.sql + "), false) FROM member m"
        " WHERE m.tenant_id = %(tenant)s AND m.member_id = %(member)s",
        compiled.params | {"tenant": tenant, "member": member, "now": at},
    ).fetchone()
    return bool(row and row[0])
