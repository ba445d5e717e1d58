"""Days of raw rows, on plain partitions and on TimescaleDB's chunks alike: made ahead, dropped whole, swept once."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from cli.stack.database import OWNER, DatabaseServer
from cloud.retention import (
    AHEAD_DAYS,
    COUNTED,
    DAY_TABLES,
    LEDGER,
    LETTERS,
    PSEUDONYMS,
    RAW,
    count_hours,
    forget,
    make_days,
)
from cloud.upkeep import JOBS, Upkeep
from contract.clock import Clock, clock_from
from contract.identity import SubjectKind
from tests.conftest import Database
from tests.integration.cloud_support import superuser

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ROW = {
    "sighting": "(time, subject, node_key, radio, rssi, count, peak, kind) VALUES (%s, 1, 7, 0, -600, 3, -60, %s)",
    "position": "(time, visit_id, x_m, y_m, spread_m) VALUES (%s, %s, 1, 1, 1)",
}
MIGRATIONS = resources.files("cloud.migrations")


def us(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    with psycopg.connect(database.service, autocommit=True) as connection:
        yield connection


def days(conn: psycopg.Connection[Any], table: str) -> list[date]:
    return [row[0] for row in conn.execute("SELECT day FROM days(%s) ORDER BY day", (table,))]


def put(conn: psycopg.Connection[Any], table: str, at: datetime, kind: int = SubjectKind.TOKEN) -> None:
    conn.execute("SELECT ensure_day(%s, %s)", (table, at.date()))
    conn.execute(f"INSERT INTO {table} {ROW[table]}".encode(), (at, int(kind)))


def is_timescale(conn: psycopg.Connection[Any]) -> bool:
    return conn.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is not None


@pytest.mark.parametrize("table", DAY_TABLES)
def test_rows_lie_in_the_day_they_are_of_and_days_begin_at_midnight_utc(conn, database: Database, table: str) -> None:
    conn.execute("SET timezone = 'America/New_York'")
    for at in (NOW.replace(hour=0), NOW.replace(hour=23, minute=59), NOW + DAY):
        put(conn, table, at)
    assert days(conn, table) == [NOW.date(), (NOW + DAY).date()]
    parts = conn.execute("SELECT part, bytes FROM days(%s) ORDER BY day", (table,)).fetchall()
    with superuser(database) as admin:
        counts = [admin.execute(f"SELECT count(*) FROM {part}".encode()).fetchone() for part, _ in parts]
    assert counts == [(2,), (1,)]
    assert all(size > 0 for _, size in parts)


@pytest.mark.parametrize("table", DAY_TABLES)
def test_days_are_dropped_whole_and_only_those_before(conn, table: str) -> None:
    first = datetime(2026, 10, 30, 12, tzinfo=UTC)
    for day in range(3):
        put(conn, table, first + day * DAY)
    assert conn.execute("SELECT drop_days(%s, '2026-11-01')", (table,)).fetchone() == (2,)
    assert days(conn, table) == [date(2026, 11, 1)]
    assert conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (1,)


@pytest.mark.parametrize("call", ["ensure_day(%s, '2026-11-01')", "drop_days(%s, '2026-11-01')"])
def test_only_raw_rows_have_days(conn, call: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="no days of member"):
        conn.execute(f"SELECT {call}".encode(), ("member",))


def test_as_the_clock_moves_days_are_made_ahead_and_old_ones_go(conn) -> None:
    if is_timescale(conn):
        pytest.skip("chunks make themselves when the first row of a day comes")
    for later in range(0, 40, 3):
        make_days(conn, us(NOW + later * DAY))
        forget(conn, us(NOW + later * DAY))
    today = (NOW + 39 * DAY).date()
    for table in DAY_TABLES:
        found = days(conn, table)
        assert found[-1] == today + timedelta(days=AHEAD_DAYS)
        assert found[0] >= today - RAW
        assert {today + timedelta(days=ahead) for ahead in range(AHEAD_DAYS + 1)} <= set(found)


def test_a_transaction_that_stores_into_a_day_made_ahead_makes_nothing(conn) -> None:
    make_days(conn, us(NOW))
    tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    before = conn.execute(tables.encode()).fetchone()
    for ahead in range(AHEAD_DAYS + 1):
        put(conn, "sighting", NOW + ahead * DAY)
    assert conn.execute(tables.encode()).fetchone() == before


def test_making_a_day_waits_for_nobody_who_reads_or_writes(conn, database: Database) -> None:
    put(conn, "sighting", NOW)
    with psycopg.connect(database.service) as other:
        other.execute("SELECT count(*) FROM sighting")
        other.execute(f"INSERT INTO sighting {ROW['sighting']}".encode(), (NOW, 1))
        conn.execute("SET lock_timeout = '1s'")
        conn.execute("SELECT ensure_day('sighting', %s)", ((NOW + DAY).date(),))
    put(conn, "sighting", NOW + DAY)


def test_many_that_make_the_same_day_at_once_make_it_once(database: Database) -> None:
    def make() -> None:
        with psycopg.connect(database.service, autocommit=True) as conn:
            for ahead in range(20):
                put(conn, "sighting", NOW + ahead * DAY)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with psycopg.connect(database.service, autocommit=True) as conn:
        assert len(days(conn, "sighting")) == 20
        assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (80,)


def test_a_day_that_is_being_read_is_left_for_the_next_time(conn, database: Database) -> None:
    put(conn, "sighting", NOW - RAW - 2 * DAY)
    put(conn, "position", NOW - RAW - 2 * DAY)
    with psycopg.connect(database.service) as backup:
        backup.execute("SELECT count(*) FROM sighting")
        gone = forget(conn, us(NOW))
    assert ("days of sighting" in gone, gone["days of position"]) == (False, 1)
    assert forget(conn, us(NOW))["days of sighting"] == 1


def test_workers_that_forget_at_once_get_in_nobodys_way(database: Database) -> None:
    with psycopg.connect(database.service, autocommit=True) as conn:
        for day in range(10):
            put(conn, "sighting", NOW - RAW - (2 + day) * DAY)
        for _ in range(20):
            put(conn, "sighting", NOW - 2 * DAY, SubjectKind.PSEUDONYM)
    gone: list[dict[str, int]] = []

    def work() -> None:
        with psycopg.connect(database.service, autocommit=True) as conn:
            for _, job in JOBS:
                answer = job(conn, us(NOW))
                if isinstance(answer, dict):
                    gone.append(answer)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(gone) == 4
    assert sum(found.get("days of sighting", 0) for found in gone) == 10
    assert sum(found["windows of pseudonyms"] for found in gone) == 20


def swept(database: Database) -> dict[date, int]:
    with superuser(database) as conn:
        return dict(conn.execute("SELECT day, inserted FROM swept_day").fetchall())


def counted(conn: psycopg.Connection[Any]) -> None:
    """Let the server know at once what this session inserted; it tells its counts once a second otherwise."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    conn.execute("SELECT pg_stat_clear_snapshot()")


