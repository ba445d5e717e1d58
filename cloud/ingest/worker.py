"""The ingest process: takes what is queued, stores it in one transaction, tells the nodes, then tells the broker."""

import logging
import queue
import signal
import socket
import time
from collections.abc import Sequence

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from psycopg import Connection
from psycopg.rows import TupleRow

from cloud import db
from cloud.config import BrokerUrl, Settings
from cloud.ingest.store import Message, Outcome, Store
from contract.codec import decode_small, encode_small
from contract.errors import ContractError
from contract.messages import Ack, Rejection, Status
from contract.topics import ALL_STATUS, SHARED_UP, parse_status

log = logging.getLogger(__name__)
sql = db.statements("cloud.ingest")

MOST_MESSAGES = 500
"""Messages a transaction: beyond some hundred the rate gains nothing, the latency loses."""
RECEIVE_MAXIMUM = 2_000
"""Messages that the broker may hand over before the first is acknowledged: bounds this process's memory."""


class Ingest:
    """Connects broker and database. The MQTT thread only fills the queue; everything else happens in `run`."""

    def __init__(self, settings: Settings) -> None:
        self._dsn = settings.service_dsn
        self._broker = settings.broker
        self._queue: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
        self._clock = settings.clock
        self._store = Store(self._clock)
        self._stopping = False
        self._client = self._new_client()

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        conn = db.connect(self._dsn, "ingest", autocommit=True)
        self._connect(self._broker)
        self._client.loop_start()
        log.info("ingest is ready")
        while not self._stopping:
            messages = self._next()
            while messages and not self._stopping:
                try:
                    self._handle(conn, messages)
                    break
                except psycopg.OperationalError:
                    conn.close()
                    conn = db.connect(self._dsn, "ingest", autocommit=True)
        self._client.disconnect()
        self._client.loop_stop()
        conn.close()

    def _handle(self, conn: Connection[TupleRow], messages: Sequence[mqtt.MQTTMessage]) -> None:
        states = [m for m in messages if m.topic.startswith("aisle/v1/status/")]
        for message in states:
            _mark_state(conn, message, self._clock.now_us())
        batches = [Message(m.topic, bytes(m.payload)) for m in messages if not m.topic.startswith("aisle/v1/status/")]
        if batches:
            self._tell(self._store.take(conn, batches))
        for message in messages:
            self._client.ack(message.mid, message.qos)

    def _tell(self, outcome: Outcome) -> None:
        """One ack a node and epoch: the ranges that the database holds, and what it refused."""
        for address, epoch in outcome.stored.keys() | outcome.rejected.keys():
            ack = Ack(
                epoch=epoch,
                stored=ranges(outcome.stored.get((address, epoch), [])),
                rejected=tuple(Rejection(*r) for r in outcome.rejected.get((address, epoch), [])),
            )
            self._client.publish(address.down("ack"), encode_small(ack), qos=1)

    def _next(self) -> list[mqtt.MQTTMessage]:
        """What is queued, at most MOST_MESSAGES; waits a moment for the first."""
        try:
            taken = [self._queue.get(timeout=0.5)]
        except queue.Empty:
            return []
        while len(taken) < MOST_MESSAGES and not self._queue.empty():
            taken.append(self._queue.get())
        return taken

    def _new_client(self) -> mqtt.Client:
        name = f"ingest-{socket.gethostname()}-{time.time_ns():x}"
        client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5, manual_ack=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _data, message: self._queue.put(message)
        client.reconnect_delay_set(1, 30)
        client.max_queued_messages_set(0)
        return client

    def _connect(self, broker: BrokerUrl) -> None:
        self._client.username_pw_set(broker.username, broker.password)
        if broker.tls:
            self._client.tls_set(broker.ca, broker.cert, broker.key)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        self._client.connect_async(broker.host, broker.port, keepalive=20, clean_start=True, properties=properties)

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: mqtt.ConnectFlags, code: ReasonCode, _props: Properties | None
    ) -> None:
        if code.is_failure:
            log.warning("broker refused: %s", code)
            return
        log.info("broker connected")
        client.subscribe([(SHARED_UP, SubscribeOptions(qos=1)), (ALL_STATUS, SubscribeOptions(qos=1))])

    def _on_disconnect(
        self, _client: mqtt.Client, _data: object, _flags: mqtt.DisconnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        # What was queued of the broken session will come again: storing it twice is harmless, acknowledging it is not.
        while not self._queue.empty():
            self._queue.get()
        if not self._stopping:
            log.warning("broker away (%s), retrying", code)

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True


def ranges(seqs: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as ascending ranges, both ends included: [1, 2, 3, 7] gives ((1, 3), (7, 7))."""
    found: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if found and found[-1][1] == seq - 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return tuple(found)


def _mark_state(conn: Connection[TupleRow], message: mqtt.MQTTMessage, now_us: int) -> None:
    try:
        address = parse_status(message.topic)
        status = decode_small(bytes(message.payload), Status)
    except ContractError as error:
        log.warning("status ignored: %s", error)
        return
    values = {"tenant": address.tenant, "node": address.node, "store": address.store}
    conn.execute(sql.mark_state, values | {"state": status.state, "now": now_us})
