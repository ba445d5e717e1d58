"""The way from a node's outbox to the ledger as a machine that hypothesis may treat as badly as it likes.

The node is the product's own: `Outbox` on a real file and `Uplink`, its courier stepped by hand instead of by its
thread. Between them and the ledger stand a paho that keeps messages until the broker has them, a broker that may forget
everything, and acks that may be lost, doubled, late or in any order. What is taken for the cloud is a `Ledger`.
"""

import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import paho.mqtt.client as mqtt
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from paho.mqtt.properties import Properties

from cloud.ingest.store import Message, Outcome
from cloud.ingest.worker import acks
from contract import codec
from contract.clock import SystemClock
from contract.codec import decode_small
from contract.messages import Crowd, CrowdRow, Header, Health
from contract.topics import NodeAddress, parse_up
from edge.broker import Broker
from edge.outbox import Outbox
from edge.uplink import Uplink

NODE = NodeAddress("acme", "main-street", "node-1")
NOON_US = 1_795_600_800_000_000
HEALTH = decode_small((Path(__file__).parents[2] / "contract/examples/health-v1.json").read_bytes(), Health)
LATER_S = 121.0
"""Longer than any pause before a batch is sent again."""

Name = tuple[str, int]
"""Epoch and seq."""


class Crash(Exception):
    """Ingest dies in the middle of its transaction."""


class Ledger(Protocol):
    """What stores batches, all or none, each name once."""

    def take(self, messages: Sequence[Message], crash: bool) -> Outcome:
        """One transaction. With `crash` it is undone at its very end, and Crash is raised."""
        ...

    def stored(self) -> Counter[tuple[Name, bytes]]:
        """How often each batch's rows are there, by name and payload."""
        ...

    def letters(self) -> set[bytes]:
        """Payloads of dead letters."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class DictLedger:
    """What `cloud.ingest.store` does, on a dictionary: for speed. `test_ack_protocol_sql.py` runs on the real one."""

    names: dict[Name, bytes] = field(default_factory=dict)
    rows: Counter[tuple[Name, bytes]] = field(default_factory=Counter)
    dead: set[bytes] = field(default_factory=set)

    def take(self, messages: Sequence[Message], crash: bool) -> Outcome:
        names, rows, dead, outcome = dict(self.names), Counter(self.rows), set(self.dead), Outcome()
        for message in messages:
            address, _ = parse_up(message.topic)
            batch = codec.decode(message.payload)
            name = batch.header.epoch, batch.header.seq
            if isinstance(batch, Crowd) and batch.rows[0].radios < 5:  # as a constraint of the table has it
                dead.add(message.payload)
                outcome.rejected[address, name[0]].append((name[1], "NotStorable"))
            elif names.setdefault(name, message.payload) != message.payload:
                dead.add(message.payload)
                outcome.rejected[address, name[0]].append((name[1], "NameTaken"))
            else:
                if name not in self.names and not rows[name, message.payload]:
                    rows[name, message.payload] += 1
                outcome.stored[address, name[0]][name[1]] = codec.digest_of(message.payload)
        if crash:
            raise Crash
        self.names, self.rows, self.dead = names, rows, dead
        return outcome

    def stored(self) -> Counter[tuple[Name, bytes]]:
        return self.rows

    def letters(self) -> set[bytes]:
        return self.dead

    def close(self) -> None:
        return None


class _Info(mqtt.MQTTMessageInfo):
    """Whether the broker has said that it has the message."""

    def __init__(self, mid: int) -> None:
        super().__init__(mid)
        self.said = False

    def is_published(self) -> bool:
        return self.said


@dataclass(slots=True, eq=False)
class _Sent:
    """A message that paho has taken and the broker has not."""

    message: Message
    info: _Info


class Line(Broker):
    """In place of the line to a broker: hands over nothing until it is told to."""

    def __init__(self) -> None:
        self.connected = False
        self.on_connected: Callable[[], None] = lambda: None
        self.on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.waiting: Callable[[], int] = int
        self.held: list[_Sent] = []

    def publish(
        self, topic: str, payload: bytes, qos: int, properties: Properties | None = None
    ) -> mqtt.MQTTMessageInfo:
        info = _Info(0)
        if qos:
            self.held.append(_Sent(Message(topic, payload), info))
        return info


Pick = st.integers(0, 2**16)


class AckProtocol(RuleBasedStateMachine):
    """One node, one broker, one ingest. Subclasses say which ledger."""

    def make_ledger(self) -> Ledger:
        return DictLedger()

    @initialize(synchronous=st.sampled_from(["full", "normal"]), seed=st.integers(0, 2**32))
    def begin(self, synchronous: str, seed: int) -> None:
        random.seed(seed)  # the uplink's jitter
        self.folder = Path(tempfile.mkdtemp(prefix="aisle-ack-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.synchronous = synchronous
        self.ledger = self.make_ledger()
        self.boots = 1
        self.now = 1_000.0
        self.mark = 0
        self.queue: list[Message] = []
        """At the broker, for ingest."""
        self.acks: list[tuple[str, bytes]] = []
        """At the broker, for the node."""
        self.put: dict[Name, tuple[bytes, bool]] = {}
        """Put and perhaps not on the disk yet; whether ingest can store it."""
        self.accepted: dict[Name, tuple[bytes, bool]] = {}
        """On the disk: from then on it may not be lost."""
        self.wiped: set[Name] = set()
        """Accepted, and gone with a card."""
        self.epochs: list[str] = []
        self.power_on()
        self.connect()
        self.accept(2, True, "stored")

    # -- the node

    def power_on(self) -> None:
        self.box = Outbox(self.folder / "outbox.db", synchronous=self.synchronous, boot=f"boot-{self.boots}")
        self.line = Line()
        self.uplink = Uplink(self.line, NODE, self.box, SystemClock(), lambda: HEALTH, every_s=1e9)
        if self.box.epoch not in self.epochs:
            self.epochs.append(self.box.epoch)

    def die(self) -> None:
        """What is in memory is gone: what was put and not committed, what paho held, which batches are under way."""
        self.box._db.close()  # not Outbox.close, which would commit
        self.put.clear()

    @rule(
        n=st.integers(1, 5),
        storable=st.sampled_from([True, True, True, False]),
        so_far=st.sampled_from(["put", "sent", "at the broker", "stored", "acknowledged"]),
    )
    def accept(self, n: int, storable: bool, so_far: str) -> None:
        """Batches, which get so far with all that was under way before them."""
        for _ in range(n):
            self.mark += 1
            self.box.put("crowd", NOON_US, 1, lambda epoch, seq: self._build(epoch, seq, storable))
        self.get(so_far)

    def get(self, so_far: str) -> None:
        """Nothing goes wrong for a while."""
        stages = ("put", "sent", "at the broker", "stored", "acknowledged")
        reached = stages.index(so_far)
        if reached > 0:
            if not self.line.connected:
                self.connect()
            self.step(0.05)
        while reached > 1 and self.line.held:
            self.broker_takes(0, True, 20)
        while reached > 2 and self.queue:
            self.ingest_takes(30, "well")
        while reached > 3 and self.acks:
            self.acks_arrive(0, 5)

    def _build(self, epoch: str, seq: int, storable: bool) -> bytes:
        header = Header("crowd", *NODE_NAMES, epoch, seq, "boot", "trusted", NOON_US + self.mark, 1)
        payload = codec.encode(Crowd(header, (CrowdRow(0, 300, 7 if storable else 4, 1),)))
        self.put[epoch, seq] = payload, storable
        return payload

    @rule(later_s=st.sampled_from([0.05, 1.5, LATER_S]))
    def step(self, later_s: float) -> None:
        """The courier's turn: settles acks, commits, sends, sends again."""
        self.now += later_s
        self.uplink._step(self.now)
        assert not self.box.waiting, "all is committed"
        self.accepted |= self.put
        self.put.clear()
        for sent in self.line.held:
            header = codec.header_only(sent.message.payload)
            assert header is not None
            name = header.epoch, header.seq
            assert self.accepted[name][0] == sent.message.payload, "only what is on the disk is ever sent, as it is"

    @rule(how=st.sampled_from(["killed", "killed", "killed", "powered off", "wiped"]), online=st.booleans())
    def node_ends(self, how: str, online: bool) -> None:
        """And begins again."""
        self.die()
        self.boots += how == "powered off"
        if how == "wiped":
            here = {name for name in self.accepted if name[0] == self.box.epoch}
            self.wiped |= here - {name for name, _ in self.ledger.stored()}
            for file in self.folder.glob("outbox.db*"):
                file.unlink()
        self.power_on()
        assert len(self.epochs) == len(set(self.epochs))
        if online:
            self.connect()
            self.step(0.05)

    # -- the line to the broker

    @precondition(lambda self: not self.line.connected)
    @rule()
    def connect(self) -> None:
        """Also after a lost connection: paho still holds what was not acknowledged to it."""
        self.line.connected = True
        self.uplink._on_connected()

    @precondition(lambda self: self.line.connected and self.line.held)
    @rule(pick=Pick, told=st.sampled_from([True, True, False]), n=st.integers(1, 20))
    def broker_takes(self, pick: int, told: bool, n: int) -> None:
        """Some messages; without `told` the PUBACK is lost and paho sends it again."""
        for _ in range(min(n, len(self.line.held))):
            sent = self.line.held[pick % len(self.line.held)]
            self.queue.append(sent.message)
            if told:
                self.line.held.remove(sent)
                sent.info.said = True

    @precondition(lambda self: self.queue)
    @rule(pick=Pick, what=st.sampled_from(["doubled", "lost", "mixed up"]))
    def message_suffers(self, pick: int, what: str) -> None:
        at = pick % len(self.queue)
        if what == "doubled":
            self.queue.append(self.queue[at])
        elif what == "lost":
            del self.queue[at]
        else:
            random.Random(pick).shuffle(self.queue)

    @precondition(lambda self: self.acks)
    @rule(pick=Pick, what=st.sampled_from(["doubled", "lost"]))
    def ack_suffers(self, pick: int, what: str) -> None:
        at = pick % len(self.acks)
        if what == "doubled":
            self.acks.append(self.acks[at])
        else:
            del self.acks[at]

    @precondition(lambda self: self.line.connected)
    @rule(forgets=st.booleans())
    def connection_breaks(self, forgets: bool) -> None:
        """`forgets`: since the broker died with all that was in its memory."""
        self.line.connected = False
        if forgets:
            self.queue.clear()
            self.acks.clear()

    # -- ingest

    @precondition(lambda self: self.queue)
    @rule(
        n=st.integers(1, 30),
        fate=st.sampled_from(
            ["well", "well", "dies before the commit", "dies before the ack", "dies before the PUBACK"]
        ),
    )
    def ingest_takes(self, n: int, fate: str) -> None:
        taken = self.queue[:n]
        try:
            outcome = self.ledger.take(taken, crash=fate == "dies before the commit")
        except Crash:
            return  # the broker still has them
        if fate != "dies before the ack":
            self.acks += acks(outcome)
        if fate == "well":
            del self.queue[:n]

    @precondition(lambda self: self.acks and self.line.connected)
    @rule(pick=Pick, n=st.integers(1, 5))
    def acks_arrive(self, pick: int, n: int) -> None:
        """In any order."""
        for _ in range(min(n, len(self.acks))):
            self.line.on_message(*self.acks.pop(pick % len(self.acks)))
        self.step(0.05)

    # -- what holds at every moment

    @invariant()
    def nothing_accepted_is_lost_and_nothing_is_stored_twice(self) -> None:
        if not hasattr(self, "box"):
            return
        stored, letters = self.ledger.stored(), self.ledger.letters()
        assert set(stored.values()) <= {1}, "each batch's rows once"
        for name, payload in stored:
            assert self.accepted[name] == (payload, True), "only what a node accepted, as it was"
        held = self.held()
        for name, (payload, storable) in self.accepted.items():
            here = held.get(name) == payload
            there = stored[name, payload] == 1 if storable else payload in letters
            assert here or there or name in self.wiped, f"{name} is neither here nor there"

    def held(self) -> dict[Name, bytes]:
        """What lies on the card."""
        rows = self.box._db.execute("select seq, payload from batch")
        return {(self.box.epoch, seq): payload for seq, payload in rows}

    def teardown(self) -> None:
        """Then nothing goes wrong any more: everything arrives, and the outbox is empty."""
        if not hasattr(self, "box"):
            return
        try:
            self.step(0.05)
            for _ in range(40):
                if not self.box.rows():
                    break
                self.get("acknowledged")
                self.step(LATER_S)
            assert self.box.rows() == 0
            self.nothing_accepted_is_lost_and_nothing_is_stored_twice()
            bad = [name for name, (_, storable) in self.accepted.items() if not storable and name[0] == self.box.epoch]
            assert self.box.rejected == (len(bad), len(bad)), "the node knows what was refused"
            good = {name for name, (_, storable) in self.accepted.items() if storable} - self.wiped
            # A wiped card's batches may have been under way: then they are stored after all.
            assert good <= {name for name, _ in self.ledger.stored()}
        finally:
            try:
                self.box.close()
            except sqlite3.ProgrammingError:
                pass  # a failure left it closed
            self.ledger.close()
            shutil.rmtree(self.folder)


NODE_NAMES = NODE.tenant, NODE.store, NODE.node
