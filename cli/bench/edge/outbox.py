"""How fast a node's outbox takes, gives and forgets batches; its peers are persist-queue and a commit for each message.

All write below one folder, so onto one disk. What `full` commits was synced to it; the peers have their own defaults.
"""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import median

from cli.stack.processes import StackError
from contract.codec import column_bytes, encode
from contract.messages import SIGHTING_COLUMNS, Header, Sightings
from edge.outbox import GROUP, Outbox

EVENTS = 100
"""Events in a batch: what a node in a busy store hears in a second."""
T0_US = 1_795_000_000_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the runs."""

    outbox_put_per_s: int
    """Events a second, in batches of 100, from rows encoded with their header to committed; synchronous NORMAL."""
    outbox_put_full_per_s: int
    """The same with synchronous FULL: synced at each commit, which takes up to 100 batches."""
    outbox_put_each_full_per_s: int
    """The same, with a synced commit for every batch of 100 events."""
    outbox_put_rows_per_s: int
    """Batches of a single event a second, 100 to a commit, NORMAL: what the outbox itself costs."""
    outbox_drain_per_s: int
    """Events a second read as the uplink reads them and deleted as acks delete them."""
    bytes_per_event: float
    """On the disk, in batches of 100."""
    persistqueue_put_per_s: int | None
    """persist-queue's SQLiteAckQueue, an event a put; None where it is not installed."""
    naive_put_per_s: int
    """An outbox of the usual kind: a connection and a commit for each message of one event."""
    events_per_run: int


def measure(events: int = 500_000, runs: int = 3) -> Figures:
    """All of it, about ten seconds by default. Raises StackError if something put is not given back."""
    columns = _columns()
    normal, full, each, single, drain, sizes = [list[float]() for _ in range(6)]
    queue, naive = list[float | None](), list[float]()
    with tempfile.TemporaryDirectory(prefix="aisle-outbox-") as name:
        folder = Path(name)
        for run in range(runs):
            batches = events // EVENTS
            with _outbox(folder / f"normal-{run}", "normal") as box:
                normal.append(_rate(events, partial(_put, box, batches, EVENTS, columns)))
                sizes.append(box.path.stat().st_size / events)
                drain.append(_rate(events, partial(_drain, box, batches)))
            with _outbox(folder / f"full-{run}", "full") as box:
                full.append(_rate(events, partial(_put, box, batches, EVENTS, columns)))
            with _outbox(folder / f"each-{run}", "full") as box:
                few = min(batches, 500)
                each.append(_rate(few * EVENTS, partial(_put_each, box, few, columns)))
            with _outbox(folder / f"single-{run}", "normal") as box:
                single.append(
                    _rate(20_000, partial(_put, box, 20_000, 1, tuple(c[: len(c) // EVENTS] for c in columns)))
                )
            queue.append(_persist_queue(folder / f"queue-{run}", 3_000))
            naive.append(_rate(500, partial(_naive, folder / f"naive-{run}.db", 500)))
    known = [rate for rate in queue if rate is not None]
    return Figures(
        outbox_put_per_s=round(median(normal)),
        outbox_put_full_per_s=round(median(full)),
        outbox_put_each_full_per_s=round(median(each)),
        outbox_put_rows_per_s=round(median(single)),
        outbox_drain_per_s=round(median(drain)),
        bytes_per_event=round(median(sizes), 1),
        persistqueue_put_per_s=round(median(known)) if known else None,
        naive_put_per_s=round(median(naive)),
        events_per_run=events,
    )


class _outbox:
    """An outbox large enough for a run, closed at the end."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._box = Outbox(folder / "outbox.db", max_mb=1_024, synchronous=synchronous)

    def __enter__(self) -> Outbox:
        return self._box

    def __exit__(self, *_: object) -> None:
        self._box.close()


def _rate(n: int, action: Callable[[], None]) -> float:
    begun = time.perf_counter()
    action()
    return n / (time.perf_counter() - begun)


def _columns() -> tuple[bytes, ...]:
    """A batch's columns with values as a shop gives them."""
    draw = Random(1)
    values: dict[str, Callable[[], int]] = {
        "dt": lambda: -draw.randrange(1_000),
        "subject": lambda: draw.getrandbits(64),
        "kind": lambda: 1,
        "radio": lambda: draw.getrandbits(32),
        "rssi": lambda: -draw.randrange(400, 950),
        "peak": lambda: -draw.randrange(40, 95),
        "count": lambda: draw.randrange(1, 12),
    }
    return tuple(column_bytes(c, [values.get(c.name, int)() for _ in range(EVENTS)]) for c in SIGHTING_COLUMNS)


def _build(t0_us: int, n: int, columns: tuple[bytes, ...], epoch: str, seq: int) -> bytes:
    header = Header("sightings", "bench", "store", "node-1", epoch, seq, "boot", "trusted", t0_us, n)
    return encode(Sightings(header, columns))


def _put(box: Outbox, batches: int, n: int, columns: tuple[bytes, ...]) -> None:
    for second in range(batches):
        t0_us = T0_US + second * 1_000_000
        box.put("sightings", t0_us, n, partial(_build, t0_us, n, columns))  # commits at each hundredth by itself
    box.flush()
    if box.rows() != batches:
        raise StackError(f"{box.rows()} of {batches} batches were kept")


def _put_each(box: Outbox, batches: int, columns: tuple[bytes, ...]) -> None:
    for second in range(batches):
        t0_us = T0_US + second * 1_000_000
        box.put("sightings", t0_us, EVENTS, partial(_build, t0_us, EVENTS, columns))
        box.flush()


def _drain(box: Outbox, batches: int) -> None:
    after = taken = 0
    while page := box.pending(after, GROUP):
        after = page[-1].seq
        taken += box.delete([(page[0].seq, after)])
    if taken != batches:
        raise StackError(f"{taken} of {batches} batches came back")


def _persist_queue(folder: Path, events: int) -> float | None:
    try:
        from persistqueue import SQLiteAckQueue
    except ImportError:
        return None
    queue = SQLiteAckQueue(str(folder), auto_commit=True)
    payload = os.urandom(60)

    def put() -> None:
        for _ in range(events):
            queue.put(payload)

    rate = _rate(events, put)
    queue.close()
    return rate


def _naive(path: Path, events: int) -> None:
    payload = os.urandom(60)
    with sqlite3.connect(path) as db:
        db.execute("create table outbox (id integer primary key autoincrement, at real, payload blob)")
    db.close()
    for _ in range(events):
        db = sqlite3.connect(path)
        db.execute("insert into outbox (at, payload) values (?, ?)", (time.time(), payload))
        db.commit()
        db.close()