def test_a_day_is_swept_of_strangers_once_and_again_when_it_grew(conn, database: Database) -> None:
    old = NOW - PSEUDONYMS - DAY
    put(conn, "sighting", old, SubjectKind.PSEUDONYM)
    put(conn, "sighting", old)
    counted(conn)
    assert forget(conn, us(NOW))["windows of pseudonyms"] == 1
    assert swept(database) == {old.date(): 2}
    assert forget(conn, us(NOW))["windows of pseudonyms"] == 0
    put(conn, "sighting", old, SubjectKind.PSEUDONYM)  # a node that was offline until now
    counted(conn)
    assert forget(conn, us(NOW))["windows of pseudonyms"] == 1
    assert swept(database) == {old.date(): 3}
    forget(conn, us(NOW + RAW + 2 * DAY))
    assert swept(database) == {}


def test_yesterday_is_swept_as_its_strangers_come_of_age(conn, database: Database) -> None:
    for hour in range(24):
        put(conn, "sighting", (NOW - DAY).replace(hour=hour), SubjectKind.PSEUDONYM)
    assert forget(conn, us(NOW))["windows of pseudonyms"] == 12
    assert swept(database) == {}, "the day is not over its age yet"
    assert forget(conn, us(NOW + DAY / 4))["windows of pseudonyms"] == 6
    assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (6,)


HOURS = "SELECT hour, node_key, windows, packets FROM node_hour ORDER BY hour, node_key"


