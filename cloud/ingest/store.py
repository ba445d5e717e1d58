"""What arrived, into the database in one transaction: ledger, COPY, the locator's queue; or a dead letter.

Exactly once: a batch's name enters the ledger in the transaction that stores its rows. A message that was stored before
is acknowledged again; the same name with another content is buried and refused, never dropped silently.
"""

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from cloud import db
from cloud.ingest.columns import COPY_HEADER, COPY_TRAILER, Windows, copy_rows, windows
from contract import codec
from contract.clock import Clock, SystemClock
from contract.errors import BadTopic, ContractError
from contract.messages import Batch, Crowd, Health, Sightings
from contract.topics import NodeAddress, parse_up

log = logging.getLogger(__name__)
sql = db.statements("cloud.ingest")

EARLIEST_US = 1_577_836_800_000_000
"""2020-01-01 UTC: an instant before it comes from a clock that was never set. (Old recordings are replayed shifted.)"""
LATEST_US = 4_102_444_800_000_000
"""2100-01-01 UTC."""


RETIRED_AFTER_S = 5.0
"""Real seconds after which a node that was taken from the plan is heard no more."""


class WrongNode(ContractError):
    """The batch names another node than its topic, which is what the broker let the node write to."""


class UnknownNode(ContractError):
    """No such node stands in that store; claim it and retry the dead letter."""


class BadTime(ContractError):
    """An instant outside 2020 to 2100."""


class NameTaken(ContractError):
    """Another batch was stored under this name: a copied card, or a forged message."""


class NotStorable(ContractError):
    """The database refused the content."""


@dataclass(frozen=True, slots=True)
class Message:
    """An MQTT message as it arrived."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A message that decodes, from a known node."""

    message: Message
    address: NodeAddress
    node_key: int
    batch: Batch
    digest: bytes

    @property
    def name(self) -> tuple[str, str, UUID, int]:
        """The batch's name in the ledger."""
        header = self.batch.header
        return header.tenant, header.node, UUID(header.epoch), header.seq


