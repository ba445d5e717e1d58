"""Whether the database is as it should be: facts in, findings out, each with the command that mends it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from cloud.database.facts import Facts
from cloud.database.path import on_timescale
from cloud.locate.lease import STALE_S
from cloud.retention import AHEAD_DAYS, DAY_TABLES, RAW

OLDEST_SERVER = 150_000
"""PostgreSQL 15: views that ask as their caller."""
WAL_MB = 1024
"""Of write-ahead log between checkpoints. 8 GB took more than a minute to replay after a kill, on two cores."""
QUEUE = 2_000
"""Batches: some seconds of a locator's work."""
DEAF = 0.2
"""A node that heard less than this share of what it did the week before."""


class Level(StrEnum):
    """How bad it is."""

    PASS = "PASS"
    WARN = "WARN"
    """It works, and something will hurt later or is not as it should be."""
    FAIL = "FAIL"
    """Data is at risk, or a part does not work."""


class Finding(NamedTuple):
    """One row of the table."""

    check: str
    level: Level
    found: str
    fix: str = ""
    """A command to type; empty where nothing is to be mended."""


Check = Callable[[Facts], Iterator[Finding]]


def examine(facts: Facts) -> list[Finding]:
    """All findings, in the order of CHECKS."""
    return [finding for check in CHECKS for finding in check(facts)]


def passed(check: str, found: str) -> Finding:
    return Finding(check, Level.PASS, found)


def warned(check: str, found: str, fix: str) -> Finding:
    return Finding(check, Level.WARN, found, fix)


def failed(check: str, found: str, fix: str) -> Finding:
    return Finding(check, Level.FAIL, found, fix)


def path(facts: Facts) -> Iterator[Finding]:
    """Which of the two paths runs, and why."""
    server = facts.server
    on = on_timescale(facts.applied or (), server.licence)
    licence = f"TimescaleDB {server.timescale}, licence {server.licence}"
    if on and server.licence == "apache":
        yield failed("path", f"{licence}: columnstore and policies stand still", "SET timescaledb.license = timescale")
    elif on:
        yield passed("path", f"{licence}: hypertables by the day, columns after a week, continuous aggregate")
    elif server.licence == "apache":
        yield passed("path", f"plain partitions: {licence} has neither columnstore nor continuous aggregates")
    elif server.timescale and facts.applied:
        why = f"plain partitions: {licence} was created after the tables, which stay as they are"
        yield warned("path", why, "to change over: a new database with the extension, then pg_dump --data-only into it")
    elif server.timescale_available:
        why = f"the server has TimescaleDB {server.timescale_available}, but it is not created in this database"
        yield passed("path", f"plain partitions: {why}")
    else:
        yield passed("path", "plain partitions: the server has no TimescaleDB")


def version(facts: Facts) -> Iterator[Finding]:
    """The server's version."""
    if facts.server.number < OLDEST_SERVER:
        yield failed("server", f"PostgreSQL {facts.server.version}, needed is 15 or later", "pg_upgrade")
    else:
        yield passed("server", f"PostgreSQL {facts.server.version}, database of {size(facts.server.bytes)}")


def user(facts: Facts) -> Iterator[Finding]:
    """Whether this user sees enough for the rest to be true."""
    if not facts.server.sees_all:
        yield failed(
            "user", f"{facts.server.user} does not see all tenants: rows are missed below", "use aisle_service's --dsn"
        )


def migrations(facts: Facts) -> Iterator[Finding]:
    """Whether the schema is this build's."""
    if facts.applied is None:
        yield failed("migrations", "none, or this user may not see them", "./aisle db migrate")
        return
    missing = [file for file in facts.known if file not in facts.applied]
    foreign = [file for file in facts.applied if file not in facts.known]
    if missing:
        yield failed("migrations", f"{len(missing)} not applied: {', '.join(missing)}", "./aisle db migrate")
    elif foreign:
        yield warned("migrations", f"made by a newer build: {', '.join(foreign)}", "update this program")
    else:
        yield passed("migrations", f"all {len(facts.applied)} applied, the newest {facts.applied[-1]}")


def durability(facts: Facts) -> Iterator[Finding]:
    """An ack must mean that the rows are on the disk."""
    names = ("synchronous_commit", "fsync", "full_page_writes")
    weak = [name for name in names if facts.server.settings[name] in ("off", "local")]
    if weak:
        mend = "; ".join(f"ALTER SYSTEM SET {name} = on" for name in weak)
        yield failed("durability", f"{', '.join(weak)} off: what is acknowledged can be lost", mend + "; then reload")
    else:
        yield passed("durability", f"{', '.join(names)} on")


