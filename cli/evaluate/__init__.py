"""`./aisle eval NAME`: accuracy measured on recordings, one module a name; any data of the same format will do."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.later import promise

if TYPE_CHECKING:
    from cli.evaluate.locate import Figures, LocateReport

LATER = {
    "wifi": "a position from Wi-Fi scans",
    "beacons": "a phone's position among fixed beacons",
    "llrp": "RFID reader messages decoded and encoded again",
    "crowd": "how many people, from probe requests",
    "zones": "entries and dwell in zones",
    "expression": "expressions of unseen faces",
    "detect": "faces found in photos",
    "join": "receipts joined with visits",
    "lift": "a campaign's lift with its interval",
}
"""Names that are promised; each leaves this table when its module is written."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Accuracy on recorded data.")


@app.command()
def locate(
    survey: Annotated[Path, typer.Option(help="Parquet: sensor, x_m, y_m, z_m, rssi_dbm; a row a packet.")],
    sensors: Annotated[Path, typer.Option(help="JSON: MAC -> {name, x_m, y_m, z_m}.")],
    tracks: Annotated[
        list[Path], typer.Option(help="CSV: t_s, sensor_mac, rssi_dbm and the true x_m, y_m. One or several.")
    ],
    more_tracks: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Positions of a walking beacon against the truth: an estimate every 0.5 s, from the past alone."""
    from cli.evaluate.locate import evaluate

    try:
        report = evaluate(survey, sensors, [*tracks, *(more_tracks or ())])
    except ValueError as error:  # RecordingError among them: it names the file and the column
        print(f"eval locate: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(json.dumps(_rounded(asdict(report))) if as_json else _table(report))


promise(app, "eval", LATER)


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
