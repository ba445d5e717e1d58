"""`./aisle receipts …`: read a till's file without storing anything, or store it. docs/receipts.md has the formats."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.db.address import connected, dsn_of

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

    from cloud.receipts.formats.choose import Format
    from cloud.receipts.formats.mapping import Mapping

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Import and check receipts.")

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="What the till wrote.")]
MappingFile = Annotated[
    Path | None,
    typer.Option("--mapping", exists=True, dir_okay=False, help="TOML or JSON that names a table's columns."),
]
FormatName = Annotated[
    str | None, typer.Option("--format", help="csv, parquet, ffd, poslog or jsonl; else by the name's end.")
]
Currency = Annotated[str | None, typer.Option(help="Where the file tells none, such as EUR.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SHOWN = 20
"""Mistakes told one by one; the rest are counted."""


@app.command()
def check(
    file: File,
    mapping: MappingFile = None,
    store: Annotated[str, typer.Option(help="Where the file tells none.")] = "store",
    zone: Annotated[str, typer.Option(help="Where the till's clock stands.")] = "UTC",
    currency: Currency = None,
    form: FormatName = None,
    as_json: AsJson = False,
) -> None:
    """Read the file, store nothing, tell what is wrong by line. Ends with 1 if something is."""
    from cloud.errors import Invalid
    from cloud.receipts import check as rules
    from cloud.receipts.formats.choose import read
    from cloud.receipts.formats.mapping import MappingError
    from cloud.receipts.formats.table import Place

    chosen, columns = _how(file, form, mapping)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    good = lines = bad = 0
    reasons, shown = Counter[str](), list[dict[str, object]]()
    # Without a database every store that is named counts as one, and the first receipt's currency as its own.
    stores: dict[str, rules.Known] = {}
    try:
        with file.open("rb") as stream:
            for one in read(stream, chosen, columns, Place(store, zone, file.name, currency)):
                if one.receipt is None:
                    wrong = [(one.field or "unreadable", one.problem)]
                else:
                    stores.setdefault(one.receipt.store, rules.Known(one.receipt.currency))
                    found = rules.problems(one.receipt, "", stores, now_us)
                    wrong = [(p.field or "", f"line {p.line}: {p.message}" if p.line else p.message) for p in found]
                if not wrong:
                    good, lines = good + 1, lines + (len(one.receipt.lines) if one.receipt else 0)
                    continue
                bad += 1
                reasons.update({field for field, _ in wrong})
                if len(shown) < SHOWN:
                    shown += [{"line": one.line, "field": field, "problem": told} for field, told in wrong[:3]]
    except Invalid as error:
        _end(error.detail, 2 if isinstance(error, MappingError) else 1)
    if as_json:
        print(json.dumps({"receipts": good, "lines": lines, "wrong": bad, "fields": reasons, "problems": shown}))
    else:
        for problem in shown:
            print(f"{file.name}:{problem['line']}: {problem['field']}: {problem['problem']}")
        print(f"{good} receipts of {lines} lines are right, {bad} are wrong")
    raise typer.Exit(1 if bad else 0)


@app.command("import")
def import_(
    file: File,
    store: Annotated[str, typer.Option(help="Whose receipts they are, where the file tells no other.")],
    mapping: MappingFile = None,
    tenant: Annotated[str | None, typer.Option(help="Needed where there are several.")] = None,
    currency: Currency = None,
    form: FormatName = None,
    dsn: Annotated[
        str | None, typer.Option(help="PostgreSQL as aisle_service; else AISLE_SERVICE_DSN, else the demo's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store the file's receipts. Cut off, it goes on where it was; the same file again changes nothing.

    Ends with 1 if receipts were put into quarantine: GET /v1/receipts/quarantine tells them with line and reason, and
    `receipts check` beforehand.
    """
    from cloud.errors import Invalid
    from cloud.receipts.formats.choose import read
    from cloud.receipts.formats.table import Place
    from cloud.receipts.importing import import_receipts, name_of

    chosen, columns = _how(file, form, mapping)
    with connected(dsn_of("service", dsn)) as conn:
        owner, zone = _store_of(conn, tenant, store)
        name = name_of(file, owner, store, chosen, currency or "", mapping.read_text("utf-8") if mapping else "")
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        began = time.perf_counter()
        done_before = _done_before(conn, owner, name, file.name)
        try:
            with file.open("rb") as stream, _bar(file.name) as told:
                read_in = read(stream, chosen, columns, Place(store, zone, file.name, currency))
                found = (one if one.receipt else one._replace(store=store) for one in read_in)
                progress = import_receipts(conn, owner, name, found, file.name, now_us, lambda p: told(p.done))
        except Invalid as error:
            _end(f"{error.detail}; what stood before it is stored", 1)
        took_s = time.perf_counter() - began
    rate = round((progress.done - done_before) / took_s)
    if as_json:
        counts = {k: getattr(progress, k) for k in ("stored", "duplicates", "parked", "quarantined")}
        print(json.dumps({"receipts": progress.done, **counts, "new": progress.done - done_before,
                          "seconds": round(took_s, 3), "receipts_per_s": rate}))  # fmt: skip
    elif progress.done == done_before:
        print(f"{file.name} is in already: {progress.stored} stored, {progress.quarantined} in quarantine")
    else:
        print(f"{progress.stored} stored, {progress.duplicates} there already, {progress.parked} wait for their sale, "
              f"{progress.quarantined} in quarantine; {rate} receipts/s")  # fmt: skip
    raise typer.Exit(1 if progress.quarantined else 0)


