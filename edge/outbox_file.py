"""The outbox's SQLite file: opened for a node's own card, moved aside when corrupt, its totals read from outside."""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge.files import OWN_FILE

log = logging.getLogger(__name__)

_Made = TypeVar("_Made")

PAGE = 4_096

_SCHEMA = (
    "create table if not exists meta (key text primary key, value) without rowid",
    # mono_us: t0 on the boot's own count, while the batch may yet be corrected; null once it may be sent.
    """create table if not exists batch (
    seq integer primary key, class integer not null, stream text not null,
    at_us integer not null, events integer not null, payload blob not null, mono_us integer)""",
    "create index if not exists batch_class on batch (class, seq)",
    "create table if not exists note (key blob primary key, value blob not null) without rowid",
)
_DOUBT = "create index if not exists batch_doubt on batch (seq) where mono_us is not null"

_ATTEMPTS = 6
_ATTEMPT_EVERY_S = 0.25
"""A card that fails now and then gets more than one chance to open."""
_DOUBTED = ".check"
"""A file of the outbox's name + this says that the outbox was found damaged while it was used."""


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
        batches_accepted=int(meta.get("batches_accepted", meta.get("last_seq", 0))),
        events_dropped=int(meta.get("events_dropped", 0)),
        events_rejected=int(meta.get("events_rejected", 0)),
        rows=int(rows),
    )


def open_or_replace(path: Path, pages: int, synchronous: str) -> sqlite3.Connection:
    """The outbox's connection; a corrupt file is moved aside first. Raises sqlite3.OperationalError if it is locked,
    may not be read, or has no room: then nothing is wrong with the file itself."""
    try:
        return patiently(path, lambda: _open(path, pages, synchronous))
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = _move_aside(path)
        log.error("outbox %s is corrupt (%s): moved to %s, beginning a new epoch, empty", path, error, aside)
        return patiently(path, lambda: _open(path, pages, synchronous))


def doubt(path: Path) -> None:
    """Has the whole file looked through at the next start, which takes a while where it is large."""
    with contextlib.suppress(OSError):
        path.with_name(path.name + _DOUBTED).touch(OWN_FILE)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged. If it goes on saying so; once, it may have been a failed read."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def patiently(path: Path, action: Callable[[], _Made]) -> _Made:
    """What an action on the file gives; one that the disk fails is tried some times. Raises what it raises at last.

    "Malformed" is not believed at once either: SQLite says it of a file whose page could not be read, too.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return action()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _passes(error):
                raise
            log.warning("outbox %s does not open (%s): trying again", path, error)
        time.sleep(_ATTEMPT_EVERY_S)
    return action()


def _passes(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)


def connect(path: Path) -> sqlite3.Connection:
    """A bare connection; a test of power cuts puts one to a disk that loses power in its place."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)


def _open(path: Path, pages: int, synchronous: str) -> sqlite3.Connection:
    doubted = path.with_name(path.name + _DOUBTED)
    with contextlib.suppress(OSError):  # SQLite would let all read it, and gives its -wal and -shm the mode of this one
        path.touch(OWN_FILE)
    db = connect(path)
    try:
        db.execute(f"pragma page_size = {PAGE}")
        db.execute("pragma journal_mode = wal")
        db.execute(f"pragma synchronous = {synchronous}")
        db.execute(f"pragma max_page_count = {pages}")
        db.execute("pragma wal_autocheckpoint = 200")
        db.execute("pragma journal_size_limit = 1048576")
        db.execute("pragma cache_size = -1024")  # KiB: memory matters more here than a warm cache
        for statement in _SCHEMA:
            db.execute(statement)
        if "mono_us" not in {row[1] for row in db.execute("pragma table_info(batch)")}:  # made by an earlier release
            db.execute("alter table batch add column mono_us integer")
        db.execute(_DOUBT)
        # The whole of a day's backlog takes seconds to look through on a card: only when there is a reason.
        (state,) = db.execute("pragma quick_check(1)" if doubted.exists() else "pragma quick_check(meta)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
    except BaseException:
        db.close()
        raise
    doubted.unlink(missing_ok=True)
    return db


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{time.time_ns() // 1_000_000_000}")
    path.rename(aside)
    path.with_name(path.name + _DOUBTED).unlink(missing_ok=True)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside
