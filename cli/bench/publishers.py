"""Many nodes in one process and thread: publishes batches over MQTT and times each until the cloud acknowledges it.

Run as a helper: `python -m cli.bench.publishers`, orders as JSON lines on stdin, figures as JSON lines on stdout.
Publishers are not what is measured, yet they share the machine with it. So packets are encoded before the clock
starts, and one thread reads and writes all sockets: about 10 µs a message, where a thread a node takes 100.
"""

import gc
import json
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from secrets import token_hex
from typing import Literal
from urllib.parse import unquote, urlsplit

import mqtt5
import numpy as np

from contract.codec import decode_small, encode, encode_json
from contract.messages import SIGHTING_COLUMNS, Ack, Header, Sightings
from contract.topics import NodeAddress

EVENTS = 100
"""Windows in a message: what a node of a busy store sends a second."""
IN_FLIGHT = 20
"""Messages that a publisher sends before the broker has taken the first."""
UNSTORED = 256
"""Messages that a publisher sends before the cloud has stored the first: `edge.uplink.IN_FLIGHT`."""
PATIENCE_S = 60.0
_CONTENTS = 256
"""Different columns; the batches repeat them under names of their own."""

Form = Literal["batch", "single", "row"]


@dataclass(frozen=True, slots=True)
class Order:
    """One run: so many messages over all nodes, at `per_s` messages a second, or as fast as they are taken.

    `batch`: EVENTS windows as columns; `single`: one window as the contract's JSON; `row`: one window as a plain JSON
    object, which the cloud does not know: nothing acknowledges it but the broker.
    """

    messages: int
    per_s: float | None
    form: Form = "batch"


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a run."""

    acknowledged: int
    """Messages, by the cloud; by the broker in the form `row`."""
    begun: float
    """Monotonic seconds, the same clock for all processes of the machine."""
    seconds: float
    """From the first publish to the last acknowledgement."""
    p50_ms: float
    """From the moment at which a message was due, so that a late publisher hides nothing."""
    p99_ms: float
    cpu_us: float
    """Of this process, the encoding beforehand excluded."""


def batch(address: NodeAddress, epoch: str, seq: int, t0_us: int, columns: Sequence[bytes], events: int) -> Sightings:
    """A batch as a node makes it."""
    header = Header(
        kind="sightings",
        tenant=address.tenant,
        store=address.store,
        node=address.node,
        epoch=epoch,
        seq=seq,
        boot="bench",
        clock="trusted",
        t0=t0_us,
        n=events,
    )
    return Sightings(header, tuple(columns))


def contents(events: int, rng: np.random.Generator) -> tuple[bytes, ...]:
    """Columns of so many windows."""
    values = {
        "dt": -rng.integers(0, 1_000, events),
        "subject": rng.integers(0, 1 << 63, events),
        "kind": np.ones(events),
        "radio": rng.integers(0, 1 << 32, events),
        "rssi": -rng.integers(400, 950, events),
        "peak": -rng.integers(40, 95, events),
        "count": rng.integers(1, 12, events),
    }
    return tuple(values[column.name].astype(column.dtype).tobytes() for column in SIGHTING_COLUMNS)


class _Node:
    """A connection and what it has yet to send: (due in monotonic seconds, seq, packet)."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        user = unquote(parts.username or "")
        self.address = NodeAddress(*user.split("/"))
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 1883))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.todo: deque[tuple[float, int, bytes]] = deque()
        self.due: dict[int, float] = {}
        """By seq, of what is on its way."""
        self.in_flight = 0
        self.unsent = bytearray()
        self._received = bytearray()
        password = unquote(parts.password or "").encode()
        greeting = mqtt5.ConnectPacket(user, username=user, password=password, clean_start=True, keep_alive=600)
        self._ask(greeting.write(), mqtt5.ConnAckPacket)
        orders = mqtt5.TopicFilter(self.address.all_down, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
        self._ask(mqtt5.SubscribePacket(1, [orders]).write(), mqtt5.SubAckPacket)
        self.socket.setblocking(False)

    def _ask(self, packet: bytes, answer: type[mqtt5.ConnAckPacket] | type[mqtt5.SubAckPacket]) -> None:
        self.socket.sendall(packet)
        while not any(isinstance(packet, answer) for packet in self.receive()):
            pass

    def receive(self) -> list[mqtt5.Packet]:
        """The whole packets that are there. Raises ConnectionError where the broker said no or hung up."""
        data = self.socket.recv(262_144)
        if not data:
            raise ConnectionError(f"{self.address}: the broker closed the connection")
        self._received += data
        packets, view, start = [], memoryview(bytes(self._received)), 0
        try:
            while True:
                packet, size = mqtt5.read(view[start:])
                packets.append(packet)
                start += size
        except IndexError:
            del self._received[:start]
        for packet in packets:
            if isinstance(packet, mqtt5.ConnAckPacket | mqtt5.PubAckPacket) and int(packet.reason_code) >= 0x80:
                raise ConnectionError(f"{self.address}: the broker refuses: {packet}")
        return packets

    def send(self, now: float, window: int) -> None:
        """What is due and fits both windows, in one system call."""
        while self.todo and self.in_flight < IN_FLIGHT and len(self.due) < window and self.todo[0][0] <= now:
            due, seq, packet = self.todo.popleft()
            self.due[seq] = due or now
            self.in_flight += 1
            self.unsent += packet
        if self.unsent:
            try:
                del self.unsent[: self.socket.send(self.unsent)]
            except BlockingIOError:
                pass


@dataclass(slots=True)
class _Run:
    """What is known of a run while it goes on."""

    epoch: str
    expected: int
    took_s: list[float] = field(default_factory=list)
    last: float = 0.0


class Publishers:
    """The connected nodes."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._nodes = [_Node(url) for url in urls]
        self._selector = selectors.DefaultSelector()
        for node in self._nodes:
            self._selector.register(node.socket, selectors.EVENT_READ, node)

    @property
    def unsent(self) -> int:
        """Messages that the broker has not taken yet."""
        return sum(len(node.todo) + node.in_flight for node in self._nodes)

    def run(self, order: Order, patience_s: float = PATIENCE_S) -> Told:
        """Publish, and wait for the last acknowledgement, but no longer than it takes to send and `patience_s`."""
        run = _Run(token_hex(16), order.messages)
        self._prepare(order, run.epoch)
        gc.collect()
        gc.disable()
        begun, cpu_s = time.monotonic(), time.process_time()
        for node in self._nodes if order.per_s else ():
            node.todo = deque((begun + due, seq, packet) for due, seq, packet in node.todo)
        deadline = begun + patience_s + (order.messages / order.per_s if order.per_s else 0.0)
        window = UNSTORED if order.form != "row" else 1 << 30
        while len(run.took_s) < run.expected and time.monotonic() < deadline:
            now = time.monotonic()
            for node in self._nodes:
                if node.todo or node.unsent:
                    node.send(now, window)
            for key, _ in self._selector.select(self._pause_s(window)):
                self._receive(key.data, run, order.form)
        cpu_s = time.process_time() - cpu_s
        gc.enable()
        for node in self._nodes:
            node.todo.clear()
            node.due.clear()
        p50, p99 = np.percentile(np.array(run.took_s or [np.nan]) * 1e3, [50, 99])
        return Told(len(run.took_s), begun, run.last - begun, float(p50), float(p99), cpu_s * 1e6)

    def close(self) -> None:
        """Disconnect all."""
        self._selector.close()
        for node in self._nodes:
            node.socket.close()

    def _prepare(self, order: Order, epoch: str) -> None:
        rng = np.random.default_rng(1)
        t0_us = time.time_ns() // 1_000
        events = EVENTS if order.form == "batch" else 1
        columns = [contents(events, rng) for _ in range(_CONTENTS)]
        for i in range(order.messages):
            node, seq = self._nodes[i % len(self._nodes)], i // len(self._nodes) + 1
            made = batch(node.address, epoch, seq, t0_us, columns[i % _CONTENTS], events)
            packet = mqtt5.PublishPacket(
                node.address.up("sightings"),
                _encoded(made, order.form, seq),
                qos=mqtt5.QoS.AT_LEAST_ONCE,
                packet_id=(seq - 1) % 65_535 + 1,
            )
            node.todo.append((i / order.per_s if order.per_s else 0.0, seq, packet.write()))

    def _pause_s(self, window: int) -> float:
        """Until something is due; a little, where only a full socket keeps us from sending."""
        if any(node.unsent for node in self._nodes):
            return 0.0005
        free = (n.todo[0][0] for n in self._nodes if n.todo and n.in_flight < IN_FLIGHT and len(n.due) < window)
        return max(0.0, min(min(free, default=1e9) - time.monotonic(), 0.05))

    def _receive(self, node: _Node, run: _Run, form: Form) -> None:
        for packet in node.receive():
            if isinstance(packet, mqtt5.PubAckPacket):
                node.in_flight -= 1
                if form == "row":
                    self._settle(node, run, packet.packet_id)
            elif isinstance(packet, mqtt5.PublishPacket):
                if packet.packet_id is not None:
                    node.unsent += mqtt5.PubAckPacket(packet.packet_id).write()
                if packet.topic.endswith("/ack"):
                    self._acknowledge(node, run, decode_small(packet.payload, Ack))

    def _acknowledge(self, node: _Node, run: _Run, ack: Ack) -> None:
        if ack.epoch == run.epoch:
            for first, last in ack.stored:
                for seq in range(first, last + 1):
                    self._settle(node, run, seq)

    def _settle(self, node: _Node, run: _Run, seq: int) -> None:
        due = node.due.pop(seq, None)
        if due is not None:
            run.last = time.monotonic()
            run.took_s.append(run.last - due)


def _encoded(made: Sightings, form: Form, seq: int) -> bytes:
    if form == "batch":
        return encode(made)
    if form == "single":
        return encode_json(made)
    rssi = int.from_bytes(made.columns[4], "little", signed=True)
    row = {"node": made.header.node, "seq": seq, "time_us": made.header.t0, "subject": made.columns[1].hex()}
    return json.dumps(row | {"kind": 1, "radio": made.columns[3].hex(), "rssi": rssi, "count": 4}).encode()


def _orders() -> Iterator[Order]:
    for line in sys.stdin:
        yield Order(**json.loads(line))


def main() -> None:
    """The first line on stdin holds the nodes' broker URLs, each further one an order."""
    publishers = Publishers(json.loads(sys.stdin.readline()))
    for order in _orders():
        print(json.dumps(asdict(publishers.run(order))), flush=True)
    publishers.close()


if __name__ == "__main__":
    main()
