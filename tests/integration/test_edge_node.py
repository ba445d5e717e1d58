"""The node as a process: `python -m edge` from the air to the cloud, killed, stopped, and without any network."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from contract.codec import column_values
from contract.messages import SIGHTING_COLUMNS, Sightings, TagRow, Tags
from edge.frames.raddec import raddec_bytes
from simulators.raddec import raddec_of_tag
from tests.integration.edge_support import (
    ROOT,
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


@pytest.fixture
def air():
    sender = Air()
    yield sender
    sender.close()


@pytest.fixture
def end():
    """Ends the processes that a test gives it, whatever happened."""
    started: list[subprocess.Popen[bytes]] = []
    yield started.append
    for process in started:
        process.kill()
        process.wait()


def heard(batches: list[Sightings]) -> int:
    return sum(sum(column_values(SIGHTING_COLUMNS[6], batch.columns[6])) for batch in batches)


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@needs_mosquitto
def test_an_advert_becomes_a_stored_window_and_a_presence_in_60_mb(tmp_path, air, end):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        node = start_node(node_toml(tmp_path, broker.port), air)
        end(node)
        eventually(lambda: air.listeners == 1, "the node listens")
        for _ in range(100):
            for token in range(1, 21):
                air.send(token, -50)
            time.sleep(0.02)
        eventually(lambda: heard(store.sightings) == 2_000, "every advert is counted in a stored window")
        eventually(lambda: sum(len(batch.rows) for batch in store.presence) == 20, "twenty are present")
        (health,) = store.heartbeats[:1]
        assert health.config and health.boot
        assert memory_mb(node) <= 60
        node.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert node.wait(5) == 0
        assert time.monotonic() - began < 2
        eventually(lambda: store.statuses[-1].state == "offline", "it said goodbye")


@needs_mosquitto
def test_a_window_is_in_the_cloud_soon_after_it_ended(tmp_path, air, end):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        end(start_node(node_toml(tmp_path, broker.port), air))
        eventually(lambda: air.listeners == 1 and store.statuses, "the node runs")
        late = []

        def heard_is(n: int) -> bool:
            return heard(store.sightings) == n

        for round_ in range(1, 11):
            air.send(round_)
            eventually(partial(heard_is, round_), "stored", within_s=5)
            late.append(time.time() - max(batch.header.t0 for batch in store.sightings if batch.header.n) / 1e6)
            time.sleep(0.15)
        assert sorted(late)[5] < 0.5, "median seconds from a window's end to the cloud"


@needs_mosquitto
def test_kill_9_of_the_node_loses_at_most_what_was_not_committed(tmp_path, air, end):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        store.storing.clear()
        config = node_toml(tmp_path, broker.port)
        sent = 0

        def listened(times: int) -> bool:
            return bool(air.listeners == times)

        for killed in range(3):
            node = start_node(config, air)
            end(node)
            eventually(partial(listened, killed + 1), "the node listens")
            for _ in range(25):
                air.send(1)
                sent += 1
                time.sleep(0.02)
            time.sleep(0.6)  # windows of 0.1 s have ended, and the commit after them
            node.kill()
            node.wait()
        store.storing.set()
        end(start_node(config, air))
        eventually(lambda: heard(store.sightings) == sent, "all that was heard is stored", within_s=30)
        assert len({batch.header.epoch for batch in store.sightings}) == 1


def test_a_node_without_any_network_senses_and_stores_and_ends_in_time(tmp_path, air, end):
    node = start_node(node_toml(tmp_path, free_port()), air)
    end(node)
    eventually(lambda: air.listeners == 1, "the node listens")
    for _ in range(10):
        air.send(1)
        time.sleep(0.05)
    began = time.monotonic()
    node.send_signal(signal.SIGTERM)
    assert node.wait(5) == 0
    assert time.monotonic() - began < 2
    log = (tmp_path / "node.log").read_text()
    assert log.count("cannot be reached") == 1
    assert "ended, 0 batches" not in log


def test_a_wrong_configuration_ends_it_with_code_2_and_every_mistake(tmp_path):
    path = node_toml(tmp_path, 99_999, '[helth]\nevery_s = "often"\n')
    result = subprocess.run([sys.executable, "-m", "edge", path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert [line.split(" ")[0] for line in result.stderr.splitlines()] == ["node.toml:9:", "node.toml:16:"]
    assert "did you mean health?" in result.stderr


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("no.such.module:Scanner", "expected a class that can be imported (No module named 'no')"),
        ("tests.integration.edge_support:Air", "expected a subclass of bleak's BaseBleakScanner"),
    ],
)
def test_a_backend_that_is_none_ends_it_with_one_line(tmp_path, backend, told):
    path = node_toml(tmp_path, 1883)
    path.write_text(path.read_text().replace("tests.integration.edge_support:LineScanner", backend))
    result = subprocess.run([sys.executable, "-m", "edge", path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_systemd_is_told_when_it_is_ready_alive_and_stopping(tmp_path, air, end):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        config = node_toml(tmp_path, free_port())
        node = start_node(config, air, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000")
        end(node)
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        os.kill(node.pid, signal.SIGTERM)
        last = manager.recv(100)
        while last == b"WATCHDOG=1":
            last = manager.recv(100)
        assert last == b"STOPPING=1"
        assert node.wait(5) == 0


def test_a_second_node_on_the_same_outbox_refuses_to_run(tmp_path, air, end):
    config = node_toml(tmp_path, free_port())
    first = start_node(config, air)
    end(first)
    eventually(lambda: air.listeners == 1, "the first one listens")
    second = start_node(config, air)
    end(second)
    assert second.wait(15) == 1
    assert "another node runs with this outbox" in (tmp_path / "node.log").read_text()
    assert first.poll() is None


def test_a_node_whose_file_is_gone_goes_on_with_the_last_good_one(tmp_path, air, end):
    config = node_toml(tmp_path, free_port())
    node = start_node(config, air)
    end(node)
    eventually(lambda: list(tmp_path.glob("last-good-*.toml")), "what it runs on is kept")
    node.kill()
    node.wait()
    config.unlink()
    again = start_node(config, air)
    end(again)
    eventually(lambda: air.listeners == 2, "it listens again")
    assert "safe mode" in (tmp_path / "node.log").read_text()


def tag_rows(store: Cloud) -> list[TagRow]:
    return [row for _, batch in sorted(store.batches.items()) if isinstance(batch, Tags) for row in batch.rows]


@needs_mosquitto
def test_what_is_carried_off_while_the_node_lies_dead_departs_once(tmp_path, end):
    """kill -9, an item taken away, a new start: the store's stock is right again, and stays so at the next start."""
    taken, left = bytes.fromhex("3074257bf7194e4000001a85"), bytes.fromhex("3074257bf7194e4000001a86")
    reader, port = bytes.fromhex("001bc50940810000"), free_port()
    rfid = f"""
[raddec]
listen = "127.0.0.1:{port}"
[inventory]
departed_s = 1.0
[inventory.zones]
"{reader.hex()}/1" = "jeans"
"""

    def read(*epcs: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            for epc in epcs:
                raddec = raddec_of_tag(epc, reader, 1, -60, time.time_ns() // 1_000)
                channel.sendto(raddec_bytes(raddec), ("127.0.0.1", port))

    def states(epc: bytes) -> list[str]:
        return [row.state for row in tag_rows(store) if row.epc == epc.hex()]

    def until(condition: Callable[[], object], what: str, *epcs: bytes) -> None:
        def read_and_look() -> object:
            read(*epcs)
            return condition()

        eventually(read_and_look, what)

    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        config = node_toml(tmp_path, broker.port, rfid)
        config.write_text(config.read_text().replace("[ble]\n", '[ble]\nmode = "off"\n'))
        node = start_node(config)
        end(node)
        until(lambda: states(taken) and states(left), "both arrived", taken, left)
        node.kill()
        node.wait()
        for _ in range(2):
            node = start_node(config)
            end(node)
            began = len(store.statuses)
            until(lambda: "departed" in states(taken), "what was taken has departed", left)
            until(lambda: len(store.statuses) > began, "the node is online", left)  # noqa: B023
            node.kill()
            node.wait()
    assert states(taken) == ["arrived", "departed"]
    assert states(left) == ["arrived"], "what was there all the time was never away"


@needs_mosquitto
def test_what_a_node_started_by_hand_makes_is_its_own_to_read(tmp_path, air, end):
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store:
        config = node_toml(tmp_path, broker.port)
        config.write_text(config.read_text().replace('"outbox.db"', '"kept/outbox.db"'))
        before = os.umask(0o022)
        try:
            node = start_node(config, air)
        finally:
            os.umask(before)
        end(node)
        eventually(lambda: store.heartbeats and list((tmp_path / "kept").glob("last-good-*")), "it runs and is kept")
        air.send(1)
        eventually(lambda: store.sightings, "a window is stored")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "kept").iterdir()}
        assert {"outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db.lock", "outbox.db.status"} <= set(modes)
        assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}
        assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o700
