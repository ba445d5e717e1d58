"""A node whose clock is wrong: what it told meanwhile reaches the cloud with the right time, or flagged."""

import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.clock import RELEASED_US, SystemClock
from contract.codec import decode, decode_small, encode
from contract.messages import Crowd, CrowdRow, Header, Health
from contract.topics import NodeAddress
from edge import time_trust
from edge.broker import Broker
from edge.outbox import Outbox
from edge.settings import Uplink as Settings
from edge.time_trust import NodeTime, Reading, stamp
from edge.uplink import Uplink
from tests.integration.edge_support import cloud, eventually, free_port, mosquitto, needs_mosquitto

ADDRESS = NodeAddress("acme", "main", "door-1")
HEALTH = decode_small((Path(__file__).parents[2] / "contract/examples/health-v1.json").read_bytes(), Health)
HOUR_US = 3_600_000_000
TRUE_US = RELEASED_US + 60 * 24 * HOUR_US
"""The true instant at which the machine booted."""


class Machine:
    """A machine that runs in real time, its clock off by `error_us` until `sync`."""

    def __init__(self, error_us: int, booted_s: float = 100.0) -> None:
        self._started = time.monotonic() - booted_s
        self.error_us = error_us
        self.synced = False

    def count(self) -> int:
        return int((time.monotonic() - self._started) * 1e6)

    def read(self) -> Reading:
        boot_us = self.count()
        return Reading(TRUE_US + boot_us + self.error_us, boot_us, self.synced)

    def sync(self) -> None:
        self.error_us, self.synced = 0, True


class Node:
    """An outbox on a machine's disk, and the clocks by which it is filled."""

    def __init__(self, folder: Path, machine: Machine, boot: str = "boot-1") -> None:
        self.boot = boot
        self.machine = machine
        self.outbox = Outbox(folder / "outbox.db", boot=boot)
        self.time = NodeTime(SystemClock(), self.outbox.newest_us, machine.read, machine.count)
        self.true_us: dict[int, int] = {}

    def put(self, n: int = 1) -> None:
        for _ in range(n):
            told = stamp(self.time.steady, self.time.steady.now_us())
            true_us = TRUE_US + self.machine.count()

            def build(epoch: str, seq: int, told: time_trust.Stamp = told) -> bytes:
                header = Header(
                    kind="crowd",
                    tenant="acme",
                    store="main",
                    node="door-1",
                    epoch=epoch,
                    seq=seq,
                    boot=self.boot,
                    clock="trusted" if told.trusted else "untrusted",
                    t0=told.t0_us,
                    n=1,
                )
                return encode(Crowd(header, (CrowdRow(0, 300, 9, 4),)))

            self.true_us[self.outbox.put("crowd", told.t0_us, 1, build, told.mono_us)] = true_us

    @contextmanager
    def online(self, port: int):
        link = Settings(host="127.0.0.1", port=port, keepalive_s=5)
        line = Broker(link, Path(), ADDRESS, self.time.wall, self.boot)
        uplink = Uplink(line, ADDRESS, self.outbox, self.time.wall, lambda: HEALTH, every_s=30, time=self.time)
        uplink.start()
        try:
            yield uplink
        finally:
            uplink.stop()


@pytest.fixture
def start(tmp_path):
    started: list[Node] = []

    def begin(machine: Machine, boot: str = "boot-1") -> Node:
        started.append(Node(tmp_path, machine, boot))
        return started[-1]

    yield begin
    for node in started:
        node.outbox.close()


def headers(store) -> dict[int, Header]:
    return {batch.header.seq: batch.header for batch in list(store.batches.values())}


def worst_s(store, node: Node) -> float:
    """The largest error of the instants that the cloud has of a node."""
    return max(abs(headers(store)[seq].t0 - true_us) / 1e6 for seq, true_us in node.true_us.items())


@needs_mosquitto
@pytest.mark.parametrize("error_us", [-TRUE_US, -2 * HOUR_US, 2 * HOUR_US], ids=["1970", "2 h behind", "2 h ahead"])
def test_what_was_told_offline_by_a_wrong_clock_is_corrected_once_ntp_sets_it(tmp_path, start, error_us):
    node, port = start(Machine(error_us)), free_port()
    with node.online(port):
        node.put(450)
        eventually(lambda: node.outbox.doubtful() == 450, "kept")
        node.machine.sync()  # the network is back: time comes first
        with mosquitto(tmp_path, port=port), cloud(port) as store:
            eventually(lambda: len(store.batches) == 450 and node.outbox.rows() == 0, "all stored", within_s=40)
            node.put(5)
            eventually(lambda: len(store.batches) == 455, "live too")
    assert worst_s(store, node) <= 0.1
    assert {header.clock for header in headers(store).values()} == {"trusted"}
    told = [header.t0 for _, header in sorted(headers(store).items())]
    assert told == sorted(told), "in the order in which it happened"


