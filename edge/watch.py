"""`python -m edge watch node.toml`: what a running node hears, keeps and sends, each second.

Reads the node's status socket; while the node does not run it says so and shows the outbox file's totals instead. Pull
the network cable and watch the backlog grow; plug it in again and see it fall to 0.
"""

import argparse
import contextlib
import json
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import msgspec

from contract.messages import Health
from edge.config import ConfigError
from edge.outbox_file import Totals, read_totals
from edge.safe_mode import load
from edge.status import EVERY_S, NodeStatus, socket_of

SILENT_S = 10.0
"""A node that tells nothing for so long hangs; systemd's watchdog ends it after 30 s."""


@dataclass(frozen=True, slots=True)
class View:
    """One moment of a node."""

    at: float
    """Seconds since 1970."""
    status: NodeStatus | None
    """None while the node does not run."""
    totals: Totals | None = None
    """Of the outbox file, while the node does not run."""
    trouble: str = ""
    """Why there is no status, or no totals."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened a second between two moments."""

    heard: dict[str, float]
    """By source."""
    windows: float


def rates(before: NodeStatus | None, now: NodeStatus) -> Rates:
    """Counts a second between two statuses of one run; zeros for the first, or after a restart."""
    if before is None or now.health.uptime_s <= before.health.uptime_s or now.health.boot != before.health.boot:
        return Rates(dict.fromkeys(_heard(now.health), 0.0), 0.0)
    passed_s = now.health.uptime_s - before.health.uptime_s
    earlier = _heard(before.health)
    heard = {name: max(0.0, (n - earlier.get(name, 0)) / passed_s) for name, n in _heard(now.health).items()}
    return Rates(heard, max(0.0, (now.health.windows - before.health.windows) / passed_s))


def _heard(health: Health) -> dict[str, int]:
    return {name: source.heard for name, source in health.sources.items()} or {"ble": health.adverts}


def views(outbox: Path, start: str = "") -> Generator[View, None, None]:
    """A node's moments for ever, about one a second; the node may come and go meanwhile. `start` starts it."""
    path = socket_of(outbox)
    while True:
        trouble = "the node is not running"
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(SILENT_S)
                line.connect(str(path))
                with line.makefile("rb") as lines:
                    for text in lines:
                        yield View(time.time(), msgspec.json.decode(text, type=NodeStatus))
        except (FileNotFoundError, ConnectionError):
            pass
        except PermissionError:
            trouble = f"{path} is the service's own: run this with sudo"
        except TimeoutError:
            trouble = f"the node runs and has told nothing for {SILENT_S:g} s"
        except msgspec.MsgspecError:
            trouble = "the node is of another release than this command"
        except OSError as error:
            trouble = f"{path}: {error.strerror or error}"
        yield _without(outbox, trouble, start)
        time.sleep(EVERY_S)


def _without(outbox: Path, trouble: str, start: str) -> View:
    try:
        if not outbox.exists():
            how = f"; start it: {start}" if start else ""
            return View(time.time(), None, None, f"this node has never run, {outbox} is not there{how}")
        return View(time.time(), None, read_totals(outbox), trouble)
    except (sqlite3.Error, KeyError, OSError) as error:
        return View(time.time(), None, None, f"{trouble}; its outbox {outbox} cannot be read ({error})")


def screen(view: View, rate: Rates | None) -> str:
    """A moment as a page of some lines."""
    if view.status is None or rate is None:
        return "\n".join([view.trouble.upper() if view.totals else view.trouble, *_totals_lines(view.totals)])
    status, health = view.status, view.status.health
    mode = "" if health.mode == "normal" else "   SAFE MODE: node.toml is broken, it runs on the last good one"
    rows = [
        f"{status.node}   up {_span(health.uptime_s)}   clock {health.clock}   {health.rss_mb:.0f} MiB{mode}",
        "",
        f"{'source':<14}{'heard/s':>10}{'in all':>12}  state",
    ]
    for name, heard in rate.heard.items():
        source = health.sources.get(name)
        state = "" if source is None else f"{source.state} {source.detail}".rstrip()
        count = health.adverts if source is None else source.heard
        rows.append(f"{name:<14}{heard:>10.1f}{count:>12}  {state}")
    oldest = f", the oldest {_span(health.outbox_oldest_s)} old" if health.outbox_rows else ""
    lost = f"   {health.dropped} EVENTS GIVEN UP" if health.dropped else ""
    line = "connected" if status.connected else "NO CONNECTION, all is kept"
    return "\n".join(
        [
            *rows,
            "",
            f"subjects now   {status.subjects}",
            f"windows/s      {rate.windows:.1f}",
            f"outbox         {health.outbox_rows} batches wait{oldest}{lost}",
            f"broker         {line}, {health.reconnects} reconnects",
        ]
    )


