"""`./aisle replay PATH`: real recordings through a node's own code and into a cloud of their own, with its console."""

import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import ROOT

if TYPE_CHECKING:
    from cli.replay.run import Replay

app = typer.Typer(add_completion=False)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= 1000:
        raise typer.BadParameter(f"{text!r}: expected max, or a number from 0.01 to 1000")
    return speed


@app.command()
def replay(
    path: Annotated[
        Path,
        typer.Argument(help="sensors.json with track_*.csv; *.jsonl.gz; *.pcap; ROAccessReport-*.bytes."),
    ],
    store: Annotated[
        str | None, typer.Option(help="The store to show it as; by default tetam, mall, wifi or rfid, by its kind.")
    ] = None,
    speed: Annotated[str, typer.Option(help="max, or a multiple of real time: 1 shows it live.")] = "max",
    keep: Annotated[
        bool | None, typer.Option("--keep/--exit", help="Keep the console up until Ctrl-C; --exit with --json.")
    ] = None,
    for_s: Annotated[float | None, typer.Option("--for", help="Keep the console up for so many seconds.")] = None,
    port: Annotated[int | None, typer.Option(help="The console's port; a free one is found and kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Feed a real recording through a node's own code: bytes, windows, outbox, MQTT, cloud, positions.

    Its instants are shifted to now, so that the console's periods show it and it can be played again; within a walk
    they are kept as recorded. Everything listens on this machine only.
    """
    from cli.evaluate.radio_recordings import RecordingError
    from cli.replay.recording import UnknownRecording
    from cli.replay.run import Replay, read_recording
    from cli.stack.processes import StackError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        recording = read_recording(path, store)
        with Replay(ROOT / ".aisle" / "replay", recording, _speed(speed), _say, port) as run:
            figures = run.play()
            _say(_welcome(run))
            print(json.dumps(figures) if as_json else _listed(figures), flush=True)
            _stay(for_s if for_s is not None else float("inf") if _keeps(keep, as_json) else 0.0)
    except (RecordingError, UnknownRecording) as error:
        _say(f"replay: {' '.join(str(error).split())}")
        raise typer.Exit(2) from None
    except StackError as error:
        _say(f"replay: {error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _say("stopped")


def _keeps(keep: bool | None, as_json: bool) -> bool:
    return not as_json if keep is None else keep


def _stay(seconds: float) -> None:
    """Until the time is up or Ctrl-C."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _listed(figures: dict[str, object]) -> str:
    return "\n".join(f"{name:>21} {value}" for name, value in figures.items())


def _welcome(run: "Replay") -> str:
    """Where to look and what is seen there."""
    url, store = run.cloud.url, run.recording.store
    begins, ends = (datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S") for us in run.span_us)
    logins = [f"  {role:<11} {login.login:<20} {login.password}" for role, login in run.cloud.logins.items()]
    return "\n".join(
        [
            "",
            f"map       {url}/console/#/{store}/map",
            f"          choose Today (or Last 15 minutes): played at {begins} to {ends} UTC, the store's clock",
            "          the recorded instants, shifted by whole seconds; pauses between walks are cut to 30 s",
            *logins,
            *(f"note      {note}" for note in run.recording.notes),
            "",
        ]
    )
