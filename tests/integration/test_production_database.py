"""The roles script that production runs on its PostgreSQL, and the health check of processes without a port."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cli.stack.postgres import Postgres
from cloud import db

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "firmware_configs" / "database" / "roles.sql"
PASSWORDS = {f"AISLE_{role}_PASSWORD": f"secret of {role}'s" for role in ("OWNER", "APP", "SERVICE")}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A PostgreSQL without any role of ours, as a new machine has it."""
    folder = Path(tempfile.mkdtemp(prefix="aisle-production-"))
    folder.chmod(0o711)
    with Postgres(folder / "postgres") as server:
        yield server
    server.destroy()
    shutil.rmtree(folder, ignore_errors=True)


def test_the_roles_script_makes_what_the_migrations_need_and_no_more(server):
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed: apt-get install postgresql-client")
    made = subprocess.run(
        [psql, "--no-psqlrc", "--dbname", server.admin_dsn, "--file", SCRIPT],
        env=os.environ | PASSWORDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr

    def dsn(role: str) -> str:
        password = PASSWORDS[f"AISLE_{role.upper()}_PASSWORD"]
        return make_conninfo(server.admin_dsn, dbname="aisle", user=f"aisle_{role}", password=password)

    assert db.migrate(dsn("owner"))[0] == "0001_access.sql"
    for role in ("app", "service"):
        with psycopg.connect(dsn(role)) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("CREATE TABLE mine (x int)")
    with psycopg.connect(server.admin_dsn) as conn:
        mighty = conn.execute(
            "SELECT rolname FROM pg_roles WHERE rolname ~ '^aisle_' AND"
            " (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)"
        ).fetchall()
    assert mighty == []


@pytest.mark.parametrize("table", ["sighting", "position"])
def test_the_api_reads_no_raw_windows_and_no_positions(database, table):
    with psycopg.connect(database.app) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(f"SELECT 1 FROM {table}".encode())


def test_a_process_is_healthy_while_it_is_connected(database):
    def ask() -> int:
        environ = os.environ | {"AISLE_SERVICE_DSN": database.service}
        command = [sys.executable, "-m", "cloud.healthy", "locate"]
        return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, check=False).returncode

    assert ask() == 1
    with db.connect(database.service, "locate", autocommit=True):
        assert ask() == 0
    with db.connect(database.service, "worker", autocommit=True):
        assert ask() == 1


@pytest.mark.parametrize("command", [[], ["api"]])
def test_the_health_check_names_the_processes_it_is_for(command):
    run = subprocess.run(
        [sys.executable, "-m", "cloud.healthy", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "ingest|locate|worker" in run.stderr
