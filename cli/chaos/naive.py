"""The naive design in a round: the same load, broker, database and killer, with `naive_parts` in our place."""

import struct
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import psycopg

from cli.chaos.design import DRAIN_S, NODES, Count, number, until
from cli.chaos.lines import Lines
from cli.chaos.naive_parts import LISTENING
from cli.stack.cloud import LocalCloud
from contract.topics import NodeAddress

STILL_S = 8.0
"""Nobody knows what a broker and a queue in memory still hold: drained is when nothing came for so long."""
REPLACED = ("ingest", "locate", "worker")


class Naive:
    """Nodes that publish what they hear, and an ingest that stores what it gets."""

    def __init__(self, cloud: LocalCloud, lines: Lines) -> None:
        self._cloud = cloud
        self._lines = lines
        self._taken = cloud.root / "taken"

    def begin(self, air_port: int) -> None:
        processes = self._cloud.processes
        for name in REPLACED:
            processes.stop(name)
        with psycopg.connect(self._cloud.postgres.dsn("postgres")) as conn:
            conn.execute("CREATE TABLE naive_event (life text NOT NULL, n bigint NOT NULL)")
            conn.execute("GRANT INSERT ON naive_event TO aisle_service")
        port = urlsplit(self._lines.broker_url).port or 0
        more = {"NAIVE_DSN": self._lines.service_dsn}
        self._start("ingest", "ingest", self._login("cloud", port) | more)
        log = processes.log("ingest")
        until(lambda: LISTENING in log.read_text(), "ingest did not subscribe within {} s", 30)
        for node in NODES:
            environment = self._login(str(node), self._lines.uplink_port)
            environment |= {"AISLE_AIR": f"127.0.0.1:{air_port}/{node.node}", "NAIVE_TAKEN": str(self._taken)}
            self._start(_name(node), "node", environment)
        until(lambda: self._rows() > 0, "nothing was stored within {} s", 30)

    def nodes(self) -> Sequence[str]:
        return [_name(node) for node in NODES]

    def drain(self) -> float:
        """The nodes go on running: what they hold is in their memory only."""
        begun, last, changed = time.monotonic(), -1, time.monotonic()

        def still() -> bool:
            nonlocal last, changed
            rows = self._rows()
            if rows != last:
                last, changed = rows, time.monotonic()
            return time.monotonic() - changed > STILL_S

        until(still, "it was not still within {} s", DRAIN_S)
        return changed - begun

    def count(self) -> Count:
        taken = self._taken.parent.glob(f"{self._taken.name}-*")
        accepted = sum(struct.unpack("<q", file.read_bytes())[0] for file in taken)
        # One event may have been published and not yet noted when its node was killed.
        stored = min(accepted, number(self._cloud, "SELECT count(DISTINCT (life, n)) FROM naive_event"))
        return Count(accepted, stored, self._rows())

    def _rows(self) -> int:
        return number(self._cloud, "SELECT count(*) FROM naive_event")

    def _login(self, user: str, port: int) -> dict[str, str]:
        password = self._cloud.broker.clients[user].password
        return {"NAIVE_PORT": str(port), "NAIVE_USER": user, "NAIVE_PASSWORD": password}

    def _start(self, name: str, part: str, environment: dict[str, str]) -> None:
        self._cloud.processes.start(name, sys.executable, "-m", "cli.chaos.naive_parts", part, env=environment)


def _name(node: NodeAddress) -> str:
    return f"node-{node.node}"
