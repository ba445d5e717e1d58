"""The database: numbered migrations, named statements, and connections that wait for a server that is away."""

import logging
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from types import SimpleNamespace
from typing import Any, LiteralString

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from cloud.database.path import on_timescale

log = logging.getLogger(__name__)

MIGRATION = re.compile(r"(\d{4})_[a-z_]+(\.plain|\.timescale)?\.sql")
STATEMENT = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_MIGRATION_LOCK = 4_715_001  # any constant: two migrations started at once take turns


@cache
def statements(package: str) -> SimpleNamespace:
    """The statements of `package`/queries.sql by name: each begins with `-- name: NAME` and a sentence."""
    parts = STATEMENT.split(resources.files(package).joinpath("queries.sql").read_text("utf-8"))
    return SimpleNamespace(**{name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)})


def migrations(timescale: bool) -> list[tuple[str, str]]:
    """Name and text of each migration file that applies, in order: the plain twin or the TimescaleDB twin."""
    other = ".plain.sql" if timescale else ".timescale.sql"
    files = sorted(
        (f for f in resources.files("cloud.migrations").iterdir() if MIGRATION.fullmatch(f.name)), key=_order
    )
    return [(f.name, f.read_text("utf-8")) for f in files if not f.name.endswith(other)]


def _order(file: Any) -> tuple[str, int]:
    """0003_x.sql before its twins 0003_x.plain.sql and 0003_x.timescale.sql."""
    return file.name[:4], file.name.count(".")


def migrate(dsn: str) -> list[str]:
    """Bring the database to this build's schema; returns the files applied. Each runs once, in its own transaction."""
    applied = []
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        conn.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (file text PRIMARY KEY, applied_at timestamptz DEFAULT now())"
        )
        done = {row[0] for row in conn.execute("SELECT file FROM schema_migration")}
        for file, text in migrations(on_timescale(done, licence(conn))):
            if file in done:
                continue
            try:
                with conn.transaction():
                    conn.execute(text)
                    conn.execute("INSERT INTO schema_migration (file) VALUES (%s)", (file,))
            except psycopg.Error as error:
                raise RuntimeError(f"migration {file}: {error}") from error
            applied.append(file)
    return applied


def licence(conn: Connection[Any]) -> str | None:
    """The licence of TimescaleDB in this database; None without the extension."""
    row = conn.execute(
        "SELECT current_setting('timescaledb.license', true) FROM pg_extension WHERE extname = 'timescaledb'"
    ).fetchone()
    return row[0] if row else None


def connect(dsn: str, process: str, *, autocommit: bool = False) -> Connection[TupleRow]:
    """A connection, waited for as long as it takes: one line when the database is away, one when it is back."""
    delay, said = 0.2, False
    while True:
        try:
            conn = psycopg.connect(dsn, autocommit=autocommit, connect_timeout=5, application_name=f"aisle {process}")
        except psycopg.OperationalError as error:
            if not said:
                log.warning("database away, retrying: %s", str(error).strip().splitlines()[-1])
                said = True
            time.sleep(random.uniform(delay / 2, delay))
            delay = min(delay * 2, 5.0)
            continue
        if said:
            log.warning("database is back")
        return conn


@contextmanager
def listening(dsn: str, process: str, *channels: LiteralString) -> Iterator[Connection[TupleRow]]:
    """A connection of its own that hears NOTIFY on the channels: `for note in conn.notifies(timeout=…)`."""
    with connect(dsn, process, autocommit=True) as conn:
        for channel in channels:
            conn.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
        yield conn


def signed(unsigned: int) -> int:
    """An unsigned 64-bit number as the signed one of the same bits, PostgreSQL's bigint."""
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned
