"""What a node has told but the cloud does not hold yet: batches in SQLite, deleted only when the database has them.

One connection, used under one lock. `put` only appends to memory, so that whoever senses never waits for a disk;
`flush` commits all that waits in one transaction. A batch may be published only once it is committed: otherwise a crash
would hand its number to another batch. What a kill -9 can lose is what was put since the last flush.
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.topics import Stream
from edge.outbox_file import PAGE, open_or_replace

log = logging.getLogger(__name__)

GROUP = 100
"""Batches that may wait for a commit; the one that puts one more commits them itself."""
_WAITING_MOST = 2_000
"""Batches kept in memory while the disk takes nothing; then the least valuable are given up and counted."""
_DROP_SHARE = 32
"""A full outbox gives up 1/32 of its batches at a time: few enough to keep, enough not to do it at every commit."""

CLASS: dict[str, int] = {"presence": 0, "crowd": 1, "sightings": 2}
"""Who is given up last (0) and first (2) when the outbox is full: a visit hangs on presence, one window on little."""

_COLUMNS = "seq, stream, at_us, events, payload"
_COUNTS = ("last_seq", "events_accepted", "batches_dropped", "events_dropped", "batches_rejected", "events_rejected")


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch of the outbox, encoded as it travels."""

    seq: int
    stream: Stream
    at_us: int
    """The batch's t0."""
    events: int
    payload: bytes


