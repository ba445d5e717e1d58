"""The ingest process between a real broker and a real database: what a node published is stored, then acknowledged."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cli.bench import publishers as bench
from cli.bench.publishers import EVENTS, Order, Publishers, Told
from cli.stack.broker import Broker
from cli.stack.database import OWNER, SERVICE
from cli.stack.postgres import Postgres
from cloud.db import migrate
from contract.codec import decode_small, encode_small
from contract.messages import Ack, Rejection, Status
from tests.conftest import NODE, OTHER_NODE, Database
from tests.integration.cloud_support import NOON_US, superuser
from tests.integration.test_ingest_store import EPOCH, crowd, health, sightings

ROOT = Path(__file__).resolve().parents[2]


PLAN = """
INSERT INTO tenant VALUES ('acme', 'Acme');
INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'main-street', 'M', 'UTC');
INSERT INTO floor VALUES ('acme', 'main-street', '0', 'Ground', 8, 8, 1);
INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m)
VALUES ('acme', 'node-1', 'main-street', '0', 1, 1, 2), ('acme', 'node-2', 'main-street', '0', 5, 5, 2)"""
MOST_MB = 300
"""What an ingest process may take, whatever waits for it."""


IMPATIENT = """
from cloud import config
from cloud.ingest import worker
worker.STORED_WITHIN_S = 1.0
worker.Ingest(config.from_environment()).run()
"""


@contextmanager
def running(service_dsn: str, broker: Broker, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m cloud ingest` as it runs in production."""
    environment = {**os.environ, "AISLE_SERVICE_DSN": service_dsn, "AISLE_BROKER": broker.url("cloud")}
    process = subprocess.Popen([sys.executable, *(words or ("-m", "cloud", "ingest"))], cwd=ROOT, env=environment)
    try:
        yield process
        process.terminate()
        assert process.wait(15) == 0, "SIGTERM ends it in order"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def ingest(database: Database, broker: Broker) -> Iterator[None]:
    with superuser(database) as admin:
        admin.execute(PLAN.encode())
    with running(database.service, broker):
        yield


@pytest.fixture
def own_postgres(stack_folder: Path) -> Iterator[Postgres]:
    """A server that a test may kill."""
    server = Postgres(Path(tempfile.mkdtemp(prefix="postgres-", dir=stack_folder))).start()
    server.bootstrap()
    migrate(server.dsn(OWNER))
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(PLAN.encode())
    yield server
    server.destroy()


@pytest.fixture
def publishers(broker: Broker) -> Iterator[Publishers]:
    """Two nodes."""
    made = Publishers([broker.url(str(NODE)), broker.url(str(OTHER_NODE))])
    yield made
    made.close()


def until(true: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def backends(server_dsn: str) -> list[int]:
    """The server's processes that serve an ingest process."""
    with psycopg.connect(server_dsn) as conn:
        found = conn.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'aisle ingest'").fetchall()
    return [pid for (pid,) in found]


def peak_mb(process: "subprocess.Popen[bytes]") -> float:
    """The most memory that the process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


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


@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"], indirect=True)
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
        kept = conn.execute("SELECT state, health ->> 'boot' FROM node WHERE node = 'node-1'").fetchone()
        assert kept == ("online", "boot-1")


def test_a_database_that_is_away_costs_little_memory_and_no_batch(
    own_postgres: Postgres, broker: Broker, publishers: Publishers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "UNSTORED", 1 << 30)  # worse than nodes: these go on sending though nothing is stored
    admin = own_postgres.dsn("postgres")
    with running(own_postgres.dsn(SERVICE), broker) as process:
        until(lambda: stored_by(publishers, 2), "ingest did not begin")
        own_postgres.kill()
        told: list[Told] = []
        sender = threading.Thread(target=lambda: told.append(publishers.run(Order(6_000, None))))
        sender.start()
        until(lambda: publishers.unsent == 0, "the broker took all")
        # What can be seen of a process that waits is that it lives, and what it has taken.
        for _ in range(10):
            assert process.poll() is None and peak_mb(process) < MOST_MB
            time.sleep(0.2)
        own_postgres.start()
        sender.join(60)
        assert told and told[0].acknowledged == 6_000
        print(f"ingest with the database away and 6,000 messages waiting: {peak_mb(process):.0f} MB at most")
        assert peak_mb(process) < MOST_MB
    with psycopg.connect(admin) as conn:
        batches = conn.execute("SELECT count(*), sum(events) FROM batch").fetchone()
        assert batches is not None and batches[0] >= 6_002
        assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (batches[1],), "each row once"
        assert batches[1] == batches[0] * EVENTS


def stored_by(publishers: Publishers, messages: int) -> bool:
    """Whether somebody listens already: a broker gives what nobody subscribes to yet to nobody."""
    return publishers.run(Order(messages, None), patience_s=0.5).acknowledged == messages


def test_without_a_database_it_ends_when_it_is_told_to(
    own_postgres: Postgres, broker: Broker, publishers: Publishers
) -> None:
    service = own_postgres.dsn(SERVICE)
    with running(service, broker) as process:
        until(lambda: bool(backends(own_postgres.dsn("postgres"))), "ingest did not begin")
        own_postgres.kill()
        stored_by(publishers, 2)  # gives it something to store, and time to see that it cannot
        begun = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 5


def test_a_database_that_does_not_answer_is_left_for_a_new_connection(
    own_postgres: Postgres, broker: Broker, publishers: Publishers
) -> None:
    admin = own_postgres.dsn("postgres")
    with running(own_postgres.dsn(SERVICE), broker, "-c", IMPATIENT):
        until(lambda: stored_by(publishers, 2), "ingest did not begin")
        (silent,) = backends(admin)
        os.kill(silent, signal.SIGSTOP)
        try:
            assert publishers.run(Order(10, None), patience_s=20).acknowledged == 10
        finally:
            os.kill(silent, signal.SIGCONT)
    with psycopg.connect(admin) as conn:
        row = conn.execute("SELECT (SELECT sum(events) FROM batch), (SELECT count(*) FROM sighting)").fetchone()
    assert row is not None and row[0] == row[1]


def test_a_broker_that_was_killed_is_found_again(database: Database, broker: Broker, ingest: None) -> None:
    for round_ in range(2):
        made = Publishers([broker.url(str(NODE))])
        until(lambda made=made: stored_by(made, 3), f"stored in round {round_}")  # type: ignore[misc]
        made.close()
        broker.kill()
        broker.start()
    with psycopg.connect(database.admin) as conn:
        row = conn.execute("SELECT (SELECT sum(events) FROM batch), (SELECT count(*) FROM sighting)").fetchone()
    assert row is not None and row[0] == row[1] >= 6 * EVENTS
