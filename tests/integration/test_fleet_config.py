"""A node's configuration on its way: put over HTTP, told at its heartbeat, checked on the node, answered, seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from cloud.fleet import orders
from contract.clock import SimulatedClock
from contract.orders import MAX_OPT_OUTS, Desired, Reported, decode_order, encode_order
from contract.topics import NodeAddress
from edge import safe_mode
from edge.desired import DesiredConfig
from edge.privacy import OptOuts
from tests.conftest import Database
from tests.integration.cloud_support import NOON_US, Api, furnish, make_caller, make_tenant, running_api, superuser
from tests.integration.fleet_support import fleet_app

STORE = "main-street"
NODE, OTHER = NodeAddress("acme", STORE, "node-1"), NodeAddress("acme", STORE, "node-2")
PATH = f"/v1/stores/{STORE}/nodes/node-1/config"
FILE = '[node]\ntenant = "acme"\nstore = "main-street"\nnode = "node-1"\n[uplink]\nhost = "localhost"\n'


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    with running_api(database, app=fleet_app(database)) as running:
        yield running


@pytest.fixture
def technician(api: Api, database: Database) -> str:
    furnish(api, database, "acme")
    return make_caller(database, "acme", "technician")


@pytest.fixture
def ingest(database: Database) -> Iterator[Connection[TupleRow]]:
    """The ingest process's connection."""
    with psycopg.connect(database.service, autocommit=True) as conn:
        yield conn


class Node:
    """A node's own part, without its line."""

    def __init__(self, folder: Path, conn: Connection[TupleRow]) -> None:
        self.path = folder / "node.toml"
        self.path.write_text(FILE)
        self.conn = conn
        self.start()

    def start(self) -> None:
        clock = SimulatedClock(NOON_US, 0, 0.0)
        self.desired = DesiredConfig(safe_mode.load(self.path), self.path, self.path.parent / "desired.json", clock)
        self.say(self.desired.report())

    def say(self, report: Reported) -> None:
        said = orders.Said(NODE, "config", encode_order(report))
        assert orders.answers(self.conn, [said], NOON_US + 5_000_000) == []

    def beat(self) -> int:
        """A heartbeat and what follows from it; how many orders came."""
        told = orders.answers(self.conn, [orders.Said(NODE, "health", b"")], NOON_US)
        for topic, payload in told:
            assert topic == "aisle/v1/down/acme/main-street/node-1/config"
            report = self.desired.take(payload)
            assert report is not None
            if self.desired.restart:
                self.start()
            else:
                self.say(report)
        return len(told)


@pytest.fixture
def node(tmp_path: Path, ingest: Connection[TupleRow], technician: str) -> Node:
    return Node(tmp_path, ingest)


def put(api: Api, key: str, **settings: Any) -> int:
    answer = api.put(PATH, key, json={"settings": settings})
    assert answer.status_code == 200, answer.text
    version: int = answer.json()["version"]
    return version


def seen(api: Api, key: str) -> dict[str, Any]:
    """What the console's list shows of the node's configuration."""
    row = next(row for row in api.get(f"/v1/stores/{STORE}/nodes", key).json() if row["node"] == "node-1")
    return {name: row[name] for name in ("config_desired", "config_running", "config_state", "drift", "drift_since_us")}


def test_a_configuration_reaches_its_node_and_the_drift_ends(api: Api, technician: str, node: Node) -> None:
    assert seen(api, technician) == {
        "config_desired": 0, "config_running": 0, "config_state": "applied", "drift": False, "drift_since_us": None,
    }  # fmt: skip
    assert node.beat() == 0
    assert put(api, technician, ble={"mode": "passive"}) == 1
    assert seen(api, technician)["drift"] is True
    assert seen(api, technician)["drift_since_us"] == NOON_US
    assert node.beat() == 1
    assert node.desired.config.ble.mode == "passive"
    assert seen(api, technician) == {
        "config_desired": 1, "config_running": 1, "config_state": "applied", "drift": False, "drift_since_us": None,
    }  # fmt: skip
    assert node.beat() == 0, "said once is enough"


def test_a_refused_one_is_told_once_and_stays_drifting_with_its_reasons(api: Api, technician: str, node: Node) -> None:
    put(api, technician, ble={"mode": "of"})
    assert node.beat() == 1
    assert node.beat() == 0, "it would refuse it again"
    told = api.get(PATH, technician).json()
    assert (told["version"], told["running"], told["answered"], told["state"]) == (1, 0, 1, "refused")
    (problem,) = told["problems"]
    assert problem.startswith('[ble] mode: found "of", expected "active", "passive" or "off"')
    assert told["drift"] is True and told["drift_since_us"] == NOON_US
    assert put(api, technician, ble={"mode": "of"}) == 2, "to be tried again, by another release perhaps"
    assert node.beat() == 1
    put(api, technician, ble={"mode": "passive"})
    node.beat()
    assert seen(api, technician)["drift"] is False


def test_the_same_settings_are_the_same_version(api: Api, technician: str) -> None:
    assert put(api, technician, ble={"mode": "passive"}, health={"every_s": 60}) == 1
    assert put(api, technician, health={"every_s": 60}, ble={"mode": "passive"}) == 1
    assert put(api, technician) == 2
    told = api.get(PATH, technician).json()
    assert (told["settings"], told["desired_at_us"]) == ({}, NOON_US)


def test_a_node_whose_card_was_wiped_is_told_again(api: Api, technician: str, node: Node, tmp_path: Path) -> None:
    put(api, technician, ble={"mode": "passive"})
    node.beat()
    (tmp_path / "desired.json").unlink()
    node.start()
    assert seen(api, technician)["drift"] is True
    assert node.beat() == 1
    assert seen(api, technician)["drift"] is False


