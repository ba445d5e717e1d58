"""What is forgotten, and when: raw windows and positions by whole days, tags that are gone, strangers within a day."""

import logging
from datetime import UTC, datetime, timedelta

import psycopg

from cloud import db

log = logging.getLogger(__name__)
inventory_sql = db.statements("cloud.inventory")

RAW = timedelta(days=30)
"""Windows and positions, by whole days; what they add up to (visits, heat) stays."""
TAGS = timedelta(days=400)
"""Events of tags, so that a year can be compared with the one before; and tags that are gone."""
PSEUDONYMS = timedelta(hours=24)
"""Of devices that are nobody's: the CNIL's limit for pseudonyms that nobody agreed to."""


def forget(conn: psycopg.Connection, now_us: int) -> None:
    """Drop and delete what is older than it may be kept."""
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    for table in ("sighting", "position"):
        days = _counted(conn, "SELECT drop_days(%s, %s)", (table, (now - RAW).date()))
        _say(days, f"days of {table}")
    _say(_counted(conn, "SELECT forget_pseudonyms(%s)", (now - PSEUDONYMS,)), "windows of pseudonyms")
    before = {"before": int((now - TAGS).timestamp() * 1e6)}
    _say(conn.execute(inventory_sql.forget_events, before).rowcount, "events of tags")
    _say(conn.execute(inventory_sql.forget_gone, before).rowcount, "tags that are gone")


def _counted(conn: psycopg.Connection, call: str, values: tuple[object, ...]) -> int:
    row = conn.execute(call.encode(), values).fetchone()
    return int(row[0]) if row and row[0] else 0


def _say(count: int, what: str) -> None:
    if count:
        log.info("forgot %d %s", count, what)
