"""The schema from every version to this build's: the same in the end, with what was in it; all of a file or nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from cli.stack.database import OWNER, DatabaseServer
from cloud import db
from tests.conftest import Database
from tests.integration.cloud_support import superuser

FILES = [file for file, _ in db.migrations(False)]
VERSIONS = sorted({file[:4] for file in FILES})


@contextmanager
def empty_database(postgres: DatabaseServer, name: str) -> Iterator[str]:
    """A database without anything in it, the extension neither."""
    postgres.create_database(name)
    try:
        with psycopg.connect(postgres.dsn("postgres", name), autocommit=True) as conn:
            conn.execute("DROP EXTENSION IF EXISTS timescaledb CASCADE")
        yield name
    finally:
        postgres.drop_database(name)


def apply(dsn: str, files: list[tuple[str, str]]) -> None:
    """As an earlier build would have."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE schema_migration (file text PRIMARY KEY, applied_at timestamptz DEFAULT now())")
        for file, text in files:
            with conn.transaction():
                conn.execute(text.encode())
                conn.execute("INSERT INTO schema_migration (file) VALUES (%s)", (file,))


SCHEMA = """
SELECT format('%s %s: %s %s%s%s', c.relkind, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' END, coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
UNION ALL SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT format('%s %s %s %s %s', p.polrelid::regclass, p.polname, p.polroles::regrole[],
                        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) FROM pg_policy p
UNION ALL SELECT format('%s rights %s, security %s %s, %s', relname, (SELECT array_agg(x::text ORDER BY x::text)
                        FROM unnest(relacl) x), relrowsecurity, relforcerowsecurity, reloptions) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
UNION ALL SELECT format('%s rights %s', pg_get_functiondef(oid), (SELECT array_agg(x::text ORDER BY x::text)
                        FROM unnest(proacl) x)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1
"""


def schema(dsn: str) -> list[str]:
    """All that the schema consists of, a line or a definition each."""
    with psycopg.connect(dsn) as conn:
        return [row[0] for row in conn.execute(SCHEMA.encode())]


# What a store of that version may hold: the version that made the table, and a row.
SEED = [
    ("0001", "INSERT INTO tenant (tenant_id, name) VALUES ('acme', 'Acme')"),
    ("0002", "INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'main', 'Main', 'Europe/Berlin')"),
    ("0002", "INSERT INTO floor (tenant_id, store_id, floor, name, width_m, depth_m, cell_m)"
             " VALUES ('acme', 'main', '0', 'Ground', 8, 8, 1)"),
    ("0002", "INSERT INTO zone (tenant_id, store_id, zone, floor, name, kind, polygon, categories)"
             " VALUES ('acme', 'main', 'coffee', '0', 'Coffee', 'shelf', '[]', '{coffee}')"),
    ("0002", "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m)"
             " VALUES ('acme', 'door', 'main', '0', 1, 1, 2)"),
    ("0003", "INSERT INTO batch (tenant_id, node, epoch, seq, kind, digest, events, t0)"
             " VALUES ('acme', 'door', gen_random_uuid(), 1, 'sightings', '\\x00', 1, '2026-11-20 10:00Z')"),
    ("0003", "SELECT ensure_day('sighting', '2026-11-20')"),
    ("0003", "INSERT INTO sighting (time, subject, node_key, radio, rssi, count, peak, kind)"
             " VALUES ('2026-11-20 10:00Z', 1, 1, 0, -600, 1, -60, 1)"),
    ("0003", "INSERT INTO crowd (tenant_id, store_id, node, time, span_s, radios, strong)"
             " VALUES ('acme', 'main', 'door', '2026-11-20 10:00Z', 300, 7, 1)"),
    ("0003", "INSERT INTO locate_queue (tenant_id, store_id, node, payload) VALUES ('acme', 'main', 'door', '\\x01')"),
    ("0004", "INSERT INTO member (tenant_id, card) VALUES ('acme', '12345678')"),
    ("0004", "INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total)"
             " VALUES ('acme', 'main', 'r1', '1', '2026-11-20 10:20Z', 'sale', 'EUR', 500)"),
    ("0004", "INSERT INTO receipt_line (tenant_id, receipt_id, line_no, sku, name, category, qty, unit_price, discount,"
             " amount) SELECT 'acme', receipt_id, 1, 's', 'n', 'coffee', 1000, 500, 0, 500 FROM receipt"),
    ("0005", "INSERT INTO visit (tenant_id, store_id, member_id, started_at, seen_at, ended_at) SELECT 'acme', 'main',"
             " member_id, '2026-11-20 10:00Z', '2026-11-20 10:30Z', '2026-11-20 10:30Z' FROM member"),
    ("0005", "INSERT INTO presence (tenant_id, store_id, visit_id, zone, source, entered_at, left_at, confidence)"
             " SELECT 'acme', 'main', visit_id, 'coffee', 'fused', '2026-11-20 10:04Z', '2026-11-20 10:06Z', 1"
             " FROM visit"),
    ("0005", "INSERT INTO presence (tenant_id, store_id, visit_id, zone, source, entered_at, left_at, confidence)"
             " SELECT 'acme', 'main', visit_id, 'coffee', 'fused', '2026-11-20 10:10Z', '2026-11-20 10:11Z', 1"
             " FROM visit"),
    ("0005", "INSERT INTO receipt_visit (receipt_id, tenant_id, visit_id, confidence, reason)"
             " SELECT receipt_id, 'acme', visit_id, 1, 'card' FROM receipt, visit"),
    ("0005", "SELECT ensure_day('position', '2026-11-20')"),
    ("0005", "INSERT INTO position (time, visit_id, x_m, y_m, spread_m)"
             " SELECT '2026-11-20 10:00Z', visit_id, 1, 1, 1 FROM visit"),
]  # fmt: skip
COUNTS = "tenant store floor zone node batch sighting crowd locate_queue member receipt receipt_line visit presence"


