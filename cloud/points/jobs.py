"""The ledger's upkeep: what is due is written for reports, yesterday is closed, and the books are looked through."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from cloud import db
from cloud.points import service

log = logging.getLogger(__name__)
sql = db.statements("cloud.points")


def keep_points(conn: Connection[Any], now_us: int) -> int:
    """Sweep each tenant's ledger and close yesterday; returns how many things were due. Each part commits."""
    yesterday = datetime.fromtimestamp(now_us / 1e6, UTC).date() - timedelta(days=1)
    swept = 0
    for (tenant,) in conn.execute(sql.tenants).fetchall():
        while due := _sweep(conn, tenant, now_us):
            swept += due
        with conn.transaction():
            service.bind(conn, tenant)
            service.close_day(conn, yesterday, at_us=now_us)
    for invariant, tenant, detail in service.faults(conn):
        log.error("points of %s: %s does not hold: %s", tenant, invariant, detail)
    return swept


def _sweep(conn: Connection[Any], tenant: str, now_us: int) -> int:
    with conn.transaction():
        service.bind(conn, tenant)
        return service.sweep(conn, at_us=now_us)
