"""What a node has told but the cloud does not hold yet: batches in SQLite, deleted only when the database has them.

One connection, used under one lock. `put` only appends to memory, so that whoever senses never waits for a disk;
`flush` commits all that waits in one transaction. A batch may be published only once it is committed: otherwise a crash
would hand its number to another batch. What a kill -9 can lose is what was put since the last flush; what a power cut
can lose is the same with `synchronous` "full", and `SYNC_S` more with "normal".

A batch may bring notes: what a later run must know of what was told. They are kept or lost together with it.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contract.codec import restamped
from contract.errors import ContractError
from contract.topics import Stream
from edge.files import make_folder
from edge.machine import boot_id
from edge.outbox_file import PAGE, is_damage, open_or_replace, patiently

log = logging.getLogger(__name__)

GROUP = 100
"""Batches that may wait for a commit; the one that puts one more commits them itself."""
SYNC_S = 1.0
"""With `synchronous` "normal", the longest that a commit stays in the kernel's memory only."""
_WAITING_MOST = 2_000
"""Batches kept in memory while the disk takes nothing; then the least valuable are given up and counted."""
_MANY = 1_000
"""Batches in one transaction at most. On a disk that fails it is a quarter after each failure and twice as many after
each success: what is small still gets through."""
_DROP_SHARE = 32
"""A full outbox gives up 1/32 of its batches at a time: few enough to keep, enough not to do it at every commit."""
_SPARE = 72
"""Pages that no insert may take: SQLite writes a changed row, 256 KiB at most, before it frees the old one."""
_SEQS_AHEAD = 10_000
"""Numbers reserved on the disk at a time. After a power cut the outbox goes on beyond them: whatever the disk forgot of
the last commits, no number that may have been published is given to another batch."""
_SETTLED_AT_ONCE = 200
"""Batches whose time is corrected in one transaction: some milliseconds, so that what happens now is not held up."""
_NOTE_BYTES = 128
"""Room for a note in a page that is half full, as SQLite's are in the mean after inserts out of order."""
_NOTES_SHARE = 8
"""Notes take 1/8 of the outbox at most (260,000 of them in 256 MiB); what has no room is not noted."""

KEPT = -1
CLASS: dict[str, int] = {
    "receipts": KEPT,
    "consents": KEPT,
    "presence": 0,
    "tags": 0,
    "crowd": 1,
    "faces": 1,
    "shown": 1,
    "sightings": 2,
}
"""Who is given up last (0) and first (2) when the outbox is full: a visit hangs on presence, one window on little.

Receipts and consents (an offline till's; no stream has these names yet) are never given up. If nothing else is left, it
is the new batches of other classes that are, and a receipt waits in memory until there is room.
"""
CLASS_NAMES = {KEPT: "kept", 0: "visits", 1: "counts", 2: "windows"}
_LEAST = max(CLASS_NAMES)

_SET_META = "insert or replace into meta values (?, ?)"
_DOUBTFUL = "mono_us is not null and seq > ?"
"""Batches up to `final_to` may be sent, whatever else is known of them: so a day's worth is let go by one number."""
_COLUMNS = "seq, stream, at_us, events, payload"
_COUNTS = (
    "last_seq",
    "ceiling",
    "final_to",
    "newest_us",
    "batches_accepted",
    "events_accepted",
    "batches_dropped",
    "events_dropped",
    "batches_rejected",
    "events_rejected",
    "notes",
    *(f"dropped_{name}" for name in CLASS_NAMES.values()),
)


Note = tuple[bytes, bytes | None]
"""A key and what is noted under it; None takes the note away."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch of the outbox, encoded as it travels."""

    seq: int
    stream: Stream
    at_us: int
    """The batch's t0."""
    events: int
    payload: bytes
    mono_us: int | None = None
    """The same on the boot's own count, while the clock it was told by may yet be corrected."""
    notes: Sequence[Note] = ()
    """Written with the batch; not read back with it."""

    @property
    def rank(self) -> int:
        """Its class: the higher, the sooner it is given up."""
        return CLASS.get(self.stream, _LEAST)


