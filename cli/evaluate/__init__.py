"""`./aisle eval NAME`: accuracy measured on recordings, one module a name; any data of the same format will do."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.later import promise

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cli.evaluate.locate import Figures, LocateReport

LATER = {
    "expression": "expressions of unseen faces",
    "detect": "faces found in photos",
    "join": "receipts joined with visits",
    "lift": "a campaign's lift with its interval",
}
"""Names that are promised; each leaves this table when its module is written."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Accuracy on recorded data.")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def locate(
    survey: Annotated[Path, typer.Option(help="Parquet: sensor, x_m, y_m, z_m, rssi_dbm; a row a packet.")],
    sensors: Annotated[Path, typer.Option(help="JSON: MAC -> {name, x_m, y_m, z_m}.")],
    tracks: Annotated[
        list[Path], typer.Option(help="CSV: t_s, sensor_mac, rssi_dbm and the true x_m, y_m. One or several.")
    ],
    more_tracks: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    window: Annotated[
        int, typer.Option(min=1, help="Scans that the plain methods average, in recordings of scans.")
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Positions of a walking beacon against the truth, from the past alone: every 0.5 s, or at every scan."""
    from cli.evaluate.locate import evaluate

    try:
        report = evaluate(survey, sensors, [*tracks, *(more_tracks or ())], window)
    except ValueError as error:  # RecordingError among them: it names the file and the column
        print(f"eval locate: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(json.dumps(_rounded(asdict(report))) if as_json else _table(report))


@app.command()
def beacons(
    walks: Annotated[Path, typer.Option(help="Folder with FLOOR/*.jsonl.gz: W rows (ms, x, y) and B rows (iBeacons).")],
    as_json: AsJson = False,
) -> None:
    """A phone's place among a building's own iBeacons: 5 folds by walk, clones found, places told where sure enough."""
    from cli.evaluate.beacons import evaluate

    _show("beacons", lambda: evaluate(walks), as_json)


@app.command()
def wifi(
    pcap: Annotated[list[Path], typer.Option(help="Captures in monitor mode (pcap or pcapng). One or several.")],
    more_pcaps: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Probe requests read and counted by the node's own code."""
    from cli.evaluate.wifi import evaluate

    _show("wifi", lambda: evaluate([*pcap, *(more_pcaps or ())]), as_json)


@app.command()
def llrp(
    payloads: Annotated[Path, typer.Option(help="Folder with NAME-000.bytes and NAME-000.json, NAME the message's.")],
    as_json: AsJson = False,
) -> None:
    """RFID reader messages decoded, compared with their JSON, and encoded again byte for byte."""
    from cli.evaluate.llrp import evaluate

    _show("llrp", lambda: evaluate(payloads), as_json)


@app.command()
def crowd(
    train: Annotated[Path, typer.Option(help="Parquet: time, src, rssi_dbm, ie_hash, occupancy; a row a frame.")],
    test: Annotated[
        Path | None, typer.Option(help="Other days of the same kind; without it the last days of --train.")
    ] = None,
    split: Annotated[float, typer.Option(min=0.1, max=0.9, help="Share of the days to learn from.")] = 0.7,
    rolling: Annotated[bool, typer.Option(help="Also with the cut elsewhere: how much it depends on that.")] = False,
    as_json: AsJson = False,
) -> None:
    """How many people, from counts of devices that ask for networks; heads counted in the first days teach it."""
    from cli.evaluate.crowd import evaluate

    _show("crowd", lambda: evaluate(train, test, split=split, rolling=rolling), as_json)


@app.command()
def zones(
    seeds: Annotated[int, typer.Option(min=1, help="So many simulated stores, about 5 s each.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Zones and dwell triggers of simulated shoppers with bodies, in a radio that the locator does not assume."""
    from cli.evaluate.zones import evaluate

    _show("zones", lambda: evaluate(seeds), as_json)


promise(app, "eval", LATER)


def _show(name: str, evaluate: "Callable[[], DataclassInstance]", as_json: bool) -> None:
    """What was found, nested figures on lines of their own; what is wrong with the data ends with code 2."""
    try:
        found = _rounded(asdict(evaluate()))
    except ValueError as error:  # RecordingError among them: it names the file and what was expected
        print(f"eval {name}: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(json.dumps(found) if as_json else "\n".join(_lines(found)))


def _lines(found: object, indent: str = "") -> Iterator[str]:
    assert isinstance(found, dict)
    for key, value in found.items():
        if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
            yield f"{indent}{key}"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, dict):
            yield f"{indent}{key:<22} " + "  ".join(f"{name} {inner}" for name, inner in value.items())
        else:
            yield f"{indent}{key:<22} {value}"


def _table(report: "LocateReport") -> str:
    """The report for people."""
    wide = max(map(len, [*report.per_track, *report.baselines, "all tracks"])) + 2
    head = f"{'':<{wide}}{'mean m':>8}{'p50 m':>8}{'p90 m':>8}{'n':>7}"

    def row(name: str, figures: "Figures | LocateReport") -> str:
        return f"{name:<{wide}}{figures.mean_m:8.2f}{figures.p50_m:8.2f}{figures.p90_m:8.2f}{figures.n:7d}"

    return "\n".join(
        [head, row("all tracks", report), *(row(name, found) for name, found in report.per_track.items())]
        + ["", "plain methods, all tracks", *(row(name, found) for name, found in report.baselines.items())]
    )


def _rounded(value: object) -> object:
    """The same with numbers to a tenth of a millimetre."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value
