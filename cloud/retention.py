"""What comes and goes with time: days of raw rows are made ahead and dropped whole, the rest is deleted by its age."""

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from cloud import db

log = logging.getLogger(__name__)
sql = db.statements("cloud.database")
inventory_sql = db.statements("cloud.inventory")

DAY_TABLES = ("sighting", "position")
AHEAD_DAYS = 2
"""Days that are there before anything is stored in them, so that no ingest transaction makes one: a worker may be away
for a day and more until ingest has to do it itself."""
RAW = timedelta(days=30)
"""Windows and positions, by whole days; what they add up to (visits, maps of days, zones by five minutes) stays."""
TAGS = timedelta(days=400)
"""Events of tags, so that a year can be compared with the one before; and tags that are gone."""
PSEUDONYMS = timedelta(hours=24)
"""Of devices that are nobody's: the CNIL's limit for pseudonyms that nobody agreed to."""
LEDGER = timedelta(days=100)
"""Names of batches, in real time since they were stored: longer than a node is offline."""
LETTERS = timedelta(days=30)
"""Dead letters hold windows that nobody could read."""
COUNTED = timedelta(days=3)
"""How late a node may come for its windows to be counted by the hour; the continuous aggregate's own span."""


def make_days(conn: psycopg.Connection[Any], now_us: int) -> None:
    """Make today's and the next days of raw rows where they are missing."""
    today = _day(now_us)
    for table in DAY_TABLES:
        for ahead in range(AHEAD_DAYS + 1):
            conn.execute("SELECT ensure_day(%s, %s)", (table, today + timedelta(days=ahead)))


def forget(conn: psycopg.Connection[Any], now_us: int) -> dict[str, int]:
    """Drop and delete what is older than it may be kept; returns how much of what. Each part commits for itself.

    A day that somebody reads for long (a backup) is left for the next time: waiting for it would hold up ingest.
    """
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    gone = {}
    for table in DAY_TABLES:
        try:
            gone[f"days of {table}"] = _counted(conn, "SELECT drop_days(%s, %s)", (table, (now - RAW).date()))
        except psycopg.errors.LockNotAvailable:
            log.info("days of %s are being read and stay until the next time", table)
    gone["windows of pseudonyms"] = _counted(conn, "SELECT forget_pseudonyms(%s)", (now - PSEUDONYMS,))
    before = {"before": int((now - TAGS).timestamp() * 1e6)}
    gone["events of tags"] = conn.execute(inventory_sql.forget_events, before).rowcount
    gone["tags that are gone"] = conn.execute(inventory_sql.forget_gone, before).rowcount
    gone["names of batches"] = conn.execute(sql.forget_batches, {"age": LEDGER}).rowcount
    gone["dead letters"] = conn.execute(sql.forget_letters, {"age": LETTERS}).rowcount
    for what, count in gone.items():
        if count:
            log.info("forgot %d %s", count, what)
    return gone


def count_hours(conn: psycopg.Connection[Any], now_us: int) -> None:
    """Bring `node_hour` up to date for the days that have grown."""
    conn.execute("SELECT count_hours(%s)", (_day(now_us) - COUNTED,))


def _day(now_us: int) -> date:
    return datetime.fromtimestamp(now_us / 1e6, UTC).date()


def _counted(conn: psycopg.Connection[Any], call: str, values: tuple[object, ...]) -> int:
    row = conn.execute(call.encode(), values).fetchone()
    return int(row[0]) if row and row[0] else 0
