"""Dead letters and the state of ingest, for whoever runs it: what was refused and why, and what waits where."""

from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import TupleRow

from cloud import db
from cloud.ingest.store import Message, Store

sql = db.statements("cloud.ingest")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that could not be stored."""

    dead_letter_id: int
    at_us: int
    """When it came last, microseconds since 1970 UTC."""
    tenant: str
    """As the topic says it; empty where the topic itself is bad. So is the node."""
    node: str
    topic: str
    reason: str
    detail: str
    bytes: int
    times: int
    """How often the same payload came."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a node said in its last heartbeat."""

    tenant: str
    store: str
    node: str
    state: str | None
    heard_us: int | None
    """When, microseconds since 1970 UTC; None if it never spoke."""
    outbox_rows: int
    """Batches that it holds and that are not stored."""
    outbox_oldest_s: float
    dropped: int
    """Windows given up for want of room, since its outbox was made."""


@dataclass(frozen=True, slots=True)
class State:
    """How ingest stands."""

    batches: int
    events: int
    stored_us: int | None
    """When the newest batch was stored, microseconds since 1970 UTC."""
    queued: int
    """Batches that the locator has yet to read."""
    dead_letters: dict[str, int]
    """By reason; those that were taken on a retry are left out."""
    nodes: list[Held]


def letters(conn: Connection[TupleRow], reason: str | None = None, limit: int = 100) -> list[Letter]:
    """Dead letters, the newest first."""
    rows = conn.execute(sql.letters, {"reason": reason, "limit": limit})
    return [Letter(*row) for row in rows]


def retry(conn: Connection[TupleRow], reason: str | None = None, store: Store | None = None) -> int:
    """Offer each dead letter to the store once more, the oldest first; returns how many it took.

    One that is refused again stays, with its new reason beside the old one if that differs. A node is not told: it gave
    the batch up when it was refused. Run it on an autocommit connection: each hundred is one transaction.
    """
    store = store or Store()
    taken, after = 0, 0
    while True:
        with conn.transaction():
            found = conn.execute(sql.letters_to_retry, {"reason": reason, "after": after}).fetchall()
            if not found:
                return taken
            stored = [key for key, topic, payload in found if not store.take(conn, [Message(topic, payload)]).buried]
            conn.execute(sql.letter_retried, {"ids": stored})
        taken += len(stored)
        after = found[-1][0]


def state(conn: Connection[TupleRow]) -> State:
    """Counts the whole ledger: some seconds where it holds tens of millions of batches."""
    row = conn.execute(sql.ledger).fetchone()
    assert row is not None
    batches, events, stored_us, queued = row
    reasons: dict[str, int] = dict(conn.execute(sql.letters_by_reason).fetchall())
    nodes = [Held(*node) for node in conn.execute(sql.nodes_hold)]
    return State(batches, events, stored_us, queued, reasons, nodes)
