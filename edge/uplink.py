"""From the outbox to the cloud over MQTT 5: what is new first, then the backlog, until the cloud's database has it.

Threads: `Uplink` runs one of its own (the courier), which alone commits, publishes, resends and deletes; paho's network
thread only leaves acks and connection states for it. `start`, `stop` and `Outbox.put` may be called from any thread,
asyncio's included: none of them waits for the network, and `put` not for the disk. All waiting follows real time.
"""

import logging
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as mqtt

from contract.clock import Clock
from contract.codec import CONTENT_TYPE, decode_small, encode_small
from contract.errors import ContractError
from contract.messages import Ack, Health
from contract.topics import NodeAddress
from edge.broker import Broker, properties
from edge.outbox import Outbox, Stored

log = logging.getLogger(__name__)

IN_FLIGHT = 256
"""Batches sent and not yet acknowledged by the cloud."""
LIVE_RESERVE = 64
"""Of these, kept free of backlog, so that what happens now never queues behind yesterday."""
LIVE_MOST = 200
"""New batches kept in memory for sending; older ones wait in the outbox like any backlog."""
RESEND_FIRST_S = 1.0
RESEND_MOST_S = 120.0
GROUP_S = 0.05
"""Least time between two commits, so that batches of one moment share a disk sync."""
IDLE_S = 5.0


@dataclass(slots=True)
class _Flight:
    """A batch on its way."""

    due: float
    attempt: int
    info: mqtt.MQTTMessageInfo


def resend_after_s(attempt: int, draw: Callable[[float, float], float] = random.uniform) -> float:
    """How long to wait for the cloud's ack after the n-th sending: full jitter between 1 s and 2ⁿ s, at most 120 s.

    The floor keeps a batch from being sent twice while its first copy is being committed.
    """
    return draw(RESEND_FIRST_S, min(RESEND_MOST_S, RESEND_FIRST_S * 2.0 ** min(attempt, 16)))


