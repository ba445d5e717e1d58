"""The uplink against a real mosquitto and a small cloud: nothing is deleted too early, nothing is lost."""

import os
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.clock import SystemClock
from contract.codec import decode_small, encode, encode_small
from contract.messages import Ack, Header, Health, Presence, PresenceRow
from contract.topics import NodeAddress
from edge import broker as broker_module
from edge.broker import Broker
from edge.outbox import Outbox, Stored
from edge.settings import Uplink as Settings
from edge.uplink import LIVE_MOST, Uplink, resend_after_s
from tests.integration.edge_support import cloud, eventually, free_port, mosquitto, needs_mosquitto

ADDRESS = NodeAddress("acme", "main", "door-1")
HEALTH = decode_small((Path(__file__).parents[2] / "contract/examples/health-v1.json").read_bytes(), Health)


def put(box: Outbox, n: int = 1) -> None:
    for _ in range(n):
        row = PresenceRow("00" * 8, 1, "entrance", "enter", 0, 0, 1.0)

        def build(epoch: str, seq: int, row: PresenceRow = row) -> bytes:
            header = Header("presence", "acme", "main", "door-1", epoch, seq, "boot", "trusted", 1_000, 1)
            return encode(Presence(header, (row,)))

        box.put("presence", 1_000, 1, build)


