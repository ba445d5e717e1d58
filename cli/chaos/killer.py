"""Kills parts and spoils lines at random moments; each comes back in the background and delays no other."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from cli.chaos.lines import Lines
from cli.stack.cloud import LocalCloud, Say
from cli.stack.processes import StackError

BETWEEN_S = (1.5, 4.0)
DEAD_S = (0.0, 1.5)
SPOILT_S = (0.5, 3.0)

VICTIMS = ("edge", "broker", "ingest", "db", "locate", "worker")


class Killer:
    """`nodes` are the names of the processes among which "edge" chooses one."""

    def __init__(
        self, cloud: LocalCloud, lines: Lines, nodes: Callable[[], Sequence[str]], seed: int, say: Say
    ) -> None:
        self._cloud = cloud
        self._lines = lines
        self._nodes = nodes
        self._rng = random.Random(seed)
        self._say = say
        self._begun = time.monotonic()
        self._never = threading.Event()  # waited for in place of sleeping, so that a signal ends the wait
        self._ports = cloud.broker.port, cloud.postgres.port
        self.killed: Counter[str] = Counter()
        self.spoilt: Counter[str] = Counter()
        """Faults by line and kind."""

    def work_for(self, seconds: float, victims: Sequence[str]) -> None:
        """Kill and spoil until the time is up and all are back. Raises StackError if one does not come back."""
        targets = [*victims, *self._lines.names]
        begun, deck = time.monotonic(), self._deck(targets)
        returning: dict[str, Future[None]] = {}
        with ThreadPoolExecutor() as pool:
            while True:
                pause_s = self._rng.uniform(*BETWEEN_S)
                if time.monotonic() - begun + pause_s > seconds:
                    break
                self._never.wait(pause_s)
                target = next(t for t in deck if t not in returning or returning[t].done())
                away_s = self._rng.uniform(*(SPOILT_S if target in self._lines.names else DEAD_S))
                returning[target] = pool.submit(self._bring_back, target, away_s, self._strike(target))
                if len(returning) == len(targets):
                    wait(returning.values(), return_when=FIRST_COMPLETED)
            self._never.wait(max(0.0, begun + seconds - time.monotonic()))
        for done in returning.values():
            done.result()
        if self._ports != (self._cloud.broker.port, self._cloud.postgres.port):
            raise StackError("another program took a server's port while it was down: run the round again")

    def _deck(self, targets: Sequence[str]) -> Iterator[str]:
        """Targets in random order, each once before any comes again: a short round has every kind."""
        while True:
            yield from self._rng.sample(targets, len(targets))

    def _strike(self, target: str) -> Callable[[], object]:
        """Kill or spoil; returns what makes it good again."""
        if target in self._lines.names:
            fault = self._lines.spoil(target, self._rng)
            self.spoilt[f"{target} {fault}"] += 1
            self._tell(f"{target}: {fault}")
            return lambda: self._lines.heal(target)
        kill, start = self._hands(target)
        kill()
        self.killed[target] += 1
        self._tell(f"killed {target}")
        return start

    def _bring_back(self, target: str, away_s: float, mend: Callable[[], object]) -> None:
        self._never.wait(away_s)
        begun = time.monotonic()
        mend()
        if time.monotonic() - begun > 1:
            self._say(f"          {target} took {time.monotonic() - begun:.1f} s to come back")

    def _hands(self, victim: str) -> tuple[Callable[[], object], Callable[[], object]]:
        """How a victim is killed and how it is started again."""
        if victim == "db":
            return self._cloud.postgres.kill, self._cloud.postgres.start
        if victim == "broker":
            return self._cloud.broker.kill, self._cloud.broker.start
        name = self._rng.choice(self._nodes()) if victim == "edge" else victim
        processes = self._cloud.processes
        return lambda: processes.kill(name), lambda: processes.restart(name)

    def _tell(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._begun:6.1f} s  {what}")
