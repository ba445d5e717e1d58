"""The one gate that every contact passes: consent, holdout, arm, quiet hours, caps; in this order, in one transaction.

The order is the measurement's: who is in the control arm is drawn before quiet hours and caps are asked, so both arms
are everybody who reached the trigger. A refusal is a decision too, kept with its reason.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg import Connection

from cloud import db

sql = db.statements("cloud.offers")

UNIVERSAL_HOLDOUT = 0.03
"""Members who get no marketing at all, so that the programme itself can be measured."""
HOLDOUT_SALT = "universal holdout 1"

QUIET_FROM, QUIET_UNTIL = time(21), time(9)
"""Local time in which no proximity message goes out; it is given up, not delayed."""

CAPS = (("1 a visit", 1), ("4 h apart", 1), ("1 a day", 1), ("2 in 7 days", 2))
"""Rolling caps of proximity offers, in the order of the columns of `contacts_of`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says."""

    outcome: Literal["sent", "ghost", "refused"]
    reason: str
    arm: Literal["target", "control"] | None


def pass_gate(
    conn: Connection[Any],
    tenant: str,
    member: UUID,
    visit: int,
    at: datetime,
    tz: str,
    salt: str,
    control_share: float,
) -> Verdict:
    """Whether a member may be sent a proximity offer at an instant. Locks the member until the transaction ends."""
    key: dict[str, Any] = {"tenant": tenant, "member": str(member), "visit": visit, "at": at}
    conn.execute(sql.lock_member, key)
    if not _one(conn, sql.may_contact, key):
        return Verdict("refused", "no consent", None)
    if _one(conn, sql.is_staff, key):
        return Verdict("refused", "staff", None)
    if share_of(HOLDOUT_SALT, member) < UNIVERSAL_HOLDOUT:
        return Verdict("refused", "universal holdout", None)
    if share_of(salt, member) < control_share:
        return Verdict("ghost", "control group", "control")
    if is_quiet(at, tz):
        return Verdict("refused", "quiet hours", "target")
    counts = conn.execute(sql.contacts_of, key).fetchone()
    assert counts is not None
    for (cap, most), count in zip(CAPS, counts, strict=True):
        if count >= most:
            return Verdict("refused", f"cap: {cap}", "target")
    return Verdict("sent", "passed all gates", "target")


def share_of(salt: str, member: UUID) -> float:
    """A member's fixed place in [0, 1) for a salt: the first 8 bytes of SHA-256(salt:member), by ten-thousandths."""
    digest = hashlib.sha256(f"{salt}:{member}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10_000 / 10_000


def is_quiet(at: datetime, tz: str) -> bool:
    """Whether an instant lies in the quiet hours of the store's local time."""
    local = at.astimezone(ZoneInfo(tz)).time()
    return local >= QUIET_FROM or local < QUIET_UNTIL


def _one(conn: Connection[Any], statement: Any, key: dict[str, Any]) -> Any:
    row = conn.execute(statement, key).fetchone()
    return row[0] if row else None
