"""The walk test over HTTP: a technician sees what each node heard of an enrolled asset beacon, and of nothing else."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.stack.processes import free_port, listens
from cloud.accounts.service import found_tenant
from cloud.db import signed
from contract.identity import SubjectKind, beacon_subject
from tests.conftest import Database
from tests.integration.cloud_support import NOON, NOON_US, PLAN, Api, furnish, make_caller, running_api, superuser

BEACON = PLAN["beacons"][0]
SUBJECT = signed(beacon_subject(bytes.fromhex(BEACON["uuid"].replace("-", "")), BEACON["major"], BEACON["minor"]))
SPAN = {"from_us": NOON_US, "to_us": NOON_US + 10_000_000}
ASKED: dict[str, Any] = {name: BEACON[name] for name in ("uuid", "major", "minor")} | SPAN


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    with running_api(database) as running:
        yield running


@pytest.fixture
def technician(api: Api, database: Database) -> str:
    furnish(api, database, "acme")
    return make_caller(database, "acme", "technician")


def hear(
    database: Database, node: str, *windows: tuple[float, float, int], subject: int = SUBJECT, noon: datetime = NOON
) -> None:
    """Windows of a node: (seconds after noon, mean in dBm, packets)."""
    with superuser(database) as conn:
        for day in {noon.date(), (noon + timedelta(seconds=windows[-1][0])).date()}:
            conn.execute("SELECT ensure_day('sighting', %s)", (day,))
        row = conn.execute("SELECT node_key FROM node WHERE node = %s AND tenant_id = 'acme'", (node,)).fetchone()
        assert row is not None
        for at_s, dbm, packets in windows:
            conn.execute(
                "INSERT INTO sighting VALUES (%s, %s, %s, 1, %s, %s, %s, %s)",
                (noon + timedelta(seconds=at_s), subject, row[0], round(dbm * 10), packets, round(dbm),
                 int(SubjectKind.BEACON)),
            )  # fmt: skip


def ask(api: Api, key: str, **parts: Any) -> Any:
    return api.get("/v1/stores/main-street/heard", key, params=ASKED | parts)


def test_each_node_has_its_mean_over_packets_and_the_spread_of_one(api: Api, technician: str, database: Database):
    hear(database, "node-1", (1, -60, 3), (2, -64, 1))
    hear(database, "node-2", (1, -70.5, 2), (-1, -40, 9), (11, -40, 9))
    assert ask(api, technician).json() == [
        # mean (3 * -60 + -64) / 4; squares 3 * 1 + 1 * 9 = 12 over one window more than one
        {"node": "node-1", "mean_dbm": -61.0, "sd_db": 3.46, "n": 4},
        {"node": "node-2", "mean_dbm": -70.5, "sd_db": 0.0, "n": 2},
    ]


def test_only_an_enrolled_asset_of_that_store_can_be_asked_for(api: Api, technician: str, database: Database):
    hear(database, "node-1", (1, -60, 3))
    hear(database, "node-1", (1, -60, 3), subject=77)
    assert ask(api, technician, minor=BEACON["minor"] + 1).json() == []
    with superuser(database) as conn:
        conn.execute("UPDATE beacon SET role = 'staff'")
    assert ask(api, technician).json() == [], "a badge is a person"


def test_another_tenant_and_other_roles_get_nothing(api: Api, technician: str, database: Database):
    hear(database, "node-1", (1, -60, 3))
    furnish(api, database, "other")
    assert ask(api, make_caller(database, "other", "technician")).json() == []
    assert ask(api, make_caller(database, "acme", "analyst")).status_code == 403


@pytest.mark.parametrize("span", [{"to_us": NOON_US}, {"to_us": NOON_US + 600_000_001}])
def test_a_span_is_of_ten_minutes_at_most(api: Api, technician: str, span: dict[str, int]):
    assert ask(api, technician, **span).status_code == 422


def test_a_walk_with_the_nodes_own_command_becomes_the_floors_radio_map(
    api: Api, technician: str, database: Database, tmp_path: Path
):
    found_tenant(database.owner, "acme", "Acme", {"tech@acme": ("secret", ["technician"])})
    for node, dbm in (("node-1", -60.0), ("node-2", -70.0)):
        hear(database, node, *((at / 4, dbm + at % 3, 2) for at in range(400)), noon=datetime.now(UTC))
    (tmp_path / "points.csv").write_text("1,1,door\n4,4\n7,2,till\n")
    (tmp_path / "password").write_text("secret")
    port = free_port()
    environ = os.environ | {"AISLE_APP_DSN": database.app, "AISLE_HTTP": f"127.0.0.1:{port}"}
    with subprocess.Popen([sys.executable, "-m", "cloud", "api"], env=environ) as server:
        deadline = time.monotonic() + 20
        while not listens(port):
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        walk = ["survey", "--api", f"http://127.0.0.1:{port}", "--store", "main-street", "--login", "tech@acme"]
        walk += ["--password-file", str(tmp_path / "password"), "--beacon", "Cart 7", "--least", "2", "--upload"]
        walk += ["--points", str(tmp_path / "points.csv"), "--seconds", "2", "--out", str(tmp_path / "survey.csv")]
        done = subprocess.run(
            [sys.executable, "-m", "edge", *walk], input="\n" * 3, capture_output=True, text=True, check=False
        )
        server.terminate()
    assert done.returncode == 0, done.stderr
    fitted = json.loads(done.stdout)
    assert (fitted["places"], fitted["nodes"]) == (3, 2) and fitted["sd_db"] > 0
    with superuser(database) as conn:
        assert conn.execute("SELECT radio_map IS NOT NULL FROM floor WHERE tenant_id = 'acme'").fetchone() == (True,)
