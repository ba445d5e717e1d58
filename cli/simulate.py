"""`./aisle simulate SCENARIO`: a scenario as files, records and receipts beside their truth, without the product."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli import ROOT
from simulators import scenario_files as scenarios
from simulators.checks import Check
from simulators.scenario_files import ScenarioError
from simulators.simulate import Simulated, simulate
from simulators.trace_files import TraceError

_MARKS = {"pass": "ok", "fail": "FAIL", "departs": "apart"}

app = typer.Typer(add_completion=False, no_args_is_help=True)


def _listed() -> str:
    """The scenarios that come along, a line each."""
    return "\n\n".join(f"{name}: {scenarios.load(name).about}" for name in scenarios.known())


@app.command(
    help="Play a scenario as fast as the machine can and write what every node heard, what the tills printed, and the "
    "truth of both.\n\nRecords and their truth are Parquet, receipts and people JSON lines; trace.json says what there "
    "is. The same scenario and seed give the same bytes.\n\nScenarios:\n\n" + _listed()
)
def run(
    scenario: Annotated[str, typer.Argument(help="A name below, or the path of a .toml file.")],
    seed: Annotated[int, typer.Option(help="What chance is drawn from.", min=0)] = 1,
    hours: Annotated[
        float | None, typer.Option(help="Opening hours to play, over days if need be; else the whole day.", min=0.01)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; else .aisle/traces/SCENARIO-SEED. An older trace goes.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Check calibration and invariants; exit code 1 when one fails.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """One simulation."""
    folder = out or ROOT / ".aisle" / "traces" / f"{Path(scenario).stem}-{seed}"
    try:
        done = simulate(scenario, seed, hours, folder, report)
    except (ScenarioError, TraceError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(msgspec.json.encode(_object(done)).decode() if as_json else "\n".join(_lines(done)))
    raise typer.Exit(1 if done.failed else 0)


def _object(done: Simulated) -> dict[str, object]:
    found = {key: value for key, value in msgspec.to_builtins(done).items() if key != "manifest"}
    manifest = {key: value for key, value in msgspec.to_builtins(done.manifest).items() if key != "sha256"}
    return manifest | found | {"failed": done.failed}


def _lines(done: Simulated) -> list[str]:
    made = done.manifest
    lines = [
        f"{made.scenario}, seed {made.seed}: "
        f"{made.people:,} people, {made.records:,} records, {made.receipts:,} receipts",
        f"{made.shopper_hours:,.1f} shopper-hours in {done.seconds:.1f} s of a core: "
        f"{done.shopper_hours_per_min:,.0f} a minute",
        f"written to {done.folder}",
    ]
    for title, checks in (("calibration", done.calibration), ("invariants", done.invariants)):
        if checks:
            lines += ["", title, *(_line(check) for check in checks)]
    if done.calibration:
        apart = sum(check.verdict == "departs" for check in done.calibration)
        lines += ["", f"{done.failed} failed" + (f", {apart} apart: this store means to differ there" if apart else "")]
    return lines


def _line(check: Check) -> str:
    source = f"  [{check.source}]" if check.source else ""
    return f"  {_MARKS[check.verdict]:<5} {check.name:<52} {check.measured:<14} {check.expected}{source}"
