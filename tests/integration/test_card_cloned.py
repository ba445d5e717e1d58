"""A card that was wiped or copied: names never clash unnoticed, and whatever is not stored is kept and told."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cli.stack.broker import Broker
from contract.clock import SystemClock
from contract.codec import decode_small, digest_of, encode_small
from contract.messages import Ack, Health
from edge import broker as edge_broker
from edge.outbox import Outbox
from edge.settings import Uplink as Settings
from edge.uplink import Uplink
from tests.conftest import NODE, OTHER_NODE, Database
from tests.integration.edge_support import eventually
from tests.integration.trust_support import ROOT, furnish, one, running_ingest, sightings_payload

HEALTH = decode_small((ROOT / "contract/examples/health-v1.json").read_bytes(), Health)
NOT_AUTHORIZED = 135


class Card:
    """An outbox on a card, and a record of all that was ever put on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.box = Outbox(path)
        self.accepted: dict[bytes, tuple[str, int]] = {}
        """Names by digest, which is what the ledger knows a content by."""

    def put(self, n: int, mark: int) -> None:
        """So many batches whose content carries the mark."""
        for _ in range(n):
            self.box.put("sightings", 1, 4, lambda epoch, seq: self._made(epoch, seq, mark))

    def _made(self, epoch: str, seq: int, mark: int) -> bytes:
        payload = sightings_payload(NODE, epoch, seq, mark=mark)
        self.accepted[digest_of(payload)] = epoch, seq
        return payload

    def is_empty(self) -> bool:
        return not self.box.rows()

    def copy(self, path: Path) -> "Card":
        """Another card with the same bytes; this one must be closed."""
        shutil.copy(self.path, path)
        return Card(path)


@contextmanager
def uplink(card: Card, broker: Broker, folder: Path) -> Iterator[Uplink]:
    """The node's own uplink on that card."""
    (folder / "password").write_text(broker.clients[str(NODE)].password)
    settings = Settings(host="127.0.0.1", port=broker.port, username=str(NODE), password_file="password", keepalive_s=5)
    line = edge_broker.Broker(settings, folder, NODE, SystemClock(), "boot")
    running = Uplink(line, NODE, card.box, SystemClock(), lambda: HEALTH, every_s=60)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def stack(database: Database, broker: Broker, tmp_path: Path) -> Iterator[psycopg.Connection]:
    """Broker and ingest; the superuser's look at the database."""
    furnish(database, [NODE, OTHER_NODE])
    with running_ingest(database, broker, tmp_path), psycopg.connect(database.admin, autocommit=True) as conn:
        yield conn


def kept(conn: psycopg.Connection) -> tuple[set[bytes], set[bytes]]:
    """Digests in the ledger, and in dead letters."""
    stored = {bytes(digest) for (digest,) in conn.execute("SELECT digest FROM batch")}
    return stored, {bytes(digest) for (digest,) in conn.execute("SELECT digest FROM dead_letter")}


def test_a_wiped_card_begins_a_new_epoch_and_clashes_with_nothing(stack, broker, tmp_path) -> None:
    first = Card(tmp_path / "outbox.db")
    first.put(50, mark=1)
    with uplink(first, broker, tmp_path):
        eventually(lambda: first.box.rows() == 0, "stored")
    first.box.close()
    for file in tmp_path.glob("outbox.db*"):
        file.unlink()
    second = Card(tmp_path / "outbox.db")
    assert second.box.epoch != first.box.epoch
    second.put(50, mark=2)
    assert second.accepted.keys().isdisjoint(first.accepted)
    with uplink(second, broker, tmp_path):
        eventually(lambda: second.box.rows() == 0, "stored")
    second.box.close()
    assert kept(stack) == (first.accepted.keys() | second.accepted.keys(), set())
    assert one(stack, "SELECT count(DISTINCT epoch) FROM batch") == 2
    assert one(stack, "SELECT count(*) FROM sighting") == 400


def test_what_a_copied_card_tells_under_used_names_is_refused_aloud_and_kept(stack, broker, tmp_path, caplog) -> None:
    original = Card(tmp_path / "outbox.db")
    original.put(30, mark=1)  # waits on both cards
    original.box.close()
    clone = original.copy(tmp_path / "clone.db")
    original = Card(original.path)
    original.put(20, mark=2)
    with uplink(original, broker, tmp_path):
        eventually(lambda: original.box.rows() == 0, "the original's are stored")
    clone.put(25, mark=3)
    with uplink(clone, broker, tmp_path):
        eventually(lambda: clone.box.rows() == 0, "the clone has an answer to all of its batches")
    taken = {digest for digest, (_, seq) in clone.accepted.items() if seq <= original.box.last_seq}
    stored, letters = kept(stack)
    assert len(taken) == 20 and letters == taken, "the clone's first 20 have names that the original used"
    assert clone.accepted.keys() - taken <= stored, "the others are stored, and so is all of the original's"
    assert (one(stack, "SELECT count(*) FROM batch"), original.box.rejected[0]) == (55, 0)
    assert clone.box.rejected == (20, 80), "counted on the node"
    assert stack.execute("SELECT DISTINCT reason, node FROM dead_letter").fetchall() == [("NameTaken", NODE.node)]
    assert caplog.text.count("refuses batch") == 20
    for card in (original, clone):
        card.box.close()


