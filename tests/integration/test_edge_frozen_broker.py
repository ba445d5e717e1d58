"""A broker that hangs without hanging up, and a node killed meanwhile: all that was accepted is stored, and once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from cli.stack.broker import Broker
from edge.outbox_file import Totals, read_totals
from tests.conftest import NODE, Database
from tests.integration.cloud_support import superuser
from tests.integration.edge_support import ROOT, Air, eventually, start_node


@pytest.fixture
def ingest(database: Database, broker: Broker) -> Iterator[None]:
    """`python -m cloud ingest` on a store with one node."""
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
    assert process.wait(15) == 0


@pytest.fixture
def air() -> Iterator[Air]:
    sender = Air()
    yield sender
    sender.close()


@pytest.fixture
def freeze(broker: Broker) -> Iterator[Callable[[bool], None]]:
    """Stops the broker's process where it stands, and lets it go on."""
    assert broker._process is not None
    pid = broker._process.pid

    def stop(frozen: bool) -> None:
        os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    yield stop
    stop(False)


def test_a_frozen_broker_and_a_killed_node_lose_nothing_and_store_nothing_twice(
    tmp_path, database: Database, broker: Broker, ingest: None, air: Air, freeze: Callable[[bool], None]
) -> None:
    (tmp_path / "password").write_text(broker.clients[str(NODE)].password)
    (tmp_path / "password").chmod(0o600)
    config = tmp_path / "node.toml"
    config.write_text(
        f"""
[node]
tenant = "{NODE.tenant}"
store = "{NODE.store}"
node = "{NODE.node}"
[uplink]
host = "127.0.0.1"
port = {broker.port}
username = "{NODE}"
password_file = "password"
keepalive_s = 5
[ble]
backend = "tests.integration.edge_support:LineScanner"
[windows]
seconds = 0.1
[outbox]
path = "outbox.db"
"""
    )
    tokens = iter(range(1, 10_000))

    def walk(people: int) -> None:
        """Each with a token of their own, so that a window stored twice is seen; one every 10 ms."""
        for _ in range(people):
            air.send(next(tokens))
            time.sleep(0.01)

    def totals() -> Totals:
        return read_totals(tmp_path / "outbox.db")

    def stored() -> tuple[int, int, int]:
        """Batches and events in the ledger, and windows."""
        with psycopg.connect(database.admin) as conn:
            batches, events = conn.execute("SELECT count(*), coalesce(sum(events), 0) FROM batch").fetchone() or (0, 0)
            (windows,) = conn.execute("SELECT count(*) FROM sighting").fetchone() or (0,)
        return batches, int(events), windows

    node = start_node(config, air)
    try:
        eventually(lambda: air.listeners == 1, "the node listens")
        walk(100)
        eventually(lambda: stored()[2] >= 50, "windows are stored", within_s=40)

        freeze(True)
        walk(150)
        before = totals()
        node.send_signal(signal.SIGKILL)
        node.wait()
        survived = totals()
        assert survived.rows > 0, "what the frozen broker did not take is on the disk"
        assert survived.events_accepted >= before.events_accepted

        node = start_node(config, air)
        eventually(lambda: air.listeners == 2, "it listens again, broker or not")
        walk(150)
        eventually(lambda: totals().events_accepted > survived.events_accepted, "and accepts")
        freeze(False)
        walk(50)
        eventually(lambda: totals().rows == 0, "all acknowledged", within_s=60)
        node.terminate()
        assert node.wait(15) == 0
        end = totals()
        if end.rows:  # told at the very end: the next start sends it
            node = start_node(config, air)
            eventually(lambda: totals().rows == 0, "all acknowledged", within_s=60)
    finally:
        node.kill()
        node.wait()
    end = totals()
    assert (end.events_dropped, end.events_rejected) == (0, 0)
    batches, events, windows = stored()
    assert (batches, events) == (end.batches_accepted, end.events_accepted), "0 lost, 0 duplicated"
    with psycopg.connect(database.admin) as conn:
        twice = conn.execute("SELECT subject FROM sighting GROUP BY subject HAVING count(*) > 1").fetchall()
        letters = conn.execute("SELECT reason FROM dead_letter").fetchall()
    assert (twice, letters) == ([], [])
    assert windows > 350, "nearly all who walked by; a kill takes what was not committed yet"