@contextmanager
def uplink(box: Outbox, port: int, folder: Path = Path(), **settings: str | int):
    link = Settings(**{"host": "127.0.0.1", "port": port, "keepalive_s": 5, **settings})  # type: ignore[arg-type]
    broker = Broker(link, folder, ADDRESS, SystemClock(), "boot")
    running = Uplink(broker, ADDRESS, box, SystemClock(), lambda: HEALTH, every_s=30)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def box(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@needs_mosquitto
def test_batches_reach_the_cloud_and_leave_the_outbox_when_acknowledged(tmp_path, box):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, uplink(box, broker.port):
        put(box, 20)
        eventually(lambda: len(store.batches) == 20 and box.rows() == 0, "20 stored, outbox empty")
        assert store.copies == 20, "each was sent once"
        assert store.properties["id"] == f"{box.epoch}/20"
        assert store.properties["source"] == "/acme/main/door-1"
        assert store.properties["type"] == "aisle.presence.v1"
        eventually(lambda: store.heartbeats, "a heartbeat right after connecting")
        eventually(lambda: store.statuses and store.statuses[-1].state == "online", "online")
    assert [status.state for status in store.statuses][-1:] in (["online"], ["offline"])


@needs_mosquitto
def test_a_clean_end_is_told_and_a_broken_line_too(tmp_path, box):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        with uplink(box, broker.port):
            eventually(lambda: store.statuses, "online")
        eventually(lambda: store.statuses[-1].state == "offline", "goodbye")


@needs_mosquitto
def test_a_node_starts_without_a_broker_and_sends_everything_once_there_is_one(tmp_path, box, caplog):
    port = free_port()
    with uplink(box, port):
        put(box, 300)
        eventually(lambda: "cannot be reached: [Errno 111] Connection refused" in caplog.text, "one clear line")
        eventually(lambda: box.batches_accepted == 300, "committed without a network")
        with mosquitto(tmp_path, port=port), cloud(port) as store:
            eventually(lambda: len(store.batches) == 300 and box.rows() == 0, "all stored", within_s=40)
    assert caplog.text.count("cannot be reached") == 1, "said once, however often it was tried"


@needs_mosquitto
def test_what_happens_now_goes_before_the_backlog_which_goes_oldest_first(tmp_path, box):
    put(box, 1_000)
    box.flush()
    box.take_committed()  # as after a restart: they are backlog, not live
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        put(box, 5)
        with uplink(box, broker.port):
            eventually(lambda: box.rows() == 0, "all stored")
        assert store.order[:5] == [1001, 1002, 1003, 1004, 1005]
        first_copies = [seq for seq in dict.fromkeys(store.order) if seq <= 1000]
        assert first_copies == sorted(first_copies)


@needs_mosquitto
def test_new_batches_beyond_what_memory_keeps_are_sent_from_the_outbox(tmp_path, box):
    port = free_port()
    with uplink(box, port):
        put(box, LIVE_MOST * 3)
        eventually(lambda: box.batches_accepted == LIVE_MOST * 3, "committed")
        with mosquitto(tmp_path, port=port), cloud(port) as store:
            eventually(lambda: len(store.batches) == LIVE_MOST * 3 and box.rows() == 0, "all stored", within_s=40)


@needs_mosquitto
def test_without_an_ack_a_batch_is_sent_again_until_there_is_one(tmp_path, box):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        store.storing.clear()  # the broker takes everything, the database is away
        with uplink(box, broker.port) as link:
            put(box, 3)
            eventually(lambda: link.sent == 3, "sent")
            assert box.rows() == 3, "the broker's word is not storage"
            eventually(lambda: link.resent >= 3, "sent again")
            store.storing.set()
            eventually(lambda: len(store.batches) == 3 and box.rows() == 0, "stored at last")


@needs_mosquitto
def test_a_broker_killed_with_its_memory_loses_nothing(tmp_path, box):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, uplink(box, broker.port) as link:
        store.storing.clear()
        put(box, 50)
        eventually(lambda: link.sent == 50, "with the broker")
        broker.kill()
        put(box, 50)
        store.storing.set()
        broker.start()
        eventually(lambda: len(store.batches) == 100 and box.rows() == 0, "all stored", within_s=40)


@needs_mosquitto
def test_acks_delete_exactly_what_they_name_and_only_in_their_epoch(tmp_path, box):
    put(box, 10)
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        store.storing.clear()
        with uplink(box, broker.port) as link:
            eventually(lambda: link.sent >= 10, "sent")

            def ack(*ranges: tuple[int, int], epoch: str = box.epoch) -> None:
                store._client.publish(ADDRESS.down("ack"), encode_small(Ack(epoch, ranges)), qos=1)

            ack((1, 10), epoch="0" * 32)
            store._client.publish(ADDRESS.down("ack"), b"no ack at all", qos=1)
            store._client.publish(ADDRESS.down("command"), b"{}", qos=1)
            ack((9, 2), (2, 3), (7, 7))
            eventually(lambda: box.rows() == 7, "three deleted")
            assert [stored.seq for stored in box.pending(0, 20)] == [1, 4, 5, 6, 8, 9, 10]


@needs_mosquitto
def test_a_batch_that_the_cloud_refuses_is_not_sent_again(tmp_path, box, caplog):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        store.refuse = lambda batch: "BadRows" if batch.header.seq == 2 else None
        with uplink(box, broker.port):
            put(box, 3)
            eventually(lambda: box.rows() == 0, "outbox empty")
        assert (store.rejected, len(store.batches)) == ({2}, 2)
        assert box.rejected == (1, 1)
        assert "refuses batch 2 for ever: BadRows" in caplog.text


@needs_mosquitto
def test_a_broker_that_refuses_the_node_is_one_clear_line(tmp_path, box, caplog):
    with mosquitto(tmp_path, "allow_anonymous false") as broker, uplink(box, broker.port):
        put(box)
        eventually(lambda: "refuses this node: not authorized" in caplog.text, "one clear line")
        time.sleep(2.5)  # at least one more attempt
        assert caplog.text.count("refuses this node") == 1
        assert "lost broker" not in caplog.text
        assert box.rows() == 1


def test_a_broker_whose_name_is_not_known_is_one_clear_line(box, caplog):
    with uplink(box, 1883, host="no-such-broker.invalid"):
        eventually(lambda: "no address for this name" in caplog.text, "one clear line")


@pytest.fixture
def certificates(tmp_path):
    """A CA, the broker's certificate and the node's, made with openssl."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test ca")
    for name, extra in (("broker", "subjectAltName=IP:127.0.0.1"), ("node", "keyUsage=digitalSignature")):
        (tmp_path / f"{name}.ext").write_text(extra)
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem"),
        )
    for file in tmp_path.iterdir():
        file.chmod(0o644)  # mosquitto started by root reads them as another user
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    return tmp_path


@needs_mosquitto
def test_the_line_is_encrypted_and_both_ends_prove_who_they_are(certificates, box):
    folder = certificates
    plain = free_port()
    with mosquitto(
        folder,
        "allow_anonymous true",
        f"cafile {folder}/ca.pem",
        f"certfile {folder}/broker.pem",
        f"keyfile {folder}/broker.key",
        "require_certificate true",
        f"listener {plain} 127.0.0.1",
    ) as broker:
        tls = {"ca_file": "ca.pem", "cert_file": "node.pem", "key_file": "node.key"}
        with cloud(plain) as store, uplink(box, broker.port, folder, **tls):
            put(box, 3)
            eventually(lambda: len(store.batches) == 3 and box.rows() == 0, "stored over TLS")


def test_resends_wait_longer_and_longer_with_jitter_but_never_under_a_second():
    assert [resend_after_s(n, max) for n in (1, 2, 3, 6, 7, 50)] == [2, 4, 8, 64, 120, 120]
    assert {resend_after_s(n, min) for n in range(1, 50)} == {1}
    assert len({resend_after_s(5) for _ in range(20)}) == 20


@needs_mosquitto
def test_orders_are_followed_on_the_couriers_thread_in_their_order_and_unknown_ones_said_once(tmp_path, box, caplog):
    followed: list[tuple[str, bytes, str]] = []

    def broken(payload: bytes) -> None:
        raise ValueError(f"secret {payload!r}")

    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, uplink(box, broker.port) as link:
        link.orders["config"] = lambda payload: followed.append(("config", payload, threading.current_thread().name))
        link.orders["keys"] = broken
        eventually(lambda: link.connected, "connected")
        eventually(lambda: store.statuses, "subscribed")
        for order, payload in [
            ("keys", b"k"),
            ("config", b"1"),
            ("command", b"?"),
            ("command", b"?"),
            ("config", b"2"),
        ]:
            store._client.publish(f"aisle/v1/down/{ADDRESS}/{order}", payload, qos=1)
        eventually(lambda: len(followed) == 2, "followed")
        assert followed == [("config", b"1", "courier"), ("config", b"2", "courier")]
        put(box)
        eventually(lambda: box.rows() == 0, "an order that fails stops nothing")
    assert caplog.text.count("order command: this node has nothing that follows it") == 1
    assert "order keys failed: ValueError" in caplog.text
    assert "secret" not in caplog.text


@needs_mosquitto
def test_small_messages_are_said_while_there_is_a_connection_and_greetings_after_each(tmp_path, box):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, uplink(box, broker.port) as link:
        greeted: list[bool] = []
        link.greetings.append(lambda: greeted.append(link.say("health", encode_small(HEALTH), qos=1)))
        eventually(lambda: link.connected, "connected")
        broker.kill()
        eventually(lambda: not link.connected, "noticed")
        assert not link.say("health", encode_small(HEALTH))
        heard, greeted[:] = len(store.heartbeats), []
        broker.start()
        eventually(lambda: greeted == [True], "greeted again", within_s=20)
        eventually(lambda: store.ready.is_set(), "the test's cloud is back")
        assert link.say("health", encode_small(HEALTH), qos=1)
        eventually(lambda: len(store.heartbeats) > heard, "heard")


def test_a_trouble_that_lasts_is_told_again_with_what_waits(box, caplog, monkeypatch):
    monkeypatch.setattr(broker_module, "SAY_AGAIN_S", (0.5, 3_600.0))
    with uplink(box, free_port()):
        put(box, 7)
        eventually(lambda: "7 batches wait, nothing is lost" in caplog.text, "told again", within_s=20)
        time.sleep(2.5)  # at least one more attempt
    assert caplog.text.count("cannot be reached") == 2


@needs_mosquitto
def test_a_frozen_broker_holds_up_neither_put_nor_stop(tmp_path, box):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        with uplink(box, broker.port) as link:
            put(box)
            eventually(lambda: store.batches, "it worked")
            assert broker._process is not None
            os.kill(broker._process.pid, signal.SIGSTOP)
            try:
                begun = time.monotonic()
                put(box, 500)
                assert time.monotonic() - begun < 1
                eventually(lambda: box.batches_accepted == 501, "committed")
                begun = time.monotonic()
                link.stop()
                assert time.monotonic() - begun < 3
                assert box.rows() >= 500
            finally:
                os.kill(broker._process.pid, signal.SIGCONT)


@needs_mosquitto
def test_the_lag_of_acks_is_known(tmp_path, box):
    with mosquitto(tmp_path) as broker, cloud(broker.port), uplink(box, broker.port) as link:
        lags = [link.ack_lag_s]
        put(box)
        eventually(lambda: box.rows() == 0, "stored")
        lags.append(link.ack_lag_s)
        assert lags[0] is None and 0 < (lags[1] or 0) < 10


def test_a_damaged_file_ends_the_courier_so_that_the_next_start_moves_it_aside(tmp_path, box, monkeypatch):
    def malformed() -> list[Stored]:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())
    monkeypatch.setattr(box, "take_committed", malformed)
    with uplink(box, free_port()) as link:
        for _ in range(30):
            put(box)
            time.sleep(0.06)
        assert ended.wait(5)
        eventually(lambda: not link.alive, "the process is told to end")
    assert (tmp_path / "outbox.db.check").exists()
