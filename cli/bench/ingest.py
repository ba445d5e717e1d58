"""How fast windows come from MQTT into the database, beside COPY alone into the same partitioned table."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import psycopg

from cli import ROOT
from cli.bench.publishers import EVENTS, Order, Told, batch
from cli.stack.cloud import LocalCloud
from cli.stack.database import SERVICE
from cli.stack.processes import StackError
from cli.stack.scratch import ask, scratch_cloud, staff
from cloud.ingest.columns import COPY_HEADER, COPY_TRAILER, copy_rows, windows
from contract.codec import decode
from contract.messages import Sightings
from contract.topics import NodeAddress

TENANT, STORE = "bench", "store"
PACED_EVENTS_S = 20_000
COPY_ROWS = 50_000
"""Rows a transaction of COPY alone: as many as the largest transaction of ingest (500 messages)."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the runs."""

    copy_rows_per_s: int
    """COPY alone: rows packed beforehand, one connection, 50,000 rows a transaction."""
    ingest_rows_per_s: int
    """From the first publish to the last acknowledgement, which follows the commit."""
    ratio: float
    """ingest / COPY alone."""
    cpu_us_per_event: float
    """Of the ingest process and its database backend; broker and publishers excluded."""
    copy_cpu_us_per_row: float
    """Of COPY alone and its backend: on a machine of few cores this compares better than rates do."""
    p50_ms: float
    """From publish to acknowledgement at 20,000 events a second."""
    p99_ms: float
    publishers: int
    events_per_message: int
    events_per_run: int


@dataclass(frozen=True, slots=True)
class Copied:
    """One run of COPY alone."""

    rows_per_s: float
    cpu_us_per_row: float


def measure(events: int, paced_s: float, publishers: int, runs: int) -> Figures:
    """All of it, about half a minute by default. Raises StackError, also when an event is not acknowledged."""
    nodes = [NodeAddress(TENANT, STORE, f"node-{n}") for n in range(publishers)]
    flat_out = Order(-(-events // EVENTS), None)
    paced = Order(int(paced_s * PACED_EVENTS_S / EVENTS), PACED_EVENTS_S / EVENTS)
    copied, fast, cpu_us, slow = list[Copied](), list[Told](), list[float](), list[Told]()
    with scratch_cloud("bench", TENANT, nodes) as cloud:
        _only_ingest(cloud, nodes)
        with _helper(cloud, nodes) as helper:
            for _ in range(runs):
                copied.append(_copy_alone(cloud, events))
                before_us = _cpu_us(cloud)
                fast.append(_order(helper, flat_out))
                cpu_us.append((_cpu_us(cloud) - before_us) / (flat_out.messages * EVENTS))
                slow.append(_order(helper, paced))
    copy_rate = median(one.rows_per_s for one in copied)
    rate = median(told.acknowledged * EVENTS / told.seconds for told in fast)
    return Figures(
        copy_rows_per_s=round(copy_rate),
        ingest_rows_per_s=round(rate),
        ratio=round(rate / copy_rate, 3),
        cpu_us_per_event=round(median(cpu_us), 2),
        copy_cpu_us_per_row=round(median(one.cpu_us_per_row for one in copied), 2),
        p50_ms=round(median(told.p50_ms for told in slow), 1),
        p99_ms=round(median(told.p99_ms for told in slow), 1),
        publishers=publishers,
        events_per_message=EVENTS,
        events_per_run=flat_out.messages * EVENTS,
    )


def _only_ingest(cloud: LocalCloud, nodes: list[NodeAddress]) -> None:
    """A store with the nodes; then everything ends that would work on what ingest stores."""
    floor = {"floor": "0", "name": "Floor", "width_m": 10, "depth_m": 10, "cell_m": 1}
    placed = [{"node": node.node, "floor": "0", "x_m": 5, "y_m": 5} for node in nodes]
    with staff(cloud) as api:
        plan = {"name": "Bench", "tz": "UTC", "floors": [floor], "zones": [], "nodes": placed}
        ask(api, "PUT", f"/v1/stores/{STORE}", plan)
    for name in ("locate", "worker", "api"):
        cloud.processes.stop(name)


def _copy_alone(cloud: LocalCloud, events: int) -> Copied:
    """Rows into `sighting` with nothing around the COPY, as the role that ingest has."""
    rng = np.random.default_rng(2)
    address, t0_us = NodeAddress(TENANT, STORE, "node-0"), time.time_ns() // 1_000
    one = decode(batch(address, "0" * 32, 1, t0_us, rng))
    assert isinstance(one, Sightings)
    sizes = [min(COPY_ROWS, events - start) // EVENTS for start in range(0, events, COPY_ROWS)]
    buffers = [COPY_HEADER + copy_rows([(windows(one), 1)] * size) + COPY_TRAILER for size in sizes]
    with psycopg.connect(cloud.postgres.dsn(SERVICE), autocommit=True) as conn:
        for at_us in (t0_us - 1_000_000, t0_us):
            conn.execute("SELECT ensure_day('sighting', at_us(%s)::date)", (at_us,))
        pids = [os.getpid(), conn.info.backend_pid]
        begun, before_us = time.monotonic(), _cpu_us_of(pids)
        for buffer in buffers:
            with conn.cursor() as cursor, cursor.copy("COPY sighting FROM STDIN (FORMAT binary)") as copy:
                copy.write(buffer)
        seconds, cpu_us = time.monotonic() - begun, _cpu_us_of(pids) - before_us
    rows = sum(sizes) * EVENTS
    return Copied(rows / seconds, cpu_us / rows)


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


def _cpu_us(cloud: LocalCloud) -> float:
    """CPU time that the ingest process and its database backends have used, microseconds."""
    with psycopg.connect(cloud.postgres.admin_dsn) as conn:
        found = conn.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'aisle ingest'").fetchall()
    return _cpu_us_of([cloud.processes.pid("ingest"), *(pid for (pid,) in found)])


def _cpu_us_of(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime: fields 14 and 15 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK") * 1e6
