"""`./aisle ingest …`: how ingest stands, what it refused and why, and the same once more."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.db.address import connected, dsn_of

if TYPE_CHECKING:
    pass

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

    with connected(dsn_of("service", dsn)) as conn:
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

    with connected(dsn_of("service", dsn)) as conn:
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

    with connected(dsn_of("service", dsn)) as conn:
        stored = letters.retry(conn, reason)
        left = sum(letters.state(conn).dead_letters.values())
    print(json.dumps({"stored": stored, "left": left}) if as_json else f"{stored} stored, {left} left")


def _when(us: int | None) -> str:
    if us is None:
        return "never"
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
