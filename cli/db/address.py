"""Which database a command is about, and as whom: as said, else by the environment, else the demo's in this folder."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from cli import ROOT

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

DEMO = ROOT / ".aisle" / "demo" / "postgres"
ENVIRONMENT = {"service": "AISLE_SERVICE_DSN", "owner": "AISLE_OWNER_DSN", "app": "AISLE_APP_DSN"}
ROLES = tuple(ENVIRONMENT)


def dsn_of(role: str, given: str | None = None, demo: Path = DEMO) -> str:
    """The connection string for one of ROLES; ends the command with 2 where there is none."""
    found = given or os.environ.get(ENVIRONMENT[role]) or _demo(role, demo)
    if not found:
        form = f"postgresql://aisle_{role}:PASSWORD@HOST:PORT/aisle"
        _end(f"which database? Set {ENVIRONMENT[role]} or say --dsn {form}", 2)
    return found


@contextmanager
def connected(dsn: str) -> "Iterator[Connection[TupleRow]]":
    """A connection that commits each statement; ends the command with 1 and one line where nobody answers."""
    import psycopg

    try:
        conn = psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="aisle command")
    except psycopg.Error as error:
        hint = "; the demo's answers while ./aisle demo runs" if dsn in {_demo(role, DEMO) for role in ROLES} else ""
        _end(f"the database does not answer: {str(error).strip().splitlines()[0]}{hint}", 1)
    with conn:
        yield conn


def _demo(role: str, folder: Path) -> str:
    passwords, port = folder / "passwords.json", folder / "port"
    if not (passwords.exists() and port.exists()):
        return ""
    password = json.loads(passwords.read_text())[f"aisle_{role}"]
    return f"postgresql://aisle_{role}:{password}@127.0.0.1:{port.read_text().strip()}/aisle"


def _end(text: str, code: int) -> NoReturn:
    print(f"aisle: {text}", file=sys.stderr)
    raise typer.Exit(code)
