"""The member's inbox in the database."""

from typing import Any
from uuid import UUID

from psycopg import Connection

from cloud import db
from cloud.push.models import InboxItem, Mark

sql = db.statements("cloud.push")


def inbox(conn: Connection[Any], tenant: str, member: UUID, now_us: int, after: int = 0) -> list[InboxItem]:
    """What the member was sent since push `after`, newest first."""
    rows = conn.execute(sql.inbox, {"tenant": tenant, "member": member, "now": now_us, "after": after})
    return [InboxItem(**dict(zip(InboxItem.model_fields, row, strict=True))) for row in rows]


def mark(conn: Connection[Any], tenant: str, member: UUID, push_id: int, said: Mark, now_us: int) -> bool:
    """Take down that a push was shown, clicked or dismissed; False if the member has no such push."""
    at = min(said.at_us or now_us, now_us)
    values = {"tenant": tenant, "member": member, "push": push_id, "state": said.state, "at": at, "now": now_us}
    return conn.execute(sql.mark, values).fetchone() is not None