class Outbox:
    """Open with `Outbox(path, …)`, close with `close`. Every method may be called from any thread."""

    def __init__(self, path: Path, max_mb: float = 256, synchronous: str = "full", boot: str | None = None) -> None:
        """`boot`: the machine's boot id, by which a start after a power cut is told from one after a mere crash.

        Raises sqlite3.OperationalError or OSError if the file cannot be used.
        """
        self.path = path
        self._lock = threading.RLock()
        self._waiting_lock = threading.Lock()
        self._waiting: list[Stored] = []
        self._committed: list[Stored] = []
        self.changed = threading.Event()
        """Set by every put; the uplink waits for it."""
        self.hold = True
        """Whether batches told by a clock that is not trusted are kept back for `settle` when they are committed."""
        self._lost = Counter[str]()  # counts of what was dropped before it reached the disk, not yet written down
        self._broken: str | None = None
        self._pinched = False
        self._at_once = _MANY
        self._synchronous = synchronous
        self._synced = time.monotonic()
        self._unsynced = False
        self._pages = max(2 * _SPARE, int(max_mb * 1024 * 1024) // PAGE) - _SPARE
        self._notes_most = self._pages * PAGE // _NOTES_SHARE // _NOTE_BYTES
        make_folder(path.parent)
        self._db = open_or_replace(path, self._pages, synchronous)
        self._counts = dict.fromkeys(_COUNTS, 0)
        self.epoch: str = ""
        patiently(path, lambda: self._begin(boot or boot_id()))
        self._last_seq = self._counts["last_seq"]

    # -- putting

    def put(
        self,
        stream: Stream,
        at_us: int,
        events: int,
        build: Callable[[str, int], bytes],
        mono_us: int | None = None,
        notes: Sequence[Note] = (),
    ) -> int:
        """Takes a batch and returns its seq; `build(epoch, seq)` encodes it. Durable after the next `flush`.

        `mono_us`: `at_us` on the boot's own count, where the wall clock that told it is not trusted. `notes` are
        committed in the batch's own transaction, or not at all if it is given up before.
        """
        with self._waiting_lock:
            seq = self._last_seq + 1
            batch = Stored(seq, stream, at_us, events, build(self.epoch, seq), mono_us, notes)
            self._last_seq = seq
            self._waiting.append(batch)
            full = len(self._waiting) % GROUP == 0
        self.changed.set()
        if full:
            with contextlib.suppress(sqlite3.DatabaseError):  # a damaged file: the next flush of the courier says so
                self.flush()
        return seq

    def flush(self) -> list[Stored]:
        """Commits what was put and returns what of it may be sent, oldest first.

        On a disk that fails all stays for the next flush. Raises sqlite3.DatabaseError if the file seems damaged: if
        that goes on, call `doubt` and end the process; the next start looks through the file and moves it aside.
        """
        with self._lock:
            before = len(self._committed)
            if not self._waiting:  # else the next commit does it
                self._sync_when_due()
            try:
                while self._waiting:
                    self._committed += self._commit_some()
            except sqlite3.Error as error:
                self._at_once = max(1, self._at_once // 4)
                self._complain(error)
                self._bound_waiting()
                if is_damage(error):
                    raise
            return self._committed[before:]

    # -- reading

    def take_committed(self) -> list[Stored]:
        """Batches committed since the last call that may be sent, oldest first: what is live."""
        with self._lock:
            taken, self._committed = self._committed, []
            return taken

    def pending(self, after: int, limit: int) -> list[Stored]:
        """Committed batches with seq > after that may be sent, oldest first."""
        return self._read(
            f"select {_COLUMNS} from batch where seq > ? and not ({_DOUBTFUL}) order by seq limit ?",
            *(after, self._counts["final_to"], limit),
        )

    def get(self, seq: int) -> Stored | None:
        """One committed batch, None if it was deleted meanwhile."""
        found = self._read(f"select {_COLUMNS} from batch where seq = ?", seq)
        return found[0] if found else None

    def notes(self) -> dict[bytes, bytes]:
        """All that is noted."""
        with self._lock:
            return dict(self._db.execute("select key, value from note"))

    @property
    def waiting(self) -> int:
        """Batches put and not committed yet."""
        return len(self._waiting)

    @property
    def unsynced(self) -> bool:
        """Whether a power cut could still take something committed: `flush` mends that, `SYNC_S` after the commit."""
        return self._unsynced

    def rows(self) -> int:
        """Batches that wait here, those not committed yet included."""
        with self._lock:
            (count,) = self._db.execute("select count(*) from batch").fetchone()
            return int(count) + len(self._waiting)

    @property
    def used_mb(self) -> float:
        """MiB of its bound that are in use."""
        with self._lock:
            (pages,) = self._db.execute("pragma page_count").fetchone()
            (free,) = self._db.execute("pragma freelist_count").fetchone()
        return float((pages - free) * PAGE / 2**20)

    @property
    def oldest_us(self) -> int | None:
        """t0 of the oldest committed batch, None if there is none."""
        return self._at("order by seq")

    @property
    def newest_us(self) -> int:
        """The newest instant known here: of a batch by a clock that was trusted, or of the last batch; 0 if none."""
        return max(self._counts["newest_us"], self._at("order by seq desc") or 0)

    @property
    def last_seq(self) -> int:
        """The last committed number."""
        return self._counts["last_seq"]

    @property
    def events_accepted(self) -> int:
        """Events ever committed in this epoch."""
        return self._counts["events_accepted"]

    @property
    def batches_accepted(self) -> int:
        """Batches ever committed in this epoch."""
        return self._counts["batches_accepted"]

    @property
    def dropped(self) -> tuple[int, int]:
        """(batches, events) given up in this epoch for want of room."""
        counts, lost = self._counts, self._lost
        return counts["batches_dropped"] + lost["batches_dropped"], counts["events_dropped"] + lost["events_dropped"]

    @property
    def dropped_by_class(self) -> dict[str, int]:
        """Events given up in this epoch, by the class's name; "kept" is always 0."""
        return {name: self._counts[f"dropped_{name}"] + self._lost[f"dropped_{name}"] for name in CLASS_NAMES.values()}

    @property
    def rejected(self) -> tuple[int, int]:
        """(batches, events) that the cloud refused in this epoch."""
        return self._counts["batches_rejected"], self._counts["events_rejected"]

    # -- deleting

    def delete(self, ranges: Iterable[tuple[int, int]], rejected: bool = False) -> int:
        """Deletes exactly the batches in these ranges of seq (both ends included) and returns how many there were."""
        wanted = [(max(first, 0), min(last, 2**63 - 1)) for first, last in ranges if first <= last]
        gone = events = 0
        with self._lock, self._transaction():
            for span in wanted:
                if rejected:
                    (lost,) = self._db.execute(
                        "select coalesce(sum(events), 0) from batch where seq between ? and ?", span
                    ).fetchone()
                    events += int(lost)
                gone += self._db.execute("delete from batch where seq between ? and ?", span).rowcount
            if rejected and gone:
                self._add({"batches_rejected": gone, "events_rejected": events})
        return gone

    def close(self) -> None:
        """Commits what waits and closes the file."""
        self.flush()
        with self._lock:
            with contextlib.suppress(sqlite3.Error), self._transaction(durable=True):
                self._add({"ceiling": self._counts["last_seq"] - self._counts["ceiling"]})  # none was lost: no gap
            self._db.close()

    # -- time

    def doubtful(self) -> int:
        """Committed batches that are kept back, because the clock they were told by may yet be corrected."""
        with self._lock:
            final_to = self._counts["final_to"]
            (count,) = self._db.execute(f"select count(*) from batch where {_DOUBTFUL}", (final_to,)).fetchone()
            return int(count)

    def settle(self, offset_us: int | None) -> tuple[int, int] | None:
        """Lets batches go that were kept back, and returns their first and last seq, None if there are none.

        The oldest of them are told anew as what they are on the boot's own count + `offset_us`; with None all go as
        they are, told by a clock that is not trusted. From here on they may be sent, and their bytes never change.
        """
        with self._lock:
            final_to = self._counts["final_to"]
            if offset_us is None:
                first, last = self._db.execute(
                    f"select min(seq), max(seq) from batch where {_DOUBTFUL}", (final_to,)
                ).fetchone()
                if first is None:
                    return None
                # On the disk for good before the first is sent: else a power cut could bring back that it may change.
                with self._transaction(durable=True):
                    self._raise("final_to", last)
                return int(first), int(last)
            doubtful = self._db.execute(
                f"select {_COLUMNS}, mono_us from batch where {_DOUBTFUL} order by seq limit ?",
                (final_to, _SETTLED_AT_ONCE),
            )
            settled = [_told_anew(Stored(*row), offset_us) for row in doubtful]
            if not settled:
                return None
            with self._transaction(durable=True):
                self._db.executemany(
                    "update batch set at_us = ?, payload = ?, mono_us = null where seq = ?",
                    [(batch.at_us, batch.payload, batch.seq) for batch in settled],
                )
                self._raise("newest_us", max(batch.at_us for batch in settled))
            return settled[0].seq, settled[-1].seq

    # -- inside: the file

    def _begin(self, boot: str) -> None:
        """Reads what is known, gives a new file its epoch, and finds out whether the machine was off meanwhile."""
        meta = dict(self._db.execute("select key, value from meta"))
        self._counts |= {key: int(meta.get(key) or 0) for key in _COUNTS}
        if "batches_accepted" not in meta:  # a file of an earlier release, where numbers had no gaps
            self._counts["batches_accepted"] = self._counts["last_seq"]
        self.epoch = str(meta["epoch"]) if "epoch" in meta else os.urandom(16).hex()
        with self._transaction(durable=True):
            if "epoch" not in meta:
                self._db.execute(_SET_META, ("epoch", self.epoch))
            if meta.get("boot") != boot:
                self._db.execute(_SET_META, ("boot", boot))
                self._raise("last_seq", self._counts["ceiling"])
                # Nobody knows any more how that boot's count stood to the time of day.
                self._raise("final_to", self._counts["last_seq"])

    def _at(self, order: str) -> int | None:
        with self._lock:
            row = self._db.execute(f"select at_us from batch {order} limit 1").fetchone()
            return int(row[0]) if row else None

    def _read(self, statement: str, *values: int) -> list[Stored]:
        with self._lock:
            return [Stored(*row) for row in self._db.execute(statement, values)]

    @contextlib.contextmanager
    def _transaction(self, durable: bool = False, spare: bool = True) -> Iterator[None]:
        """`durable`: on the disk when it ends, and all before it, whatever `synchronous` says. `spare`: with the pages
        that are kept for changes of what is there already."""
        if durable:
            self._db.execute("pragma synchronous = full")
        if spare:
            self._db.execute(f"pragma max_page_count = {self._pages + _SPARE}")
        counts = dict(self._counts)
        try:
            self._db.execute("begin immediate")
            yield
            self._db.execute("commit")
        except BaseException:
            self._counts = counts
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise
        finally:
            self._db.execute(f"pragma max_page_count = {self._pages}")
            self._db.execute(f"pragma synchronous = {self._synchronous}")
        if durable:
            self._synced = time.monotonic()
            self._unsynced = False

    def _sync_due(self) -> bool:
        return self._synchronous == "normal" and time.monotonic() - self._synced >= SYNC_S

    def _sync_when_due(self) -> None:
        if self._unsynced and self._sync_due():
            with contextlib.suppress(sqlite3.Error), self._transaction(durable=True):
                # A commit that writes nothing syncs nothing.
                self._db.execute(_SET_META, ("ceiling", self._counts["ceiling"]))

    # -- inside: room

    def _commit_some(self) -> list[Stored]:
        """Commits the oldest of what waits and returns what of it may be sent. Raises sqlite3.Error, and all stays."""
        while True:
            with self._waiting_lock:
                batches = self._waiting[: self._at_once]
            if not batches:
                return []
            hold = self.hold
            try:
                self._insert(batches, hold)
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._make_room(batches):
                    raise
        with self._waiting_lock:
            del self._waiting[: len(batches)]
        self._pinched = False
        self._at_once = min(_MANY, 2 * self._at_once)
        if self._broken:
            log.warning("outbox %s takes batches again", self.path)
            self._broken = None
        return [batch for batch in batches if not (hold and batch.mono_us is not None)]

    def _insert(self, batches: list[Stored], hold: bool) -> None:
        last = batches[-1].seq
        reserve = last > self._counts["ceiling"]
        lost = Counter(self._lost)
        durable = reserve or self._sync_due()
        with self._transaction(durable, spare=False):
            self._db.executemany(
                "insert into batch (seq, class, stream, at_us, events, payload, mono_us) values (?, ?, ?, ?, ?, ?, ?)",
                [(b.seq, b.rank, b.stream, b.at_us, b.events, b.payload, b.mono_us if hold else None) for b in batches],
            )
            self._add(
                {
                    **lost,
                    "last_seq": last - self._counts["last_seq"],
                    "batches_accepted": len(batches) + lost["batches_dropped"],
                    "events_accepted": sum(batch.events for batch in batches) + lost["events_dropped"],
                }
            )
            for batch in batches:
                if batch.notes:
                    self._write_notes(batch.notes)
            if reserve:
                self._raise("ceiling", last + _SEQS_AHEAD)
            self._raise("newest_us", max((b.at_us for b in batches if b.mono_us is None), default=0))
        self._lost.clear()
        self._unsynced = not durable and self._synchronous == "normal"

    def _write_notes(self, notes: Sequence[Note]) -> None:
        room = self._notes_most - self._counts["notes"]
        more = 0
        for key, value in notes:
            if value is None:
                more -= self._db.execute("delete from note where key = ?", (key,)).rowcount
            elif not self._db.execute("update note set value = ? where key = ?", (value, key)).rowcount and more < room:
                more += self._db.execute("insert into note values (?, ?)", (key, value)).rowcount
        self._add({"notes": more})

    def _add(self, by: dict[str, int]) -> None:
        for key, more in by.items():
            if more:
                self._counts[key] += more
                self._db.execute(_SET_META, (key, self._counts[key]))

    def _raise(self, key: str, to: int) -> None:
        self._add({key: max(0, to - self._counts[key])})

    def _make_room(self, batches: list[Stored]) -> bool:
        """Gives something up for these, if it is the outbox's own bound that was met. A disk that others filled is
        waited for as long as memory lasts; then the outbox tries once to make do with the pages it has."""
        if self._at_bound(batches):
            return self._give_up(batches, _DROP_SHARE)
        if self._pinched or len(self._waiting) < _WAITING_MOST:
            return False
        self._pinched = True
        return self._give_up(batches, None)

    def _at_bound(self, batches: list[Stored]) -> bool:
        (pages,) = self._db.execute("pragma page_count").fetchone()
        (free,) = self._db.execute("pragma freelist_count").fetchone()
        needed = sum(len(batch.payload) // (PAGE - 64) + 2 for batch in batches) + 16
        needed += sum(len(batch.notes) for batch in batches) * _NOTE_BYTES // PAGE + 1
        return bool(self._pages - pages + free < needed)

    def _give_up(self, batches: list[Stored], share: int | None) -> bool:
        """Gives up the oldest of the least valuable class there is, stored or waiting: one of `share` of them, or as
        many as there are new batches. False if there are only those that are kept."""
        stored = self._db.execute(
            "select class, count(*) from batch where class > ? group by class order by class desc limit 1", (KEPT,)
        ).fetchone()
        waiting = max(batch.rank for batch in batches)
        if waiting > (stored[0] if stored else KEPT):
            ranked = [batch for batch in batches if batch.rank == waiting]
            self._give_up_waiting(ranked[: max(1, len(ranked) // share) if share else len(ranked)])
            return True
        if stored is None:
            return False
        rank, count = stored
        doomed = "select seq from batch where class = ? order by seq limit ?"
        chosen = (rank, max(1, min(count // share, self._at_once)) if share else len(batches))
        with self._transaction():
            given_up, events = self._db.execute(
                f"select count(*), sum(events) from batch where seq in ({doomed})", chosen
            ).fetchone()
            self._db.execute(f"delete from batch where seq in ({doomed})", chosen)
            self._add(_dropped(rank, given_up, events))
        log.warning(
            "outbox %s is full: gave up its %d oldest %s (%d events)",
            *(self.path, given_up, CLASS_NAMES.get(rank, rank), events),
        )
        return True

    def _bound_waiting(self) -> None:
        excess = len(self._waiting) - _WAITING_MOST
        if excess > 0:
            with self._waiting_lock:
                batches = [batch for batch in self._waiting if batch.rank > KEPT]
            self._give_up_waiting(sorted(batches, key=lambda batch: (-batch.rank, batch.seq))[:excess])

    def _give_up_waiting(self, batches: list[Stored]) -> None:
        names = {batch.seq for batch in batches}
        with self._waiting_lock:
            self._waiting = [batch for batch in self._waiting if batch.seq not in names]
        for batch in batches:
            self._lost.update(_dropped(batch.rank, 1, batch.events))

    def _complain(self, error: sqlite3.Error) -> None:
        text = str(error)
        if text != self._broken:
            log.error("outbox %s takes no batches (%s): keeping them in memory, trying again", self.path, text)
            self._broken = text


def _dropped(rank: int, batches: int, events: int) -> dict[str, int]:
    """What is counted when batches of a class are given up."""
    return {
        "batches_dropped": batches,
        "events_dropped": events,
        f"dropped_{CLASS_NAMES.get(rank, CLASS_NAMES[_LEAST])}": events,
    }


def _told_anew(batch: Stored, offset_us: int) -> Stored:
    at_us = (batch.mono_us or 0) + offset_us
    try:
        return replace(batch, at_us=at_us, payload=restamped(batch.payload, at_us, "trusted"))
    except ContractError as error:
        log.error("batch %d keeps its time: %s", batch.seq, error)
        return batch
