"""The product in a round: its nodes and its ingest, and what a card in the wrong hands does to them."""

import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cli.chaos.certificates import HOST
from cli.chaos.design import DRAIN_S, NODES, Count, number, until
from cli.chaos.lines import Lines
from cli.chaos.load import beacons
from cli.stack.cloud import LocalCloud, Say
from cli.stack.processes import StackError
from cli.stack.scratch import ask, node_folder, staff, start_node, write_node
from contract.codec import encode_small, header_only
from contract.messages import Ack
from contract.topics import NodeAddress
from edge.outbox_file import Totals, read_totals

KEEPALIVE_S = 5
"""A line that is dead without a word is given up after one and a half of this; 20 s by default."""
ALSO = ("wiped", "cloned", "forged")
"""What happens once in the middle of a round, besides."""
NOT_AUTHORIZED = 135


@dataclass(frozen=True, slots=True)
class _Wiped:
    """A card as it was when it was wiped."""

    totals: Totals
    waiting: dict[int, int]
    """Events of the batches on it, by seq."""


class Ours:
    """A store of two nodes on the product's own outbox, uplink, ingest and ledger."""

    def __init__(self, cloud: LocalCloud, lines: Lines, say: Say) -> None:
        self._cloud = cloud
        self._lines = lines
        self._say = say
        self._wiped: list[_Wiped] = []
        self._clone: tuple[Path, Totals] | None = None
        self._air_port = 0

    def begin(self, air_port: int) -> None:
        self._air_port = air_port
        self._furnish()
        processes = self._cloud.processes
        processes.stop("ingest")
        environment = dict(self._cloud.environment)
        environment |= {"AISLE_BROKER": self._lines.broker_url, "AISLE_SERVICE_DSN": self._lines.service_dsn}
        processes.start("ingest", sys.executable, "-m", "cloud", "ingest", env=environment)
        for node in NODES:
            start_node(self._cloud, node, air_port)
        until(
            lambda: number(self._cloud, "SELECT count(DISTINCT node) FROM batch") == len(NODES),
            "the nodes' first batches were not stored within {} s",
            30,
        )

    def nodes(self) -> Sequence[str]:
        clone = [_name(NODES[0], clone=True)] if self._clone else []
        return [*(_name(node) for node in NODES), *clone]

    def also(self, what: str) -> None:
        """One of ALSO. Raises StackError if it had an effect that it must not have."""
        {"wiped": self._wipe, "cloned": self._copy, "forged": self._forge}[what]()

    def drain(self) -> float:
        for ended in self._cloud.processes.ended():
            self._say(f"{ended}; it is started again")
            self._cloud.processes.restart(ended.name)
        for name in self.nodes():  # they end well first, so that their open windows are accepted too
            self._cloud.processes.stop(name)
        begun = time.monotonic()
        self._empty(NODES, [node_folder(self._cloud, node) for node in NODES])
        if self._clone:  # two of one name take turns at the broker: each alone
            self._empty([NODES[0]], [self._clone[0]], clone=True)
        until(
            lambda: not number(self._cloud, "SELECT count(*) FROM locate_queue"),
            "the locator's queue was not empty within {} s",
            DRAIN_S,
        )
        return time.monotonic() - begun

    def count(self) -> Count:
        """The ledger is the measure: what an outbox took must be in it, or be refused aloud."""
        totals = [read_totals(node_folder(self._cloud, node) / "outbox.db") for node in NODES]
        accepted = sum(found.events_accepted for found in [*totals, *(wiped.totals for wiped in self._wiped)])
        if self._clone:
            folder, copied = self._clone
            accepted += read_totals(folder / "outbox.db").events_accepted - copied.events_accepted
        return Count(
            accepted,
            stored=number(self._cloud, "SELECT coalesce(sum(events), 0)::bigint FROM batch"),
            rows=number(self._cloud, "SELECT (SELECT count(*) FROM sighting) + (SELECT count(*) FROM crowd)"),
            refused=self._refused(),
            gone=sum(self._gone(wiped) for wiped in self._wiped),
        )

    # -- inside

    def _furnish(self) -> None:
        """Two nodes. Some of the beacons are enrolled, so that the locator has a story to lose."""
        floor = {"floor": "0", "name": "Floor", "width_m": 12, "depth_m": 8, "cell_m": 1}
        nodes = [{"node": node.node, "floor": "0", "x_m": 4 * i + 4, "y_m": 4} for i, node in enumerate(NODES)]
        plan = {"name": "Chaos", "tz": "UTC", "floors": [floor], "zones": [], "nodes": nodes, "beacons": beacons(5)}
        with staff(self._cloud) as api:
            ask(api, "PUT", f"/v1/stores/{NODES[0].store}", plan)
        for node in NODES:
            toml = write_node(self._cloud, node)
            line = [f"port = {self._lines.uplink_port}", f"keepalive_s = {KEEPALIVE_S}"]
            line += [f'ca_file = "{self._lines.authority}"'] if self._lines.tls else []
            host = HOST if self._lines.tls else "127.0.0.1"
            direct = f'host = "127.0.0.1"\nport = {self._cloud.broker.port}'
            toml.write_text(toml.read_text().replace(direct, "\n".join([f'host = "{host}"', *line])))

    def _empty(self, nodes: Sequence[NodeAddress], folders: Sequence[Path], clone: bool = False) -> None:
        """Start these nodes alone, until nothing waits in their outboxes."""
        names = [_name(node, clone) for node in nodes]
        for name in names:
            self._cloud.processes.restart(name)
        until(
            lambda: not any(read_totals(folder / "outbox.db").rows for folder in folders),
            "batches were not stored within {} s",
            DRAIN_S,
        )
        for name in names:
            self._cloud.processes.stop(name)

    def _refused(self) -> int:
        """Events in dead letters; one that is refused more than once is one letter."""
        with psycopg.connect(self._cloud.postgres.dsn("postgres")) as conn:
            payloads = [bytes(payload) for (payload,) in conn.execute("SELECT payload FROM dead_letter")]
        return sum(header.n for header in map(header_only, payloads) if header)

    # -- a card that was wiped: it comes back with another epoch, its names clash with none

    def _wipe(self) -> None:
        name, folder = _name(NODES[1]), node_folder(self._cloud, NODES[1])
        self._cloud.processes.kill(name)
        path = folder / "outbox.db"
        wiped = _Wiped(read_totals(path), _events(path))
        self._wiped.append(wiped)
        for file in folder.glob("outbox.db*"):
            file.unlink()
        self._cloud.processes.restart(name)
        until(lambda: path.exists() and _epoch(path) != wiped.totals.epoch, "no new epoch within {} s", 30)
        self._say(f"          wiped the card of {NODES[1].node}: {sum(wiped.waiting.values())} events lay on it")

    def _gone(self, wiped: _Wiped) -> int:
        """Events that were on the card and are not stored."""
        seqs = ",".join(map(str, wiped.waiting)) or "0"
        stored = f"SELECT coalesce(sum(events), 0)::bigint FROM batch WHERE epoch = '{wiped.totals.epoch}'"
        return sum(wiped.waiting.values()) - number(self._cloud, f"{stored} AND seq IN ({seqs})")

    # -- a card that was copied: two nodes go on under the same names with different contents

    def _copy(self) -> None:
        name, folder = _name(NODES[0]), node_folder(self._cloud, NODES[0])
        self._cloud.processes.stop(name)
        copy = folder.with_name(f"{NODES[0].node}-clone")
        shutil.copytree(folder, copy)
        self._clone = copy, read_totals(copy / "outbox.db")
        self._cloud.processes.restart(name)
        environment = {"AISLE_AIR": f"127.0.0.1:{self._air_port}/{NODES[0].node}"}
        toml = str(copy / "node.toml")
        clone = _name(NODES[0], clone=True)
        self._cloud.processes.start(clone, sys.executable, "-m", "edge", toml, env=environment)
        self._say(f"          copied the card of {NODES[0].node}: two nodes of one name now")

    # -- an ack that no cloud sent

    def _forge(self) -> None:
        """While nothing is stored: node-2 acknowledges node-1's batches, and the cloud those of another epoch."""
        path = node_folder(self._cloud, NODES[0]) / "outbox.db"
        self._cloud.processes.kill("ingest")
        until(lambda: read_totals(path).rows > 5, "node-1 had nothing waiting within {} s", 60)
        held, everything = _events(path), ((1, 2**62),)
        right, wrong = Ack(_epoch(path), everything), Ack("f" * 32, everything)
        reason = self._say_as(str(NODES[1]), NODES[0].down("ack"), encode_small(right))
        if reason != NOT_AUTHORIZED:
            raise StackError(f"the broker answered a node's forged ack with reason {reason}, not {NOT_AUTHORIZED}")
        self._say_as("cloud", NODES[0].down("ack"), encode_small(wrong))
        more = max(held)
        until(lambda: max(_events(path)) > more + 2, "node-1 took nothing more within {} s", 60)
        if missing := held.keys() - _events(path).keys():
            raise StackError(f"a forged ack deleted {len(missing)} batches")
        self._cloud.processes.restart("ingest")
        self._say("          an ack of another node was refused, one of another epoch had no effect")

    def _say_as(self, user: str, topic: str, payload: bytes) -> int:
        """Publish one message past all lines; returns the broker's reason code."""
        reasons: list[int] = []
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.username_pw_set(user, self._cloud.broker.clients[user].password)
        client.on_publish = lambda _c, _d, _mid, reason, _p: reasons.append(reason.value)
        client.connect("127.0.0.1", self._cloud.broker.port)
        client.loop_start()
        client.publish(topic, payload, qos=1)
        until(lambda: bool(reasons), "the broker did not answer within {} s", 10)
        client.disconnect()
        client.loop_stop()
        return reasons[0]


def _name(node: NodeAddress, clone: bool = False) -> str:
    return f"node-{node.node}-clone" if clone else f"node-{node.node}"


def _events(path: Path) -> dict[int, int]:
    """Events of the batches in an outbox, by seq."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
        return dict(db.execute("select seq, events from batch"))


def _epoch(path: Path) -> str:
    """The outbox's epoch; empty while it is being made."""
    try:
        return read_totals(path).epoch
    except (sqlite3.Error, KeyError):
        return ""
