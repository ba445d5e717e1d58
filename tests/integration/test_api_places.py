"""A store's plan over HTTP: it comes back as it was put, replaces the last one, and is checked against itself."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cloud.locate.radiomap import RadioMap
from tests.conftest import Database
from tests.integration.cloud_support import CAMPAIGN, PLAN, Api, furnish, make_caller, running_api, superuser


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    with running_api(database) as running:
        yield running


@pytest.fixture
def admin(api: Api, database: Database) -> str:
    return furnish(api, database, "acme")


def changed(**parts: Any) -> dict[str, Any]:
    return copy.deepcopy(PLAN) | parts


def test_a_plan_comes_back_as_it_was_put(api: Api, admin: str) -> None:
    assert api.get("/v1/stores/main-street/plan", admin).json() == PLAN
    assert api.get("/v1/stores", admin).json() == [
        {"store": "main-street", "name": "Main Street", "tz": "Europe/Berlin", "demo": False}
    ]


def test_putting_a_plan_again_replaces_zones_and_nodes(api: Api, admin: str) -> None:
    moved = PLAN["nodes"][1] | {"x_m": 5.5, "zone": None}
    zone = PLAN["zones"][0] | {"name": "Tea", "kind": "aisle", "categories": ["tea", "mugs"]}
    plan = changed(name="New", zones=[zone], nodes=[moved], opens="08:00")
    assert api.put("/v1/stores/main-street", admin, json=plan).status_code == 204
    assert api.get("/v1/stores/main-street/plan", admin).json() == plan


def test_a_node_that_left_may_come_back(api: Api, admin: str, database: Database) -> None:
    with superuser(database) as conn:
        before = conn.execute("SELECT node_key FROM node WHERE node = 'node-1'").fetchone()
    for nodes in (PLAN["nodes"][1:], PLAN["nodes"]):
        assert api.put("/v1/stores/main-street", admin, json=changed(nodes=nodes)).status_code == 204
    with superuser(database) as conn:
        after = conn.execute("SELECT node_key FROM node WHERE node = 'node-1'").fetchone()
    assert before == after, "what it told before is still its own"
    assert api.get("/v1/stores/main-street/plan", admin).json() == PLAN


NODE, ZONE, FLOOR = PLAN["nodes"][0], PLAN["zones"][0], PLAN["floors"][0]
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("an unknown time zone", {"tz": "Europe/Atlantis"}, "Europe/Atlantis"),
    ("a zone on another floor", {"zones": [ZONE | {"floor": "9"}]}, "is on floor '9'"),
    ("a node in no zone of ours", {"nodes": [NODE | {"zone": "moon"}]}, "has zone 'moon'"),
    ("a node twice", {"nodes": [NODE, NODE]}, "node 'node-1' stands twice"),
    ("a zone twice", {"zones": [ZONE, ZONE]}, "zone 'coffee' stands twice"),
    ("a line for a zone", {"zones": [ZONE | {"polygon": [[0, 0], [1, 1]]}]}, "at least 3"),
    ("a floor without width", {"floors": [FLOOR | {"width_m": 0}]}, "greater than 0"),
    ("no floor", {"floors": []}, "at least 1"),
    ("a floor twice", {"floors": [FLOOR, FLOOR]}, "floor '0' stands twice"),
    ("a beacon twice", {"beacons": PLAN["beacons"] * 2}, "stands twice"),
    ("a beacon on no floor of ours", {"beacons": [PLAN["beacons"][0] | {"floor": "9"}]}, "is on floor '9'"),
    ("a wall on no floor of ours", {"obstacles": [{"kind": "wall", "floor": "9", "path": [[0, 0], [1, 1]]}]}, "'9'"),
    ("a zone without an area", {"zones": [ZONE | {"polygon": [[0, 0], [1, 1], [2, 2]]}]}, "encloses nothing"),
    ("a name that is no name", {"nodes": [NODE | {"node": "Node 1"}]}, "pattern"),
    ("twenty-five o'clock", {"opens": "25:00"}, "pattern"),
    ("a key that is unknown", {"colour": "red"}, "Extra inputs"),
    ("a beacon's number too large", {"beacons": [PLAN["beacons"][0] | {"major": 65536}]}, "65535"),
]


@pytest.mark.parametrize(("parts", "message"), [pytest.param(*b[1:], id=b[0]) for b in BAD])
def test_a_plan_that_does_not_hold_together_is_refused_whole(
    api: Api, admin: str, parts: dict[str, Any], message: str
) -> None:
    answer = api.put("/v1/stores/main-street", admin, json=changed(**parts))
    assert answer.status_code == 422
    assert message in " ".join(e["message"] for e in answer.json()["errors"])
    assert api.get("/v1/stores/main-street/plan", admin).json() == PLAN


CONTRADICTS = [
    ("a node of another store", "side-street", {"nodes": [NODE]}, "node 'node-1' stands in another store"),
    ("another key for the floor", "main-street",
     {"floors": [FLOOR | {"floor": "1"}], "zones": [], "nodes": []}, "has floor '0'"),
    ("without a campaign's zone", "main-street", {"zones": PLAN["zones"][1:], "nodes": [NODE]}, "is a campaign's"),
]  # fmt: skip


@pytest.mark.parametrize(("store", "parts", "message"), [pytest.param(*c[1:], id=c[0]) for c in CONTRADICTS])
def test_a_plan_that_contradicts_what_is_there_is_a_conflict(
    api: Api, admin: str, store: str, parts: dict[str, Any], message: str
) -> None:
    answer = api.put(f"/v1/stores/{store}", admin, json=changed(**parts))
    assert (answer.status_code, message in answer.json()["detail"]) == (409, True), answer.text
    assert [s["store"] for s in api.get("/v1/stores", admin).json()] == ["main-street"]
    assert api.get("/v1/stores/main-street/plan", admin).json() == PLAN
    assert CAMPAIGN["zone"] == "coffee"


def points(node: str = "node-1") -> list[dict[str, Any]]:
    return [
        {"x_m": x + 0.5, "y_m": y + 0.5, "node": name, "mean_dbm": -50 - x - y, "sd_db": 2.5, "n": 30}
        for x in range(0, 8, 2)
        for y in range(0, 8, 2)
        for name in {node, "node-2"}
    ]


def test_a_survey_is_fitted_and_kept_until_the_floor_changes(api: Api, admin: str, database: Database) -> None:
    answer = api.put("/v1/stores/main-street/floors/0/survey", admin, json={"points": points()})
    assert answer.status_code == 200
    fitted = answer.json()
    assert (fitted["places"], fitted["nodes"]) == (16, 2) and 0 < fitted["sd_db"] < 20
    with superuser(database) as conn:
        row = conn.execute("SELECT radio_map FROM floor").fetchone()
    assert row is not None
    radio_map = RadioMap.from_bytes(bytes(row[0]))
    assert (radio_map.grid.nx, radio_map.grid.ny) == (8, 8) and np.isfinite(radio_map.sd_db).all()
    for width, kept in ((8, True), (9, False)):
        assert (
            api.put("/v1/stores/main-street", admin, json=changed(floors=[FLOOR | {"width_m": width}])).status_code
            == 204
        )
        with superuser(database) as conn:
            assert conn.execute("SELECT radio_map IS NOT NULL FROM floor").fetchone() == (kept,)


SURVEYS: list[tuple[str, str, dict[str, Any], int]] = [
    ("a node that does not stand there", "0", {"points": points("node-9")}, 422),
    ("a floor that is not there", "7", {"points": points()}, 404),
    ("no points", "0", {"points": []}, 422),
    ("a signal stronger than its sender", "0", {"points": [points()[0] | {"mean_dbm": 90}]}, 422),
]


@pytest.mark.parametrize(("floor", "body", "status"), [pytest.param(*s[1:], id=s[0]) for s in SURVEYS])
def test_a_survey_that_cannot_be_fitted(api: Api, admin: str, floor: str, body: dict[str, Any], status: int) -> None:
    assert api.put(f"/v1/stores/main-street/floors/{floor}/survey", admin, json=body).status_code == status


def test_nodes_tell_their_state_and_dead_letters_their_reason(api: Api, admin: str, database: Database) -> None:
    with superuser(database) as conn:
        conn.execute("INSERT INTO dead_letter (tenant_id, node, topic, reason, detail, payload, digest)"
                     " VALUES ('acme', 'node-1', 't', 'BadTime', 'd', 'abc', 'x')")  # fmt: skip
        conn.execute("UPDATE node SET state = 'online', state_at = now(), health = '{\"windows\": 7}'"
                     " WHERE node = 'node-1'")  # fmt: skip
    technician = make_caller(database, "acme", "technician")
    one, other = api.get("/v1/stores/main-street/nodes", technician).json()
    assert (one["node"], one["state"], one["health"], one["dead_letters"]) == ("node-1", "online", {"windows": 7}, 1)
    assert one["last_seen_us"] > 0
    assert (other["state"], other["health"], other["last_seen_us"], other["zone"]) == (
        "never seen",
        None,
        None,
        "coffee",
    )
    (letter,) = api.get("/v1/dead-letters", technician).json()
    assert (letter["reason"], letter["bytes"], letter["times"]) == ("BadTime", 3, 1)
    assert api.get("/v1/progress", admin).json()["dead_letters"] == 1
    assert api.get("/v1/progress/queue", admin).json() == {"queue": 0}
