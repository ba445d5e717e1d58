"""`./aisle ingest …`: how ingest stands, what it refused and why, and the same once more."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli import ROOT

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

DEMO = ROOT / ".aisle" / "demo" / "postgres"

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Look into batches, dead letters and what nodes still hold."
)

Dsn = Annotated[
    str | None,
    typer.Option(help="PostgreSQL as aisle_service; else AISLE_SERVICE_DSN, else the demo's if it runs here."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Reason = Annotated[str | None, typer.Option(help="Only those with this reason, such as UnknownNode.")]


@app.command()
def status(dsn: Dsn = None, as_json: AsJson = False) -> None:
    """What is stored, what waits for the locator, what was refused, and what each node holds."""
    from cloud.ingest import letters

    with _database(dsn) as conn:
        found = letters.state(conn)
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(f"stored        {found.batches} batches, {found.events} events, the newest {_when(found.stored_us)}")
    print(f"queued        {found.queued} batches for the locator")
    told = ", ".join(f"{count} {reason}" for reason, count in found.dead_letters.items())
    print(f"dead letters  {told or 'none'}")
    for node in found.nodes:
        holds = f"holds {node.outbox_rows} batches, the oldest {node.outbox_oldest_s:.0f} s"
        dropped = f", {node.dropped} windows given up" if node.dropped else ""
        name = f"{node.tenant}/{node.store}/{node.node}"
        print(f"node          {name} {node.state or 'unknown'}, heard {_when(node.heard_us)}, {holds}{dropped}")


@app.command("dead-letters")
def dead_letters(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest first.")] = 20,
    dsn: Dsn = None,
    as_json: AsJson = False,
) -> None:
    """Messages that could not be stored, and why. docs/operations.md says for each reason what to do."""
    from cloud.ingest import letters

    with _database(dsn) as conn:
        found = letters.letters(conn, reason, limit)
    if as_json:
        print(json.dumps({"dead_letters": [asdict(letter) for letter in found]}))
        return
    for letter in found:
        times = f" ({letter.times} times)" if letter.times > 1 else ""
        print(f"{_when(letter.at_us)}  {letter.reason}{times}  {letter.topic}  {letter.bytes} B: {letter.detail}")
    if not found:
        print("no dead letters")


@app.command()
def retry(reason: Reason = None, dsn: Dsn = None, as_json: AsJson = False) -> None:
    """Offer the dead letters to the store once more: after a node was claimed, or with a newer build."""
    from cloud.ingest import letters

    with _database(dsn) as conn:
        stored = letters.retry(conn, reason)
        left = sum(letters.state(conn).dead_letters.values())
    print(json.dumps({"stored": stored, "left": left}) if as_json else f"{stored} stored, {left} left")


@contextmanager
def _database(dsn: str | None) -> "Iterator[Connection[TupleRow]]":
    """A connection that commits each statement; without one the command ends, in one line."""
    import psycopg

    found = dsn or os.environ.get("AISLE_SERVICE_DSN") or _demo()
    if not found:
        _end(
            "which database? Set AISLE_SERVICE_DSN or say --dsn postgresql://aisle_service:PASSWORD@HOST:PORT/aisle", 2
        )
    try:
        conn = psycopg.connect(found, autocommit=True, connect_timeout=5, application_name="aisle command")
    except psycopg.Error as error:
        _end(f"the database does not answer: {str(error).strip().splitlines()[-1]}", 1)
    with conn:
        yield conn


def _demo(folder: Path = DEMO) -> str:
    """The demo's database, if there was a demo here."""
    passwords, port = folder / "passwords.json", folder / "port"
    if not (passwords.exists() and port.exists()):
        return ""
    password = json.loads(passwords.read_text())["aisle_service"]
    return f"postgresql://aisle_service:{password}@127.0.0.1:{port.read_text().strip()}/aisle"


def _end(text: str, code: int) -> NoReturn:
    print(f"ingest: {text}", file=sys.stderr)
    raise typer.Exit(code)


def _when(us: int | None) -> str:
    if us is None:
        return "never"
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