def test_what_nodes_heard_is_counted_by_the_hour_without_strangers(conn) -> None:
    for minute in (0, 30, 59):
        put(conn, "sighting", NOW.replace(minute=minute))
    put(conn, "sighting", NOW + DAY / 24)
    put(conn, "sighting", NOW, SubjectKind.PSEUDONYM)
    counted(conn)
    count_hours(conn, us(NOW))
    whole = [(NOW, 7, 3, 9), (NOW + DAY / 24, 7, 1, 3)]
    assert conn.execute(HOURS.encode()).fetchall() == whole
    forget(conn, us(NOW + 3 * DAY))
    put(conn, "sighting", NOW.replace(minute=10))
    counted(conn)
    count_hours(conn, us(NOW + COUNTED))
    assert conn.execute(HOURS.encode()).fetchall() == [(NOW, 7, 4, 12), whole[1]], "a node came late"


def test_the_upkeep_of_a_worker_makes_days_at_once_and_ends_with_it(database: Database, conn) -> None:
    if is_timescale(conn):
        pytest.skip("chunks make themselves when the first row of a day comes")
    clock: Clock = clock_from(f"{us(NOW)}@0x0.0")
    made = threading.Event()
    with Upkeep(database.service, clock) as upkeep:
        for _ in range(200):
            if len(days(conn, "position")) == AHEAD_DAYS + 1:
                made.set()
                break
            made.wait(0.05)
    assert made.is_set()
    assert days(conn, "sighting")[-1] == (NOW + AHEAD_DAYS * DAY).date()
    assert not upkeep._thread.is_alive()


def test_names_of_batches_and_dead_letters_go_in_time(conn, database: Database) -> None:
    real = datetime.now(UTC)
    ages = {"batch": (LEDGER, "stored_at"), "dead_letter": (LETTERS, "at")}
    columns = {
        "batch": "(tenant_id, node, epoch, seq, kind, digest, events, t0, stored_at)"
        " VALUES ('acme', 'n', gen_random_uuid(), 1, 'sightings', '', 1, now(), %s)",
        "dead_letter": "(tenant_id, node, topic, reason, detail, payload, digest, at)"
        " VALUES ('acme', 'n', gen_random_uuid()::text, 'BadTime', '', '', '', %s)",
    }
    with superuser(database) as admin:
        for table, (age, _) in ages.items():
            for at in (real - age - DAY, real - age + DAY, real):
                admin.execute(f"INSERT INTO {table} {columns[table]}".encode(), (at,))
        gone = forget(conn, us(NOW))
        assert (gone["names of batches"], gone["dead letters"]) == (1, 1)
        for table, (age, column) in ages.items():
            old = admin.execute(f"SELECT count(*), min({column}) FROM {table}".encode()).fetchone()
            assert old is not None
            assert (old[0], old[1] > real - age) == (2, True)


# --- the twins

OBJECT = re.compile(
    r"^(?:CREATE(?: OR REPLACE)? (?P<kind>FUNCTION|TABLE|MATERIALIZED VIEW|VIEW) (?P<name>\w+)(?P<rest>.*?)"
    r"(?=\bLANGUAGE\b|\bAS\b|\bWITH\b|;))",
    re.DOTALL | re.MULTILINE,
)
GRANT = re.compile(r"^(?:GRANT|REVOKE) .*?;", re.MULTILINE | re.DOTALL)


def twins() -> list[str]:
    return sorted(f.name[: -len(".plain.sql")] for f in MIGRATIONS.iterdir() if f.name.endswith(".plain.sql"))


def sql_of(name: str) -> str:
    """A migration without its comments, spaces made one."""
    text = re.sub(r"--[^\n]*", "", MIGRATIONS.joinpath(name).read_text("utf-8"))
    return re.sub(r"[ \t]+", " ", text)


def functions(text: str) -> dict[str, str]:
    """Each function's parameters and result."""
    found = OBJECT.finditer(text)
    return {m["name"]: re.sub(r"\s+", " ", m["rest"]).strip() for m in found if m["kind"] == "FUNCTION"}


def relations(text: str) -> set[str]:
    return {m["name"] for m in OBJECT.finditer(text) if m["kind"] != "FUNCTION"}


