"""The card: room, speed, wear; the outbox on it, and what waits or was given up in it."""

import contextlib
import os
import re
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Patient
from edge.machine import disk_free_mb, read_text
from edge.outbox_file import Totals, read_totals
from edge.settings import Outbox

SLOW_MS = 100.0
"""The uplink commits about once in 50 to 250 ms; a card that needs longer to sync delays every event."""
WEARS_GB_DAY = 20.0
"""A plain 32 GB card endures some tens of TB: at this rate it lasts a few years."""
WAITS_LONG_S = 300.0
"""A backlog older than this means that the line or the cloud's ingest is down."""


def disk(patient: Patient) -> Iterator[Finding]:
    """Room and speed where the outbox lies; where nobody says where that is, beside node.toml."""
    if patient.config is None or patient.outbox is None:
        folder = next((each for each in (patient.folder, *patient.folder.parents) if each.is_dir()), Path("/"))
        most_mb, has_mb = Outbox().max_mb, 0.0
    else:
        folder = patient.outbox.parent
        most_mb, has_mb = patient.config.outbox.max_mb, _size_mb(patient.outbox)
    yield judge_room(folder, disk_free_mb(folder), most_mb, has_mb)
    yield judge_sync(folder, *sync_ms(folder))
    yield from card()


def judge_room(folder: Path, free_mb: float | None, most_mb: float, has_mb: float) -> Finding:
    """Judges the room against what the outbox may yet grow by."""
    if free_mb is None:
        return failed("disk", f"{folder} cannot be looked at", f"sudo mkdir -p {folder}")
    wants_mb = max(0.0, most_mb - has_mb)
    if free_mb < min(wants_mb, 50.0):
        return failed(
            "disk", f"{free_mb:.0f} MiB free in {folder}", "sudo journalctl --vacuum-size=50M; sudo apt clean"
        )
    if free_mb < wants_mb:
        return warned(
            "disk",
            f"{free_mb:.0f} MiB free in {folder}, the outbox may want {wants_mb:.0f} more",
            f"set [outbox] max_mb = {max(1, int((free_mb + has_mb) / 2))}, or make room",
        )
    return passed("disk", f"{free_mb:.0f} MiB free in {folder}")


def judge_sync(folder: Path, median_ms: float | None, trouble: str) -> Finding:
    """Judges how long the disk takes to keep 4 KiB for good."""
    if median_ms is None:
        if "ermission" in trouble:
            return skipped("disk speed", f"{folder} is not ours to write in: run the doctor with sudo")
        return failed(
            "disk speed", f"{folder} takes no file: {trouble}", f"sudo mkdir -p {folder}; is the card read-only?"
        )
    if median_ms > SLOW_MS:
        return warned(
            "disk speed", f"{median_ms:.0f} ms to keep 4 KiB", "use a card of class A1 or A2, or an SSD by USB"
        )
    return passed("disk speed", f"{median_ms:.1f} ms to keep 4 KiB")


def sync_ms(folder: Path, times: int = 10) -> tuple[float | None, str]:
    """(median milliseconds of writing 4 KiB and fsync, or None; why not)."""
    took = []
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(times):
                started = time.perf_counter()
                file.write(b"\xa5" * 4096)
                file.flush()
                os.fsync(file.fileno())
                took.append((time.perf_counter() - started) * 1e3)
    except OSError as error:
        return None, error.strerror or str(error)
    return statistics.median(took), ""


def card(root: Path = Path("/")) -> Iterator[Finding]:
    """How worn the card is, where it tells, and how much is written to it."""
    for device in sorted(root.glob("sys/block/mmcblk[0-9]")):
        name = device.name
        life = read_text(device / "device" / "life_time")  # eMMC only: `0x01 0x02` in tenths that are used up
        written = written_gb_day(read_text(root / "proc/diskstats") or "", name, read_text(root / "proc/uptime") or "")
        yield judge_card(name, life, written)


