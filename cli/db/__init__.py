"""`./aisle db …`: is the database as it should be, bring its schema up to date, look inside, forget what is old."""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from cli.db.address import ENVIRONMENT, ROLES, connected, dsn_of
from cli.db.table import table

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The database: check, migrate, open, retain.")

Service = Annotated[
    str | None,
    typer.Option(help="PostgreSQL as aisle_service or a superuser; else AISLE_SERVICE_DSN, else the demo's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def check(dsn: Service = None, as_json: AsJson = False) -> None:
    """Which path runs and why, settings, roles, schema, days, queues, sizes. Ends with 1 if something failed.

    Changes nothing and waits for nobody.
    """
    from cloud.database.check import Level, examine
    from cloud.database.facts import read_facts

    with connected(dsn_of("service", dsn)) as conn:
        findings = examine(read_facts(conn))
    ok = all(finding.level is not Level.FAIL for finding in findings)
    if as_json:
        print(json.dumps({"ok": ok, "findings": [finding._asdict() for finding in findings]}, ensure_ascii=False))
    else:
        print(table(findings, colour=sys.stdout.isatty()))
    raise typer.Exit(0 if ok else 1)


@app.command()
def migrate(
    dsn: Annotated[
        str | None, typer.Option(help="PostgreSQL as aisle_owner; else AISLE_OWNER_DSN, else the demo's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the schema to this build's. Each file runs once, in its own transaction; two at once take turns."""
    import psycopg

    from cloud import db

    found = dsn_of("owner", dsn)
    with connected(found):
        pass  # one line, not a traceback, where nobody answers
    try:
        applied = db.migrate(found)
    except (RuntimeError, psycopg.Error) as error:
        print(f"db: {str(error).splitlines()[0]}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps({"applied": applied}))
    else:
        print("\n".join(f"applied {file}" for file in applied) or "nothing to do: the schema is this build's")


@app.command("open")
def open_(
    role: Annotated[str, typer.Option(help=f"As whom: {', '.join(ROLES)}.")] = "service",
    tenant: Annotated[str | None, typer.Option(help="As `app` one tenant is seen, and without one nothing.")] = None,
    dsn: Annotated[
        str | None, typer.Option(help=f"PostgreSQL; else {', '.join(ENVIRONMENT.values())} by role, else the demo's.")
    ] = None,
) -> None:
    """psql on the database, or Python with a connection `conn` where there is no psql."""
    from cli.db.prompt import prompt

    if role not in ROLES:
        raise typer.BadParameter(f"{role!r} is none of {', '.join(ROLES)}", param_hint="--role")
    prompt(dsn_of(role, dsn), tenant)


@app.command()
def retain(dsn: Service = None, as_json: AsJson = False) -> None:
    """Now what the worker does every hour: make the next days, drop and delete what is too old, count hours."""
    from cloud.retention import count_hours, forget, make_days

    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    with connected(dsn_of("service", dsn)) as conn:
        make_days(conn, now_us)
        gone = forget(conn, now_us)
        count_hours(conn, now_us)
    if as_json:
        print(json.dumps(gone))
    else:
        told = [f"forgot {count} {what}" for what, count in gone.items() if count]
        print("\n".join(told) or "nothing was too old")
