"""An upgrade rolls through nodes and cloud in any order: old and new understand each other, and nothing is lost.

The first release is taken out of the history of this repository and run as it was, on today's packages.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import psycopg
import pytest

from cli.chaos.load import Load
from cli.stack.broker import Broker
from cli.stack.database import APP, OWNER, SERVICE, DatabaseServer
from cli.stack.local_air import LocalAir
from cloud.db import migrate
from cloud.ingest.letters import retry
from cloud.ingest.store import Message, Outcome, Store
from contract import codec
from contract.clock import SystemClock
from contract.codec import decode_small
from contract.messages import Crowd, CrowdRow, Header, Health, Presence, PresenceRow, TagRow, Tags
from contract.topics import NodeAddress, Stream
from edge import broker as edge_broker
from edge.outbox import Outbox
from edge.outbox_file import read_totals
from edge.settings import Uplink as Settings
from edge.uplink import Uplink
from tests.conftest import NODE, Database
from tests.integration.cloud_support import NOON_US
from tests.integration.edge_support import eventually
from tests.integration.trust_support import ROOT, Ingest, furnish, one, sightings_payload

FIRST_RELEASE = "3cfe7ee"
"""The commit of the first release, 0.1.0."""
EXAMPLES = ROOT / "contract" / "examples"
BATCHES: tuple[Stream, ...] = ("sightings", "presence", "crowd", "tags")
HEALTH = decode_small((EXAMPLES / "health-sources-v1.json").read_bytes(), Health)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the first release."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed: apt-get install git")
    archive = subprocess.run(["git", "-C", ROOT, "archive", FIRST_RELEASE], capture_output=True)
    if archive.returncode:
        pytest.skip(f"the history of {FIRST_RELEASE} is not here: {archive.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("first-release")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def environment(tree: Path, **more: str) -> dict[str, str]:
    """That of a process that runs the code of a tree."""
    return {**os.environ, "PYTHONPATH": str(tree), **more}


@pytest.fixture
def old_database(postgres: DatabaseServer, first: Path) -> Iterator[Database]:
    """A database with the first release's schema, made by its own migrations."""
    name = f"aisle_test_{os.urandom(4).hex()}"
    postgres.create_database(name)
    made = Database(name, *(postgres.dsn(role, name) for role in (OWNER, APP, SERVICE, "postgres")))
    command = [sys.executable, "-m", "cloud", "migrate"]
    subprocess.run(command, cwd=first, env=environment(first, AISLE_OWNER_DSN=made.owner), check=True)
    yield made
    postgres.drop_database(name)


class OldIngest(Ingest):
    """Ingest of another tree."""

    def __init__(self, tree: Path, dsn: str, broker_url: str, log: Path) -> None:
        super().__init__(dsn, broker_url, log, PYTHONPATH=str(tree))
        self._tree = tree

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "cloud", "ingest"]
            self._process = subprocess.Popen(command, cwd=self._tree, env=self._environment, stderr=log)


# -- messages that were written down


def examples(folder: Path) -> list[Path]:
    """Those of batches."""
    return sorted(path for path in folder.iterdir() if path.name.partition("-")[0] in BATCHES)


def take(conn: psycopg.Connection, path: Path) -> tuple[Outcome, int]:
    """What becomes of an example, in a database that never sees it, and its events."""
    header = codec.decode(path.read_bytes()).header
    address = NodeAddress(header.tenant, header.store, header.node)
    conn.execute("BEGIN")
    try:
        outcome = Store().take(conn, [Message(address.up(header.kind), path.read_bytes())])
        assert one(conn, "SELECT sum(events) FROM batch") == header.n
        return outcome, header.n
    finally:
        conn.execute("ROLLBACK")


def test_todays_ingest_stores_every_example_that_was_ever_written_down(database: Database, first: Path) -> None:
    of_first, of_today = examples(first / "contract" / "examples"), examples(EXAMPLES)
    assert len(of_first) >= 5
    for path in of_first:
        assert (EXAMPLES / path.name).read_bytes() == path.read_bytes(), "an example is never changed"
    headers = [codec.decode(path.read_bytes()).header for path in of_today]
    furnish(database, sorted({NodeAddress(h.tenant, h.store, h.node) for h in headers}, key=str))
    with psycopg.connect(database.service, autocommit=True) as conn:
        for path in [*of_first, *of_today]:
            outcome, n = take(conn, path)
            assert (outcome.buried, outcome.events) == (0, n), path.name
    print(f"\n{len(of_first)} examples of the first release and {len(of_today)} of today: all stored")


def test_the_first_release_reads_what_todays_node_says_of_itself(first: Path) -> None:
    """Small messages of today, in the old parser: what it does not know it leaves aside."""
    script = (
        "import sys; from contract.codec import decode_small; from contract.messages import *;"
        "print(decode_small(sys.stdin.buffer.read(), {}).boot)"
    )
    for name, kind in (("health-sources-v1.json", "Health"), ("status-v1.json", "Status")):
        command = [sys.executable, "-c", script.format(kind)]
        said = (EXAMPLES / name).read_bytes()
        done = subprocess.run(command, cwd=first, env=environment(first), input=said, capture_output=True, check=True)
        assert done.stdout.decode().strip() == json.loads(said)["boot"]


# -- today's node, while the cloud behind it is upgraded


class TodaysNode:
    """Outbox and uplink of today, and one batch of each kind after the other."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.box = Outbox(folder / "outbox.db")
        (folder / "password").write_text(broker.clients[str(NODE)].password)
        settings = Settings(host="127.0.0.1", port=broker.port, username=str(NODE), password_file="password")
        line = edge_broker.Broker(settings, folder, NODE, SystemClock(), "boot")
        self._uplink = Uplink(line, NODE, self.box, SystemClock(), lambda: HEALTH, every_s=0.5)
        self._uplink.start()
        self.told = 0

    def tell(self, rounds: int) -> None:
        """So many batches of each kind."""
        for _ in range(rounds):
            for kind in BATCHES:
                self.told += 1
                t0 = NOON_US + self.told * 1_000_000
                self.box.put(kind, t0, 1, partial(batch, kind, t0))

    def close(self) -> None:
        self._uplink.stop()
        self.box.close()


def batch(kind: Stream, t0: int, epoch: str, seq: int) -> bytes:
    """One event of that kind."""
    if kind == "sightings":
        return sightings_payload(NODE, epoch, seq, 1, t0=t0)
    header = Header(kind, NODE.tenant, NODE.store, NODE.node, epoch, seq, "boot", "trusted", t0, 1)  # type: ignore[arg-type]
    if kind == "presence":
        return codec.encode(Presence(header, (PresenceRow("0" * 16, 1, "door", "enter", 0, 0, 0.9),)))
    if kind == "crowd":
        return codec.encode(Crowd(header, (CrowdRow(0, 300, 7, 2),)))
    return codec.encode(Tags(header, (TagRow(f"{seq:024x}", "arrived", "shelf", 0, -10),)))


def test_todays_node_speaks_to_yesterdays_cloud_while_that_is_upgraded(
    old_database: Database, broker: Broker, first: Path, tmp_path: Path
) -> None:
    """Old ingest on the old schema, then on the new one, then new ingest. What the old one cannot read it keeps as a
    dead letter and does not acknowledge, so the node keeps it too."""
    furnish(old_database, [NODE])
    rounds = 20
    with ExitStack() as cleaner:
        look = cleaner.enter_context(psycopg.connect(old_database.admin, autocommit=True))
        old = OldIngest(first, old_database.service, broker.url("cloud"), tmp_path / "old.log")
        new = Ingest(old_database.service, broker.url("cloud"), tmp_path / "new.log")
        old.start()
        cleaner.callback(old.kill)
        node = TodaysNode(tmp_path, broker)
        cleaner.callback(node.close)

        def stored() -> dict[str, int]:
            return dict(look.execute("SELECT kind, count(*) FROM batch GROUP BY 1").fetchall())

        def unread() -> int:
            return int(one(look, "SELECT count(*) FROM dead_letter WHERE retried_at IS NULL"))

        known = ("sightings", "presence", "crowd")
        node.tell(rounds)
        eventually(lambda: stored() == dict.fromkeys(known, rounds), "by yesterday's cloud", within_s=60)
        eventually(lambda: one(look, "SELECT health ->> 'boot' FROM node") == HEALTH.boot, "a heartbeat was understood")
        eventually(lambda: (unread(), node.box.rows()) == (rounds, rounds), "it knows no tags: both keep them")
        migrate(old_database.owner)
        node.tell(rounds)
        eventually(lambda: stored() == dict.fromkeys(known, 2 * rounds), "and on today's schema", within_s=60)
        eventually(lambda: (unread(), node.box.rows()) == (2 * rounds, 2 * rounds), "the same")
        old.stop()
        new.start()
        cleaner.callback(new.kill)
        broker.kill()  # nodes that come back send again at once
        broker.start()
        node.tell(rounds)
        eventually(lambda: not node.box.rows(), "today's cloud has everything", within_s=60)
        with psycopg.connect(old_database.service, autocommit=True) as conn:
            taken = retry(conn)
        assert new.running
        lost = node.told - sum(stored().values())
        rows = one(look, "SELECT count(*) FROM sighting"), one(look, "SELECT count(*) FROM crowd")
        print(
            f"\ntoday's node: {2 * rounds} batches of each kind to yesterday's cloud, {rounds} to today's: {lost} lost;"
            f" {2 * rounds} of a kind unknown then waited on the card, their {taken} letters were taken on a retry"
        )
        assert (stored(), unread(), taken) == (dict.fromkeys(BATCHES, 3 * rounds), 0, 2 * rounds)
        assert rows == (3 * rounds, 3 * rounds)


# -- yesterday's node on today's cloud


@contextmanager
def node_process(tree: Path, toml: Path, air: LocalAir) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m edge` of a tree."""
    more = environment(tree, AISLE_AIR=f"127.0.0.1:{air.port}/{NODE.node}")
    with (toml.parent / "node.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "edge", str(toml)], cwd=tree, env=more, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def write_toml(folder: Path, broker: Broker) -> Path:
    """As the first release wrote it."""
    (folder / "password").write_text(broker.clients[str(NODE)].password)
    (folder / "password").chmod(0o600)
    lines: Sequence[str] = [
        "[node]", f'tenant = "{NODE.tenant}"', f'store = "{NODE.store}"', f'node = "{NODE.node}"',
        "[uplink]", 'host = "127.0.0.1"', f"port = {broker.port}", f'username = "{NODE}"', 'password_file = "password"',
        "[ble]", 'backend = "simulators.ble:SimulatedScanner"', "[outbox]", 'path = "outbox.db"',
    ]  # fmt: skip
    toml = folder / "node.toml"
    toml.write_text("\n".join(lines) + "\n")
    return toml


def test_yesterdays_node_is_upgraded_with_a_backlog_on_todays_cloud(
    database: Database, broker: Broker, first: Path, tmp_path: Path
) -> None:
    """Its batches are stored as they come; those that wait on its card are sent by today's node, named as before."""
    furnish(database, [NODE])
    toml, path = write_toml(tmp_path, broker), tmp_path / "outbox.db"
    ingest = Ingest(database.service, broker.url("cloud"), tmp_path / "ingest.log")
    load = Load([NODE.node], 100, 1)
    with ExitStack() as cleaner:
        look = cleaner.enter_context(psycopg.connect(database.admin, autocommit=True))
        ingest.start()
        cleaner.callback(ingest.kill)
        eventually(lambda: "broker connected" in ingest.log.read_text(), "ingest listens")
        air = cleaner.enter_context(LocalAir([NODE.node], load.speak, load.every_s))
        with node_process(first, toml, air) as old:
            eventually(lambda: one(look, "SELECT count(*) FROM batch") >= 3, "today's cloud stores them", within_s=60)
            eventually(lambda: one(look, "SELECT health FROM node") is not None, "and heard the heartbeat")
            by_old = one(look, "SELECT sum(events) FROM batch")
            ingest.stop()
            eventually(lambda: read_totals(path).rows >= 3, "a backlog")
            old.send_signal(signal.SIGKILL)
            old.wait()
        was = read_totals(path)
        with node_process(ROOT, toml, air) as new:
            eventually(lambda: read_totals(path).events_accepted > was.events_accepted, "today's node goes on", 30)
            ingest.start()
            eventually(lambda: one(look, "SELECT sum(events) FROM batch") > was.events_accepted, "stored", within_s=60)
            air.stop()
            eventually(lambda: not read_totals(path).rows, "all is stored", within_s=60)
            new.terminate()
            assert new.wait(20) == 0
        with node_process(ROOT, toml, air):  # its last window was told at the very end
            eventually(lambda: not read_totals(path).rows, "all is stored", within_s=60)
        end = read_totals(path)
        stored, rows = one(look, "SELECT sum(events) FROM batch"), one(look, "SELECT count(*) FROM sighting")
        letters = one(look, "SELECT count(*) FROM dead_letter")
    print(
        f"\nyesterday's node: {by_old} events stored by today's cloud, {was.rows} batches waited on its card; with"
        f" today's node {end.events_accepted} accepted, {stored} stored, {end.events_accepted - stored} lost"
    )
    assert end.epoch == was.epoch, "the card is the same"
    assert (stored, rows, letters) == (end.events_accepted, end.events_accepted, 0)