class Uplink:
    """Open with `start`, close with `stop`."""

    def __init__(
        self,
        broker: Broker,
        address: NodeAddress,
        outbox: Outbox,
        clock: Clock,
        heartbeat: Callable[[], Health],
        every_s: float,
    ) -> None:
        self._address = address
        self._outbox = outbox
        self._clock = clock
        self._heartbeat = heartbeat
        self._every_s = every_s
        self._broker = broker
        self._broker.on_message = self._on_message
        self._broker.on_connected = self._on_connected
        self._wake = outbox.changed
        self._stopping = False
        self._reconnected = False
        self._health_due = 0.0
        self._acks: deque[Ack] = deque()
        self._live: deque[Stored] = deque()
        self._flights: dict[int, _Flight] = {}
        self._cursor = 0
        self._backlog_until = outbox.batches_accepted
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self.sent = 0
        """Batches published since start, resends included."""
        self.resent = 0

    def start(self) -> None:
        """Begins to connect and to send. Returns at once, network or not."""
        self._broker.start()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the courier works; if it died, the process should end and be started again."""
        return self._thread.is_alive()

    def stop(self, patience_s: float = 1.0) -> None:
        """Commits and sends what there is, says goodbye, and ends. What the cloud has not acknowledged stays."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        self._broker.stop(patience_s / 2)

    # -- called by paho's thread: leave word, wake the courier

    def _on_connected(self) -> None:
        self._reconnected = True
        self._wake.set()

    def _on_message(self, topic: str, payload: bytes) -> None:
        if topic != self._address.down("ack"):
            log.warning("order %s is not known to this release: ignored", topic.rsplit("/", 1)[-1])
            return
        try:
            ack = decode_small(payload, Ack)
        except ContractError as error:
            log.warning("an ack that cannot be read: %s", error)
            return
        if ack.epoch != self._outbox.epoch:
            log.info("an ack for another epoch (%s…): ignored", ack.epoch[:8])
            return
        self._acks.append(ack)
        self._wake.set()

    # -- the courier

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._wait_s(time.monotonic()))
            self._wake.clear()
            self._step(time.monotonic())
            if not self._stopping:
                time.sleep(GROUP_S)
        self._step(time.monotonic())

    def _wait_s(self, now: float) -> float:
        if self._outbox.waiting:
            return 0.25  # the disk took nothing the last time
        dues = [flight.due for flight in self._flights.values()] if self._broker.connected else []
        return max(0.0, min([now + IDLE_S, *dues, *([self._health_due] if self._broker.connected else [])]) - now)

    def _step(self, now: float) -> None:
        try:
            self._settle_acks()
            self._outbox.flush()
            self._take_live()
            self._send_all(now)
        except sqlite3.Error as error:
            log.warning("outbox: %s; trying again", error)

    def _send_all(self, now: float) -> None:
        if not self._broker.connected:
            return
        if self._reconnected:
            self._reconnected = False
            self._health_due = now
            for flight in self._flights.values():  # a broker that restarted may have forgotten them
                flight.attempt = 1
                flight.due = now + resend_after_s(1)
        self._resend(now)
        self._send_live(now)
        self._send_backlog(now)
        if now >= self._health_due:
            self._health_due = now + self._every_s
            self._broker.publish(self._address.up("health"), encode_small(self._heartbeat()), qos=0)

    def _settle_acks(self) -> None:
        acks = list(self._acks)
        stored = [span for ack in acks for span in ack.stored if span[0] <= span[1]]
        rejections = [rejection for ack in acks for rejection in ack.rejected]
        refused = [(rejection.seq, rejection.seq) for rejection in rejections]
        if stored:
            self._outbox.delete(stored)
        if refused:
            self._outbox.delete(refused, rejected=True)
        for rejection in rejections:
            log.error("the cloud refuses batch %d for ever: %s", rejection.seq, rejection.reason)
        for seq in [s for s in self._flights if any(first <= s <= last for first, last in (*stored, *refused))]:
            del self._flights[seq]
        for _ in acks:  # only now: had the disk failed, they would be settled the next time
            self._acks.popleft()

    def _take_live(self) -> None:
        self._live.extend(self._outbox.take_committed())
        while len(self._live) > LIVE_MOST:
            seq = self._live.popleft().seq
            self._cursor = min(self._cursor, seq - 1)
            self._backlog_until = max(self._backlog_until, seq)

    def _send_live(self, now: float) -> None:
        while self._live and len(self._flights) < IN_FLIGHT:
            self._send(self._live.popleft(), now, 1)

    def _send_backlog(self, now: float) -> None:
        room = IN_FLIGHT - LIVE_RESERVE - len(self._flights)
        if room <= 0 or self._cursor >= self._backlog_until:
            return
        batches = self._outbox.pending(self._cursor, room)
        live = {batch.seq for batch in self._live}
        for batch in batches:
            if batch.seq <= self._backlog_until and batch.seq not in self._flights and batch.seq not in live:
                self._send(batch, now, 1)
        self._cursor = batches[-1].seq if len(batches) == room else self._backlog_until

    def _resend(self, now: float) -> None:
        for seq in [seq for seq, flight in self._flights.items() if flight.due <= now]:
            flight = self._flights[seq]
            if not flight.info.is_published():  # paho still holds it and sends it again by itself after a reconnect
                flight.due = now + RESEND_FIRST_S
                continue
            batch = self._outbox.get(seq)
            if batch is None:  # given up for want of room
                del self._flights[seq]
                continue
            self.resent += 1
            self._send(batch, now, flight.attempt + 1)

    def _send(self, batch: Stored, now: float, attempt: int) -> None:
        bulk = batch.stream == "sightings"
        info = self._broker.publish(
            self._address.up(batch.stream),
            batch.payload,
            qos=1,
            properties=properties(
                content_type=CONTENT_TYPE if bulk else "application/json",
                # CloudEvents 1.0 attributes, as its MQTT binding lays them on MQTT 5 user properties.
                specversion="1.0",
                id=f"{self._outbox.epoch}/{batch.seq}",
                source=f"/{self._address}",
                type=f"aisle.{batch.stream}.v1",
            ),
        )
        self.sent += 1
        self._flights[batch.seq] = _Flight(now + resend_after_s(attempt), attempt, info)
