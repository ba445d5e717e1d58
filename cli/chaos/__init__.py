"""`./aisle chaos`: kill parts of a running stack, spoil its lines, and count what is lost or stored twice."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from cli.chaos.killer import VICTIMS
from cli.chaos.lines import FAULTS
from cli.chaos.ours import ALSO
from cli.chaos.round import Round, run
from cli.stack.processes import StackError

__all__ = ["VICTIMS", "Round", "app", "run"]

app = typer.Typer(add_completion=False)


@app.command()
def chaos(
    seconds: Annotated[float, typer.Option(min=1, help="How long parts are killed and started again.")] = 60,
    rate: Annotated[int, typer.Option(min=10, max=20_000, help="Events a second, over all nodes.")] = 500,
    kill: Annotated[str, typer.Option(help=f"Victims, separated by commas: {','.join(VICTIMS)}; may be empty.")] = (
        "edge,broker,ingest,db"
    ),
    faults: Annotated[str, typer.Option(help=f"What lines suffer: {','.join(FAULTS)}; or all.")] = "",
    also: Annotated[str, typer.Option(help=f"Once, in the middle: {','.join(ALSO)} (a card, a card, an ack).")] = "",
    naive: Annotated[bool, typer.Option("--naive", help="Plain paho QoS 1 in the product's place.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed is another order of victims and pauses.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """SIGKILL a victim every 1.5 to 4 s, start it again after 0 to 1.5 s; then drain and count.

    With --faults lines go bad for 0.5 to 3 s in the same way. Ends with 1 if an accepted event is lost or stored twice.
    """
    try:
        figures = run(
            seconds,
            rate,
            _list(kill),
            seed,
            lambda line: print(line, file=sys.stderr, flush=True),
            faults=list(FAULTS) if faults == "all" else _list(faults),
            also=_list(also),
            naive=naive,
        )
    except (StackError, ValueError) as error:
        print(f"chaos: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("chaos: stopped, nothing was counted", file=sys.stderr)
        raise typer.Exit(130) from None
    told = asdict(figures)
    print(json.dumps(told) if as_json else "\n".join(f"{name:>11} {value}" for name, value in told.items()))
    if figures.lost or figures.duplicated:
        raise typer.Exit(1)


def _list(names: str) -> list[str]:
    return [name for name in names.split(",") if name]
