"""The key of the day over the real broker, with its certificates and access list, and the real roster of nodes."""

import base64
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from zoneinfo import ZoneInfo

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from psycopg import Connection
from psycopg.rows import TupleRow

from cloud.fleet import orders
from contract.errors import BadTopic
from contract.orders import KeyMessage, KeyOffer, decode_keys, encode_order
from contract.topics import NodeAddress
from edge.daykey import DayKey
from edge.seal import Identity
from tests.conftest import Database
from tests.integration.cloud_support import furnish, running_api, superuser
from tests.integration.edge_support import eventually
from tests.integration.fleet_support import certs_sh, fleet_app, needs_openssl, shipped_broker

pytestmark = needs_openssl
NODES = [NodeAddress("acme", "main-street", f"node-{i}") for i in (1, 2)]
STRANGER = NodeAddress("beta", "side-street", "node-1")
FASTER = 20.0
"""Waits are in seconds of the caller's clock: this one runs faster."""


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "certs"
    for command in (["ca"], ["broker", "localhost"], ["cloud"], *(["node", str(a)] for a in (*NODES, STRANGER))):
        certs_sh(folder, *command)
    return folder


@pytest.fixture
def conn(database: Database) -> Iterator[Connection[TupleRow]]:
    """Two tenants with two nodes each, all of them online; the ingest process's connection."""
    with running_api(database, app=fleet_app(database)) as api:
        furnish(api, database, "acme")
        furnish(api, database, "beta", "side-street")
    with superuser(database) as admin:
        admin.execute("UPDATE node SET state = 'online'")
    with psycopg.connect(database.service, autocommit=True) as service:
        yield service


class Line:
    """A connection by a certificate, as whoever it names."""

    def __init__(self, certs: Path, port: int, stem: str, topic: str) -> None:
        self.heard: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self.ready = False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, stem, protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(certs / "ca.crt"))
        context.load_cert_chain(certs / f"{stem}.crt", certs / f"{stem}.key")
        self._client.tls_set_context(context)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: setattr(self, "ready", True)
        self._client.on_message = lambda _c, _d, m: self.heard.put((m.topic, bytes(m.payload)))
        self._client.connect("localhost", port)
        self._client.loop_start()
        eventually(lambda: self.ready, f"{stem} hears")

    def say(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1)

    def take(self) -> Iterator[tuple[str, bytes]]:
        while True:
            try:
                yield self.heard.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None


class Node:
    def __init__(self, certs: Path, port: int, address: NodeAddress) -> None:
        stem = str(address).replace("/", ".")
        self.address = address
        self.identity = Identity.read(certs / f"{stem}.crt", certs / f"{stem}.key", certs / "ca.crt")
        self.line = Line(certs, port, stem, address.all_down)
        self.took: list[bytes] = []
        self.start()

    def start(self) -> None:
        self.daykey = DayKey(self.address, ZoneInfo("Europe/Berlin"), self.identity)

    def step(self, at_s: float) -> None:
        self._say(self.daykey.tick(time.time_ns() // 1_000, at_s, online=True))
        for topic, payload in self.line.take():
            assert topic == self.address.down("keys")
            self.took.append(payload)
            self._say(self.daykey.on_message(decode_keys(payload)))

    def _say(self, messages: list[KeyMessage]) -> None:
        for message in messages:
            self.line.say(f"aisle/v1/up/{self.address}/keys", encode_order(message))

    @property
    def key(self) -> bytes | None:
        return bytes(self.daykey.held.key) if self.daykey.held else None


def sender_of(topic: str) -> NodeAddress:
    parts = topic.split("/")
    if len(parts) != 7 or parts[6] != "keys":
        raise BadTopic(topic)
    return NodeAddress(*parts[3:6])


def run(conn: Connection[TupleRow], cloud: Line, nodes: list[Node], until: Callable[[], bool], what: str) -> None:
    def step() -> bool:
        for node in nodes:
            node.step(time.monotonic() * FASTER)
        for topic, payload in cloud.take():
            for order in orders.answers(conn, [orders.Said(sender_of(topic), "keys", payload)], 0):
                cloud.say(order.topic, order.payload)
        return until()

    eventually(step, what)


def test_nodes_of_a_store_share_a_key_that_the_cloud_carried_and_did_not_keep(
    certs: Path, conn: Connection[TupleRow], database: Database
) -> None:
    with shipped_broker(certs) as port, ExitStack() as lines:
        cloud = Line(certs, port, "cloud", "aisle/v1/up/#")
        lines.callback(cloud.close)
        nodes = [Node(certs, port, address) for address in (*NODES, STRANGER)]
        for node in nodes:
            lines.callback(node.line.close)
        one, two, stranger = nodes
        run(conn, cloud, nodes, lambda: all(node.key for node in nodes), "everybody has a key")
        run(conn, cloud, nodes, lambda: one.key == two.key, "and a store has one")
        assert stranger.key != one.key
        assert not any(b"acme" in payload for payload in stranger.took)
        assert all(node.daykey.refused == 0 for node in nodes)

        key = one.key
        one.start()  # its process begins anew
        run(conn, cloud, nodes, lambda: one.key is not None, "it gets a key again")
        assert one.key == key

    carried = [decode_keys(payload) for node in nodes for payload in node.took]
    sealed = [message.sealed for message in carried if isinstance(message, KeyOffer)]
    assert sealed and key is not None
    with superuser(database) as admin:
        tables = admin.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            texts = [row[0] for row in admin.execute(f"SELECT t::text FROM {table} t".encode())]
            for secret in (key, *sealed):
                forms = (secret.hex(), base64.b64encode(secret).decode())
                assert not any(form in text for form in forms for text in texts), table
        for table in ("dead_letter", "batch"):
            assert admin.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)


def test_what_is_no_message_or_of_nobody_goes_nowhere(
    certs: Path, conn: Connection[TupleRow], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for payload in (b"", b"{}", b"\xff" * 100, b'{"type":"want"}'):
        assert orders.keys(conn, NODES[0], payload) == []
    assert "keys of acme/main-street/node-1 ignored: NotABatch" in caplog.text
    stem = certs / "acme.main-street.node-1.crt"
    identity = Identity.read(stem, stem.with_suffix(".key"), certs / "ca.crt")
    daykey = DayKey(NODES[0], ZoneInfo("Europe/Berlin"), identity, jitter=lambda low, _: low)
    (want,) = daykey.tick(time.time_ns() // 1_000, 0.0, online=True)
    payload = encode_order(want)
    to = [order.topic for order in orders.keys(conn, NODES[0], payload)]
    assert to == [node.down("keys") for node in NODES], "the roster to the one, the want to the other"
    with superuser(database) as admin:
        admin.execute("UPDATE node SET state = 'offline' WHERE node = 'node-2'")
        assert [order.topic for order in orders.keys(conn, NODES[0], payload)] == [NODES[0].down("keys")]
        admin.execute("UPDATE node SET retired_at = now() WHERE node = 'node-1'")
    assert orders.keys(conn, NODES[0], payload) == []
    assert orders.keys(conn, NodeAddress("acme", "main-street", "node-9"), payload) == []
