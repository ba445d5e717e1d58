"""The outbox's SQLite file: opened for a node's own card, moved aside when corrupt, its totals read from outside."""

import contextlib
import logging
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

PAGE = 4_096

_SCHEMA = """
create table if not exists meta (key text primary key, value) without rowid;
create table if not exists batch (
    seq integer primary key, class integer not null, stream text not null,
    at_us integer not null, events integer not null, payload blob not null);
create index if not exists batch_class on batch (class, seq);
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """What an outbox has taken, given up and still holds."""

    epoch: str
    events_accepted: int
    batches_accepted: int
    events_dropped: int
    events_rejected: int
    rows: int


def read_totals(path: Path) -> Totals:
    """The totals of an outbox file, also beside a running node. Raises sqlite3.Error if it is none.

    `events_accepted` - `events_dropped` is what the cloud must hold once `rows` is 0.
    """
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    with contextlib.closing(db):
        meta = dict(db.execute("select key, value from meta"))
        (rows,) = db.execute("select count(*) from batch").fetchone()
    return Totals(
        epoch=str(meta["epoch"]),
        events_accepted=int(meta.get("events_accepted", 0)),
        batches_accepted=int(meta.get("last_seq", 0)),
        events_dropped=int(meta.get("events_dropped", 0)),
        events_rejected=int(meta.get("events_rejected", 0)),
        rows=int(rows),
    )


def open_or_replace(path: Path, pages: int, synchronous: str) -> sqlite3.Connection:
    """The outbox's connection; a corrupt file is moved aside first. Raises sqlite3.OperationalError if it is locked,
    may not be read, or has no room: then nothing is wrong with the file itself."""
    try:
        return _open(path, pages, synchronous)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = _move_aside(path)
        log.error("outbox %s is corrupt (%s): moved to %s, beginning a new epoch, empty", path, error, aside)
        return _open(path, pages, synchronous)


def _open(path: Path, pages: int, synchronous: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        db.execute(f"pragma page_size = {PAGE}")
        db.execute("pragma journal_mode = wal")
        db.execute(f"pragma synchronous = {synchronous}")
        db.execute(f"pragma max_page_count = {pages}")
        db.execute("pragma wal_autocheckpoint = 200")
        db.execute("pragma journal_size_limit = 1048576")
        db.execute("pragma cache_size = -1024")  # KiB: memory matters more here than a warm cache
        (state,) = db.execute("pragma quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns() // 1_000_000_000}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside
