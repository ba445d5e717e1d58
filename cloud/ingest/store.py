"""What arrived, into the database in one transaction: ledger, COPY, the locator's queue; or a dead letter.

Exactly once: a batch's name enters the ledger in the transaction that stores its rows. A message that was stored before
is acknowledged again; the same name with another content is buried and refused, never dropped silently.

Several processes do this at once. Whatever two of them may both write (a name that comes twice, a node's state) is
written in the order of the names, so that they wait for each other and never for one another.
"""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache

import msgspec
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from cloud import db
from cloud.fleet.orders import Order, Said, answers
from cloud.ingest.arrays import bigints, blobs, integers, texts, uuids
from cloud.ingest.columns import COPY_HEADER, COPY_TRAILER, copy_rows
from cloud.inventory.store import store_tags
from contract import codec
from contract.clock import Clock, SystemClock
from contract.errors import BadTopic, ContractError
from contract.messages import Batch, Crowd, Health, Sightings, Status, Tags
from contract.topics import ROOT, NodeAddress, parse_status, parse_up

log = logging.getLogger(__name__)
sql = db.statements("cloud.ingest")

EARLIEST_US = 1_577_836_800_000_000
"""2020-01-01 UTC: an instant before it comes from a clock that was never set. (Old recordings are replayed shifted.)"""
LATEST_US = 4_102_444_800_000_000
"""2100-01-01 UTC."""

RETIRED_AFTER_S = 5.0
"""Real seconds after which a node that was taken from the plan is heard no more."""

LOCATED = ("sightings", "presence")
"""Kinds of batches that the locator reads."""
ASKED = ("keys", "config")
"""Streams of requests and answers, cloud.fleet's alone: no batches, and never kept, not as dead letters either."""


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
    event_id: str = ""
    """Which batch it is, as said beside the payload: for one that cannot be read."""


Name = tuple[str, str, str, int]
"""A batch's name in the ledger: tenant, node, epoch, seq."""


@dataclass(frozen=True, slots=True)
class Received:
    """A batch that decodes, from a known node."""

    message: Message
    address: NodeAddress
    node_key: int
    batch: Batch
    name: Name
    digest: bytes


@dataclass(slots=True)
class Outcome:
    """What to tell each node, by node and epoch."""

    stored: dict[tuple[NodeAddress, str], dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Digests of payloads by seq."""
    rejected: dict[tuple[NodeAddress, str], list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    orders: list[Order] = field(default_factory=list)
    """What cloud.fleet answers."""
    events: int = 0
    """Rows newly stored."""
    buried: int = 0
    """Dead letters."""

    def add(self, other: "Outcome") -> None:
        """Take in what became of other messages."""
        for key, digests in other.stored.items():
            self.stored[key] |= digests
        for key, refusals in other.rejected.items():
            self.rejected[key] += refusals
        self.orders += other.orders
        self.events += other.events
        self.buried += other.buried


class NodeDirectory:
    """The nodes that may speak, kept in memory; looked up again when an unknown one does, and now and then."""

    def __init__(self) -> None:
        self._keys: Mapping[NodeAddress, int] = {}
        self._read_at_s = 0.0
        self._newest = False

    def begin(self) -> None:
        """A new transaction: its first unknown node is worth another look, the others after it are not."""
        self._newest = False

    def key(self, conn: Connection[TupleRow], address: NodeAddress) -> int:
        """The node's four-byte key. Raises UnknownNode."""
        unknown = address not in self._keys and not self._newest
        if unknown or time.monotonic() - self._read_at_s > RETIRED_AFTER_S:
            self._keys = {NodeAddress(t, s, n): key for t, s, n, key in conn.execute(sql.nodes)}
            self._read_at_s = time.monotonic()
            self._newest = True
        if address not in self._keys:
            raise UnknownNode(f"{address} is not a node of that store")
        return self._keys[address]


@dataclass(slots=True)
class _Sorted:
    """A transaction's messages by what is to be done with them."""

    batches: list[Received] = field(default_factory=list)
    beats: list[tuple[NodeAddress, Health]] = field(default_factory=list)
    states: list[tuple[NodeAddress, Status]] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)


class Store:
    """Stores messages; keeps only what saves work: the node directory and the days that have a partition."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._nodes = NodeDirectory()
        self._days: set[int] = set()

    def take(self, conn: Connection[TupleRow], messages: Sequence[Message]) -> Outcome:
        """Store all messages in one transaction. Raises psycopg.OperationalError when the database is away.

        If the database refuses the content of one, they are stored in halves, and halves of these, until that one is
        alone and buried.
        """
        try:
            with conn.transaction():
                return self._take(conn, messages)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            self._days.clear()  # a partition made in the undone transaction is gone
            if len(messages) == 1:
                return self._refuse(conn, messages[0], NotStorable(str(error).splitlines()[0]))
        except psycopg.Error:
            self._days.clear()
            raise
        middle = len(messages) // 2
        outcome = self.take(conn, messages[:middle])
        outcome.add(self.take(conn, messages[middle:]))
        return outcome

    def _take(self, conn: Connection[TupleRow], messages: Sequence[Message]) -> Outcome:
        outcome, found = Outcome(), _Sorted()
        self._nodes.begin()
        for message in messages:
            try:
                self._sort(conn, message, found)
            except ContractError as error:
                self._bury(conn, message, error, outcome)
        fresh = self._record(conn, found.batches, outcome)
        self._keep(conn, fresh)
        outcome.events += sum(one.batch.header.n for one in fresh)
        self._hear(conn, found, outcome)
        return outcome

    def _sort(self, conn: Connection[TupleRow], message: Message, found: _Sorted) -> None:
        """Check a message up to its last field."""
        if message.topic.startswith(f"{ROOT}/status/"):
            status = _status(message)
            if status is not None:
                found.states.append(status)
            return
        address, stream = _source(message.topic)
        if stream in ASKED:
            if self._is_known(conn, address):
                found.said.append(Said(address, stream, message.payload))
            return
        if stream == "health":
            health = codec.decode_small(message.payload, Health)
            self._nodes.key(conn, address)
            found.beats.append((address, health))
            found.said.append(Said(address, stream, message.payload))
            return
        found.batches.append(self._receive(conn, message, address, stream))

    def _receive(self, conn: Connection[TupleRow], message: Message, address: NodeAddress, stream: str) -> Received:
        batch = codec.decode(message.payload)
        header = batch.header
        if (header.tenant, header.store, header.node) != (address.tenant, address.store, address.node):
            raise WrongNode(f"says {header.tenant}/{header.store}/{header.node} on the topic of {address}")
        if header.kind != stream:
            raise BadTopic(f"{header.kind} on the topic of {stream}")
        if not EARLIEST_US <= header.t0 <= LATEST_US:
            raise BadTime(f"t0 {header.t0} is outside 2020 to 2100")
        name = (header.tenant, header.node, header.epoch, header.seq)
        digest = codec.digest_of(message.payload)
        return Received(message, address, self._nodes.key(conn, address), batch, name, digest)

    def _is_known(self, conn: Connection[TupleRow], address: NodeAddress) -> bool:
        try:
            self._nodes.key(conn, address)
        except UnknownNode as error:
            log.warning("not heard: %s", error)
            return False
        return True

    def _record(self, conn: Connection[TupleRow], received: Sequence[Received], outcome: Outcome) -> list[Received]:
        """Enter the ledger; returns the batches that are new, tells the others apart: stored before or name taken."""
        unique: dict[Name, Received] = {}
        for one in received:  # in the order of arrival, in which the locator reads them
            unique.setdefault(one.name, one)
        if not unique:
            return []
        entries = sorted(unique.values(), key=lambda one: one.name)
        headers = [one.batch.header for one in entries]
        written = conn.execute(
            sql.record_batches,
            {
                "tenant": texts([h.tenant for h in headers]),
                "node": texts([h.node for h in headers]),
                "epoch": uuids([h.epoch for h in headers]),
                "seq": bigints(h.seq for h in headers),
                "kind": texts([h.kind for h in headers]),
                "digest": blobs([one.digest for one in entries]),
                "events": integers(h.n for h in headers),
                "t0": bigints(h.t0 for h in headers),
            },
        )
        if written.rowcount == len(received):  # as nearly always: all new, none twice
            for one in received:
                outcome.stored[one.address, one.name[2]][one.name[3]] = one.digest
            return list(received)
        new = {(tenant, node, epoch.hex, seq) for tenant, node, epoch, seq in written}
        for one in received:
            known = unique[one.name].digest if one.name in new else self._digest(conn, one.name)
            if known == one.digest:
                outcome.stored[one.address, one.name[2]][one.name[3]] = one.digest
            else:
                self._bury(conn, one.message, NameTaken(f"batch {one.name[3]} of {one.address}"), outcome)
        return [one for name, one in unique.items() if name in new]

    def _digest(self, conn: Connection[TupleRow], name: Name) -> bytes | None:
        row = conn.execute(sql.digest_of, dict(zip(("tenant", "node", "epoch", "seq"), name, strict=True))).fetchone()
        return bytes(row[0]) if row else None

    def _keep(self, conn: Connection[TupleRow], fresh: Sequence[Received]) -> None:
        """What is done with new batches, kind by kind."""
        sightings = [(one.batch, one.node_key) for one in fresh if isinstance(one.batch, Sightings)]
        self._copy(conn, [(batch, key) for batch, key in sightings if batch.header.n])
        for one in fresh:
            if isinstance(one.batch, Crowd):
                _store_crowd(conn, one.batch)
        store_tags(conn, [one.batch for one in fresh if isinstance(one.batch, Tags)])
        _enqueue(conn, [one for one in fresh if one.batch.header.kind in LOCATED])

    def _copy(self, conn: Connection[TupleRow], sightings: Sequence[tuple[Sightings, int]]) -> None:
        if not sightings:
            return
        rows = copy_rows([batch for batch, _ in sightings], [key for _, key in sightings])
        self._ensure_days(conn, rows.days)
        with conn.cursor() as cursor, cursor.copy(sql.copy_sightings) as copy:
            for part in (COPY_HEADER, rows.data, COPY_TRAILER):
                copy.write(part)

    def _ensure_days(self, conn: Connection[TupleRow], days: Sequence[int]) -> None:
        for day in days:
            if day not in self._days:
                conn.execute(sql.ensure_day, {"day": date(1970, 1, 1) + timedelta(days=day)})
                self._days.add(day)

    def _hear(self, conn: Connection[TupleRow], found: _Sorted, outcome: Outcome) -> None:
        """Heartbeats and states, and what cloud.fleet answers to them and to requests."""
        if not (found.states or found.said):
            return
        now_us = self._clock.now_us()
        for address, status in sorted(found.states, key=lambda state: str(state[0])):
            conn.execute(sql.mark_state, _of(address) | {"state": status.state, "now": now_us})
        for address, health in sorted(found.beats, key=lambda beat: str(beat[0])):
            conn.execute(sql.beat, _of(address) | {"health": Jsonb(msgspec.to_builtins(health)), "now": now_us})
        if found.said:
            outcome.orders += answers(conn, sorted(found.said, key=lambda said: str(said.sender)), now_us)

    def _refuse(self, conn: Connection[TupleRow], message: Message, error: ContractError) -> Outcome:
        outcome = Outcome()
        with conn.transaction():
            self._bury(conn, message, error, outcome)
        return outcome

    def _bury(self, conn: Connection[TupleRow], message: Message, error: ContractError, outcome: Outcome) -> None:
        """A dead letter; and a rejection to the node where the message says which batch it was."""
        try:
            address, stream = _source(message.topic)
        except BadTopic:
            address, stream = None, ""
        tenant, node = (address.tenant, address.node) if address else ("", "")
        log.warning("dead letter from %s: %s: %s", f"{tenant}/{node}", error.reason, str(error)[:200])
        if stream in ASKED:
            return
        conn.execute(
            sql.bury,
            {
                "tenant": tenant,
                "node": node,
                "topic": message.topic,
                "reason": error.reason,
                "detail": str(error)[:500].replace("\x00", "\ufffd"),
                "payload": message.payload,
                "digest": codec.digest_of(message.payload),
            },
        )
        outcome.buried += 1
        name = _name(message)
        if address and name:
            outcome.rejected[address, name[0]].append((name[1], error.reason))


@lru_cache(maxsize=16_384)
def _source(topic: str) -> tuple[NodeAddress, str]:
    """`parse_up`, remembered: the same topics come again and again."""
    return parse_up(topic)


def _name(message: Message) -> tuple[str, int] | None:
    """Epoch and number of a batch that cannot be stored, so that it is not sent for ever."""
    header = codec.header_only(message.payload)
    return (header.epoch, header.seq) if header else codec.read_event_id(message.event_id)


def _status(message: Message) -> tuple[NodeAddress, Status] | None:
    try:
        return parse_status(message.topic), codec.decode_small(message.payload, Status)
    except ContractError as error:
        log.warning("status ignored: %s", error)
        return None


def _of(address: NodeAddress) -> dict[str, object]:
    return {"tenant": address.tenant, "store": address.store, "node": address.node}


def _store_crowd(conn: Connection[TupleRow], batch: Crowd) -> None:
    header = batch.header
    of = {"tenant": header.tenant, "store": header.store, "node": header.node}
    for row in batch.rows:
        counts = {name: getattr(row, name) for name in row.__struct_fields__ if name != "dt"}
        conn.execute(sql.store_crowd, of | counts | {"time": header.t0 + row.dt * 1_000})


def _enqueue(conn: Connection[TupleRow], fresh: Sequence[Received]) -> None:
    if not fresh:
        return
    told = json.dumps(sorted({f"{one.address.tenant}/{one.address.store}" for one in fresh})[:100])
    conn.execute(
        sql.enqueue,
        {
            "tenant": texts([one.address.tenant for one in fresh]),
            "store": texts([one.address.store for one in fresh]),
            "node": texts([one.address.node for one in fresh]),
            "payload": blobs([one.message.payload for one in fresh]),
            "stores": told,
        },
    )
