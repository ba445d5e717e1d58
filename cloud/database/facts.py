"""What can be seen of the database, in a few short queries that change nothing and wait for nobody."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection

from cloud import db
from cloud.database.path import on_timescale

sql = db.statements("cloud.database")

# There only where the extension is.
FAILED_JOBS = """
SELECT j.proc_name || ' of ' || coalesce(j.hypertable_name, 'the database'), s.total_failures
FROM timescaledb_information.jobs j JOIN timescaledb_information.job_stats s USING (job_id)
WHERE s.last_run_status = 'Failed' ORDER BY 1
"""


class Server(NamedTuple):
    """The server and this database."""

    version: str
    number: int
    """170004 is 17.4."""
    user: str
    sees_all: bool
    """Whether row security shows this user all tenants."""
    timescale_available: str | None
    timescale: str | None
    """The version that is created in this database."""
    licence: str | None
    """The extension's: `timescale`, or `apache` for the edition without columnstore and continuous aggregates."""
    settings: Mapping[str, str]
    """As in pg_settings: sizes in the setting's own unit."""
    connections: int
    transactions_old: int
    """How many transactions ago the oldest row was frozen; at 2 thousand million the server stops."""
    bytes: int


class Role(NamedTuple):
    name: str
    may_login: bool
    mighty: bool
    """May pass row security, or make roles, databases or replicas."""


class Table(NamedTuple):
    name: str
    bytes: int
    rows: int
    protected: bool
    """Row security is on and forced."""
    app_may: bool


class Day(NamedTuple):
    table: str
    day: date
    bytes: int
    rows: int
    """As last estimated; 0 where never."""


class Waiting(NamedTuple):
    batches: int
    triggers: int
    """Of which the story is told a minute and more, and that nobody decided."""
    receipts: int
    """Of which the story is told an hour and more, and whose visit nobody looked for."""


class Store(NamedTuple):
    name: str
    demo: bool
    located_until: datetime | None
    holder_beat_s: float | None
    """Seconds since its locator beat; None for a store that nobody holds."""


class Hearing(NamedTuple):
    node: str
    windows: int
    """On the newest whole day, of things that stay."""
    before: float
    """The mean of the days of the week before."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen. What a migration has yet to make, or the user may not see, is empty."""

    now: datetime
    """By the stores' story where all are simulated."""
    server: Server
    known: tuple[str, ...]
    """Migrations of this build, on the path that this database is on."""
    applied: tuple[str, ...] | None
    """None where the table of them cannot be read."""
    roles: list[Role]
    tables: list[Table]
    days: list[Day]
    invalid_indexes: list[str]
    waiting: Waiting
    letters: dict[str, int]
    stores: list[Store]
    hearing: list[Hearing]
    failed_jobs: list[tuple[str, int]]


def read_facts(conn: Connection[Any]) -> Facts:
    """Look around. The connection commits each statement; no statement may take longer than 20 s."""
    conn.execute("SET statement_timeout = '20s'")
    conn.execute("SET lock_timeout = '2s'")
    server = Server(*_rows(conn, sql.server)[0])
    applied = _try(conn, sql.applied)
    files = tuple(row[0] for row in applied) if applied is not None else None
    known = tuple(file for file, _ in db.migrations(on_timescale(files or (), server.licence)))
    stores = [Store(*row) for row in _try(conn, sql.stores) or []]
    now = _now(stores)
    waiting = _try(conn, sql.waiting)
    failed = _try(conn, FAILED_JOBS) if server.timescale else []
    return Facts(
        now,
        server,
        known,
        files,
        [Role(*row) for row in _rows(conn, sql.roles)],
        [Table(*row) for row in _rows(conn, sql.tables)] if _has_roles(conn) else [],
        [Day(*row) for row in _try(conn, sql.days) or []],
        [row[0] for row in _rows(conn, sql.invalid_indexes)],
        Waiting(*waiting[0]) if waiting else Waiting(0, 0, 0),
        dict(_try(conn, sql.letters) or []),
        stores,
        [Hearing(*row) for row in _try(conn, sql.hearing, {"today": now.date()}) or []],
        [(row[0], row[1]) for row in failed or []],
    )


def _now(stores: list[Store]) -> datetime:
    told = [store.located_until for store in stores if store.demo and store.located_until is not None]
    return max(told) if told and all(store.demo for store in stores) else datetime.now(UTC)


def _has_roles(conn: Connection[Any]) -> bool:
    return any(row[0] == "aisle_app" for row in _rows(conn, sql.roles))


def _rows(conn: Connection[Any], statement: Any, values: Mapping[str, object] | None = None) -> list[Any]:
    return conn.execute(statement, values).fetchall()


def _try(conn: Connection[Any], statement: Any, values: Mapping[str, object] | None = None) -> list[Any] | None:
    """None where a table or a right is missing, or the answer takes too long: other checks say why."""
    try:
        return _rows(conn, statement, values)
    except (psycopg.errors.ProgrammingError, psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
        return None