def fight(stack: psycopg.Connection, broker: Broker, tmp_path: Path, seconds: float) -> tuple[int, int, int, int]:
    """Two nodes with one card at once, each with its own story: accepted, stored, refused and silently gone."""
    original = Card(tmp_path / "outbox.db")
    original.put(1, mark=1)
    original.box.close()
    first, second = original.copy(tmp_path / "a.db"), original.copy(tmp_path / "b.db")
    over = threading.Event()

    def hear(card: Card, mark: int) -> None:
        while not over.wait(0.02):
            card.put(1, mark)

    first.put(3_000, 2)
    second.put(3_000, 3)
    threads = [threading.Thread(target=hear, args=(card, mark)) for card, mark in ((first, 2), (second, 3))]
    with uplink(first, broker, tmp_path) as a, uplink(second, broker, tmp_path) as b:
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:  # paho waits longer and longer: two of one name would take turns slowly
            for link in (a, b):
                link._broker._failures = 0
            time.sleep(0.1)
        over.set()
        for thread in threads:
            thread.join()
    for card in (first, second):  # each alone, until it has an answer to everything
        with uplink(card, broker, tmp_path):
            eventually(card.is_empty, "answered", within_s=150)
    stored, letters = kept(stack)
    accepted = first.accepted.keys() | second.accepted.keys() | original.accepted.keys()
    for card in (first, second):
        card.box.close()
    return len(accepted), len(accepted & stored), len(accepted & letters - stored), len(accepted - stored - letters)


@pytest.mark.long
def test_two_nodes_with_one_card_at_once_drop_nothing_silently(stack, broker, tmp_path) -> None:
    accepted, stored, refused, silent = fight(stack, broker, tmp_path, 12)
    print(
        f"\ntwo nodes, one card: {accepted} batches accepted, {stored} stored, {refused} refused aloud, {silent} gone"
    )
    assert refused > 0, "they did clash"
    assert silent == 0


def test_an_ack_for_what_this_node_never_sent_deletes_nothing(database, broker, tmp_path) -> None:
    """It is for the other node with this card, whose batches of these names are stored."""
    card = Card(tmp_path / "outbox.db")
    card.put(300, mark=1)
    card.box.flush()
    card.box.take_committed()  # backlog: 192 are sent, then it waits for acks
    with uplink(card, broker, tmp_path) as link:
        eventually(lambda: link.sent >= 192, "sent")
        before = link.sent
        card.put(1, mark=1)
        assert say(broker, "cloud", NODE.down("ack"), encode_small(Ack(card.box.epoch, ((250, 300),)))) == 0
        eventually(lambda: link.sent > before, "the courier went on")
        card.put(1, mark=1)
        eventually(lambda: link.sent > before + 1, "and on")
        left = card.box.rows()
    card.box.close()
    assert left == 302


def say(broker: Broker, user: str, topic: str, payload: bytes) -> int:
    """Publish one message; returns the broker's reason code."""
    reasons: list[int] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.username_pw_set(user, broker.clients[user].password)
    client.on_publish = lambda _c, _d, _mid, reason, _p: reasons.append(reason.value)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish(topic, payload, qos=1)
    eventually(lambda: reasons, "the broker answers")
    client.disconnect()
    client.loop_stop()
    client.on_publish = None
    return reasons[0]


def test_a_forged_ack_is_refused_and_one_of_another_epoch_deletes_nothing(database, broker, tmp_path, caplog) -> None:
    """Nothing stores here, so every ack is a lie."""
    caplog.set_level("INFO")
    card = Card(tmp_path / "outbox.db")
    card.put(10, mark=1)
    everything = ((1, 2**62),)
    right, stale = encode_small(Ack(card.box.epoch, everything)), encode_small(Ack("f" * 32, everything))
    with uplink(card, broker, tmp_path) as link:
        eventually(lambda: link.sent >= 10, "sent")
        for forger in (NODE, OTHER_NODE):
            assert say(broker, str(forger), NODE.down("ack"), right) == NOT_AUTHORIZED
        assert say(broker, "cloud", NODE.down("ack"), stale) == 0, "the cloud may speak"
        eventually(lambda: "an ack for another epoch" in caplog.text, "the stale one was heard")
        card.put(1, mark=1)
        eventually(lambda: link.sent >= 11, "and the courier went on")
    assert card.box.rows() == 11
    assert "f" * 9 not in caplog.text
    card.box.close()
    with closing(sqlite3.connect(card.path)) as db:
        assert db.execute("select count(*) from batch").fetchone() == (11,)
