"""`./aisle bench NAME`: speed, beside its peer in the same run where there is one; one module a name."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.later import promise
from cli.stack.processes import StackError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LATER = {
    "web": "the console's first paint, layers and slider",
    "app": "the member's page: size, offline, tap to offer",
    "gate": "decisions of the contact gate a second",
    "vision": "camera frames a second",
    "segments": "members a segment's condition looks through in a second",
    "push": "offers a second to open streams",
    "load": "stores, nodes and members that one machine carries",
}
"""Names that are promised; each leaves this table when its module is written."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Speed, and the peer's beside it.")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def ingest(
    events: Annotated[int, typer.Option(min=1_000, help="Events in each of the runs at full speed.")] = 1_000_000,
    paced_s: Annotated[float, typer.Option(min=0.5, help="Seconds of each run at 20,000 events a second.")] = 3.0,
    publishers: Annotated[int, typer.Option(min=1, max=50, help="Nodes that speak at once.")] = 50,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Ingest processes that share the work.")] = 2
    * (os.cpu_count() or 1),
    runs: Annotated[int, typer.Option(min=1, max=9, help="The medians of so many runs are told.")] = 3,
    as_json: AsJson = False,
) -> None:
    """MQTT to commit, 100 events a message, with the ledger; its peer is COPY alone into the same table."""
    from cli.bench.ingest import measure

    _print(lambda: measure(events, paced_s, publishers, runs, workers), "ingest", as_json)


@app.command()
def heatmap(
    positions: Annotated[int, typer.Option(min=1_000, help="Positions of the day that is asked for.")] = 1_000_000,
    asks: Annotated[int, typer.Option(min=1, help="Requests of the grid.")] = 30,
    as_json: AsJson = False,
) -> None:
    """A day's grid from the api and its first paint in a browser; its peer groups the positions themselves in SQL."""
    from cli.bench.heatmap import measure

    _print(lambda: measure(positions, asks), "heatmap", as_json)


@app.command()
def analytics(
    sightings: Annotated[int, typer.Option(min=10_000, help="Sightings that visits are made of.")] = 10_000_000,
    positions: Annotated[int, typer.Option(min=1_000, help="Positions of the day that is asked for.")] = 1_000_000,
    asks: Annotated[int, typer.Option(min=1, help="Requests of the grid.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What analysts wait for: visits from raw sightings, maps of a day and of a year; Polars and SQL beside them."""
    from cli.bench.analytics import measure

    _print(lambda: measure(sightings, positions, asks), "analytics", as_json)


@app.command()
def locate(as_json: AsJson = False) -> None:
    """Positions a second on one core: everybody on a floor heard by all nodes once a second."""
    from cli.bench.locate import measure

    _print(measure, "locate", as_json)


@app.command()
def ledger(as_json: AsJson = False) -> None:
    """Points: spends that contend for one balance, and awards that are sent again."""
    from cli.bench.ledger import measure

    _print(measure, "ledger", as_json)


@app.command()
def edge(
    part: Annotated[
        list[str] | None, typer.Option(help="ble, wifi, llrp, epc or outbox; several times for several, else all.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of each load of 10,000 adverts a second.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """A node: adverts, frames, tags and batches a second, memory, time from sighting to event; peers beside them."""
    from cli.bench.edge import PARTS, measure

    chosen = part or list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]!r}: expected one of {', '.join(PARTS)}", param_hint="--part")
    _print(lambda: measure(chosen, seconds), "edge", as_json)


promise(app, "bench", LATER)


def _print(measure: "Callable[[], DataclassInstance | dict[str, object]]", name: str, as_json: bool) -> None:
    """What was measured, with the machine's load before: a figure from a busy machine is a low one."""
    load = round(os.getloadavg()[0], 2)
    try:
        figures = measure()
    except StackError as error:
        print(f"bench {name}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    told: dict[str, Any] = figures if isinstance(figures, dict) else asdict(figures)
    found = told | {"cpus": os.cpu_count(), "load_before": load}
    print(json.dumps(found) if as_json else "\n".join(f"{key:>18} {value}" for key, value in found.items()))
