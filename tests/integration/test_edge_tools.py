"""The technician's commands against real sockets: a status that is watched, a broker that is examined, a fake BlueZ."""

import asyncio
import json
import os
import pty
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.stack.broker import Broker
from contract.codec import encode
from contract.messages import Crowd, CrowdRow, Health, SourceHealth
from edge import doctor
from edge.config import parse_config
from edge.doctor import bluetooth, line, readers
from edge.doctor.finding import Finding, Level
from edge.doctor.patient import read_patient
from edge.doctor.tools import in_group, user_name
from edge.outbox import Outbox
from edge.safe_mode import keep, load
from edge.status import NodeStatus, StatusServer, socket_of
from tests.conftest import NODE
from tests.integration.edge_support import (
    Air,
    Cloud,
    cloud,
    eventually,
    free_port,
    mosquitto,
    needs_mosquitto,
    node_toml,
    start_node,
)

ROOT = Path(__file__).resolve().parents[2]


# --- watch


class Told:
    """A node's numbers as they go up."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.rows = 3

    def __call__(self) -> NodeStatus:
        uptime_s = time.monotonic() - self.started
        heard = int(uptime_s * 50)
        health = Health(
            at=0, boot="b", version="0", config="c", uptime_s=uptime_s, clock="trusted", adverts=heard,
            adverts_per_s=0, windows=heard // 5, outbox_rows=self.rows, outbox_oldest_s=9.0, dropped=0, reconnects=1,
            rss_mb=40, restarts=0, sources={"ble": SourceHealth("ok", heard)},
        )  # fmt: skip
        return NodeStatus("acme/main/door-1", True, 4, health)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        return probe.connect_ex(str(path)) == 0 and probe.recv(1) == b"{"


@contextmanager
def serving(path: Path, snapshot: Callable[[], NodeStatus], every_s: float = 0.05) -> Iterator[None]:
    """A status server on a loop of its own, as a node has it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(StatusServer(path, snapshot, every_s).run())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        eventually(lambda: answers(path), "the status is served")
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        eventually(task.done, "the server ends, watched or not", 5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def edge_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "edge", *words]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    Outbox(tmp_path / "outbox.db").close()
    return node_toml(tmp_path, 1)


