"""How fast windows come from MQTT into the database, beside COPY alone into the same table and a peer on its broker.

On two cores the broker and the publishers take a share of every rate. CPU time does not depend on that: both are told.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import psycopg

from cli import ROOT
from cli.bench import ingest_peers
from cli.bench.publishers import EVENTS, Order, Told, batch, contents
from cli.stack.cloud import LocalCloud
from cli.stack.database import SERVICE
from cli.stack.processes import StackError
from cli.stack.scratch import ask, scratch_cloud, staff
from cloud.ingest.columns import COPY_HEADER, COPY_TRAILER, copy_rows
from contract.topics import NodeAddress

TENANT, STORE = "bench", "store"
PACED_EVENTS_S = 20_000
COPY_ROWS = 50_000
"""Rows a transaction of COPY alone: as many as the largest transaction of ingest (500 messages)."""
WARM_UP = Order(200, None)
WORKERS = 2 * (os.cpu_count() or 1)
"""While one waits for the disk's sync, another stores."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the runs."""

    copy_rows_per_s: int
    """COPY alone: rows packed beforehand, one connection, 50,000 rows a transaction, no broker, no publishers."""
    ingest_rows_per_s: int
    """From the first publish to the last acknowledgement, which follows the commit."""
    messages_per_s: int
    """The same in messages."""
    ratio: float
    """ingest_rows_per_s / copy_rows_per_s."""
    cpu_us_per_event: float
    """Of the ingest processes and their database backends; broker and publishers excluded."""
    copy_cpu_us_per_row: float
    """Of COPY alone and its backend."""
    cpu_ratio: float | None
    """copy_cpu_us_per_row / cpu_us_per_event: what the ratio would be with cores to spare. None for a run of less than
    a tick of the clock."""
    p50_ms: float
    """At 20,000 events a second: from when a message was due to its acknowledgement at the publisher."""
    p99_ms: float
    single_json_rows_per_s: int
    """Ours with one event a message, as the contract's JSON."""
    single_json_cpu_us: float
    """An event."""
    peer_rows_per_s: int | None
    """mq-bridge, one event a message, as a plain JSON object, without a ledger; None where it is not installed."""
    peer_cpu_us: float | None
    times_peer: float | None
    """ingest_rows_per_s / peer_rows_per_s."""
    publishers_cpu_us_per_message: float
    workers: int
    publishers: int
    events_per_message: int
    events_per_run: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what came of it, and our CPU time a message."""

    told: Told
    ours_us: float

    @property
    def messages_per_s(self) -> float:
        return self.told.acknowledged / self.told.seconds


@dataclass(frozen=True, slots=True)
class Copied:
    """One run of COPY alone."""

    rows_per_s: float
    cpu_us_per_row: float


def measure(events: int, paced_s: float, publishers: int, runs: int, workers: int = WORKERS) -> Figures:
    """All of it, about a minute by default. Raises StackError, also when an event is not acknowledged."""
    nodes = [NodeAddress(TENANT, STORE, f"node-{n}") for n in range(publishers)]
    flat_out = Order(-(-events // EVENTS), None)
    paced = Order(int(paced_s * PACED_EVENTS_S / EVENTS), PACED_EVENTS_S / EVENTS)
    single = Order(flat_out.messages, None, "single")
    copied, fast, slow, singles, peers = (
        list[Copied](),
        list[Run](),
        list[Run](),
        list[Run](),
        list[ingest_peers.Stored](),
    )
    with scratch_cloud("bench", TENANT, nodes) as cloud:
        bench = _Bench(cloud, nodes, workers)
        with _helper(cloud, nodes) as helper:
            bench.copy_alone(COPY_ROWS)
            bench.run(helper, WARM_UP)
            for _ in range(runs):
                copied.append(bench.copy_alone(events))
                fast.append(bench.run(helper, flat_out))
                slow.append(bench.run(helper, paced))
                singles.append(bench.run(helper, single))
            bench.stop_workers()
            for _ in range(runs if ingest_peers.installed() else 0):
                peers.append(bench.peer(helper, flat_out.messages))
    copy_rate, copy_us = median(c.rows_per_s for c in copied), median(c.cpu_us_per_row for c in copied)
    rate, ours_us = median(r.messages_per_s for r in fast), median(r.ours_us for r in fast) / EVENTS
    peer_rate = median(p.rows_per_s for p in peers) if peers else None
    return Figures(
        copy_rows_per_s=round(copy_rate),
        ingest_rows_per_s=round(rate * EVENTS),
        messages_per_s=round(rate),
        ratio=round(rate * EVENTS / copy_rate, 3),
        cpu_us_per_event=round(ours_us, 2),
        copy_cpu_us_per_row=round(copy_us, 2),
        cpu_ratio=round(copy_us / ours_us, 3) if ours_us else None,
        p50_ms=round(median(r.told.p50_ms for r in slow), 1),
        p99_ms=round(median(r.told.p99_ms for r in slow), 1),
        single_json_rows_per_s=round(median(r.messages_per_s for r in singles)),
        single_json_cpu_us=round(median(r.ours_us for r in singles), 1),
        peer_rows_per_s=round(peer_rate) if peer_rate else None,
        peer_cpu_us=round(median(p.cpu_us_per_row for p in peers), 1) if peers else None,
        times_peer=round(rate * EVENTS / peer_rate, 1) if peer_rate else None,
        publishers_cpu_us_per_message=round(median(r.told.cpu_us / r.told.acknowledged for r in fast), 1),
        workers=workers,
        publishers=publishers,
        events_per_message=EVENTS,
        events_per_run=flat_out.messages * EVENTS,
    )


class _Bench:
    """A cloud in which only ingest works: a store with the nodes, and nobody who works on what ingest stores."""

    def __init__(self, cloud: LocalCloud, nodes: Sequence[NodeAddress], workers: int) -> None:
        self._cloud = cloud
        floor = {"floor": "0", "name": "Floor", "width_m": 10, "depth_m": 10, "cell_m": 1}
        placed = [{"node": node.node, "floor": "0", "x_m": 5, "y_m": 5} for node in nodes]
        with staff(cloud) as api:
            plan = {"name": "Bench", "tz": "UTC", "floors": [floor], "zones": [], "nodes": placed}
            ask(api, "PUT", f"/v1/stores/{STORE}", plan)
        for name in ("locate", "worker", "api"):
            cloud.processes.stop(name)
        self._workers = ["ingest", *(f"ingest-{n}" for n in range(2, workers + 1))]
        for name in self._workers[1:]:
            cloud.start_process(name)
        for name in self._workers:
            cloud.processes.wait(name, partial(self._is_ready, name))

    def _is_ready(self, name: str) -> bool:
        return "broker connected" in self._cloud.processes.log(name).read_text()

    def run(self, helper: "subprocess.Popen[str]", order: Order) -> Run:
        """One order, and what it cost. The locator's queue, which nobody reads here, is emptied afterwards."""
        before_us = self._ours_us()
        told = _order(helper, order)
        used_us = self._ours_us() - before_us
        with psycopg.connect(self._cloud.postgres.dsn("postgres"), autocommit=True) as conn:
            conn.execute("TRUNCATE locate_queue")
        return Run(told, used_us / order.messages)

    def copy_alone(self, events: int) -> Copied:
        """Rows into `sighting` with nothing around the COPY, as the role that ingest has."""
        t0_us = time.time_ns() // 1_000
        columns = contents(EVENTS, np.random.default_rng(2))
        one = batch(NodeAddress(TENANT, STORE, "node-0"), "0" * 32, 1, t0_us, columns, EVENTS)
        sizes = [min(COPY_ROWS, events - start) // EVENTS for start in range(0, events, COPY_ROWS)]
        buffers = [COPY_HEADER + bytes(copy_rows([one] * size, [1] * size).data) + COPY_TRAILER for size in sizes]
        with psycopg.connect(self._cloud.postgres.dsn(SERVICE), autocommit=True) as conn:
            for at_us in (t0_us - 1_000_000, t0_us):
                conn.execute("SELECT ensure_day('sighting', at_us(%s)::date)", (at_us,))
            pids = [os.getpid(), conn.info.backend_pid]
            begun, before_us = time.monotonic(), cpu_us_of(pids)
            for buffer in buffers:
                with conn.cursor() as cursor, cursor.copy("COPY sighting FROM STDIN (FORMAT binary)") as copy:
                    copy.write(buffer)
            seconds, cpu_us = time.monotonic() - begun, cpu_us_of(pids) - before_us
        rows = sum(sizes) * EVENTS
        return Copied(rows / seconds, cpu_us / rows)

    def peer(self, helper: "subprocess.Popen[str]", rows: int) -> ingest_peers.Stored:
        """One run of the peer into a table of its own."""
        ends = ingest_peers.Ends(self._cloud.broker.url("cloud"), self._cloud.postgres.dsn(SERVICE))
        admin = self._cloud.postgres.dsn("postgres")
        order = Order(rows, None, "row")
        return ingest_peers.measure(ends, admin, rows, lambda: _order(helper, order), cpu_us_of)

    def stop_workers(self) -> None:
        """The peer has the broker to itself."""
        for name in self._workers:
            self._cloud.processes.stop(name)

    def _ours_us(self) -> float:
        """CPU time that the ingest processes and their database backends have used, microseconds."""
        with psycopg.connect(self._cloud.postgres.admin_dsn) as conn:
            found = conn.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'aisle ingest'").fetchall()
        return cpu_us_of([*(self._cloud.processes.pid(name) for name in self._workers), *(pid for (pid,) in found)])


@contextmanager
def _helper(cloud: LocalCloud, nodes: list[NodeAddress]) -> Iterator["subprocess.Popen[str]"]:
    """The process that holds all publishers."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "cli.bench.publishers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as helper:
        try:
            assert helper.stdin is not None
            print(json.dumps([cloud.broker.url(str(node)) for node in nodes]), file=helper.stdin, flush=True)
            yield helper
            helper.stdin.close()
        finally:
            if sys.exc_info()[0] is not None:
                helper.kill()


def _order(helper: "subprocess.Popen[str]", order: Order) -> Told:
    assert helper.stdin is not None and helper.stdout is not None
    print(json.dumps(asdict(order)), file=helper.stdin, flush=True)
    line = helper.stdout.readline()
    if not line:
        raise StackError(f"the publishers ended with {helper.wait()}")
    told = Told(**json.loads(line))
    if told.acknowledged != order.messages:
        raise StackError(f"{order.messages - told.acknowledged} of {order.messages} messages were not acknowledged")
    return told


def cpu_us_of(pids: Sequence[int]) -> float:
    """CPU time of processes and all their threads, user and system, microseconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime: fields 14 and 15 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK") * 1e6
