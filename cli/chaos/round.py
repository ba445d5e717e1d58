"""One round of chaos: a whole stack under a steady load, its parts killed, then everything accepted counted again."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import psycopg

from cli.chaos.load import Load, beacons
from cli.stack.cloud import LocalCloud, Say
from cli.stack.local_air import LocalAir
from cli.stack.processes import StackError
from cli.stack.scratch import ask, node_folder, scratch_cloud, staff, start_node, write_node
from contract.topics import NodeAddress
from edge.outbox_file import read_totals

NODES = [NodeAddress("chaos", "store", f"node-{n}") for n in (1, 2)]
BETWEEN_KILLS_S = (1.5, 4.0)
DEAD_S = (0.0, 1.5)
DRAIN_S = 120.0
"""Longer than any resend pause of a node: what is not stored by then is not coming."""

VICTIMS = ("edge", "broker", "ingest", "db", "locate", "worker")


@dataclass(frozen=True, slots=True)
class Round:
    """What a round found."""

    accepted: int
    """Events that the nodes' outboxes have taken: from then on none may be lost."""
    stored: int
    """Events that the cloud's ledger says are stored."""
    lost: int
    duplicated: int
    """Rows beyond those that the ledger knows."""
    kills: int
    drain_s: float
    """From the last start to empty outboxes and an empty queue of the locator."""
    killed: dict[str, int]


def run(seconds: float, rate: int, victims: Sequence[str], seed: int, say: Say) -> Round:
    """The whole round. Raises ValueError for an unknown victim, StackError if a part does not start or never drains."""
    unknown = sorted(set(victims) - set(VICTIMS))
    if unknown or not victims:
        raise ValueError(f"--kill: found {','.join(unknown) or 'nothing'}, expected some of {','.join(VICTIMS)}")
    load = Load([node.node for node in NODES], rate, seed)
    with scratch_cloud("chaos", NODES[0].tenant, NODES, say) as cloud:
        _set_up(cloud)
        with LocalAir([node.node for node in NODES], load.speak, load.every_s) as air:
            for node in NODES:
                start_node(cloud, node, air.port)
            _until(lambda: _speaking(cloud) == len(NODES), "the nodes' first batches were not stored within {} s", 30)
            say(f"{rate} events/s from {len(NODES)} nodes; killing {', '.join(victims)} for {seconds:g} s")
            killed = _Killer(cloud, random.Random(seed), say).kill_for(seconds, victims)
            air.stop()
        drain_s = _drain(cloud, say)
        accepted, (stored, rows) = _accepted(cloud), _stored(cloud)
    kills = sum(killed.values())
    say(f"{kills} kills: {accepted} accepted, {stored} stored, {accepted - stored} lost, {rows - stored} duplicated")
    return Round(accepted, stored, accepted - stored, rows - stored, kills, round(drain_s, 2), dict(killed))


def _set_up(cloud: LocalCloud) -> None:
    """A store of two nodes. Some of the beacons are enrolled, so that the locator has a story to lose."""
    floor = {"floor": "0", "name": "Floor", "width_m": 12, "depth_m": 8, "cell_m": 1}
    nodes = [{"node": node.node, "floor": "0", "x_m": 4 * i + 4, "y_m": 4} for i, node in enumerate(NODES)]
    plan = {"name": "Chaos", "tz": "UTC", "floors": [floor], "zones": [], "nodes": nodes, "beacons": beacons(5)}
    with staff(cloud) as api:
        ask(api, "PUT", f"/v1/stores/{NODES[0].store}", plan)
    for node in NODES:
        write_node(cloud, node)