def test_a_running_node_is_watched_as_it_comes_and_goes(config):
    path = socket_of(config.parent / "outbox.db")
    with subprocess.Popen(
        edge_command("watch", str(config), "--json"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None

        def until(running: bool) -> dict[str, object]:
            for _ in range(200):
                told: dict[str, object] = json.loads(watching.stdout.readline())  # type: ignore[union-attr]
                if told["running"] is running and (not running or told["windows_per_s"]):
                    return told
            pytest.fail(f"running never was {running}")

        assert until(False)["why"] == "the node is not running"
        with serving(path, Told()):
            told = until(True)
            heard = told["heard_per_s"]
            assert isinstance(heard, dict) and 20 < heard["ble"] < 80
            assert (told["node"], told["subjects"], told["outbox_rows"]) == ("acme/main/door-1", 4, 3)
        assert until(False)["outbox"] == {
            "rows": 0, "events_accepted": 0, "batches_accepted": 0, "events_dropped": 0, "events_rejected": 0,
        }  # fmt: skip
        with serving(path, Told()):
            until(True)
        watching.terminate()
    assert watching.returncode == 0


def test_on_a_terminal_the_page_is_drawn_anew_in_place(config):
    with serving(socket_of(config.parent / "outbox.db"), Told()):
        master, slave = pty.openpty()
        try:
            watching = subprocess.Popen(edge_command("watch", str(config), "--for", "0.3"), cwd=ROOT, stdout=slave)
            os.close(slave)
            drawn = b""
            try:
                while more := os.read(master, 65536):
                    drawn += more
            except OSError:  # the terminal hangs up when the program ends
                pass
            watching.wait()
        finally:
            os.close(master)
    assert watching.returncode == 0
    page = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", drawn).decode()
    assert "acme/main/door-1" in page and "3 batches wait, the oldest 9 s old" in page
    assert drawn.startswith(b"\x1b[2J\x1b[H") and drawn.count(b"\x1b[H") >= 2


def test_the_status_is_for_the_nodes_own_account_only(tmp_path):
    path = tmp_path / "outbox.db.status"
    with serving(path, Told()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_what_a_killed_node_left_is_replaced_and_a_living_one_is_not(tmp_path, caplog):
    path = tmp_path / "outbox.db.status"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with serving(path, Told()):
        asyncio.run(StatusServer(path, Told()).run())
        assert "another node runs with this outbox" in caplog.text
        assert answers(path), "the first node's socket is left alone"
    asyncio.run(StatusServer(tmp_path / ("x" * 120), Told()).run())
    assert "at most 107 bytes" in caplog.text


def test_a_watcher_that_reads_nothing_is_not_written_to_for_ever(tmp_path):
    path = tmp_path / "outbox.db.status"
    calls = []
    told = Told()

    def counted() -> NodeStatus:
        calls.append(1)
        return told()

    with serving(path, counted, every_s=0.0001), socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(path))
        eventually(lambda: len(calls) > 10, "it is told")

        def stands_still() -> bool:
            before = len(calls)
            time.sleep(0.1)
            return len(calls) == before

        eventually(stands_still, "the server waits for its reader")


@needs_mosquitto
def test_a_backlog_is_seen_to_fall_to_nothing_when_the_line_is_back(tmp_path):
    air, port = Air(), free_port()
    path = node_toml(tmp_path, port)
    node = start_node(path, air)
    watching = subprocess.Popen(edge_command("watch", str(path), "--json"), cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def until(condition: Callable[[dict[str, Any]], bool], what: str) -> None:
        assert watching.stdout is not None
        for _ in range(60):
            air.send(0x1122334455667788)
            told = json.loads(watching.stdout.readline())
            if told["running"] and condition(told):
                return
        pytest.fail(f"never seen: {what}")

    try:
        until(lambda told: told["outbox_rows"] >= 3 and not told["connected"], "the outbox grows without a line")
        with mosquitto(tmp_path, port=port) as broker, cloud(broker.port):
            until(lambda told: told["connected"] and told["outbox_rows"] == 0, "the outbox falls to nothing")
        assert stat.S_IMODE(socket_of(tmp_path / "outbox.db").stat().st_mode) == 0o600
    finally:
        for process in (watching, node):
            process.terminate()
            process.wait(15)
        if watching.stdout is not None:
            watching.stdout.close()
        air.close()


# --- doctor: Bluetooth and readers


@pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed: apt install dbus")
def test_the_doctor_finds_bluez_on_the_bus(tmp_path, monkeypatch):
    from simulators.bluez import BlueZ
    from simulators.system_bus import private_bus

    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        assert bluetooth.probe(tmp_path) == bluetooth.Probe(
            bus=None, in_group=in_group("bluetooth"), user=user_name()
        ), "a bus without BlueZ"

        async def with_bluez() -> bluetooth.Probe:
            async with BlueZ(address):
                return await asyncio.to_thread(bluetooth.probe, tmp_path)

        found = asyncio.run(with_bluez())
    assert found.bus is None and found.bluez and not found.refused
    assert [(adapter.name, adapter.powered) for adapter in found.adapters] == [("hci0", True)]
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    assert bluetooth.probe(tmp_path).bus is not None


def test_an_llrp_reader_is_greeted_and_left_politely():
    from tests.unit.test_edge_doctor import greeting

    said: list[bytes] = []

    def read(server: socket.socket) -> None:
        near, _ = server.accept()
        with near:
            near.sendall(greeting(0)[:7])
            near.sendall(greeting(0)[7:])
            said.append(near.recv(100))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=read, args=(server,))
        thread.start()
        assert readers.greet("127.0.0.1", server.getsockname()[1]) == ("", 0)
        thread.join()
    assert said[0][:2] == (1 << 10 | 14).to_bytes(2, "big"), "CLOSE_CONNECTION"
    assert "refused" in readers.greet("127.0.0.1", free_port())[0]


# --- doctor: the line


def found_by(check: str, path: Path) -> list[tuple[Level, str]]:
    findings: list[Finding] = [finding for finding in line.broker(read_patient(path)) if finding.check == check]
    return [(finding.level, finding.found) for finding in findings]


def put_batch(path: Path) -> None:
    """A waiting batch in a node's outbox, as the node itself puts it."""
    from contract.messages import Header

    box = Outbox(path)

    def build(epoch: str, seq: int) -> bytes:
        header = Header("crowd", "acme", "main", "door-1", epoch, seq, "boot", "trusted", 1_790_000_000_000_000, 1)
        return encode(Crowd(header, (CrowdRow(dt=0, span_s=300, radios=9, strong=1),)))

    box.put("crowd", 1_790_000_000_000_000, 1, build)
    box.close()


@needs_mosquitto
def test_the_doctor_sends_what_waits_and_is_told_that_the_cloud_holds_it(tmp_path):
    with mosquitto(tmp_path) as broker:
        path = node_toml(tmp_path, broker.port)
        put_batch(tmp_path / "outbox.db")
        assert (Level.FAIL, "nobody listens at the broker") in found_by("cloud", path)
        with cloud(broker.port) as listener:
            ((level, words),) = found_by("cloud", path)
            assert level is Level.PASS and "holds a batch" in words
            assert listener.events == 1
            assert (Level.WARN, "it lets this node speak under another node's name") in found_by("broker", path)
            listener.refuse = lambda batch: "UnknownNode: not in the plan"
            ((level, words),) = found_by("cloud", path)
            assert level is Level.FAIL and "UnknownNode" in words


@needs_mosquitto
def test_a_cloud_that_does_not_store_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(line, "ANSWER_S", 1.0)
    with mosquitto(tmp_path) as broker, cloud(broker.port) as listener:
        listener.storing.clear()
        path = node_toml(tmp_path, broker.port)
        put_batch(tmp_path / "outbox.db")
        ((level, words),) = found_by("cloud", path)
        assert level is Level.WARN and "no acknowledgement" in words


def test_the_access_list_is_tried_with_the_nodes_own_name(broker: Broker, tmp_path):
    (tmp_path / "password").write_text(broker.clients[str(NODE)].password)
    text = f"""
        [node]
        tenant = "acme"
        store = "main-street"
        node = "node-1"
        [uplink]
        host = "127.0.0.1"
        port = {broker.port}
        username = "{NODE}"
        password_file = "password"
        [outbox]
        path = "outbox.db"
    """
    path = tmp_path / "node.toml"
    path.write_text(text)
    assert found_by("broker", path)[1:] == [(Level.PASS, f"greets this node as {NODE}")]
    assert found_by("cloud", path) == [(Level.PASS, "nothing waits to be sent: it has told nothing yet")]
    path.write_text(text.replace('node = "node-1"', 'node = "node-2"'))
    put_batch(tmp_path / "outbox.db")
    assert (Level.FAIL, "it does not let this node speak under its own name") in found_by("broker", path)
    (tmp_path / "password").write_text("another")
    ((level, words),) = found_by("broker", path)[1:]
    assert level is Level.FAIL and "refuses this node" in words


@needs_mosquitto
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: apt install openssl")
def test_the_certificates_of_both_ends_are_tried(tmp_path):
    certs = tmp_path / "certs"
    environ = os.environ | {"AISLE_CERTS": str(certs)}
    for order in (["ca"], ["broker", "localhost"], ["node", "acme/main/door-1"]):
        subprocess.run(
            [ROOT / "firmware_configs" / "broker" / "certs.sh", *order],
            env=environ,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    for path in [tmp_path, *tmp_path.parents]:  # mosquitto, started as root, reads as another account
        path.chmod(path.stat().st_mode | 0o011) if path.stat().st_uid == os.getuid() else None
    certs.chmod(0o755)
    (certs / "broker.key").chmod(0o644)
    settings = [f"cafile {certs}/ca.crt", f"certfile {certs}/broker.crt", f"keyfile {certs}/broker.key"]
    with mosquitto(tmp_path, *settings, "require_certificate true", "allow_anonymous true") as server:
        path = node_toml(tmp_path, server.port)
        text = path.read_text().replace("127.0.0.1", "localhost")
        line_of_tls = 'ca_file = "certs/ca.crt"\n'
        own = 'cert_file = "certs/acme.main.door-1.crt"\nkey_file = "certs/acme.main.door-1.key"\n'
        path.write_text(text.replace("[ble]", line_of_tls + own + "[ble]"))
        (level, words), *_ = found_by("broker", path)
        assert level is Level.PASS and "TLSv1" in words
        path.write_text(text.replace("[ble]", line_of_tls + "[ble]"))
        assert Level.FAIL in [level for level, _ in found_by("broker", path)], "it brought no certificate"
        other = tmp_path / "other"
        environ = os.environ | {"AISLE_CERTS": str(other)}
        subprocess.run([ROOT / "firmware_configs" / "broker" / "certs.sh", "ca"], env=environ, check=True)
        path.write_text(text.replace("[ble]", 'ca_file = "other/ca.crt"\n[ble]'))
        ((level, words),) = found_by("broker", path)
        assert level is Level.FAIL and "not trusted" in words
        path.write_text(text.replace("localhost", "127.0.0.1").replace("[ble]", line_of_tls + "[ble]"))
        ((level, words),) = found_by("broker", path)
        assert level is Level.FAIL and "not trusted" in words and "IP address" in words


def online(listener: Cloud) -> int:
    return sum(status.state == "online" for status in listener.statuses)


@needs_mosquitto
def test_a_running_node_is_not_disturbed_by_its_doctor(tmp_path):
    air = Air()
    with mosquitto(tmp_path) as broker, cloud(broker.port) as listener:
        path = node_toml(tmp_path, broker.port, "[health]\nevery_s = 1\n")
        node = start_node(path, air)
        try:
            eventually(lambda: online(listener) == 1 and air.listeners, "the node is online")
            for _ in range(2):
                assert not [f for f in doctor.examine(path) if "failed itself" in f.found]
            seen = len(listener.heartbeats)
            eventually(lambda: len(listener.heartbeats) > seen + 1, "the node goes on")
            assert [status.state for status in listener.statuses] == ["online"], (
                "it was neither kicked nor said offline"
            )
            assert listener.heartbeats[-1].reconnects == 0
        finally:
            node.terminate()
            node.wait(15)
            air.close()


@needs_mosquitto
def test_a_node_whose_file_was_broken_runs_on_the_last_good_one(tmp_path):
    air = Air()
    with mosquitto(tmp_path) as broker, cloud(broker.port) as listener:
        path = node_toml(tmp_path, broker.port, "[health]\nevery_s = 1\n")
        good = load(path)
        keep(good, path)
        path.write_text(path.read_text().replace("[windows]", "[window]"))
        node = start_node(path, air)
        try:
            eventually(lambda: listener.heartbeats, "the node tells how it is")
            assert listener.heartbeats[0].config == parse_config(good.source).digest
            log = (tmp_path / "node.log").read_text()
            assert re.search(r"node\.toml:\d+: \[window\].*did you mean windows", log) and "safe mode" in log
        finally:
            node.terminate()
            node.wait(15)
            air.close()


def test_the_commands_are_the_same_from_the_launcher(config):
    done = subprocess.run(
        [sys.executable, "-m", "cli", "edge", "config", "check", str(config), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    done = subprocess.run([sys.executable, "-m", "cli", "edge"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "./aisle edge" in done.stdout