def judge_card(name: str, life: str | None, written_gb_day: float | None) -> Finding:
    """Judges a card's wear."""
    rate = "" if written_gb_day is None else f", {written_gb_day:.1f} GB a day are written"
    used = max((int(each, 16) for each in re.findall(r"0x[0-9a-fA-F]{2}", life or "")), default=0)
    if used >= 0x0A:
        return failed("card", f"{name} has used up its life{rate}", "copy the card to a new one now")
    if used >= 0x08:
        return warned("card", f"{name} has used {used * 10} % of its life{rate}", "replace the card soon")
    if written_gb_day is not None and written_gb_day > WEARS_GB_DAY:
        return warned("card", f"{name}{rate}: it wears out", "sudo iotop -ao shows who writes")
    return passed("card", f"{name}{rate or ' is there'}")


def written_gb_day(diskstats: str, name: str, uptime: str) -> float | None:
    """GB a day written to a disk since boot, after the first hour; None before, or where the kernel does not tell."""
    # Documentation/admin-guide/iostats.rst: the name is the third word, sectors written the tenth, of 512 bytes.
    for words in (line.split() for line in diskstats.splitlines()):
        if len(words) > 9 and words[2] == name:
            with contextlib.suppress(ValueError, IndexError):
                seconds = float(uptime.split()[0])
                return int(words[9]) * 512 / 1e9 / (seconds / 86_400) if seconds >= 3_600 else None
    return None


@dataclass(frozen=True, slots=True)
class Box:
    """An outbox file as it was found."""

    trouble: str = ""
    """Why it cannot be read; empty if it can."""
    denied: bool = False
    damaged: bool = False
    totals: Totals | None = None
    oldest_us: int | None = None


def outbox(patient: Patient) -> Iterator[Finding]:
    """The outbox: does it open, is it sound, what waits in it, what was lost."""
    path = patient.outbox
    if path is None:
        yield skipped("outbox", patient.unread)
        return
    try:
        path.stat()
    except FileNotFoundError:
        yield skipped("outbox", f"{path} is not there yet: the node has not run")
        return
    except OSError:
        yield judge_box(path, Box(denied=True), 0)
        return
    found = read_box(path)
    yield judge_box(path, found, time.time_ns() // 1_000)
    if found.totals is not None and (lost := judge_lost(found.totals)):
        yield lost


def judge_box(path: Path, box: Box, now_us: int) -> Finding:
    """Judges an outbox by what waits in it."""
    if box.denied:
        return skipped("outbox", f"{path} is the service's own: run the doctor with sudo")
    if box.damaged:
        return failed(
            "outbox",
            f"{path} is damaged ({box.trouble}); the node begins a new one when it starts",
            "sudo systemctl restart aisle-edge; a card that damages files is to be replaced",
        )
    if box.totals is None:
        return failed("outbox", f"{path}: {box.trouble}", f"ls -l {path}")
    rows = box.totals.rows
    age_s = 0.0 if box.oldest_us is None else max(0.0, (now_us - box.oldest_us) / 1e6)
    if rows and age_s > WAITS_LONG_S:
        return warned(
            "outbox",
            f"{rows} batches wait, the oldest for {_span(age_s)}: the cloud does not have them",
            "see the broker's row; they are kept and go out by themselves",
        )
    return passed("outbox", f"sound, {rows} batches wait, {box.totals.batches_accepted} taken so far")


def judge_lost(totals: Totals) -> Finding | None:
    """Events that were given up or refused; None if there were none."""
    if totals.events_rejected:
        return warned(
            "outbox",
            f"the cloud refused {totals.events_rejected} events (given up for want of room: {totals.events_dropped})",
            "the console's dead letters say why",
        )
    if totals.events_dropped:
        return warned(
            "outbox", f"{totals.events_dropped} events were given up for want of room", "raise [outbox] max_mb"
        )
    return None


def read_box(path: Path) -> Box:
    """Reads an outbox beside a running node; nothing is changed."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            (state,) = db.execute("pragma quick_check(1)").fetchone()
            if state != "ok":
                return Box(trouble=str(state), damaged=True)
            (oldest_us,) = db.execute("select min(at_us) from batch").fetchone()
        return Box(totals=read_totals(path), oldest_us=oldest_us)
    except sqlite3.OperationalError as error:
        return Box(trouble=str(error), denied="open" in str(error) and not os.access(path, os.R_OK))
    except (sqlite3.DatabaseError, KeyError) as error:
        return Box(trouble=str(error), damaged=True)


def _size_mb(path: Path) -> float:
    try:
        return path.stat().st_size / 2**20
    except OSError:
        return 0.0


def _span(seconds: float) -> str:
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