class _Killer:
    """Kills one part after the other; each is started again in the background, so that one's return delays no kill."""

    def __init__(self, cloud: LocalCloud, rng: random.Random, say: Say) -> None:
        self._cloud = cloud
        self._rng = rng
        self._say = say
        self._never = threading.Event()  # waited for in place of sleeping, so that a signal ends the wait
        self._ports = cloud.broker.port, cloud.postgres.port

    def kill_for(self, seconds: float, victims: Sequence[str]) -> Counter[str]:
        """Kill and start again until the time is up and all are back; how often each was killed."""
        killed: Counter[str] = Counter()
        begun, deck = time.monotonic(), self._deck(victims)
        returning: dict[str, Future[None]] = {}
        with ThreadPoolExecutor() as pool:
            while True:
                pause_s, dead_s = self._rng.uniform(*BETWEEN_KILLS_S), self._rng.uniform(*DEAD_S)
                if time.monotonic() - begun + pause_s > seconds:
                    break
                self._never.wait(pause_s)
                victim = next(v for v in deck if v not in returning or returning[v].done())
                kill, start = self._hands(victim)
                kill()
                killed[victim] += 1
                self._say(f"{time.monotonic() - begun:6.1f} s  killed {victim}")
                returning[victim] = pool.submit(self._bring_back, victim, dead_s, start)
                if len(returning) == len(set(victims)):
                    wait(returning.values(), return_when=FIRST_COMPLETED)
            self._never.wait(max(0.0, begun + seconds - time.monotonic()))
        for done in returning.values():
            done.result()
        if self._ports != (self._cloud.broker.port, self._cloud.postgres.port):
            raise StackError("another program took a server's port while it was down: run the round again")
        return killed

    def _bring_back(self, victim: str, dead_s: float, start: Callable[[], object]) -> None:
        self._never.wait(dead_s)
        begun = time.monotonic()
        start()
        if time.monotonic() - begun > 1:
            self._say(f"          {victim} took {time.monotonic() - begun:.1f} s to come back")

    def _deck(self, victims: Sequence[str]) -> Iterator[str]:
        """Victims in random order, each once before any comes again: a short round kills every kind."""
        while True:
            yield from self._rng.sample(victims, len(victims))

    def _hands(self, victim: str) -> tuple[Callable[[], object], Callable[[], object]]:
        """How a victim is killed and how it is started again."""
        if victim == "db":
            return self._cloud.postgres.kill, self._cloud.postgres.start
        if victim == "broker":
            return self._cloud.broker.kill, self._cloud.broker.start
        name = f"node-{self._rng.choice(NODES).node}" if victim == "edge" else victim
        processes = self._cloud.processes
        return lambda: processes.kill(name), lambda: processes.restart(name)


def _drain(cloud: LocalCloud, say: Say) -> float:
    """Let all that was accepted arrive. The nodes end well first, so that their open windows are accepted too."""
    for ended in cloud.processes.ended():
        say(f"{ended}; it is started again")
        cloud.processes.restart(ended.name)
    for node in NODES:
        cloud.processes.stop(f"node-{node.node}")
    begun = time.monotonic()
    for node in NODES:
        cloud.processes.restart(f"node-{node.node}")
    _until(lambda: not _waiting(cloud), "batches were not stored within {} s", DRAIN_S)
    with psycopg.connect(cloud.postgres.dsn("postgres"), autocommit=True) as conn:
        _until(
            lambda: conn.execute("SELECT 1 FROM locate_queue LIMIT 1").fetchone() is None,
            "the locator's queue was not empty within {} s",
            DRAIN_S,
        )
    drain_s = time.monotonic() - begun
    for node in NODES:
        cloud.processes.stop(f"node-{node.node}")
    return drain_s


def _speaking(cloud: LocalCloud) -> int:
    """Nodes of which something is stored."""
    with psycopg.connect(cloud.postgres.dsn("postgres")) as conn:
        row = conn.execute("SELECT count(DISTINCT node) FROM batch").fetchone()
    return row[0] if row else 0


def _accepted(cloud: LocalCloud) -> int:
    return sum(read_totals(path).events_accepted for path in _outboxes(cloud))


def _waiting(cloud: LocalCloud) -> int:
    return sum(read_totals(path).rows for path in _outboxes(cloud))


def _outboxes(cloud: LocalCloud) -> list[Path]:
    found = [node_folder(cloud, node) / "outbox.db" for node in NODES]
    return [path for path in found if path.exists()]


def _stored(cloud: LocalCloud) -> tuple[int, int]:
    """Events in the ledger, and rows in the tables that hold them. As the superuser: row security hides none."""
    with psycopg.connect(cloud.postgres.dsn("postgres")) as conn:
        row = conn.execute(
            "SELECT (SELECT coalesce(sum(events), 0) FROM batch)::bigint,"
            " (SELECT count(*) FROM sighting) + (SELECT count(*) FROM crowd)"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def _until(true: Callable[[], bool], otherwise: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        if time.monotonic() > deadline:
            raise StackError(otherwise.format(f"{seconds:g}"))
        pause.wait(0.05)