def _how(file: Path, form: str | None, mapping: Path | None) -> "tuple[Format, Mapping | None]":
    """The format and the mapping; ends the command with 2 where one of them is wrong."""
    from typing import get_args

    from cloud.errors import Invalid
    from cloud.receipts.formats.choose import Format, format_of
    from cloud.receipts.formats.mapping import mapping_of

    try:
        chosen = next((name for name in get_args(Format) if name == form), None) if form else format_of(file.name)
        columns = mapping_of(mapping.read_bytes(), mapping.name) if mapping else None
    except Invalid as error:
        _end(error.detail, 2)
    if chosen is None:
        _end(f"no format {form!r}; there are {', '.join(get_args(Format))}", 2)
    if chosen in ("csv", "parquet") and columns is None:
        _end("a table needs --mapping FILE that names its columns; docs/receipts.md has one to begin with", 2)
    return chosen, columns


def _store_of(conn: "Connection[TupleRow]", tenant: str | None, store: str) -> tuple[str, str]:
    """Whose store it is and in which zone; ends the command with 2 where that cannot be told."""
    from cloud.receipts.importing import sql

    rows = [row for row in conn.execute(sql.tenants).fetchall() if tenant in (None, row[0])]
    tenants = sorted({row[0] for row in rows})
    if len(tenants) != 1:
        _end(f"whose? Say --tenant; there are {', '.join(tenants)}" if tenants else f"no tenant {tenant!r}", 2)
    zone = next((row[2] for row in rows if row[1] == store), None)
    if zone is None:
        _end(f"{tenants[0]} has no store {store!r}; there are {', '.join(str(row[1]) for row in rows)}", 2)
    return tenants[0], zone


def _done_before(conn: "Connection[TupleRow]", tenant: str, name: bytes, source: str) -> int:
    from cloud.receipts.importing import begin

    return begin(conn, tenant, name, source).done


@contextmanager
def _bar(name: str) -> "Iterator[Told]":
    """Receipts read so far, on stderr: a line that moves on a terminal, silence elsewhere."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn(name), TextColumn("{task.completed} receipts"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done: bar.update(task, completed=done)


if TYPE_CHECKING:
    from collections.abc import Callable

    Told = Callable[[int], None]


def _end(text: str, code: int) -> NoReturn:
    print(f"receipts: {text}", file=sys.stderr)
    raise typer.Exit(code)
