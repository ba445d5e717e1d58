"""The database dies, stays away or is slow under load: ingest waits in bounded memory, nodes keep, nothing is lost."""

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from cli.stack.broker import MosquittoBroker, cloud_client, mosquitto_program, node_client
from cli.stack.database import APP, DATABASE, OWNER, SERVICE
from cli.stack.fault_proxy import Fault, FaultProxy
from cli.stack.postgres import Postgres
from cloud.db import migrate
from contract.clock import SystemClock
from contract.codec import decode_small
from contract.messages import Health
from contract.topics import NodeAddress
from edge import broker as edge_broker
from edge.outbox import Outbox
from edge.settings import Uplink as Settings
from edge.uplink import Uplink
from tests.conftest import Database
from tests.integration.edge_support import eventually
from tests.integration.trust_support import ROOT, Ingest, furnish, one, sightings_payload

NODES = [NodeAddress("acme", "main-street", f"node-{i}") for i in range(1, 5)]
EVENTS_PER_S = 2_000
BATCH = 100
MOST_MB = 300
HEALTH = decode_small((ROOT / "contract/examples/health-v1.json").read_bytes(), Health)

pytestmark = pytest.mark.skipif(mosquitto_program() is None, reason="no mosquitto: apt-get install mosquitto")


class Floor:
    """Four nodes' outboxes and uplinks under a steady load."""

    def __init__(self, folder: Path, broker: MosquittoBroker) -> None:
        self.boxes = [Outbox(folder / f"{node.node}.db") for node in NODES]
        self._links = [self._link(node, box, folder, broker) for node, box in zip(NODES, self.boxes, strict=True)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._load, daemon=True)

    def __enter__(self) -> "Floor":
        for link in self._links:
            link.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.fall_silent()
        for link in self._links:
            link.stop()
        for box in self.boxes:
            box.close()

    def fall_silent(self) -> None:
        self._over.set()
        self._thread.join()

    @property
    def accepted(self) -> int:
        return sum(box.events_accepted for box in self.boxes)

    @property
    def waiting(self) -> int:
        """Batches."""
        return sum(box.rows() for box in self.boxes)

    def _load(self) -> None:
        begun, told = time.monotonic(), 0
        while not self._over.wait(0.02):
            while told < (time.monotonic() - begun) * EVENTS_PER_S / BATCH:
                node, box = NODES[told % len(NODES)], self.boxes[told % len(NODES)]
                box.put("sightings", 1, BATCH, lambda e, s, node=node: sightings_payload(node, e, s, BATCH))  # type: ignore[misc]
                told += 1

    def _link(self, node: NodeAddress, box: Outbox, folder: Path, broker: MosquittoBroker) -> Uplink:
        secret = folder / f"{node.node}.password"
        secret.write_text(broker.clients[str(node)].password)
        settings = Settings(host="127.0.0.1", port=broker.port, username=str(node), password_file=secret.name)
        line = edge_broker.Broker(settings, folder, node, SystemClock(), "boot")
        return Uplink(line, node, box, SystemClock(), lambda: HEALTH, every_s=30)


