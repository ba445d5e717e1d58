"""A simulated store on a local cloud: set up through the API, its nodes and its people as processes."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from cli.stack.cloud import LocalCloud
from cli.stack.processes import StackError, keep_port, last_line, listens
from contract.topics import NodeAddress
from edge.claim import AUTHORITY, IDENTITY, ClaimError, claim, days_left
from edge.outbox_file import Totals, read_totals
from simulators import scenario_files as scenarios
from simulators import setup
from simulators.run import serial_port
from simulators.scenario import Node, Scenario
from simulators.tagged import card_prefix

SIMULATED_SCANNER = "simulators.ble:SimulatedScanner"
SIMULATED_WIFI = "simulators.wifi_air:listen"
DRAIN_S = 30.0


def node_addresses(scenario: Scenario, tenant: str) -> list[NodeAddress]:
    """The scenario's nodes as the product knows them."""
    return [NodeAddress(tenant, scenario.store.store, node.node) for node in scenario.nodes]


class SimulatedStore:
    """Files of the store lie below the cloud's root: node.toml and outbox a node, RUN.json, truth, serial ports."""

    def __init__(self, cloud: LocalCloud, scenario: str, seed: int, clock: str) -> None:
        self.cloud = cloud
        self.scenario = scenarios.load(scenario)
        self._scenario_name = scenario
        self._seed = seed
        self._clock = clock
        self.nodes = node_addresses(self.scenario, cloud.tenant)
        self.folder = cloud.root / "store"
        self._levels: dict[str, tuple[float, float]] = {}
        self.air_port = keep_port(cloud.root / "air.port")
        self._wifi_ports = {node.node: _free_udp_port() for node in self.scenario.nodes if node.wifi}

    @property
    def summary(self) -> Path:
        """Where the people's process writes its figures when it ends."""
        return self.folder / "summary.json"

    def outbox(self, node: NodeAddress) -> Path:
        """A node's outbox."""
        return self.folder / node.node / "outbox.db"

    @property
    def is_set_up(self) -> bool:
        """Whether the store was made in the product before."""
        return self.cloud.secrets.has("till key")

    @contextmanager
    def staff(self, role: str = "admin") -> Iterator[httpx.Client]:
        """A client signed in as one of the accounts."""
        login = self.cloud.logins[role]
        with httpx.Client(base_url=self.cloud.url, headers={"X-Aisle": "1"}, timeout=60, trust_env=False) as client:
            client.post("/v1/session", json={"login": login.login, "password": login.password}).raise_for_status()
            yield client

    def set_up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Make the store, its survey, its members and the campaign, as staff would. Once."""
        scenario = self.scenario
        store = f"/v1/stores/{scenario.store.store}"
        with self.staff() as api:
            say("drawing the store and surveying it")
            _ok(api.put(store, json=setup.store_document(scenario)))
            survey = setup.survey_document(scenario, self._seed)
            _ok(api.put(f"{store}/floors/{scenario.store.floor}/survey", json=survey))
            say(f"admitting {scenario.people.member_pool} members")
            self._write_members(_ok(api.post("/v1/members/import", json=setup.members_document(scenario, self._seed))))
            campaign = setup.campaign_document(scenario)
            _ok(api.post("/v1/segments", json=setup.segment_document()))
            _ok(api.post("/v1/offers", json=setup.offer_document(scenario)))
            _ok(api.post("/v1/campaigns", json=campaign))
            _ok(api.post(f"/v1/campaigns/{campaign['campaign']}/start"))
            key = _ok(api.post("/v1/api-keys", json={"role": "till", "label": "simulated till"}))
            self.cloud.secrets.put("till key", key["key"])
            key = _ok(api.post("/v1/api-keys", json={"role": "import", "label": "simulated service desk"}))
            self.cloud.secrets.put("desk key", key["key"])

    def write_files(self) -> None:
        """node.toml of every node and RUN.json, for this run's ports and clock."""
        self._levels = setup.presence_levels(self.scenario, self._seed)
        if self.cloud.broker.tls_port:
            self._claim_nodes()
        for address, node in zip(self.nodes, self.scenario.nodes, strict=True):
            self._write_node(address, node)
        login = self.cloud.logins["admin"]
        run = {
            "scenario": self._scenario_name,
            "seed": self._seed,
            "api": self.cloud.url,
            "till_key": self.cloud.secrets.get("till key"),
            "members": "members.json",
            "clock": self._clock,
            "air_port": self.air_port,
            "desk_key": self.cloud.secrets.get("desk key") if self.cloud.secrets.has("desk key") else "",
            "wifi_ports": self._wifi_ports,
            "nodes": [f"{node.node}/node.toml" for node in self.nodes],
            "admin": {"login": login.login, "password": login.password},
        }
        _write_private(self.folder / "run.json", json.dumps(run, indent=1))

    def history(self, until_us: int, days: int) -> Iterator[dict[str, Any]]:
        """Fast-forward through the past; yields the progress lines as they come. Raises StackError."""
        log = self.cloud.root / "logs" / "history.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [
            "history",
            "--run",
            str(self.folder / "run.json"),
            "--until-us",
            str(until_us),
            "--days",
            str(days),
        ]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
        with (
            log.open("ab") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "simulators", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    yield json.loads(line)
            finally:
                if process.poll() is None and sys.exc_info()[0] is not None:
                    process.terminate()
        if process.returncode:
            raise StackError(f"history ended with {process.returncode}: {last_line(log)}")

    def start(self) -> None:
        """People and nodes, live."""
        processes = self.cloud.processes
        run = str(self.folder / "run.json")
        processes.start("people", sys.executable, "-m", "simulators", "live", "--run", run)
        processes.wait("people", lambda: listens(self.air_port), 30)
        for node in self.nodes:
            self.start_node(node)

    def start_node(self, node: NodeAddress) -> None:
        """One node, as `python -m edge node.toml`."""
        environment = {"AISLE_AIR": f"127.0.0.1:{self.air_port}/{node.node}"}
        if node.node in self._wifi_ports:
            environment["AISLE_WIFI_AIR"] = f"127.0.0.1:{self._wifi_ports[node.node]}"
        toml = str(self.folder / node.node / "node.toml")
        self.cloud.processes.start(f"node-{node.node}", sys.executable, "-m", "edge", toml, env=environment)

    def stop_people(self) -> dict[str, Any]:
        """End the people's process; returns what it saw."""
        self.cloud.processes.stop("people")
        return dict(json.loads(self.summary.read_text())) if self.summary.exists() else {}

    def stop_nodes(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            self.cloud.processes.stop(f"node-{node.node}")

    def drain(self, api: httpx.Client) -> None:
        """Until every outbox is empty and the story is told; a node that stopped with something left is started again.

        Raises StackError if that takes too long.
        """
        deadline = time.monotonic() + DRAIN_S
        if self.waiting():
            for node in self.nodes:
                self.cloud.processes.restart(f"node-{node.node}")
        while self.waiting() or _ok(api.get("/v1/progress/queue"))["queue"]:
            if time.monotonic() > deadline:
                logs = self.cloud.root / "logs"
                raise StackError(f"{self.waiting()} batches were not stored within {DRAIN_S:g} s; see {logs}")
            time.sleep(0.1)

    def accepted(self) -> int:
        """Events that all outboxes have taken since they were made."""
        return sum(totals.events_accepted for totals in self._totals())

    def waiting(self) -> int:
        """Batches that are not acknowledged yet, in all outboxes."""
        return sum(totals.rows for totals in self._totals())

    def _totals(self) -> list[Totals]:
        return [read_totals(self.outbox(node)) for node in self.nodes if self.outbox(node).exists()]

    def _write_members(self, answer: Any) -> None:
        _write_private(self.folder / "members.json", json.dumps(answer["members"]))

    def _claim_nodes(self) -> None:
        """A certificate for each node that has none in force, by a one-time code, as a technician does it."""
        now = datetime.now(UTC)
        folders = {address: self.folder / address.node for address in self.nodes}
        waiting = [each for each, folder in folders.items() if (days_left(folder / IDENTITY, now) or 0) <= 0]
        if not waiting:
            return
        with self.staff("technician") as api:
            for address in waiting:
                opened = _ok(api.post(f"/v1/stores/{address.store}/nodes/{address.node}/claim"))
                try:
                    claim(self.cloud.url, opened["code"], folders[address], address)
                except ClaimError as error:
                    raise StackError(f"{address} could not claim its certificate: {error}") from None

    def _uplink(self, address: NodeAddress, folder: Path) -> list[str]:
        """How a node reaches the broker: with the certificate that it claimed, or by its password."""
        if self.cloud.broker.tls_port:
            identity = [f'ca_file = "{AUTHORITY}"', f'cert_file = "{IDENTITY}"', f'key_file = "{IDENTITY}"']
            port = f"port = {self.cloud.broker.tls_port}"
            return ["[uplink]", 'host = "127.0.0.1"', port, *identity, "[privacy]", "pseudonyms = true"]
        _write_private(folder / "password", self.cloud.node_password(address))
        port = f"port = {self.cloud.broker.port}"
        return ["[uplink]", 'host = "127.0.0.1"', port, f'username = "{address}"', 'password_file = "password"']

    def _write_node(self, address: NodeAddress, node: Node) -> None:
        folder = self.folder / node.node
        enter_dbm, exit_dbm = self._levels.get(node.node, (-67.0, -75.0))
        lines = [
            "[node]",
            f'tenant = "{address.tenant}"',
            f'store = "{address.store}"',
            f'node = "{address.node}"',
            *([f'zone = "{node.zone}"'] if node.zone else []),
            f'tz = "{self.scenario.store.tz}"',
            f'clock = "{self._clock}"',
            *self._uplink(address, folder),
            "[ble]",
            f'backend = "{SIMULATED_SCANNER}"',
            "[presence]",
            f"enter_dbm = {enter_dbm}",
            f"exit_dbm = {exit_dbm}",
            "[outbox]",
            'path = "outbox.db"',
            *self._rfid(node),
            *self._wifi(node),
        ]
        _write_private(folder / "node.toml", "\n".join(lines) + "\n")

    def _rfid(self, node: Node) -> list[str]:
        """The sections of a node's RFID modules, whose ports the people's process makes."""
        tagged = self.scenario.tagged
        if tagged is None or not node.uhf:
            return []
        lines = []
        for uhf in node.uhf:
            port = serial_port(self.folder.resolve(), node.node, uhf.name)
            lines += ["[[uhf]]", f'name = "{uhf.name}"', f"port = {json.dumps(str(port))}"]
        lines += ["[inventory]", f"departed_s = {tagged.departed_s}", f'cards = ["{card_prefix(tagged).hex()}"]']
        return [*lines, "[inventory.zones]", *(f'"{uhf.name}/1" = "{uhf.zone}"' for uhf in node.uhf)]

    def _wifi(self, node: Node) -> list[str]:
        """The section of a node's Wi-Fi, which stays on its channel."""
        if node.wifi is None:
            return []
        return ["[wifi]", f'interface = "{node.wifi}"', f'backend = "{SIMULATED_WIFI}"', "hop = []"]


def opening_instant(scenario: Scenario, world_start: Callable[[date], int], saved_us: int | None) -> int:
    """When a run's clock begins: where the last run stopped, or on the busiest morning minute of today or tomorrow."""
    today = scenario.date_of(int(datetime.now(UTC).timestamp() * 1e6))
    if saved_us is None:
        return world_start(today)
    day = scenario.date_of(saved_us)
    _, closes_us = scenario.hours_us(day)
    return saved_us if saved_us < closes_us - 3_600_000_000 else world_start(day + timedelta(days=1))


def _free_udp_port() -> int:
    """A port on which no datagrams are received now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _ok(response: httpx.Response) -> Any:
    if response.is_error:
        raise StackError(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
    return response.json() if response.content else None


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.chmod(0o600)
    path.write_text(text)