def settings(facts: Facts) -> Iterator[Finding]:
    """Memory, log, connections."""
    of = facts.server.settings
    wal_mb, buffers = int(of["max_wal_size"]), int(of["shared_buffers"]) * 8192
    if wal_mb > WAL_MB:
        found = f"max_wal_size {size(wal_mb << 20)}: so much may have to be replayed after a crash"
        yield warned("recovery", found, "ALTER SYSTEM SET max_wal_size = '1GB'; then reload")
    else:
        yield passed("recovery", f"max_wal_size {size(wal_mb << 20)}")
    if buffers < 128 << 20:
        fix = "ALTER SYSTEM SET shared_buffers = '256MB'; then restart"
        yield warned("memory", f"shared_buffers {size(buffers)}", fix)
    else:
        yield passed("memory", f"shared_buffers {size(buffers)}")
    used, most = facts.server.connections, int(of["max_connections"])
    if used > 0.8 * most:
        yield warned("connections", f"{used} of {most}", "ALTER SYSTEM SET max_connections = …; then restart")
    else:
        yield passed("connections", f"{used} of {most}")
    if of["autovacuum"] == "off":
        yield failed("vacuum", "autovacuum is off: queues grow", "ALTER SYSTEM SET autovacuum = on; then reload")
    age = facts.server.transactions_old
    if age > 1_000_000_000:
        yield failed("freezing", f"the oldest rows are {age / 1e6:.0f} million transactions old", "VACUUM (FREEZE)")


def roles(facts: Facts) -> Iterator[Finding]:
    """Three roles, none above row security."""
    fix = "psql --file firmware_configs/database/roles.sql"
    missing = {"aisle_owner", "aisle_app", "aisle_service"} - {role.name for role in facts.roles if role.may_login}
    mighty = [role.name for role in facts.roles if role.mighty]
    if missing:
        yield failed("roles", f"missing or without login: {', '.join(sorted(missing))}", fix)
    if mighty:
        fix = "; ".join(f"ALTER ROLE {name} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB" for name in mighty)
        yield failed("roles", f"may do more than they should: {', '.join(mighty)}", fix)
    if not (missing or mighty):
        yield passed("roles", "aisle_owner, aisle_app, aisle_service; none may pass row security")