FORBIDDEN: list[tuple[str, dict[str, Any], str]] = [
    ("who it is", {"node": {"zone": "till"}}, "[node] belongs to the node's own file"),
    ("whom it speaks to", {"uplink": {"host": "x"}}, "[uplink] belongs to the node's own file"),
    ("null", {"ble": {"mode": None}}, "holds what a node.toml cannot"),
    ("a name that is none", {"ble]\n[node": {"node": "x"}}, "holds what a node.toml cannot"),
    ("a key that is none", {"ble": {"a b": 1}}, "holds what a node.toml cannot"),
    ("too deep", {"ble": {"a": {"a": {"a": {"a": {"a": 1}}}}}}, "holds what a node.toml cannot"),
    ("too much", {"ble": {"mode": "x" * 70_000}}, "more than 65536 bytes"),
    ("no section", {"ble": 1}, "valid dictionary"),
]


@pytest.mark.parametrize(("settings", "told"), [pytest.param(*f[1:], id=f[0]) for f in FORBIDDEN])
def test_what_no_node_may_be_told_is_refused_at_once(
    api: Api, technician: str, settings: dict[str, Any], told: str
) -> None:
    answer = api.put(PATH, technician, json={"settings": settings})
    assert answer.status_code == 422
    assert told in " ".join(error["message"] for error in answer.json()["errors"])


def test_only_a_technician_of_the_tenant_configures(api: Api, technician: str, database: Database) -> None:
    make_tenant(database, "beta")
    body: dict[str, Any] = {"settings": {}}
    assert api.put(PATH, make_caller(database, "beta", "technician"), json=body).status_code == 404
    assert api.put(PATH, make_caller(database, "acme", "analyst"), json=body).status_code == 403
    assert api.get(PATH, make_caller(database, "beta", "admin")).status_code == 404


def test_a_report_of_a_node_of_another_store_or_of_no_sense_changes_nothing(
    api: Api, technician: str, ingest: Connection[TupleRow], database: Database
) -> None:
    with superuser(database) as conn:
        before = conn.execute("SELECT * FROM node ORDER BY node_key").fetchall()
        good = encode_order(Reported(3, "applied", 3, NOON_US))
        for sender in (NodeAddress("acme", "side-street", "node-1"), NodeAddress("beta", STORE, "node-1")):
            orders.reported(ingest, sender, good, NOON_US)
            assert orders.due(ingest, [sender]) == []
        for payload in (b"", b"{}", b"\xff", good.replace(b"applied", b"pending")):
            orders.reported(ingest, NODE, payload, NOON_US)
        assert conn.execute("SELECT * FROM node ORDER BY node_key").fetchall() == before
        orders.reported(ingest, NODE, encode_order(Reported(1, "refused", 0, NOON_US, ("a \0 b",))), NOON_US)
        assert conn.execute("SELECT config_problems FROM node WHERE node = 'node-1'").fetchone() == (["a � b"],)


# -- opt-outs

OPT_OUTS = f"/v1/stores/{STORE}/opt-outs"
PHONE = "00:50:c2:00:00:01"


def test_a_device_that_opted_out_is_dropped_by_every_node_and_stands_nowhere(
    api: Api, technician: str, node: Node, database: Database, ingest: Connection[TupleRow]
) -> None:
    for _ in range(2):
        assert api.post(OPT_OUTS, technician, json={"address": PHONE}).status_code == 204
    assert node.beat() == 1
    assert node.beat() == 0
    entries = node.desired.opt_outs
    assert entries is not None and entries.version == 1
    out = OptOuts((entries,))
    assert out.is_out(bytes.fromhex("0050c2000001")) and not out.is_out(bytes.fromhex("0050c2000002"))
    ((_, payload),) = orders.due(ingest, [OTHER])
    assert decode_order(payload, Desired).opt_outs == entries, "the other node of the store too"
    with superuser(database) as conn:
        rows = conn.execute("SELECT opt_out::text FROM opt_out").fetchall()
        assert len(rows) == 1 and "50c2" not in rows[0][0]


def test_another_store_has_another_salt(api: Api, technician: str, database: Database) -> None:
    admin = furnish_other(api, database)
    api.post(OPT_OUTS, technician, json={"address": PHONE})
    api.post("/v1/stores/side-street/opt-outs", admin, json={"address": PHONE})
    with superuser(database) as conn:
        assert conn.execute("SELECT count(DISTINCT prefix) FROM opt_out").fetchone() == (2,)


def furnish_other(api: Api, database: Database) -> str:
    return furnish(api, database, "beta", "side-street")


@pytest.mark.parametrize(
    ("address", "told"), [("someone", "expected an address"), ("da:50:c2:00:00:01", "made this address up")]
)
def test_what_is_no_devices_own_address_is_refused(api: Api, technician: str, address: str, told: str) -> None:
    answer = api.post(OPT_OUTS, technician, json={"address": address})
    assert answer.status_code == 422 and told in answer.json()["detail"]
    assert api.post("/v1/stores/nowhere/opt-outs", technician, json={"address": PHONE}).status_code == 404


def test_a_list_ends_where_a_message_does(api: Api, technician: str, node: Node, database: Database) -> None:
    with superuser(database) as conn:
        conn.execute(
            "INSERT INTO opt_out SELECT 'acme', %s, substring(int4send(i), 2) FROM generate_series(1, %s) i",
            (STORE, MAX_OPT_OUTS - 1),
        )
    assert api.post(OPT_OUTS, technician, json={"address": PHONE}).status_code == 204
    assert node.beat() == 1 and len(OptOuts((node.desired.opt_outs,) if node.desired.opt_outs else ())) == MAX_OPT_OUTS
    assert api.post(OPT_OUTS, technician, json={"address": "00:50:c2:00:00:02"}).status_code == 409