def _totals_lines(totals: Totals | None) -> list[str]:
    if totals is None:
        return []
    return [
        "",
        f"outbox         {totals.rows} batches wait",
        f"taken so far   {totals.events_accepted} events in {totals.batches_accepted} batches",
        f"given up       {totals.events_dropped} events for want of room",
        f"refused        {totals.events_rejected} events, by the cloud",
    ]


def one_line(view: View, rate: Rates | None) -> str:
    """A moment as one line, for a log or a pipe."""
    at = datetime.fromtimestamp(view.at, UTC).strftime("%H:%M:%S")
    if view.status is None or rate is None:
        rows = "" if view.totals is None else f", {view.totals.rows} batches wait in its outbox"
        return f"{at} {view.trouble}{rows}"
    health = view.status.health
    down = {name for name, source in health.sources.items() if source.state == "down"}
    heard = " ".join(f"{name} {'DOWN' if name in down else f'{value:.1f}/s'}" for name, value in rate.heard.items())
    line = "connected" if view.status.connected else "NO CONNECTION"
    mode = "" if health.mode == "normal" else " SAFE MODE"
    return (
        f"{at} {heard} subjects {view.status.subjects} windows {rate.windows:.1f}/s "
        f"outbox {health.outbox_rows} ({health.outbox_oldest_s:.0f} s) dropped {health.dropped} {line}{mode}"
    )


def json_line(view: View, rate: Rates | None) -> str:
    """A moment as one JSON object."""
    if view.status is None or rate is None:
        rows = None if view.totals is None else {name: getattr(view.totals, name) for name in _TOLD_OF_TOTALS}
        return json.dumps({"at": round(view.at, 3), "running": False, "why": view.trouble, "outbox": rows})
    health = view.status.health
    return json.dumps(
        {
            "at": round(view.at, 3),
            "running": True,
            "node": view.status.node,
            "connected": view.status.connected,
            "mode": health.mode,
            "uptime_s": health.uptime_s,
            "heard_per_s": {name: round(value, 2) for name, value in rate.heard.items()},
            "windows_per_s": round(rate.windows, 2),
            "subjects": view.status.subjects,
            "outbox_rows": health.outbox_rows,
            "outbox_oldest_s": health.outbox_oldest_s,
            "dropped": health.dropped,
            "reconnects": health.reconnects,
        }
    )


_TOLD_OF_TOTALS = ("rows", "events_accepted", "batches_accepted", "events_dropped", "events_rejected")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def show(outbox: Path, as_json: bool, for_s: float | None, out: TextIO, start: str = "") -> None:
    """Writes moments to `out` until the time is up or the reader goes away. While no node runs and nothing changes
    it waits without a word."""
    tty = out.isatty() and not as_json
    until = None if for_s is None else time.monotonic() + for_s
    before: NodeStatus | None = None
    waiting: tuple[str, Totals | None] | None = None
    with contextlib.closing(views(outbox, start)) as moments:
        for view in moments:
            rate = None if view.status is None else rates(before, view.status)
            before = view.status
            said, waiting = waiting, None if view.status is not None else (view.trouble, view.totals)
            if waiting is not None and waiting == said:
                pass
            elif tty:  # home, then each line to its end, then what is left below
                page = screen(view, rate).replace("\n", "\x1b[K\n")
                out.write(f"\x1b[H{page}\x1b[K\n\x1b[J")
            else:
                out.write((json_line if as_json else one_line)(view, rate) + "\n")
            out.flush()
            if until is not None and time.monotonic() >= until:
                return


def main(arguments: list[str], prog: str = "python -m edge watch") -> int:
    """The command. Exit code 2: node.toml does not say where the outbox lies."""
    parser = argparse.ArgumentParser(prog=prog, description="Shows what a running node hears, keeps and sends.")
    parser.add_argument("config", type=Path, help="the node.toml that the node follows")
    parser.add_argument("--json", action="store_true", help="one JSON object a second; while no node runs, one in all")
    parser.add_argument("--for", dest="for_s", type=float, metavar="S", help="end after so many seconds")
    options = parser.parse_args(arguments)
    outbox = _outbox(options.config)
    if outbox is None:
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sys.stdout.isatty() and not options.json:
        sys.stdout.write("\x1b[2J")
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        start = f"{prog.removesuffix(' watch')} run {options.config}, or the service: sudo systemctl start aisle-edge"
        show(outbox, options.json, options.for_s, sys.stdout, start)
    return 0


def _outbox(path: Path) -> Path | None:
    try:
        return path.resolve().parent / load(path).config.outbox.path  # that of safe mode, if the file is broken
    except ConfigError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{path}: {error.strerror}, expected a configuration file", file=sys.stderr)
    return None