def counts(conn: psycopg.Connection[TupleRow]) -> dict[str, int]:
    """Rows of each table that is there."""
    found = {}
    for table in (*COUNTS.split(), "position", "receipt_visit"):
        if conn.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,):
            row = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert row is not None
            found[table] = row[0]
    return found


@pytest.fixture(scope="module")
def from_empty(postgres: DatabaseServer) -> Iterator[list[str]]:
    """This build's schema, made in one go."""
    with empty_database(postgres, "aisle_from_empty") as name:
        assert db.migrate(postgres.dsn(OWNER, name)) == FILES
        yield schema(postgres.dsn("postgres", name))


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_from_every_version_the_schema_becomes_this_builds_and_keeps_its_rows(
    postgres: DatabaseServer, from_empty: list[str], version: str
) -> None:
    with empty_database(postgres, f"aisle_from_{version}") as name:
        owner, admin = postgres.dsn(OWNER, name), postgres.dsn("postgres", name)
        apply(owner, [(file, text) for file, text in db.migrations(False) if file[:4] <= version])
        with psycopg.connect(admin, autocommit=True) as conn:
            for made, statement in SEED:
                if made <= version:
                    conn.execute(statement.encode())
            before = counts(conn)
            assert db.migrate(owner) == [file for file in FILES if file[:4] > version]
            after = counts(conn)
            assert {table: after[table] for table in before} == before
            assert all(before.values())
            rollup = conn.execute("SELECT zone, time, visits, seconds, dwells, converted FROM zone_5min").fetchall()
            conn.execute("SELECT drop_days('sighting', '2026-11-21'), drop_days('position', '2026-11-21')")
        assert schema(admin) == from_empty
    if "0005" <= version < "0016":
        [(zone, time, *figures)] = rollup
        assert (zone, time.isoformat(), figures) == ("coffee", "2026-11-20T10:00:00+00:00", [1, 180.0, [180.0], 1])


