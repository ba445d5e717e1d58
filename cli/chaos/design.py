"""What a round needs of a design: started, told to settle, and counted. Ours and the naive one are measured alike."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psycopg

from cli.stack.cloud import LocalCloud
from cli.stack.processes import StackError
from contract.topics import NodeAddress

NODES = [NodeAddress("chaos", "store", f"node-{n}") for n in (1, 2)]
DRAIN_S = 240.0
"""Longer than any resend pause of a node: what is not stored by then is not coming."""


@dataclass(frozen=True, slots=True)
class Count:
    """Events, when nothing is under way any more."""

    accepted: int
    """Taken by the nodes: from then on none may be lost."""
    stored: int
    """In the database, each once."""
    rows: int
    """In the database, however often."""
    refused: int = 0
    """In dead letters: told to the node, kept for people to see."""
    gone: int = 0
    """Lay on a card that was wiped."""

    @property
    def lost(self) -> int:
        """Accepted and neither stored, refused aloud, nor wiped by hand."""
        return self.accepted - self.stored - self.refused - self.gone

    @property
    def duplicated(self) -> int:
        """Rows beyond those that are stored once."""
        return self.rows - self.stored


class Design(Protocol):
    """Nodes and ingest on a cloud that runs: what they are is the design's own."""

    def begin(self, air_port: int) -> None:
        """Start nodes and ingest; returns once something of every node is stored."""
        ...

    def nodes(self) -> Sequence[str]:
        """Names of the nodes' processes."""
        ...

    def drain(self) -> float:
        """Let all that was accepted arrive, with nothing killed any more; returns how many seconds that took."""
        ...

    def count(self) -> Count: ...


def until(true: Callable[[], bool], otherwise: str, seconds: float) -> None:
    """Wait for a condition. Raises StackError with `otherwise`, in which {} stands for the seconds."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        if time.monotonic() > deadline:
            raise StackError(otherwise.format(f"{seconds:g}"))
        pause.wait(0.05)


def number(cloud: LocalCloud, query: str) -> int:
    """One number out of the database, as the superuser: row security hides nothing."""
    with psycopg.connect(cloud.postgres.dsn("postgres")) as conn:
        row = conn.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0