def row_security(facts: Facts) -> Iterator[Finding]:
    """Whatever the api may touch shows it one tenant."""
    open_ = [table.name for table in facts.tables if table.app_may and not table.protected]
    inside = [table.name for table in facts.tables if table.name in DAY_TABLES and table.app_may]
    if open_:
        fix = "; ".join(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY" for name in open_)
        yield failed("row security", f"open to the api without: {', '.join(open_)}", fix)
    if inside:
        fix = "; ".join(f"REVOKE ALL ON {name} FROM aisle_app" for name in inside)
        yield failed("row security", f"raw rows are open to the api: {', '.join(inside)}", fix)
    if facts.tables and not (open_ or inside):
        count = sum(table.app_may for table in facts.tables)
        yield passed("row security", f"forced on all {count} tables that the api may touch; raw rows are closed to it")


def indexes(facts: Facts) -> Iterator[Finding]:
    """Indexes that are not used."""
    for name in facts.invalid_indexes:
        yield warned("indexes", f"{name} is invalid: kept up, never read", f"REINDEX INDEX CONCURRENTLY {name}")
    if not facts.invalid_indexes:
        yield passed("indexes", "all valid")


def days(facts: Facts) -> Iterator[Finding]:
    """Days of raw rows: made ahead, dropped in time."""
    if facts.applied is None or not any(file.startswith("0014_") for file in facts.applied):
        return
    today = facts.now.date()
    makes_itself = on_timescale(facts.applied, facts.server.licence)
    for table in DAY_TABLES:
        found = [day for day in facts.days if day.table == table]
        ahead = sum(day.day > today for day in found)
        old = [day for day in found if day.day < today - RAW - timedelta(days=1)]
        told = _told([day.day for day in found], sum(day.bytes for day in found))
        if old:
            fix = "./aisle db retain, and see that a worker runs"
            yield warned(f"days of {table}", f"{told}; {len(old)} older than {RAW.days} days", fix)
        elif not makes_itself and ahead < AHEAD_DAYS:
            fix = "./aisle db retain, and see that a worker runs"
            yield warned(f"days of {table}", f"{told}; {ahead} made ahead: ingest has to make them", fix)
        else:
            yield passed(f"days of {table}", told if makes_itself else f"{told}; {ahead} made ahead")


def waiting(facts: Facts) -> Iterator[Finding]:
    """Queues."""
    queue = facts.waiting
    if queue.batches > QUEUE:
        yield warned("queue", f"{queue.batches} batches for the locator", "see that locate runs; start another")
    else:
        yield passed("queue", f"{queue.batches} batches for the locator")
    if queue.triggers or queue.receipts:
        found = f"{queue.triggers} triggers and {queue.receipts} receipts are overdue"
        yield warned("worker", found, "see that a worker runs")


def letters(facts: Facts) -> Iterator[Finding]:
    """What could not be stored."""
    if facts.letters:
        told = ", ".join(f"{count} {reason}" for reason, count in facts.letters.items())
        yield warned("dead letters", told, "./aisle ingest dead-letters; docs/operations.md says what to do for each")
    else:
        yield passed("dead letters", "none")


def leases(facts: Facts) -> Iterator[Finding]:
    """Every store with nodes has a living locator."""
    alone = [s.name for s in facts.stores if s.holder_beat_s is None or s.holder_beat_s > STALE_S]
    if alone:
        found = f"{len(alone)} of {len(facts.stores)} stores are held by no living locator: {_some(alone)}"
        yield warned("stores", found, "see that locate runs: python -m cloud locate")
    else:
        yield passed("stores", f"{len(facts.stores)}, each held by a living locator")


def hearing(facts: Facts) -> Iterator[Finding]:
    """Nodes whose radio went deaf though they beat."""
    deaf = [n.node for n in facts.hearing if n.before >= 1_000 and n.windows < DEAF * n.before]
    if deaf:
        found = f"heard less than {DEAF:.0%} of the week before: {_some(deaf)}"
        yield warned("nodes", found, "python -m edge doctor node.toml, on the node")


def load(facts: Facts) -> Iterator[Finding]:
    """How much a day is, for docs/scale.md."""
    yesterday = facts.now.date() - timedelta(days=1)
    full = [day for day in facts.days if day.table == "sighting" and day.day == yesterday and day.rows]
    if full and facts.stores:
        rows = full[0].rows
        found = f"about {rows:,} windows on {yesterday}, {rows / len(facts.stores):,.0f} a store"
        yield passed("load", f"{found}, {size(full[0].bytes)}; docs/scale.md says what calls for more")


def sizes(facts: Facts) -> Iterator[Finding]:
    """The largest tables; those by day with all their days."""
    of = {table.name: table.bytes for table in facts.tables}
    for day in facts.days:
        of[day.table] = of.get(day.table, 0) + day.bytes
    largest = sorted(of.items(), key=lambda item: -item[1])[:6]
    if largest:
        yield passed("sizes", ", ".join(f"{name} {size(count)}" for name, count in largest))


def jobs(facts: Facts) -> Iterator[Finding]:
    """TimescaleDB's own work."""
    for name, failures in facts.failed_jobs:
        fix = "SELECT * FROM timescaledb_information.job_errors"
        yield warned("jobs", f"{name} failed, {failures} times in all", fix)


CHECKS: tuple[Check, ...] = (
    path,
    version,
    user,
    migrations,
    durability,
    settings,
    roles,
    row_security,
    indexes,
    days,
    jobs,
    waiting,
    leases,
    letters,
    hearing,
    load,
    sizes,
)
"""What is looked at, in the order of the table."""


@dataclass(frozen=True, slots=True)
class _Unit:
    name: str
    bytes: int


UNITS = (_Unit("GB", 1 << 30), _Unit("MB", 1 << 20), _Unit("kB", 1 << 10))


def size(count: int) -> str:
    """Bytes for people: 1.5 GB, 20 MB."""
    for unit in UNITS:
        if count >= unit.bytes:
            units = count / unit.bytes
            return f"{units:.0f} {unit.name}" if units >= 10 else f"{units:.1f} {unit.name}".replace(".0 ", " ")
    return f"{count} B"


def _told(found: list[date], count: int) -> str:
    return f"{len(found)}, {found[0]} to {found[-1]}, {size(count)}" if found else "none yet"


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