def test_two_starts_at_once_take_turns(postgres: DatabaseServer) -> None:
    with empty_database(postgres, "aisle_twice") as name:
        applied: list[list[str]] = []
        threads = [threading.Thread(target=lambda: applied.append(db.migrate(postgres.dsn(OWNER, name)))) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(map(len, applied)) == [0, len(FILES)]
        assert db.migrate(postgres.dsn(OWNER, name)) == []


BAD = ("9999_bad.sql", "CREATE TABLE half (x int); INSERT INTO half VALUES (1); SELECT 1 / (SELECT 0)")


def test_a_file_that_fails_leaves_nothing_and_those_before_it_stay(
    postgres: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails here fails in its last statement."""
    with empty_database(postgres, "aisle_failed") as name:
        owner = postgres.dsn(OWNER, name)
        good = db.migrations(False)
        with monkeypatch.context() as bad:
            bad.setattr(db, "migrations", lambda timescale: [*good[:4], BAD, *good[4:]])
            with pytest.raises(RuntimeError, match=r"9999_bad\.sql: division by zero"):
                db.migrate(owner)
        with psycopg.connect(owner) as conn:
            assert conn.execute("SELECT to_regclass('half')").fetchone() == (None,)
            done = conn.execute("SELECT file FROM schema_migration ORDER BY applied_at, file").fetchall()
            assert [row[0] for row in done] == [file for file, _ in good[:4]]
        assert db.migrate(owner) == FILES[4:]


def test_every_file_is_named_by_the_rule_and_every_twin_has_its_other_and_its_base() -> None:
    both = {name for choice in (False, True) for name, _ in db.migrations(choice)}
    assert all(db.MIGRATION.fullmatch(name) for name in both)
    twins = {
        kind: {name[: -len(kind)] for name in both if name.endswith(kind)} for kind in (".plain.sql", ".timescale.sql")
    }
    assert twins[".plain.sql"] == twins[".timescale.sql"] != set()
    assert {f"{twin}.sql" for twin in twins[".plain.sql"]} <= both, "the twins complete a file of the same name"
    numbers = [name[:4] for name in both if name.count(".") == 1]
    assert len(set(numbers)) == len(numbers), "two files of one number have no order"


def test_a_function_of_the_owner_finds_no_temporary_table_of_its_caller(database: Database) -> None:
    with superuser(database) as conn:
        definers = conn.execute(
            "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
            " AND proowner = 'aisle_owner'::regrole"
        ).fetchall()
    assert len(definers) >= 8
    for name, config in definers:
        assert "search_path=public, pg_temp" in (config or []), name
    with psycopg.connect(database.app, autocommit=True) as app:
        app.execute("CREATE TEMP TABLE account (tenant_id text, account_id bigint, login text, password_hash text,"
                    " roles text[], disabled_at timestamptz)")  # fmt: skip
        app.execute("INSERT INTO account VALUES ('acme', 1, 'me', 'mine', '{admin}', NULL)")
        app.execute("GRANT SELECT ON account TO PUBLIC")
        assert app.execute("SELECT * FROM account_of('me')").fetchall() == []


def has_extension(conn: psycopg.Connection[Any]) -> bool:
    found = conn.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
    return found is not None


def test_an_extension_that_comes_after_the_tables_leaves_them_as_they_are(postgres: DatabaseServer) -> None:
    with empty_database(postgres, "aisle_late") as name:
        admin = postgres.dsn("postgres", name)
        with psycopg.connect(admin, autocommit=True) as conn:
            if not has_extension(conn):
                pytest.skip("this PostgreSQL has no TimescaleDB: run with --dsn of one that has")
            apply(postgres.dsn(OWNER, name), [f for f in db.migrations(False) if f[0][:4] < "0014"])
            conn.execute("SELECT ensure_day('sighting', '2026-11-20')")
            conn.execute("INSERT INTO sighting VALUES ('2026-11-20 10:00Z', 1, 1, 0, -600, 1, -60, 1)")
        with psycopg.connect(admin, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION timescaledb")
        assert not any("timescale" in file for file in db.migrate(postgres.dsn(OWNER, name)))
        with psycopg.connect(admin, autocommit=True) as conn:
            assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (1,)


def test_with_the_extension_from_the_first_all_twins_apply(postgres: DatabaseServer) -> None:
    name = "aisle_timescale"
    with empty_database(postgres, name):
        with psycopg.connect(postgres.dsn("postgres", name), autocommit=True) as conn:
            if not has_extension(conn):
                pytest.skip("this PostgreSQL has no TimescaleDB: run with --dsn of one that has")
        with psycopg.connect(postgres.dsn("postgres", name), autocommit=True) as conn:
            conn.execute("CREATE EXTENSION timescaledb")
        assert db.migrate(postgres.dsn(OWNER, name)) == [file for file, _ in db.migrations(True)]
        assert db.migrate(postgres.dsn(OWNER, name)) == []
