"""Many nodes in one process: publishes encoded batches over MQTT and times each until the cloud acknowledges it.

Run as a helper: `python -m cli.bench.publishers`, orders as JSON lines on stdin, figures as JSON lines on stdout.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from urllib.parse import unquote, urlsplit

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from contract.codec import decode_small, encode
from contract.messages import SIGHTING_COLUMNS, Ack, Header, Sightings
from contract.topics import NodeAddress

EVENTS = 100
"""Windows in a message: what a node of a busy store sends a second."""
IN_FLIGHT = 20
"""Messages that a publisher sends before the broker has taken the first."""
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """One run: so many messages over all nodes, at `per_s` messages a second, or as fast as the broker takes them."""

    messages: int
    per_s: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a run."""

    acknowledged: int
    seconds: float
    """From the first publish to the last acknowledgement."""
    p50_ms: float
    p99_ms: float


def batch(address: NodeAddress, epoch: str, seq: int, t0_us: int, rng: np.random.Generator) -> bytes:
    """A batch of EVENTS windows, as a node encodes it."""
    values = {
        "dt": -rng.integers(0, 1_000, EVENTS),
        "subject": rng.integers(0, 1 << 63, EVENTS),
        "kind": np.ones(EVENTS),
        "radio": rng.integers(0, 1 << 32, EVENTS),
        "rssi": -rng.integers(400, 950, EVENTS),
        "peak": -rng.integers(40, 95, EVENTS),
        "count": rng.integers(1, 12, EVENTS),
    }
    columns = tuple(values[column.name].astype(column.dtype).tobytes() for column in SIGHTING_COLUMNS)
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
        n=EVENTS,
    )
    return encode(Sightings(header, columns))


@dataclass(slots=True)
class _Run:
    """Epoch of a run and when each of its messages was published and acknowledged, monotonic seconds."""

    epoch: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    sent: dict[tuple[str, int], float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    last: float = 0.0

    def acknowledge(self, node: str, payload: bytes) -> None:
        now = time.monotonic()
        ack = decode_small(payload, Ack)
        if ack.epoch != self.epoch:
            return
        with self.lock:
            for first, last in ack.stored:
                for seq in range(first, last + 1):
                    begun = self.sent.pop((node, seq), None)
                    if begun is not None:
                        self.took.append(now - begun)
            self.last = now


class Publishers:
    """The connected nodes."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._run = _Run("")
        self._addresses = [NodeAddress(*unquote(urlsplit(url).username or "").split("/")) for url in urls]
        self._subscribed = threading.Semaphore(0)
        self._clients = [self._connect(url, a) for url, a in zip(urls, self._addresses, strict=True)]
        for _ in self._clients:
            if not self._subscribed.acquire(timeout=PATIENCE_S):
                raise TimeoutError("a publisher was not connected")

    def run(self, order: Order) -> Told:
        """Publish, and wait for the last acknowledgement."""
        run = self._run = _Run(token_hex(16))
        rng = np.random.default_rng(1)
        t0_us = time.time_ns() // 1_000
        nodes = list(zip(self._clients, self._addresses, strict=True))
        ready = []
        for i in range(order.messages):
            client, address = nodes[i % len(nodes)]
            seq = i // len(nodes) + 1
            ready.append((client, address, seq, batch(address, run.epoch, seq, t0_us, rng)))
        begun = time.monotonic()
        for i, (client, address, seq, payload) in enumerate(ready):
            if order.per_s is not None:
                time.sleep(max(0.0, begun + i / order.per_s - time.monotonic()))
            with run.lock:
                run.sent[address.node, seq] = time.monotonic()
            client.publish(address.up("sightings"), payload, qos=1)
        deadline = time.monotonic() + PATIENCE_S
        while run.sent and time.monotonic() < deadline:
            time.sleep(0.005)
        took_ms = np.array(run.took or [np.nan]) * 1e3
        p50, p99 = np.percentile(took_ms, [50, 99])
        return Told(len(run.took), run.last - begun, float(p50), float(p99))

    def close(self) -> None:
        """Disconnect all."""
        for client in self._clients:
            client.disconnect()
            client.loop_stop()

    def _connect(self, url: str, address: NodeAddress) -> mqtt.Client:
        parts = urlsplit(url)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, str(address), protocol=mqtt.MQTTv5)
        client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        client.max_inflight_messages_set(IN_FLIGHT)
        client.max_queued_messages_set(0)
        client.on_connect = lambda c, *_: c.subscribe(address.all_down, 1)
        client.on_subscribe = lambda *_: self._subscribed.release()
        client.on_message = lambda _c, _d, message: self._run.acknowledge(address.node, bytes(message.payload))
        client.connect(parts.hostname or "", parts.port or 1883)
        client.loop_start()
        return client


def _orders() -> Iterator[Order]:
    for line in sys.stdin:
        yield Order(**json.loads(line))


def main() -> None:
    """The first line on stdin holds the nodes' broker URLs, each further one an order."""
    publishers = Publishers(json.loads(sys.stdin.readline()))
    for order in _orders():
        told = publishers.run(order)
        fields = ("acknowledged", "seconds", "p50_ms", "p99_ms")
        print(json.dumps({name: getattr(told, name) for name in fields}), flush=True)
    publishers.close()


if __name__ == "__main__":
    main()