@needs_mosquitto
def test_a_clock_that_cannot_be_right_holds_back_until_it_is_set(tmp_path, start):
    node = start(Machine(-TRUE_US))
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, node.online(broker.port) as uplink:
        eventually(lambda: uplink.connected, "connected")
        node.put(20)
        eventually(lambda: node.outbox.doubtful() == 20, "kept back, network or not")
        assert uplink.sent == 0
        node.machine.sync()
        eventually(lambda: len(store.batches) == 20 and node.outbox.rows() == 0, "stored once it is set")
        assert store.copies == 20
    assert worst_s(store, node) <= 0.1


@needs_mosquitto
def test_what_nobody_corrects_goes_out_flagged_and_is_never_changed_afterwards(tmp_path, start, monkeypatch):
    monkeypatch.setattr(time_trust, "HOLD_UNSET_S", 0.5)
    node = start(Machine(-TRUE_US))
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, node.online(broker.port) as uplink:
        store.storing.clear()
        node.put(10)
        eventually(lambda: uplink.sent == 10, "sent after some patience")
        sent = [stored.payload for stored in node.outbox.pending(0, 20)]
        node.machine.sync()
        eventually(lambda: node.time.trusted, "set too late")
        node.put(1)
        eventually(lambda: uplink.resent >= 10, "sent again")
        assert [stored.payload for stored in node.outbox.pending(0, 10)] == sent, "the same bytes under the same name"
        store.storing.set()
        eventually(lambda: len(store.batches) == 11 and node.outbox.rows() == 0, "stored")
    by_seq = headers(store)
    assert [by_seq[seq].clock for seq in range(1, 12)] == ["untrusted"] * 10 + ["trusted"]
    assert by_seq[1].t0 >= RELEASED_US, "an instant that the database takes"
    assert [decode(payload).header.t0 for payload in sent] == [by_seq[seq].t0 for seq in range(1, 11)]


@needs_mosquitto
def test_a_clock_that_may_be_right_is_flagged_and_held_back_for_nothing(tmp_path, start):
    node = start(Machine(0))
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, node.online(broker.port) as uplink:
        eventually(lambda: uplink.connected, "connected")
        node.put()
        eventually(lambda: len(store.batches) == 1, "stored", within_s=2)
        assert headers(store)[1].clock == "untrusted"


@needs_mosquitto
def test_a_step_while_it_runs_leaves_no_gap_and_no_batch_that_is_wrong_unflagged(tmp_path, start):
    node = start(Machine(-2 * HOUR_US))
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, node.online(broker.port) as uplink:
        eventually(lambda: uplink.connected, "connected")
        for _ in range(20):
            node.put()
            time.sleep(0.01)
        node.machine.sync()
        for _ in range(20):
            node.put()
            time.sleep(0.01)
        eventually(lambda: len(store.batches) == 40, "all stored")
    for seq, header in headers(store).items():
        right = abs(header.t0 - node.true_us[seq]) < 2_000_000
        assert right or header.clock == "untrusted"
        assert right or seq <= 20
    assert headers(store)[40].clock == "trusted"


@needs_mosquitto
def test_what_an_earlier_process_of_this_boot_told_is_corrected_too_but_not_an_earlier_boot(tmp_path, start):
    lost = start(Machine(-2 * HOUR_US), "boot-0")
    lost.put(3)
    lost.outbox.close()  # and the power went before anybody told the time
    machine = Machine(-3 * HOUR_US)
    before = start(machine)
    before.put(5)
    before.outbox.close()
    node = start(machine)
    node.put(5)
    node.true_us |= before.true_us
    machine.sync()
    with mosquitto(tmp_path) as broker, cloud(broker.port) as store, node.online(broker.port):
        eventually(lambda: len(store.batches) == 13 and node.outbox.rows() == 0, "all stored")
    assert worst_s(store, node) <= 0.1
    by_seq = headers(store)
    assert [(by_seq[seq].boot, by_seq[seq].clock) for seq in (1, 2, 3)] == [("boot-0", "untrusted")] * 3
    assert all(by_seq[seq].clock == "trusted" for seq in node.true_us)
