"""What tests of the way from outbox to ledger share: a furnished store, ingest as a process, batches, a speaker."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion
from psycopg.rows import TupleRow

from cli.stack.broker import Broker
from contract import codec
from contract.codec import decode_small
from contract.messages import SIGHTING_COLUMNS, Ack, Header, Sightings
from contract.topics import NodeAddress
from tests.conftest import NODE, Database
from tests.integration.cloud_support import NOON_US, superuser

ROOT = Path(__file__).resolve().parents[2]


def furnish(database: Database, nodes: Sequence[NodeAddress]) -> None:
    """A store with these nodes."""
    tenant, store = nodes[0].tenant, nodes[0].store
    with superuser(database) as admin:
        admin.execute("INSERT INTO tenant VALUES (%s, 'Acme')", (tenant,))
        admin.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES (%s, %s, 'M', 'UTC')", (tenant, store))
        admin.execute("INSERT INTO floor VALUES (%s, %s, '0', 'Ground', 8, 8, 1)", (tenant, store))
        with admin.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m) VALUES (%s, %s, %s, '0', 1, 1, 2)",
                [(node.tenant, node.node, node.store) for node in nodes],
            )


class Ingest:
    """`python -m cloud ingest`, which can be killed and started again."""

    def __init__(self, dsn: str, broker_url: str, log: Path, **environ: str) -> None:
        self._environment = {**os.environ, "AISLE_SERVICE_DSN": dsn, "AISLE_BROKER": broker_url, **environ}
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "cloud", "ingest"]
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(15) == 0, "SIGTERM ends it in order"

    def rss_mb(self) -> float:
        """Resident memory now."""
        return rss_mb(self.pid)


def rss_mb(pid: int) -> float:
    """Resident memory of a process, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def running_ingest(database: Database, broker: Broker, folder: Path) -> Iterator[Ingest]:
    """Ingest between that broker and that database; ended in order."""
    made = Ingest(database.service, broker.url("cloud"), folder / "ingest.log")
    made.start()
    try:
        yield made
        assert made.running, made.log.read_text()[-2_000:]
        made.stop()
    finally:
        if made.running:
            made.kill()


def sightings_payload(
    node: NodeAddress, epoch: str, seq: int, n: int = 4, *, t0: int = NOON_US, mark: int = 0, boot: str = "boot-1"
) -> bytes:
    """A batch of n windows whose subjects say which batch they are of; `mark` makes another content."""
    header = Header("sightings", node.tenant, node.store, node.node, epoch, seq, boot, "trusted", t0 + seq, n)
    subjects = [(mark << 48) + seq * 1_000 + i for i in range(n)]
    rows: tuple[Any, ...] = ([-i for i in range(n)], subjects, [1] * n, [0] * n, [-600] * n, [-55] * n, [4] * n)
    columns = tuple(codec.column_bytes(column, list(v)) for column, v in zip(SIGHTING_COLUMNS, rows, strict=True))
    return codec.encode(Sightings(header, columns))


class Speaker:
    """A node's connection by hand: publishes what it is told, gathers the acks."""

    def __init__(self, broker: Broker, node: NodeAddress = NODE) -> None:
        self.node = node
        self.acks: Queue[Ack] = Queue()
        self.stored: set[tuple[str, int]] = set()
        self.rejected: dict[tuple[str, int], str] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, f"{node.tenant}.{node.node}", protocol=mqtt.MQTTv5)
        self._client.max_inflight_messages_set(1_000)
        self._client.username_pw_set(str(node), broker.clients[str(node)].password)
        ready = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(node.down("ack"), qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = lambda _c, _d, message: self.acks.put(decode_small(bytes(message.payload), Ack))
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert ready.wait(10)

    def say(self, payload: bytes, topic: str | None = None) -> mqtt.MQTTMessageInfo:
        return self._client.publish(topic or self.node.up("sightings"), payload, qos=1)

    def hear(self, within_s: float = 0.2) -> None:
        """Take in the acks that there are, after `within_s` at most."""
        try:
            while True:
                ack = self.acks.get(timeout=within_s)
                self.stored |= {(ack.epoch, seq) for first, last in ack.stored for seq in range(first, last + 1)}
                self.rejected |= {(ack.epoch, refused.seq): refused.reason for refused in ack.rejected}
                within_s = 0.0
        except Empty:
            pass

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None  # else paho's sockets stay


@contextmanager
def speaker(broker: Broker, node: NodeAddress = NODE) -> Iterator[Speaker]:
    made = Speaker(broker, node)
    try:
        yield made
    finally:
        made.close()


def one(conn: psycopg.Connection[TupleRow], query: str) -> Any:
    """The first column of the first row."""
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
