"""From the outbox to the cloud over MQTT 5: what is new first, then the backlog, until the cloud's database has it.

Threads: `Uplink` runs one of its own (the courier), which alone commits, publishes, resends and deletes; paho's network
thread only leaves orders and connection states for it. `start`, `stop`, `say` and `Outbox.put` may be called from any
thread, asyncio's included: none of them waits for the network, and `put` not for the disk. Waiting follows real time.
"""

import logging
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import paho.mqtt.client as mqtt

from contract.clock import Clock
from contract.codec import CONTENT_TYPE, decode_small, digest_of, encode_small, event_id
from contract.errors import ContractError
from contract.messages import Ack, Health, ranges
from contract.topics import ORDERS, NodeAddress, Stream
from edge.broker import Broker, properties
from edge.outbox import Outbox, Stored
from edge.outbox_file import doubt, is_damage
from edge.time_trust import NodeTime

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
_RETRY_S = 0.25
"""Between two attempts at a disk that took nothing."""
_SYNC_CHECK_S = 1.0
_DAMAGED_MOST = 20
"""A file that is called damaged so often in a row, over some seconds, is."""
_ORDERS_MOST = 1_000
"""Orders kept for the courier; a cloud that gives more at once is out of its mind, and the oldest are forgotten."""


@dataclass(slots=True)
class _Flight:
    """A batch on its way."""

    due: float
    attempt: int
    info: mqtt.MQTTMessageInfo
    digest: str
    begun: float
    """When it was sent for the first time, monotonic seconds."""


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
        time: NodeTime | None = None,
    ) -> None:
        """`heartbeat` is called on the courier's thread. Without `time` no batch is ever kept back for its clock."""
        self._address = address
        self._outbox = outbox
        self._clock = clock
        self._heartbeat = heartbeat
        self._every_s = every_s
        self._time = time
        self._broker = broker
        self._broker.on_message = self._on_message
        self._broker.on_connected = self._on_connected
        self._broker.waiting = outbox.rows
        self._wake = outbox.changed
        self._stopping = False
        self._reconnected = False
        self._health_due = 0.0
        self._acks: deque[Ack] = deque()
        self._ordered: deque[tuple[str, bytes]] = deque(maxlen=_ORDERS_MOST)
        self._unknown: set[str] = set()
        self._damaged = 0
        self._trouble = ""
        self._connected_at: float | None = None
        self._live: deque[Stored] = deque()
        self._flights: dict[int, _Flight] = {}
        self._cursor = 0
        self._backlog_until = outbox.last_seq
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self.sent = 0
        """Batches published since start, resends included."""
        self.resent = 0
        self.ack_lag_s: float | None = None
        """From a batch's first sending to the cloud's ack, of the one acknowledged last; None before the first."""
        self.orders: dict[str, Callable[[bytes], None]] = {}
        """What to do with the payload of `config`, `command` and `keys`; register before `start`.

        Called on the courier's thread, one after another, in the order they came: return at once, hand slow work on. An
        order may come twice, and if it is retained, again after every reconnect.
        """
        self.greetings: list[Callable[[], None]] = []
        """Called on the courier's thread after each connection: what is to be asked or reported then."""

    def start(self) -> None:
        """Begins to connect and to send. Returns at once, network or not."""
        self._broker.start()
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the courier works; if it died, the process should end and be started again."""
        return self._thread.is_alive()

    @property
    def connected(self) -> bool:
        return self._broker.connected

    def say(self, stream: Stream, payload: bytes, qos: int = 0) -> bool:
        """Publishes a small message outside the ledger. False, and nothing is kept, without a connection: a greeting
        may say it again. With `qos` 1 it reaches the broker, across a lost connection perhaps twice."""
        if not self._broker.connected:
            return False
        self._broker.publish(self._address.up(stream), payload, qos=qos)
        return True

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
        order = topic.rsplit("/", 1)[-1]
        if order == "ack":
            self._on_ack(payload)
        else:
            self._ordered.append((order, payload))
            self._wake.set()

    def _on_ack(self, payload: bytes) -> None:
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
            return _RETRY_S  # the disk took nothing the last time
        dues = [now + (_SYNC_CHECK_S if self._outbox.unsynced else IDLE_S)]
        if self._broker.connected:
            dues += [self._health_due, *(flight.due for flight in self._flights.values())]
        return max(0.0, min(dues) - now)

    def _step(self, now: float) -> None:
        try:
            self._settle_acks()
            self._judge_time(now)
            self._outbox.flush()
            self._settle_time(now)
            self._take_live()
            self._send_all(now)
            self._damaged, self._trouble = 0, ""
        except sqlite3.Error as error:
            self._damaged += is_damage(error)
            if self._damaged >= _DAMAGED_MOST:
                doubt(self._outbox.path)
                log.critical(
                    "outbox %s is damaged (%s): ending, the next start moves it aside", self._outbox.path, error
                )
                raise
            if str(error) != self._trouble:
                log.warning("outbox: %s; trying again", error)
            self._trouble = str(error)
        self._follow_orders()

    def _follow_orders(self) -> None:
        while self._ordered:
            order, payload = self._ordered.popleft()
            follow = self.orders.get(order)
            if follow is not None:
                self._call(f"order {order}", partial(follow, payload))
            elif order not in self._unknown:
                self._unknown.add(order)
                known = order if order in ORDERS else "of an unknown name"
                log.warning("order %s: this node has nothing that follows it, ignored", known)

    def _call(self, what: str, action: Callable[[], None]) -> None:
        """Whatever goes wrong, sending goes on. Only the error's class is logged: its text may quote the order."""
        try:
            action()
        except Exception as error:
            log.error("%s failed: %s", what, type(error).__name__)

    def _judge_time(self, now: float) -> None:
        """Decides whether batches by a clock that is not trusted are to be kept back when they are committed now."""
        if self._time is None:
            return
        if self._time.look():
            log.info("the clock is %s (stepped by %.1f s the last time)", self._time.state, self._time.stepped_us / 1e6)
        if self._connected_at is None and self._broker.connected:
            self._connected_at = now
        may_be_sent = self._broker.connected and not (self._time.state == "unset" and self._is_patient(now))
        self._outbox.hold = self._time.trusted or not may_be_sent  # trusted: those put just before are told anew

    def _settle_time(self, now: float) -> None:
        """Batches that were kept back are told anew once the clock is trusted, or let go if that takes too long."""
        if self._time is None:
            return
        if self._time.trusted:
            self._release(self._time.offset_us)
        elif self._broker.connected and not self._is_patient(now):
            self._release(None)

    def _is_patient(self, now: float) -> bool:
        """Whether the clock is still waited for; always so before the first connection."""
        assert self._time is not None
        return self._connected_at is None or now - self._connected_at < self._time.hold_s

    def _release(self, offset_us: int | None) -> None:
        settled = self._outbox.settle(offset_us)
        if settled is not None:
            self._cursor = min(self._cursor, settled[0] - 1)
            self._backlog_until = max(self._backlog_until, settled[1])
            self._wake.set()  # there may be more

    def _send_all(self, now: float) -> None:
        if not self._broker.connected:
            return
        if self._reconnected:
            self._reconnected = False
            self._health_due = now
            for greet in self.greetings:
                self._call("greeting", greet)
            for flight in self._flights.values():  # a broker that restarted may have forgotten them
                flight.attempt = 1
                flight.due = now + resend_after_s(1)
        self._resend(now)
        self._send_live(now)
        self._send_backlog(now)
        if now >= self._health_due:
            self._health_due = now + self._every_s
            self.say("health", encode_small(self._heartbeat()))

    def _settle_acks(self) -> None:
        acks = list(self._acks)
        # What we never sent, or has another content, is of a copy of this card: ours has yet to be told, and judged.
        stored = {seq for seq, flight in self._flights.items() if any(ack.names(seq, flight.digest) for ack in acks)}
        refused = {one.seq: one.reason for ack in acks for one in ack.rejected if one.seq in self._flights}
        if stored:
            self._outbox.delete(ranges(stored))
        if refused:
            self._outbox.delete(ranges(refused), rejected=True)
        for seq, reason in refused.items():
            log.error("the cloud refuses batch %d for ever: %s", seq, reason)
        for seq in stored | refused.keys():
            self.ack_lag_s = time.monotonic() - self._flights.pop(seq).begun
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
                id=event_id(self._outbox.epoch, batch.seq),
                source=f"/{self._address}",
                type=f"aisle.{batch.stream}.v1",
            ),
        )
        self.sent += 1
        begun = self._flights[batch.seq].begun if batch.seq in self._flights else now
        digest = digest_of(batch.payload).hex()
        self._flights[batch.seq] = _Flight(now + resend_after_s(attempt), attempt, info, digest, begun)