@pytest.mark.parametrize("name", twins())
def test_twins_make_the_same_functions_with_the_same_parameters_results_and_rights(name: str) -> None:
    plain, timescale = sql_of(f"{name}.plain.sql"), sql_of(f"{name}.timescale.sql")
    assert functions(plain) == functions(timescale)
    calls = [sorted(g for g in GRANT.findall(text) if "FUNCTION" in g) for text in (plain, timescale)]
    assert calls[0] == calls[1]


@pytest.mark.parametrize("name", twins())
def test_a_table_that_one_twin_makes_is_made_by_the_other_or_by_the_file_before_both(name: str) -> None:
    base = relations(sql_of(f"{name}.sql"))
    plain, timescale = (relations(sql_of(f"{name}.{kind}.sql")) | base for kind in ("plain", "timescale"))
    assert timescale <= plain, "what only TimescaleDB has nobody could read"
    unread = {"counted_day"}
    assert plain - timescale <= unread, "the plain twin's own bookkeeping, which no statement reads"
    statements = "\n".join(p.read_text("utf-8") for p in resources.files("cloud").rglob("queries.sql"))  # type: ignore[attr-defined]
    assert not any(table in statements for table in unread)


def test_hypertables_have_the_index_of_partitions_and_no_default_one() -> None:
    for name in twins():
        text = sql_of(f"{name}.timescale.sql")
        assert text.count("create_hypertable(") == text.count("create_default_indexes => false")
        for index in re.findall(r"CREATE INDEX ON \w+ [^;]+;", sql_of(f"{name}.plain.sql")):
            assert index in text, index


SHAPE = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_attribute a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname
"""
CALLABLE = """
SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.provolatile, p.prosecdef,
       p.proconfig, (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(p.proacl) x)
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proowner = 'aisle_owner'::regrole ORDER BY 1, 2
"""


def test_both_paths_come_to_the_same_columns_functions_and_rights(postgres: DatabaseServer, database: Database) -> None:
    from cloud.db import migrate

    with superuser(database) as conn:
        if not is_timescale(conn):
            pytest.skip("this PostgreSQL has no TimescaleDB: run with --dsn of one that has")
    name = f"{database.name}_plain"
    postgres.create_database(name)
    try:
        with psycopg.connect(postgres.dsn("postgres", name), autocommit=True) as conn:
            conn.execute("DROP EXTENSION IF EXISTS timescaledb CASCADE")
        migrate(postgres.dsn(OWNER, name))
        with psycopg.connect(postgres.dsn("postgres", name)) as plain, superuser(database) as timescale:
            for table in (*DAY_TABLES, "node_hour"):
                shapes = [conn.execute(SHAPE.encode(), (table,)).fetchall() for conn in (plain, timescale)]
                if table == "node_hour":  # a view's columns cannot be said to be not null, and numeric holds any sum
                    shapes = [[row[0] for row in shape] for shape in shapes]
                assert shapes[0] == shapes[1], table
            assert plain.execute(CALLABLE.encode()).fetchall() == timescale.execute(CALLABLE.encode()).fetchall()
    finally:
        postgres.drop_database(name)


def test_on_timescale_old_days_become_columns_and_read_as_before(conn, database: Database) -> None:
    if not is_timescale(conn):
        pytest.skip("this PostgreSQL has no TimescaleDB: run with --dsn of one that has")
    old = NOW - 9 * DAY
    for second in range(200):
        put(conn, "sighting", old + timedelta(seconds=second), SubjectKind.PSEUDONYM if second % 2 else 1)
    read = b"SELECT count(*), sum(count), min(time), max(time) FROM sighting"
    before = conn.execute(read).fetchone()
    jobs = b"SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name = 'sighting' AND proc_name ~ %s"
    with superuser(database) as admin:
        kinds = [len(admin.execute(jobs, (name,)).fetchall()) for name in ("compression|columnstore", "retention")]
        assert kinds == [1, 1]
        for (part,) in admin.execute("SELECT part FROM days('sighting')").fetchall():
            admin.execute(f"CALL convert_to_columnstore('{part}')".encode())
    assert conn.execute(read).fetchone() == before
    assert forget(conn, us(NOW))["windows of pseudonyms"] == 100
    put(conn, "sighting", old, SubjectKind.PSEUDONYM)  # late, into a day of columns
    counted(conn)
    assert forget(conn, us(NOW))["windows of pseudonyms"] == 1
    assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (100,)
    assert forget(conn, us(NOW + RAW))["days of sighting"] == 1