class Outbox:
    """Open with `Outbox(path, …)`, close with `close`. Every method may be called from any thread."""

    def __init__(self, path: Path, max_mb: float = 256, synchronous: str = "full") -> None:
        self.path = path
        self._lock = threading.RLock()
        self._waiting_lock = threading.Lock()
        self._waiting: list[Stored] = []
        self._committed: list[Stored] = []
        self.changed = threading.Event()
        """Set by every put; the uplink waits for it."""
        self._lost_waiting = [0, 0]  # batches, events: dropped before they reached the disk, not yet written down
        self._broken: str | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = open_or_replace(path, max(64, int(max_mb * 1024 * 1024) // PAGE), synchronous)
        self.epoch: str = self._epoch()
        self._counts = {key: int(self._meta(key) or 0) for key in _COUNTS}
        self._last_seq = self._counts["last_seq"]

    # -- putting

    def put(self, stream: Stream, at_us: int, events: int, build: Callable[[str, int], bytes]) -> int:
        """Takes a batch and returns its seq; `build(epoch, seq)` encodes it. Durable after the next `flush`."""
        with self._waiting_lock:
            seq = self._last_seq + 1
            batch = Stored(seq, stream, at_us, events, build(self.epoch, seq))
            self._last_seq = seq
            self._waiting.append(batch)
            full = len(self._waiting) % GROUP == 0
        self.changed.set()
        if full:
            self.flush()
        return seq

    def flush(self) -> list[Stored]:
        """Commits what was put and returns it, oldest first. On a disk that fails all stays for the next flush."""
        with self._lock:
            with self._waiting_lock:
                batches = list(self._waiting)
            if not batches:
                return []
            try:
                self._insert_with_room(batches)
            except sqlite3.Error as error:
                self._complain(error)
                self._bound_waiting()
                return []
            with self._waiting_lock:
                del self._waiting[: len(batches)]
            if self._broken:
                log.warning("outbox %s takes batches again", self.path)
                self._broken = None
            self._committed.extend(batches)
            return batches

    # -- reading

    def take_committed(self) -> list[Stored]:
        """Batches committed since the last call, oldest first: what is live."""
        with self._lock:
            taken, self._committed = self._committed, []
            return taken

    def pending(self, after: int, limit: int) -> list[Stored]:
        """Committed batches with seq > after, oldest first."""
        return self._read(f"select {_COLUMNS} from batch where seq > ? order by seq limit ?", after, limit)

    def get(self, seq: int) -> Stored | None:
        """One committed batch, None if it was deleted meanwhile."""
        found = self._read(f"select {_COLUMNS} from batch where seq = ?", seq)
        return found[0] if found else None

    @property
    def waiting(self) -> int:
        """Batches put and not committed yet."""
        return len(self._waiting)

    def rows(self) -> int:
        """Batches that wait here, those not committed yet included."""
        with self._lock:
            (count,) = self._db.execute("select count(*) from batch").fetchone()
            return int(count) + len(self._waiting)

    @property
    def oldest_us(self) -> int | None:
        """t0 of the oldest committed batch, None if there is none."""
        with self._lock:
            row = self._db.execute("select at_us from batch order by seq limit 1").fetchone()
            return int(row[0]) if row else None

    @property
    def events_accepted(self) -> int:
        """Events ever committed in this epoch."""
        return self._counts["events_accepted"]

    @property
    def batches_accepted(self) -> int:
        """The last committed seq, which is how many batches this epoch has had."""
        return self._counts["last_seq"]

    @property
    def dropped(self) -> tuple[int, int]:
        """(batches, events) given up in this epoch for want of room."""
        return (
            self._counts["batches_dropped"] + self._lost_waiting[0],
            self._counts["events_dropped"] + self._lost_waiting[1],
        )

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
            self._db.close()

    # -- inside: the file

    def _epoch(self) -> str:
        known = self._meta("epoch")
        if known is not None:
            return str(known)
        epoch = os.urandom(16).hex()
        self._db.execute("insert into meta values ('epoch', ?)", (epoch,))
        return epoch

    def _meta(self, key: str) -> str | int | None:
        row = self._db.execute("select value from meta where key = ?", (key,)).fetchone()
        return row[0] if row else None

    def _read(self, statement: str, *values: int) -> list[Stored]:
        with self._lock:
            return [Stored(*row) for row in self._db.execute(statement, values)]

    # -- inside: room

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        counts = dict(self._counts)
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            self._counts = counts
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    def _insert_with_room(self, batches: list[Stored]) -> None:
        while True:
            try:
                self._insert(batches)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._make_room():
                    raise

    def _insert(self, batches: list[Stored]) -> None:
        lost = list(self._lost_waiting)
        with self._transaction():
            self._db.executemany(
                "insert into batch (seq, class, stream, at_us, events, payload) values (?, ?, ?, ?, ?, ?)",
                [(b.seq, CLASS.get(b.stream, 2), b.stream, b.at_us, b.events, b.payload) for b in batches],
            )
            self._add(
                {
                    "last_seq": batches[-1].seq - self._counts["last_seq"],
                    "events_accepted": sum(batch.events for batch in batches) + lost[1],
                    "batches_dropped": lost[0],
                    "events_dropped": lost[1],
                }
            )
        self._lost_waiting = [0, 0]

    def _add(self, by: dict[str, int]) -> None:
        for key, more in by.items():
            if more:
                self._counts[key] += more
                self._db.execute("insert or replace into meta values (?, ?)", (key, self._counts[key]))

    def _make_room(self) -> bool:
        """Gives up the oldest batches of the least valuable class. False if there is none left."""
        by_class = "select class, count(*) from batch group by class order by class desc limit 1"
        row = self._db.execute(by_class).fetchone()
        if row is None:
            return False
        doomed = "select seq from batch where class = ? order by seq limit ?"
        chosen = (row[0], max(1, row[1] // _DROP_SHARE))
        with self._transaction():
            batches, events = self._db.execute(
                f"select count(*), sum(events) from batch where seq in ({doomed})", chosen
            ).fetchone()
            self._db.execute(f"delete from batch where seq in ({doomed})", chosen)
            self._add({"batches_dropped": batches, "events_dropped": events})
        log.warning("outbox %s is full: gave up the %d oldest batches (%d events)", self.path, batches, events)
        return True

    def _bound_waiting(self) -> None:
        with self._waiting_lock:
            excess = len(self._waiting) - _WAITING_MOST
            if excess <= 0:
                return
            doomed = sorted(self._waiting, key=lambda batch: (-CLASS.get(batch.stream, 2), batch.seq))[:excess]
            names = {batch.seq for batch in doomed}
            self._waiting = [batch for batch in self._waiting if batch.seq not in names]
        self._lost_waiting[0] += len(doomed)
        self._lost_waiting[1] += sum(batch.events for batch in doomed)

    def _complain(self, error: sqlite3.Error) -> None:
        text = str(error)
        if text != self._broken:
            log.error("outbox %s takes no batches (%s): keeping them in memory, trying again", self.path, text)
            self._broken = text
