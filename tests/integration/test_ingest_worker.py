"""The ingest process between a real broker and a real database: what a node published is stored, then acknowledged."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cli.stack.broker import Broker
from contract.codec import decode_small, encode_small
from contract.messages import Ack, Rejection, Status
from tests.conftest import NODE, Database
from tests.integration.cloud_support import NOON_US, superuser
from tests.integration.test_ingest_store import EPOCH, crowd, health, sightings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ingest(database: Database, broker: Broker) -> Iterator[None]:
    """`python -m cloud ingest` as it runs in production."""
    with superuser(database) as admin:
        admin.execute("INSERT INTO tenant VALUES ('acme', 'Acme')")
        admin.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'main-street', 'M', 'UTC')")
        admin.execute("INSERT INTO floor VALUES ('acme', 'main-street', '0', 'Ground', 8, 8, 1)")
        admin.execute(
            "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m)"
            " VALUES ('acme', 'node-1', 'main-street', '0', 1, 1, 2)"
        )
    environment = {**os.environ, "AISLE_SERVICE_DSN": database.service, "AISLE_BROKER": broker.url("cloud")}
    process = subprocess.Popen([sys.executable, "-m", "cloud", "ingest"], cwd=ROOT, env=environment)
    yield
    process.terminate()
    assert process.wait(15) == 0, "SIGTERM ends it in order"


@pytest.fixture
def node(broker: Broker) -> Iterator[tuple[mqtt.Client, Queue[Ack]]]:
    """A node's connection, and the acks that the cloud sends it."""
    acks: Queue[Ack] = Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "node-1", protocol=mqtt.MQTTv5)
    client.username_pw_set(str(NODE), broker.clients[str(NODE)].password)
    client.on_connect = lambda c, *_: c.subscribe(NODE.down("ack"), qos=1)
    client.on_message = lambda _c, _d, message: acks.put(decode_small(bytes(message.payload), Ack))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    yield client, acks
    client.disconnect()
    client.loop_stop()


def test_batches_from_the_broker_are_stored_and_acknowledged_by_range(
    database: Database, ingest: None, node: tuple[mqtt.Client, Queue[Ack]]
) -> None:
    client, acks = node
    status = Status("online", "boot-1", NOON_US)
    batches = [sightings(1), sightings(2), sightings(3), sightings(7), sightings(1), crowd(8, radios=2), health()]
    stored: set[int] = set()
    refused: set[Rejection] = set()
    end = time.monotonic() + 30
    # A broker gives what nobody subscribes to yet to nobody: like a node, say it again until it is acknowledged.
    while stored != {1, 2, 3, 7} or refused != {Rejection(8, "NotStorable")}:
        assert time.monotonic() < end, f"acknowledged within 30 s: {stored}, refused {refused}"
        client.publish(NODE.status, encode_small(status), qos=1, retain=True)
        for batch in batches:
            client.publish(batch.topic, batch.payload, qos=1)
        try:
            while True:
                ack = acks.get(timeout=1)
                assert ack.epoch == EPOCH
                stored |= {seq for first, last in ack.stored for seq in range(first, last + 1)}
                refused |= set(ack.rejected)
        except Empty:
            pass
    with psycopg.connect(database.admin) as conn:
        assert conn.execute("SELECT seq FROM batch ORDER BY seq").fetchall() == [(1,), (2,), (3,), (7,)]
        assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (12,)
        assert conn.execute("SELECT reason FROM dead_letter").fetchall() == [("NotStorable",)]
        assert conn.execute("SELECT state, health ->> 'boot' FROM node").fetchone() == ("online", "boot-1")
