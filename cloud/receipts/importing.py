"""A whole file of receipts into the store: a batch a transaction, and after a cut it goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from psycopg import Connection
from psycopg.rows import TupleRow

from cloud import db
from cloud.receipts import service
from cloud.receipts.canonical import Found
from cloud.receipts.check import Known

sql = db.statements("cloud.receipts")

BATCH_LINES = 25_000
"""Lines of a transaction: enough that its fixed cost does not show, half a second that a till's post may wait."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is, this run and those before it together."""

    done: int = 0
    """Receipts read, good or bad."""
    stored: int = 0
    duplicates: int = 0
    parked: int = 0
    quarantined: int = 0
    finished: bool = False


def name_of(path: Path, *parts: str) -> bytes:
    """SHA-256 of the file and of what it is read with: another mapping makes another import."""
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps([content, *parts]).encode()).digest()


def begin(conn: Connection[TupleRow], tenant: str, name: bytes, source: str) -> Progress:
    """How far this file is already in. On an autocommit connection."""
    row = conn.execute(sql.begin_import, {"tenant": tenant, "digest": name, "source": source}).fetchone()
    assert row is not None
    return Progress(*row)


def import_receipts(
    conn: Connection[TupleRow],
    tenant: str,
    name: bytes,
    found: Iterable[Found],
    source: str,
    now_us: int,
    told: Callable[[Progress], None],
) -> Progress:
    """Store what is not in yet; `told` hears of every batch. On an autocommit connection.

    The next batch is read while the database stores this one.
    """
    before = begin(conn, tenant, name, source)
    if before.finished:
        return before
    stores: dict[str, Known] = {}
    with ThreadPoolExecutor(1, "receipts") as database:
        waiting: Future[Progress] | None = None
        for batch in _batches(islice(found, before.done, None)):
            if waiting is not None:
                before = waiting.result()
                told(before)
            waiting = database.submit(_store, conn, tenant, name, batch, source, stores, now_us, before)
        if waiting is not None:
            before = waiting.result()
            told(before)
    conn.execute(sql.import_is_done, {"tenant": tenant, "digest": name})
    return Progress(before.done, before.stored, before.duplicates, before.parked, before.quarantined, True)


def _store(
    conn: Connection[TupleRow],
    tenant: str,
    name: bytes,
    batch: list[Found],
    source: str,
    stores: dict[str, Known],
    now_us: int,
    before: Progress,
) -> Progress:
    asked = {one.receipt.store for one in batch if one.receipt}
    with conn.transaction():
        # A store's currency is that of its first receipt, which may be in the batch before.
        missing = {store for store in asked if stores.get(store, Known(None)).currency is None}
        stores.update(service.known_stores(conn, tenant, missing))
        taken = service.take(conn, tenant, batch, source, stores, now_us)
        counts = {"done": len(batch), "stored": taken.stored, "duplicates": taken.duplicates, "parked": taken.parked}
        counts["quarantined"] = taken.quarantined
        conn.execute(sql.import_goes_on, counts | {"tenant": tenant, "digest": name})
        conn.execute(sql.tell_receipt, {"tenant": tenant})
    return Progress(
        before.done + len(batch),
        before.stored + taken.stored,
        before.duplicates + taken.duplicates,
        before.parked + taken.parked,
        before.quarantined + taken.quarantined,
    )


def _batches(found: Iterator[Found]) -> Iterator[list[Found]]:
    batch, lines = list[Found](), 0
    for one in found:
        batch.append(one)
        lines += len(one.receipt.lines) if one.receipt else 1
        if lines >= BATCH_LINES:
            yield batch
            batch, lines = [], 0
    if batch:
        yield batch