@dataclass(slots=True)
class Stack:
    """A database of the test's own, which may be killed, behind a line that may be slow."""

    postgres: Postgres
    broker: MosquittoBroker
    line: FaultProxy
    database: Database
    ingest: Ingest
    floor: Floor
    most_mb: float = 0.0

    def watch(self, seconds: float) -> None:
        """Let it go on for so long and note how much memory ingest takes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.most_mb = max(self.most_mb, self.ingest.rss_mb())
            time.sleep(0.1)

    def drain(self) -> float:
        """The load ends and all is stored; how long that took. Everything accepted must be there, once."""
        self.floor.fall_silent()
        begun = time.monotonic()
        end = begun + 180
        while self.floor.waiting:
            assert time.monotonic() < end, f"{self.floor.waiting} batches still wait"
            self.watch(0.2)
        took_s = time.monotonic() - begun
        with psycopg.connect(self.database.admin) as conn:
            stored = one(conn, "SELECT sum(events) FROM batch"), one(conn, "SELECT count(*) FROM sighting")
            assert one(conn, "SELECT count(*) FROM dead_letter") == 0
        assert stored == (self.floor.accepted, self.floor.accepted)
        assert [box.dropped for box in self.floor.boxes] == [(0, 0)] * len(NODES)
        return took_s


@contextmanager
def running_stack(stack_folder: Path, tmp_path: Path) -> Iterator[Stack]:
    root = stack_folder / f"away-{secrets.token_hex(4)}"
    root.mkdir(mode=0o711)
    with ExitStack() as cleaner:
        postgres = Postgres(root / "postgres")
        cleaner.callback(postgres.destroy)
        postgres.start().bootstrap()
        migrate(postgres.dsn(OWNER))
        dsns = {role: postgres.dsn(role) for role in (OWNER, APP, SERVICE, "postgres")}
        database = Database(DATABASE, dsns[OWNER], dsns[APP], dsns[SERVICE], dsns["postgres"])
        furnish(database, NODES)
        clients = {"cloud": cloud_client(), **{str(node): node_client(node) for node in NODES}}
        broker = MosquittoBroker(root / "broker", clients)
        cleaner.callback(broker.destroy)
        broker.start()
        line = cleaner.enter_context(FaultProxy(postgres.port))
        slow = database.service.replace(f":{postgres.port}/", f":{line.port}/")
        ingest = Ingest(slow, broker.url("cloud"), tmp_path / "ingest.log")
        ingest.start()
        cleaner.callback(ingest.kill)
        floor = cleaner.enter_context(Floor(tmp_path, broker))
        stack = Stack(postgres, broker, line, database, ingest, floor)
        eventually(lambda: floor.accepted and floor.waiting < 20, "the load flows", within_s=60)
        yield stack
        assert ingest.running


@pytest.mark.parametrize("away_s", [10, pytest.param(600, marks=pytest.mark.long)])
def test_a_database_that_is_away_costs_waiting_and_nothing_else(stack_folder, tmp_path, away_s: float) -> None:
    with running_stack(stack_folder, tmp_path) as stack:
        stack.watch(2)
        flowing_mb = stack.ingest.rss_mb()
        stack.postgres.kill()
        stack.watch(away_s)
        waited = stack.floor.waiting * BATCH
        begun = time.monotonic()
        stack.postgres.start()
        recovered_s = time.monotonic() - begun
        drained_s = stack.drain()
        accepted = stack.floor.accepted
        print(f"\ndatabase killed for {away_s:g} s at {EVENTS_PER_S} events/s: {accepted} accepted and stored, {waited}"
              f" waited, recovered in {recovered_s:.1f} s, drained in {drained_s:.1f} s, ingest {flowing_mb:.0f} MB,"
              f" at most {stack.most_mb:.0f} MB")  # fmt: skip
    assert waited >= 0.9 * away_s * EVENTS_PER_S, "they were kept by the nodes"
    assert recovered_s < 60
    assert stack.most_mb < MOST_MB


@pytest.mark.long
def test_a_database_two_seconds_away_slows_ingest_and_loses_nothing(stack_folder, tmp_path) -> None:
    with running_stack(stack_folder, tmp_path) as stack:
        stack.watch(2)
        stack.line.become(Fault(latency_s=1.0))
        stack.watch(60)
        waited = stack.floor.waiting * BATCH
        stack.line.heal()
        drained_s = stack.drain()
        print(f"\ndatabase 2 s away for 60 s at {EVENTS_PER_S} events/s: {stack.floor.accepted} accepted and stored,"
              f" {waited} waited, drained in {drained_s:.1f} s, ingest at most {stack.most_mb:.0f} MB")  # fmt: skip
    assert stack.most_mb < MOST_MB


@pytest.mark.long
def test_a_server_killed_in_the_middle_of_much_work_recovers_within_a_minute(stack_folder, tmp_path) -> None:
    """Up to `max_wal_size` of changes is read again: as much as a server can have to."""
    with running_stack(stack_folder, tmp_path) as stack, psycopg.connect(stack.database.admin, autocommit=True) as conn:
        conn.execute("CREATE TABLE much (a bigint, b text)")
        conn.execute("CHECKPOINT")
        before = one(conn, "SELECT pg_current_wal_lsn() - '0/0'")
        written = 0.0
        while written < 700 * 2**20:  # under the 1 GB at which a checkpoint would make the rest of it needless
            conn.execute(
                "INSERT INTO much SELECT i, md5(i::text) || md5((i * 7)::text) FROM generate_series(1, 200000) i"
            )
            written = float(one(conn, "SELECT pg_current_wal_lsn() - '0/0'") - before)
        stack.postgres.kill()
        begun = time.monotonic()
        stack.postgres.start()
        recovered_s = time.monotonic() - begun
        drained_s = stack.drain()
        print(f"\nkilled with {written / 2**20:.0f} MB of log since the last checkpoint: recovered in"
              f" {recovered_s:.1f} s, drained in {drained_s:.1f} s")  # fmt: skip
    assert recovered_s < 60