@dataclass(slots=True)
class Outcome:
    """What to tell each node, by node and epoch."""

    stored: dict[tuple[NodeAddress, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    rejected: dict[tuple[NodeAddress, str], list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    events: int = 0
    """Rows newly stored."""


class NodeDirectory:
    """The nodes that may speak, kept in memory; looked up again when an unknown one does, and now and then."""

    def __init__(self) -> None:
        self._keys: Mapping[NodeAddress, int] = {}
        self._read_at_s = 0.0

    def key(self, conn: Connection[TupleRow], address: NodeAddress) -> int:
        """The node's four-byte key. Raises UnknownNode."""
        if address not in self._keys or time.monotonic() - self._read_at_s > RETIRED_AFTER_S:
            self._keys = {NodeAddress(t, s, n): key for t, s, n, key in conn.execute(sql.nodes)}
            self._read_at_s = time.monotonic()
        if address not in self._keys:
            raise UnknownNode(f"{address} is not a node of that store")
        return self._keys[address]


class Store:
    """Stores messages; keeps only what saves work: the node directory and the days that have a partition."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._nodes = NodeDirectory()
        self._days: set[int] = set()

    def take(self, conn: Connection[TupleRow], messages: Sequence[Message]) -> Outcome:
        """Store all messages in one transaction. Raises psycopg.OperationalError when the database is away.

        If the database refuses the content of one, they are stored one by one and only that one is buried.
        """
        try:
            with conn.transaction():
                return self._take(conn, messages)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            self._days.clear()  # a partition made in the undone transaction is gone
            if len(messages) == 1:
                return self._bury_alone(conn, messages[0], NotStorable(str(error).splitlines()[0]))
        except psycopg.Error:
            self._days.clear()
            raise
        outcome = Outcome()
        for message in messages:
            one = self.take(conn, [message])
            outcome.events += one.events
            for key, seqs in one.stored.items():
                outcome.stored[key] += seqs
            for key, refusals in one.rejected.items():
                outcome.rejected[key] += refusals
        return outcome

    def _take(self, conn: Connection[TupleRow], messages: Sequence[Message]) -> Outcome:
        outcome = Outcome()
        received = []
        for message in messages:
            try:
                one = self._receive(conn, message)
            except ContractError as error:
                self._bury(conn, message, error, outcome)
                continue
            if one is not None:
                received.append(one)
        fresh = self._record(conn, received, outcome)
        self._copy(conn, [r for r in fresh if isinstance(r.batch, Sightings)])
        for one in fresh:
            if isinstance(one.batch, Crowd):
                self._store_crowd(conn, one.batch)
        self._enqueue(conn, [r for r in fresh if not isinstance(r.batch, Crowd)])
        outcome.events += sum(r.batch.header.n for r in fresh)
        return outcome

    def _receive(self, conn: Connection[TupleRow], message: Message) -> Received | None:
        """Check a message up to its last field; a heartbeat is stored at once and gives None."""
        address, stream = parse_up(message.topic)
        if stream == "health":
            health = codec.decode_small(message.payload, Health)
            self._nodes.key(conn, address)
            _beat(conn, address, health, self._clock.now_us())
            return None
        batch = codec.decode(message.payload)
        header = batch.header
        if (header.tenant, header.store, header.node) != (address.tenant, address.store, address.node):
            raise WrongNode(f"says {header.tenant}/{header.store}/{header.node} on the topic of {address}")
        if header.kind != stream:
            raise BadTopic(f"{header.kind} on the topic of {stream}")
        if not EARLIEST_US <= header.t0 <= LATEST_US:
            raise BadTime(f"t0 {header.t0} is outside 2020 to 2100")
        digest = hashlib.blake2b(message.payload, digest_size=16).digest()
        return Received(message, address, self._nodes.key(conn, address), batch, digest)

    def _record(self, conn: Connection[TupleRow], received: Sequence[Received], outcome: Outcome) -> list[Received]:
        """Enter the ledger; returns the batches that are new, tells the others apart: stored before or name taken."""
        unique: dict[tuple[str, str, UUID, int], Received] = {}
        for one in received:  # in the order of arrival, in which the locator reads them
            unique.setdefault(one.name, one)
        if not unique:
            return []
        batches = list(unique.values())
        headers = [r.batch.header for r in batches]
        rows = conn.execute(
            sql.record_batches,
            {
                "tenant": [h.tenant for h in headers],
                "node": [h.node for h in headers],
                "epoch": [h.epoch for h in headers],
                "seq": [h.seq for h in headers],
                "kind": [h.kind for h in headers],
                "digest": [r.digest for r in batches],
                "events": [h.n for h in headers],
                "t0": [h.t0 for h in headers],
            },
        )
        new = set(rows)
        for one in received:
            key = (one.address, one.batch.header.epoch)
            known = unique[one.name].digest if one.name in new else self._digest(conn, one)
            if known == one.digest:
                outcome.stored[key].append(one.batch.header.seq)
            else:
                self._bury(conn, one.message, NameTaken(f"batch {one.batch.header.seq} of {one.address}"), outcome)
        return [unique[name] for name in unique if name in new]

    def _digest(self, conn: Connection[TupleRow], one: Received) -> bytes | None:
        tenant, node, epoch, seq = one.name
        row = conn.execute(sql.digest_of, {"tenant": tenant, "node": node, "epoch": epoch, "seq": seq}).fetchone()
        return bytes(row[0]) if row else None

    def _copy(self, conn: Connection[TupleRow], fresh: Iterable[Received]) -> None:
        parts: list[tuple[Windows, int]] = []
        for one in fresh:
            assert isinstance(one.batch, Sightings)
            if one.batch.header.n:
                parts.append((windows(one.batch), one.node_key))
        if not parts:
            return
        for w, _ in parts:
            self._ensure_days(conn, int(w.time_us.min()), int(w.time_us.max()))
        with conn.cursor() as cursor, cursor.copy(sql.copy_sightings) as copy:
            copy.write(COPY_HEADER + copy_rows(parts) + COPY_TRAILER)

    def _ensure_days(self, conn: Connection[TupleRow], first_us: int, last_us: int) -> None:
        day_us = 86_400_000_000
        for day in range(first_us // day_us, last_us // day_us + 1):
            if day not in self._days:
                date = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date()
                conn.execute(sql.ensure_day, {"day": date})
                self._days.add(day)

    def _store_crowd(self, conn: Connection[TupleRow], batch: Crowd) -> None:
        header = batch.header
        of = {"tenant": header.tenant, "store": header.store, "node": header.node}
        for row in batch.rows:
            counts = {name: getattr(row, name) for name in row.__struct_fields__ if name != "dt"}
            conn.execute(sql.store_crowd, of | counts | {"time": header.t0 + row.dt * 1_000})

    def _enqueue(self, conn: Connection[TupleRow], fresh: Sequence[Received]) -> None:
        if not fresh:
            return
        names = [(r.address.tenant, r.address.store, r.address.node) for r in fresh]
        tenants, stores, nodes = (list(column) for column in zip(*names, strict=True))
        payloads = [r.message.payload for r in fresh]
        conn.execute(sql.enqueue, {"tenant": tenants, "store": stores, "node": nodes, "payload": payloads})
        told = json.dumps(sorted({f"{tenant}/{store}" for tenant, store, _ in names})[:100])
        conn.execute(sql.announce, {"stores": told})

    def _bury_alone(self, conn: Connection[TupleRow], message: Message, error: ContractError) -> Outcome:
        outcome = Outcome()
        with conn.transaction():
            self._bury(conn, message, error, outcome)
        return outcome

    def _bury(self, conn: Connection[TupleRow], message: Message, error: ContractError, outcome: Outcome) -> None:
        """A dead letter; and a rejection to the node where the message says which batch it was."""
        try:
            address, _ = parse_up(message.topic)
        except BadTopic:
            address = None
        header = codec.header_only(message.payload)
        tenant, node = (address.tenant, address.node) if address else ("", "")
        conn.execute(
            sql.bury,
            {
                "tenant": tenant,
                "node": node,
                "topic": message.topic,
                "reason": error.reason,
                "detail": str(error)[:500].replace("\x00", "�"),
                "payload": message.payload,
                "digest": hashlib.blake2b(message.payload, digest_size=16).digest(),
            },
        )
        log.warning("dead letter from %s: %s: %s", f"{tenant}/{node}", error.reason, str(error)[:200])
        if address and header:
            outcome.rejected[address, header.epoch].append((header.seq, error.reason))


def _beat(conn: Connection[TupleRow], address: NodeAddress, health: Health, now_us: int) -> None:
    fields = {name: getattr(health, name) for name in health.__struct_fields__}
    values = {"tenant": address.tenant, "node": address.node, "store": address.store}
    conn.execute(sql.beat, values | {"health": Jsonb(fields), "now": now_us})
