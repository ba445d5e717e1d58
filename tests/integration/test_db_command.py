"""`./aisle db` on a real database: what it finds, what it mends, and as whom it opens."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from cli.db import prompt
from cli.db.address import dsn_of
from cli.stack.database import OWNER, SERVICE, DatabaseServer
from cloud.db import migrations
from cloud.retention import AHEAD_DAYS, RAW
from tests.conftest import Database
from tests.integration.cloud_support import make_tenant, superuser

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "postgresql://aisle_service:x@127.0.0.1:1/aisle"


def run(*words: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`./aisle db …`, with none of the environment's own databases."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AISLE_", "PG"))}
    command = [sys.executable, "-m", "cli", "db", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environ | environment, input=text, capture_output=True, text=True, check=False
    )


def check(dsn: str) -> tuple[int, dict[str, tuple[str, str, str]]]:
    """Exit code, and level, words and remedy of each row."""
    done = run("check", "--json", "--dsn", dsn)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["ok"] == (done.returncode == 0)
    return done.returncode, {f["check"]: (f["level"], f["found"], f["fix"]) for f in told["findings"]}


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    with superuser(database) as conn:
        yield conn


def is_timescale(conn: psycopg.Connection[Any]) -> bool:
    return conn.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is not None


def test_a_database_that_was_just_made_passes_and_says_which_path_it_is_on(database: Database, admin) -> None:
    assert run("retain", "--dsn", database.service).returncode == 0
    code, found = check(database.service)
    assert code == 0
    assert [name for name, (level, *_) in found.items() if level == "FAIL"] == []
    words = "hypertables" if is_timescale(admin) else "plain partitions"
    assert words in found["path"][1]
    assert found["migrations"][1].startswith(f"all {len(migrations(is_timescale(admin)))} applied")
    assert {"roles", "row security", "durability", "queue", "dead letters", "sizes"} <= found.keys()


def test_people_get_a_table_with_the_remedy_below(database: Database, admin) -> None:
    admin.execute("ALTER TABLE member NO FORCE ROW LEVEL SECURITY")
    done = run("check", "--dsn", database.service)
    assert done.returncode == 1
    assert "FAIL  row security" in done.stdout
    assert "→ ALTER TABLE member FORCE ROW LEVEL SECURITY" in done.stdout
    assert " 1 FAIL" in done.stdout.splitlines()[-1]


def test_what_was_broken_is_found(database: Database, admin) -> None:
    make_tenant(database, "acme")
    newest = admin.execute("SELECT max(file) FROM schema_migration").fetchone()[0]
    admin.execute("DELETE FROM schema_migration WHERE file = %s", (newest,))
    admin.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off".encode())
    admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'visit_pkey'::regclass")
    admin.execute("GRANT SELECT ON position TO aisle_app")
    admin.execute(
        "INSERT INTO dead_letter (tenant_id, node, topic, reason, detail, payload, digest)"
        " VALUES ('acme', 'n', 't', 'BadTime', '', '', '')"
    )
    admin.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 's', 'S', 'UTC')")
    admin.execute("INSERT INTO floor VALUES ('acme', 's', '0', 'G', 8, 8, 1)")
    admin.execute(
        "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m) VALUES ('acme', 'n', 's', '0', 1, 1, 2)"
    )
    old = datetime.now(UTC) - RAW - timedelta(days=5)
    admin.execute("SELECT ensure_day('sighting', %s)", (old.date(),))
    admin.execute("INSERT INTO sighting VALUES (%s, 1, 1, 0, -600, 1, -60, 1)", (old,))
    code, found = check(database.service)
    assert code == 1
    levels = {name: level for name, (level, *_) in found.items() if level != "PASS"}
    assert (
        levels.items()
        >= {
            "migrations": "FAIL",
            "durability": "FAIL",
            "row security": "FAIL",
            "indexes": "WARN",
            "dead letters": "WARN",
            "stores": "WARN",
            "days of sighting": "WARN",
        }.items()
    )
    assert newest in found["migrations"][1]
    assert found["indexes"][2] == "REINDEX INDEX CONCURRENTLY visit_pkey"
    assert "1 BadTime" in found["dead letters"][1]


def test_who_may_not_see_all_tenants_is_told_so(database: Database) -> None:
    assert check(database.owner)[1]["user"][0] == "FAIL"
    assert "user" not in check(database.admin)[1]


def test_a_simulated_store_is_judged_by_its_own_time(database: Database, admin) -> None:
    make_tenant(database, "acme")
    past = datetime(2026, 3, 1, 12, tzinfo=UTC)
    admin.execute(
        "INSERT INTO store (tenant_id, store_id, name, tz, demo, located_until)"
        " VALUES ('acme', 's', 'S', 'UTC', true, %s)",
        (past,),
    )
    admin.execute("INSERT INTO floor VALUES ('acme', 's', '0', 'G', 8, 8, 1)")
    admin.execute(
        "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m) VALUES ('acme', 'n', 's', '0', 1, 1, 2)"
    )
    for ahead in range(-RAW.days, AHEAD_DAYS + 1):
        for table in ("sighting", "position"):
            admin.execute("SELECT ensure_day(%s, %s)", (table, past.date() + timedelta(days=ahead)))
    _, found = check(database.service)
    assert (found["days of sighting"][0], found["days of position"][0]) == ("PASS", "PASS")


def test_migrate_brings_an_empty_database_to_this_build_and_then_has_nothing_to_do(postgres: DatabaseServer) -> None:
    name = "aisle_command"
    postgres.create_database(name)
    try:
        owner, service = postgres.dsn(OWNER, name), postgres.dsn(SERVICE, name)
        assert check(postgres.dsn("postgres", name))[1]["migrations"][::2] == ("FAIL", "./aisle db migrate")
        done = run("migrate", "--json", AISLE_OWNER_DSN=owner)
        assert (done.returncode, json.loads(done.stdout)["applied"][0]) == (0, "0001_access.sql")
        assert "nothing to do" in run("migrate", "--dsn", owner).stdout
        assert check(service)[1]["migrations"][0] == "PASS"
        refused = run("migrate", "--dsn", service)
        assert (refused.returncode, refused.stderr) == (1, "db: permission denied for schema public\n")
    finally:
        postgres.drop_database(name)


def test_retain_makes_days_and_says_what_it_forgot(database: Database, admin) -> None:
    old = datetime.now(UTC) - RAW - timedelta(days=5)
    admin.execute("SELECT ensure_day('position', %s)", (old.date(),))
    admin.execute("INSERT INTO position VALUES (%s, 1, 1, 1, 1)", (old,))
    told = json.loads(run("retain", "--json", "--dsn", database.service).stdout)
    assert {what: count for what, count in told.items() if count} == {"days of position": 1}
    assert run("retain", AISLE_SERVICE_DSN=database.service).stdout == "nothing was too old\n"


@pytest.mark.parametrize("command", ["check", "migrate", "retain", "open"])
def test_without_a_database_there_is_one_line_and_no_traceback(command: str, monkeypatch, tmp_path: Path) -> None:
    away = run(command, "--dsn", NOBODY)
    assert away.returncode != 0
    assert "Traceback" not in away.stderr
    assert len(away.stderr.splitlines()) <= 3
    for name in ("AISLE_SERVICE_DSN", "AISLE_OWNER_DSN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Exception) as end:
        dsn_of("service", demo=tmp_path)
    assert end.value.exit_code == 2  # type: ignore[attr-defined]


def test_the_demos_database_is_found_by_its_folder(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AISLE_OWNER_DSN", raising=False)
    (tmp_path / "passwords.json").write_text('{"aisle_owner": "secret"}')
    (tmp_path / "port").write_text("5433\n")
    assert dsn_of("owner", demo=tmp_path) == "postgresql://aisle_owner:secret@127.0.0.1:5433/aisle"
    monkeypatch.setenv("AISLE_OWNER_DSN", "postgresql://elsewhere")
    assert dsn_of("owner", demo=tmp_path) == "postgresql://elsewhere"
    assert dsn_of("owner", "postgresql://said", demo=tmp_path) == "postgresql://said"


def test_open_asks_as_the_role_and_sees_the_tenant_that_was_named(database: Database) -> None:
    if prompt.psql() is None:
        pytest.skip("psql is not installed: apt-get install postgresql-client")
    for tenant in ("acme", "beta"):
        make_tenant(database, tenant)
    query = "SELECT current_user, string_agg(tenant_id, ',' ORDER BY tenant_id) FROM tenant;\n"
    for role, words, wanted in (
        ("app", ["--tenant", "acme"], ["aisle_app", "acme"]),
        ("app", [], ["aisle_app", ""]),
        ("service", [], ["aisle_service", "acme,beta"]),
    ):
        dsn = getattr(database, role)
        done = run("open", "--role", role, "--dsn", dsn, *words, text=query)
        rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()]
        assert wanted in rows, done.stderr


def test_no_password_is_on_the_command_line_of_psql() -> None:
    found = prompt.environment("postgresql://me:secret@db.example:5433/aisle?sslmode=verify-full", "acme")
    assert found == {
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGUSER": "me",
        "PGPASSWORD": "secret",
        "PGDATABASE": "aisle",
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c aisle.tenant=acme",
    }


def test_without_psql_there_is_python_with_a_connection(database: Database, monkeypatch) -> None:
    make_tenant(database, "acme")
    monkeypatch.setattr(prompt, "psql", lambda: None)
    seen: list[Any] = []

    def interact(banner: str, local: dict[str, Any], exitmsg: str) -> None:
        seen.append(local["conn"].execute("SELECT tenant_id FROM tenant").fetchall())

    monkeypatch.setattr("code.interact", interact)
    prompt.prompt(database.app, "acme")
    assert seen == [[("acme",)]]


def test_a_role_that_is_none_is_refused(database: Database) -> None:
    done = run("open", "--role", "king", "--dsn", database.service)
    assert (done.returncode, "none of service, owner, app" in done.stderr) == (2, True)
