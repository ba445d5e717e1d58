"""Plans in versions over HTTP: yesterday's plan stays yesterday's, and what the places' checks find is told."""

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from cli.stack.database import OWNER, DatabaseServer
from cloud import db
from cloud.locate.radiomap import RadioMap
from cloud.places.jobs import check_beacons, check_maps
from cloud.places.models import Beacon, Plan
from cloud.places.service import apply_due, subject_of
from contract.identity import SubjectKind
from edge.survey import Row, write_survey
from tests.conftest import Database
from tests.integration.cloud_support import NOON, NOON_US, PLAN, Api, furnish, make_caller, running_api, superuser
from tests.unit.test_places_picture import JPEG, png

STORE = "/v1/stores/main-street"
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
ZONE = PLAN["zones"][0]
CART = PLAN["beacons"][0]
SHELF_TAG = CART | {"minor": 9, "role": "fixed", "label": "Shelf", "floor": "0", "x_m": 1.0, "y_m": 1.0}


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    with running_api(database) as running:
        yield running


@pytest.fixture
def admin(api: Api, database: Database) -> str:
    return furnish(api, database, "acme")


def changed(**parts: Any) -> dict[str, Any]:
    return copy.deepcopy(PLAN) | parts


def put(api: Api, key: str, plan: dict[str, Any], **query: int) -> int:
    """The version that this makes."""
    answer = api.put(STORE, key, json=plan, params=query)
    assert answer.status_code == 204, answer.text
    return int(answer.headers["X-Aisle-Plan"])


def plan_at(api: Api, key: str, at_us: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"{STORE}/plan", key, params={} if at_us is None else {"at_us": at_us}).json()
    return found


# -- versions


def test_yesterdays_plan_stays_yesterdays(api: Api, admin: str) -> None:
    renamed = changed(zones=[ZONE | {"name": "Tea"}, PLAN["zones"][1]])
    assert put(api, admin, renamed, valid_from_us=NOON_US - HOUR_US) == 2
    assert plan_at(api, admin) == plan_at(api, admin, NOON_US - HOUR_US) == renamed
    assert plan_at(api, admin, NOON_US - HOUR_US - 1) == plan_at(api, admin, 0) == PLAN
    first, second = api.get(f"{STORE}/plans", admin).json()
    assert (first["valid_from_us"], first["valid_until_us"], first["now"]) == (0, NOON_US - HOUR_US, False)
    assert (second["valid_from_us"], second["valid_until_us"], second["now"]) == (NOON_US - HOUR_US, None, True)


def test_the_same_plan_again_is_no_new_version(api: Api, admin: str) -> None:
    assert put(api, admin, PLAN) == put(api, admin, changed(nodes=PLAN["nodes"][::-1])) == 1


def test_a_later_version_from_the_same_instant_corrects_the_earlier(api: Api, admin: str) -> None:
    for name in ("Slip of the pen", "Right"):
        put(api, admin, changed(name=name), valid_from_us=NOON_US - 5)
    assert [one["now"] for one in api.get(f"{STORE}/plans", admin).json()] == [False, False, True]
    assert plan_at(api, admin, NOON_US - 5)["name"] == "Right"


def test_two_who_change_one_plan_do_not_undo_each_other(api: Api, admin: str) -> None:
    assert put(api, admin, changed(name="One"), if_version=1) == 2
    answer = api.put(STORE, admin, json=changed(name="Other"), params={"if_version": 1})
    assert (answer.status_code, "newest version is 2" in answer.json()["detail"]) == (409, True)


def test_a_plan_to_come_counts_when_its_instant_has_come(api: Api, admin: str, database: Database) -> None:
    later = changed(name="Refitted", nodes=PLAN["nodes"][:1])
    put(api, admin, later, valid_from_us=NOON_US + HOUR_US)
    assert (plan_at(api, admin), plan_at(api, admin, NOON_US + HOUR_US)) == (PLAN, later)
    with psycopg.connect(database.service, autocommit=True) as conn:
        for now_us, applied, nodes in (
            (NOON_US + HOUR_US - 1, 0, 2),
            (NOON_US + HOUR_US, 1, 1),
            (NOON_US + 2 * HOUR_US, 0, 1),
        ):
            with conn.transaction():
                assert apply_due(conn, now_us) == applied
            assert conn.execute("SELECT count(*) FROM node WHERE retired_at IS NULL").fetchone() == (nodes,)


def test_a_plan_to_come_that_can_no_longer_be_is_told(api: Api, admin: str, database: Database) -> None:
    put(api, admin, changed(zones=PLAN["zones"][1:], nodes=PLAN["nodes"][:1]), valid_from_us=NOON_US + HOUR_US)
    with psycopg.connect(database.service) as conn:
        assert apply_due(conn, NOON_US + HOUR_US) == 1
        assert apply_due(conn, NOON_US + HOUR_US) == 0, "it is not tried for ever"
    (finding,) = api.get(f"{STORE}/findings", admin).json()
    assert finding["kind"] == "plan-refused" and "is a campaign's" in finding["says"]
    with superuser(database) as conn:
        assert conn.execute("SELECT count(*) FROM zone").fetchone() == (2,), "the plan before it stays"


def test_a_version_may_not_lie_further_ahead_than_a_year(api: Api, admin: str) -> None:
    answer = api.put(STORE, admin, json=changed(name="Far"), params={"valid_from_us": NOON_US + 400 * DAY_US})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "valid_from_us")


def test_reports_can_ask_for_the_zones_and_floors_of_an_instant(api: Api, admin: str, database: Database) -> None:
    wider = PLAN["floors"][0] | {"width_m": 12.5}
    put(api, admin, changed(floors=[wider], zones=[ZONE | {"zone": "tea"}, *PLAN["zones"]]))
    with psycopg.connect(database.app, autocommit=True) as conn:
        conn.execute("SELECT set_config('aisle.tenant', 'acme', false)")
        for at, zones, width in (("epoch", ["coffee", "till"], 8), (NOON, ["coffee", "till", "tea"], 12.5)):
            key = ("acme", "main-street", at)
            found = conn.execute("SELECT zone FROM zones_at(%s, %s, %s)", key).fetchall()
            assert sorted(zone for (zone,) in found) == sorted(zones)
            sold = "SELECT categories FROM zones_at(%s, %s, %s) WHERE zone = 'coffee'"
            assert conn.execute(sold, key).fetchone() == (["coffee"],)
            assert conn.execute("SELECT width_m FROM floors_at(%s, %s, %s)", key).fetchone() == (width,)
        conn.execute("SELECT set_config('aisle.tenant', 'beta', false)")
        assert conn.execute("SELECT count(*) FROM zones_at(%s, %s, %s)", key).fetchone() == (0,)


def test_a_store_has_several_floors_and_may_close_one(api: Api, admin: str, database: Database) -> None:
    first = {"floor": "1", "name": "First", "width_m": 5, "depth_m": 5, "cell_m": 1}
    node = {"node": "stairs", "floor": "1", "x_m": 1, "y_m": 1, "z_m": 2.5, "zone": None,
            "antennas": [{"port": 1, "x_m": 2, "y_m": 1, "z_m": 2, "zone": "coffee"}]}  # fmt: skip
    two = changed(floors=[*PLAN["floors"], first], nodes=[*PLAN["nodes"], node],
                  obstacles=[{"kind": "wall", "floor": "1", "path": [[0, 1], [4, 1]], "loss_db": 12}])  # fmt: skip
    put(api, admin, two)
    assert plan_at(api, admin) == two
    put(api, admin, PLAN)
    assert plan_at(api, admin) == PLAN
    with superuser(database) as conn:
        assert conn.execute("SELECT array_agg(floor) FROM floor").fetchone() == (["0"],)
        row = conn.execute("SELECT retired_at IS NOT NULL FROM node WHERE node = 'stairs'").fetchone()
        assert row == (True,)


def test_a_plan_from_before_there_were_versions_is_the_first(postgres: DatabaseServer) -> None:
    postgres.create_database("aisle_before_plans")
    try:
        with psycopg.connect(postgres.dsn(OWNER, "aisle_before_plans"), autocommit=True) as conn:
            conn.execute("CREATE TABLE schema_migration (file text PRIMARY KEY, applied_at timestamptz DEFAULT now())")
            for file, text in db.migrations(False):
                if file < "0020":
                    conn.execute(text.encode())
        with psycopg.connect(postgres.dsn("postgres", "aisle_before_plans"), autocommit=True) as conn:
            conn.execute(BEFORE)
        with psycopg.connect(postgres.dsn(OWNER, "aisle_before_plans"), autocommit=True) as conn:
            conn.execute(next(text for file, text in db.migrations(False) if file == "0020_plans.sql").encode())
        with psycopg.connect(postgres.dsn("postgres", "aisle_before_plans")) as conn:
            ((store, version, body),) = conn.execute("SELECT store_id, version, body FROM plan").fetchall()
            assert (store, version) == ("main", 1), "a store without a floor has no plan"
            assert body == Plan.model_validate(body).model_dump(mode="json"), "putting it again is no change"
            assert (body["floors"][0]["cell_m"], body["zones"][0]["categories"], len(body["nodes"])) == (
                0.3,
                ["tea"],
                1,
            )
            (beacon,) = body["beacons"]
            assert (beacon["uuid"], beacon["x_m"]) == ("f7826da6-4fa2-4e98-8024-bc5b71e0893e", 1.1)
    finally:
        postgres.drop_database("aisle_before_plans")


BEFORE = b"""
INSERT INTO tenant VALUES ('acme', 'Acme');
INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'main', 'Main', 'UTC'), ('acme', 'bare', 'B', 'UTC');
INSERT INTO floor VALUES ('acme', 'main', '0', 'Ground', 20.1, 10, 0.3);
INSERT INTO zone VALUES ('acme', 'main', 'tea', '0', 'Tea', 'shelf', '[[0, 0], [1, 0], [1, 1.1]]', '{tea}');
INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m, retired_at)
VALUES ('acme', 'n-1', 'main', '0', 1.1, 2, 2.5, NULL), ('acme', 'n-2', 'main', '0', 1, 2, 2.5, now());
INSERT INTO beacon (tenant_id, store_id, subject, uuid, major, minor, role, label, x_m, y_m)
VALUES ('acme', 'main', 7, 'f7826da6-4fa2-4e98-8024-bc5b71e0893e', 1, 2, 'fixed', 'A', 1.1, 2);
"""


# -- beacons


def enrolled(database: Database) -> list[str]:
    with superuser(database) as conn:
        rows = conn.execute("SELECT label FROM beacon WHERE retired_at IS NULL ORDER BY label").fetchall()
        return [label for (label,) in rows]


def test_a_beacon_that_left_the_plan_is_enrolled_no_more_and_may_come_back(
    api: Api, admin: str, database: Database
) -> None:
    with superuser(database) as conn:
        before = conn.execute("SELECT beacon_id FROM beacon").fetchone()
        assert before is not None
        conn.execute("INSERT INTO visit (tenant_id, store_id, beacon_id, started_at, seen_at) VALUES"
                     " ('acme', 'main-street', %s, now(), now())", before)  # fmt: skip
    put(api, admin, changed(beacons=[SHELF_TAG]))
    assert enrolled(database) == ["Shelf"]
    put(api, admin, PLAN)
    assert enrolled(database) == ["Cart 7"]
    with superuser(database) as conn:
        after = conn.execute("SELECT beacon_id FROM beacon WHERE label = 'Cart 7'").fetchone()
    assert before == after, "its visits are still its own"


def hear(database: Database, node: str, beacon: dict[str, Any], dbm: float, minutes: range, radio: int = 1) -> None:
    """A window a minute before noon."""
    one = Beacon.model_validate(beacon)
    subject = subject_of(one.uuid, one.major, one.minor)
    with superuser(database) as conn:
        row = conn.execute("SELECT node_key FROM node WHERE node = %s AND tenant_id = 'acme'", (node,)).fetchone()
        assert row is not None
        for minute in minutes:
            at = NOON - timedelta(minutes=minute, seconds=30)
            conn.execute("SELECT ensure_day('sighting', %s)", (at.date(),))
            window = at, subject, row[0], radio, round(dbm * 10), 60, round(dbm), int(SubjectKind.BEACON)
            conn.execute("INSERT INTO sighting VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", window)


def test_a_copied_beacon_becomes_one_finding_until_it_is_closed(api: Api, admin: str, database: Database) -> None:
    put(api, admin, changed(beacons=[CART, SHELF_TAG]))
    hear(database, "node-1", SHELF_TAG, -60, range(50))
    hear(database, "node-1", CART, -60, range(50))
    hear(database, "node-1", CART, -70, range(20), radio=2)
    with psycopg.connect(database.service, autocommit=True) as conn:
        assert [check_beacons(conn, NOON_US + late) for late in (0, 60_000_000)] == [1, 1]
    technician = make_caller(database, "acme", "technician")
    (finding,) = api.get(f"{STORE}/findings", technician).json()
    assert (finding["kind"], finding["about"]) == ("beacon-cloned", f"{CART['uuid']}/1/2")
    assert finding["evidence"]["senders"] == [
        {"store": "main-street", "node": "node-1", "senders": 2, "minutes_at_once": 20}
    ]
    assert finding["last_us"] == NOON_US + 60_000_000
    close = f"{STORE}/findings/{finding['finding']}/close"
    assert [api.post(close, technician).status_code for _ in range(2)] == [204, 404]
    with psycopg.connect(database.service, autocommit=True) as conn:
        check_beacons(conn, NOON_US + 120_000_000)
    assert api.get(f"{STORE}/findings", technician).json() == [], "the same evidence says nothing new"
    (closed,) = api.get(f"{STORE}/findings", technician, params={"closed": True}).json()
    assert closed["closed_us"] == NOON_US
    assert api.get(f"{STORE}/findings", make_caller(database, "acme", "analyst")).status_code == 403


def test_a_registered_beacon_that_another_store_hears_is_elsewhere(api: Api, admin: str, database: Database) -> None:
    put(api, admin, changed(beacons=[SHELF_TAG]))
    other = changed(name="Side", nodes=[PLAN["nodes"][0] | {"node": "side-1"}], beacons=[])
    assert api.put("/v1/stores/side-street", admin, json=other).status_code == 204
    hear(database, "side-1", SHELF_TAG, -80, range(10))
    with psycopg.connect(database.service, autocommit=True) as conn:
        assert check_beacons(conn, NOON_US) == 1
    (finding,) = api.get(f"{STORE}/findings", admin).json()
    assert finding["kind"] == "beacon-elsewhere"
    assert finding["evidence"]["too_far"][0]["store"] == "side-street"


# -- surveys and radio maps

HANG = {"node-1": (1.0, 1.0), "node-2": (7.0, 1.0), "node-3": (1.0, 7.0), "node-4": (7.0, 7.0)}
NODES: list[dict[str, Any]] = [
    {"node": node, "floor": "0", "x_m": x, "y_m": y, "z_m": 2.5, "zone": None} for node, (x, y) in HANG.items()
]
ROWS = [
    Row(x + 0.5, y + 0.5, node, -60 - 2 * abs(x - at_x) - abs(y - at_y), 2.5, 30)
    for x in range(0, 8, 2)
    for y in range(0, 8, 2)
    for node, (at_x, at_y) in HANG.items()
]


def radio_map(database: Database) -> RadioMap:
    with superuser(database) as conn:
        row = conn.execute("SELECT radio_map FROM floor").fetchone()
    assert row is not None
    return RadioMap.from_bytes(bytes(row[0]))


@pytest.mark.parametrize(("name", "media_type"), [("walk.csv", "text/csv"), ("walk.json", "application/json")])
def test_the_file_of_a_walk_becomes_the_map_of_that_version(
    api: Api, admin: str, database: Database, tmp_path: Path, name: str, media_type: str
) -> None:
    put(api, admin, changed(nodes=NODES))
    write_survey(tmp_path / name, ROWS)
    body = (tmp_path / name).read_bytes()
    answer = api.post(f"{STORE}/surveys", admin, content=body, headers={"content-type": media_type})
    assert answer.status_code == 201, answer.text
    taken = answer.json()
    assert (taken["floor"], taken["version"], taken["places"], taken["nodes"]) == ("0", 2, 16, 4)
    assert api.get(f"{STORE}/surveys", admin).json() == [taken]
    assert radio_map(database).nodes == 4


BAD_SURVEYS: list[tuple[str, bytes, str, dict[str, Any]]] = [
    ("no survey", b"a,b\n1,2\n", "text/csv", {"field": "body", "line": 1}),
    ("no text", b"\xff\xfe\x00", "text/csv", {"field": "body"}),
    ("a word", b"x_m,y_m,node,mean_dbm,sd_db,n\n1,1,node-1,-60,2,9\n1,one,node-1,-60,2,9\n", "text/csv",
     {"field": "y_m", "line": 3}),
    ("a short line", b"x_m,y_m,node,mean_dbm,sd_db,n\n1,1,node-1\n", "text/csv", {"field": "mean_dbm", "line": 2}),
    ("a node that is not there", b"x_m,y_m,node,mean_dbm,sd_db,n\n1,1,moon,-60,2,9\n", "text/csv",
     {"field": "points.0.node"}),
    ("nothing heard", b"x_m,y_m,node,mean_dbm,sd_db,n\n1,1,node-1,-60,2,1\n", "text/csv", {"field": "points"}),
    ("no JSON", b"{", "application/json", {"field": "body"}),
    ("a level", b'{"points": [{"x_m": 1, "y_m": 1, "node": "n", "mean_dbm": 99, "sd_db": 1, "n": 1}]}',
     "application/json", {"field": "points.0.mean_dbm"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "media_type", "told"), [pytest.param(*b[1:], id=b[0]) for b in BAD_SURVEYS])
def test_a_file_that_is_no_survey_is_refused_by_line_or_path(
    api: Api, admin: str, body: bytes, media_type: str, told: dict[str, Any]
) -> None:
    answer = api.post(f"{STORE}/surveys", admin, content=body, headers={"content-type": media_type})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    error = answer.json()["errors"][0]
    assert {name: error.get(name) for name in told} == told
    assert api.get(f"{STORE}/surveys", admin).json() == []


def test_of_a_survey_a_later_plan_keeps_what_still_holds(api: Api, admin: str, database: Database) -> None:
    put(api, admin, changed(nodes=NODES))
    points = [row._asdict() for row in ROWS]
    assert api.put(f"{STORE}/floors/0/survey", admin, json={"points": points}).status_code == 200
    measured = radio_map(database)
    moved = [NODES[0], NODES[1] | {"x_m": 4.0}, *NODES[2:]]
    put(api, admin, changed(nodes=moved))
    carried = radio_map(database)
    same = [bool(np.array_equal(a, b)) for a, b in zip(measured.mean_dbm, carried.mean_dbm, strict=True)]
    assert same == [True, False, True, True], "the one that moved is not where it was measured"
    assert carried.map_sd_db is not None
    put(api, admin, changed(nodes=NODES))
    assert np.array_equal(radio_map(database).mean_dbm, measured.mean_dbm), "moved back: all of it holds again"
    put(api, admin, changed(nodes=[node | {"z_m": 4.0} for node in NODES]))
    put(api, admin, changed(nodes=NODES[1:]))
    assert radio_map(database).nodes == 3


def test_a_node_that_hears_softer_than_its_map_is_found(api: Api, admin: str, database: Database) -> None:
    tags = [SHELF_TAG | {"minor": 20 + i, "label": f"Tag {i}", "x_m": 2.0 * i + 1, "y_m": 3.0} for i in range(4)]
    put(api, admin, changed(nodes=NODES, beacons=tags))
    points = [row._asdict() for row in ROWS]
    assert api.put(f"{STORE}/floors/0/survey", admin, json={"points": points}).status_code == 200
    fitted = radio_map(database)
    with superuser(database) as conn:
        conn.execute("UPDATE survey SET taken_at = taken_at - interval '20 days'")
        cells = fitted.grid.cell_of([(tag["x_m"], tag["y_m"]) for tag in tags])
        for (beacon,), cell in zip(conn.execute("SELECT beacon_id FROM beacon WHERE retired_at IS NULL ORDER BY minor"),
                                   cells.tolist(), strict=True):  # fmt: skip
            for j, node in enumerate(NODES):
                for ago in range(1, 20):
                    drift = -9.0 if node["node"] == "node-3" and ago < 6 else 0.0
                    level = float(fitted.mean_dbm[j, cell]) + drift
                    conn.execute("INSERT INTO fixed_level VALUES ('acme', 'main-street', %s, %s, %s, %s, 500)",
                                 (beacon, node["node"], (NOON - timedelta(days=ago)).date(), level))  # fmt: skip
    with psycopg.connect(database.service, autocommit=True) as conn:
        assert check_maps(conn, NOON_US) == 1
    (finding,) = api.get(f"{STORE}/findings", admin).json()
    assert (finding["kind"], finding["about"]) == ("map-aged", "node-3")
    assert "aged at node node-3 by 9 dB (softer)" in finding["says"]
    assert finding["evidence"] == {"floor": "0", "drift_db": -9.0, "error_db": 0.8, "tags": 4, "days": 3}


def test_levels_of_fixed_beacons_are_kept_by_the_day(api: Api, admin: str, database: Database) -> None:
    put(api, admin, changed(beacons=[SHELF_TAG, CART]))
    hear(database, "node-1", SHELF_TAG, -60, range(10))
    hear(database, "node-1", CART, -50, range(10))
    with psycopg.connect(database.service, autocommit=True) as conn:
        for _ in range(2):
            check_maps(conn, NOON_US)
        rows = conn.execute("SELECT node, day, mean_dbm, n FROM fixed_level").fetchall()
    assert rows == [("node-1", NOON.date(), -60, 600)]


# -- pictures, GeoJSON, rings, coverage


def test_a_picture_is_uploaded_named_by_a_floor_and_read(api: Api, admin: str, database: Database) -> None:
    answer = api.post(f"{STORE}/images", admin, content=png(300, 200))
    assert answer.status_code == 201
    image = answer.json()["image"]
    fixes = [{"x_px": 0, "y_px": 200, "x_m": 0, "y_m": 0}, {"x_px": 300, "y_px": 200, "x_m": 8, "y_m": 0}]
    plan = changed(floors=[PLAN["floors"][0] | {"picture": {"image": image, "fixes": fixes}}])
    put(api, admin, plan)
    assert plan_at(api, admin) == plan
    read = api.get(f"{STORE}/images/{image}", admin)
    assert (read.content, read.headers["content-type"]) == (png(300, 200), "image/png")
    assert read.headers["x-content-type-options"] == "nosniff"
    assert api.post(f"{STORE}/images", admin, content=JPEG).json()["media_type"] == "image/jpeg"
    foreign = furnish(api, database, "beta")
    assert api.get(f"{STORE}/images/{image}", foreign).status_code == 404
    missing = changed(floors=[PLAN["floors"][0] | {"picture": {"image": "0" * 64, "fixes": fixes}}])
    answer = api.put(STORE, admin, json=missing)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "floors.0.picture.image")


@pytest.mark.parametrize("body", [b"", b"<svg/>", png()[:-9], png() + bytes(9 * 1024 * 1024)])
def test_what_is_no_picture_is_refused(api: Api, admin: str, body: bytes) -> None:
    answer = api.post(f"{STORE}/images", admin, content=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


def test_a_floor_goes_out_as_geojson_and_comes_in_as_a_version(api: Api, admin: str) -> None:
    path = f"{STORE}/floors/0/geojson"
    document = api.get(path, admin).json()
    answer = api.put(path, admin, json=document)
    assert (answer.status_code, answer.headers["X-Aisle-Plan"]) == (204, "1"), "nothing has changed"
    coffee = next(one for one in document["features"] if one["id"] == "zone/coffee")
    coffee["geometry"]["coordinates"][0][1] = [9, 0]
    answer = api.put(path, admin, json=document, params={"valid_from_us": NOON_US})
    assert (answer.status_code, answer.headers["X-Aisle-Plan"]) == (204, "2")
    assert plan_at(api, admin)["zones"][0]["polygon"][1] == [9, 0]
    assert api.get(path, admin, params={"at_us": NOON_US - 1}).json() != document
    degrees = api.get(path, admin, params={"coordinates": "wgs84"})
    assert (degrees.status_code, degrees.json()["errors"][0]["field"]) == (422, "coordinates")


def test_a_collection_with_a_mistake_changes_nothing(api: Api, admin: str) -> None:
    path = f"{STORE}/floors/0/geojson"
    document = api.get(path, admin).json()
    i, node = next((i, one) for i, one in enumerate(document["features"]) if one["id"] == "node/node-2")
    document["features"][0]["properties"]["name"] = "Renamed"
    node["properties"]["zone"] = "moon"
    answer = api.put(path, admin, content=json.dumps(document).encode(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["errors"][0]["field"] == f"features.{i}.properties.zone"
    assert plan_at(api, admin) == PLAN and len(api.get(f"{STORE}/plans", admin).json()) == 1


def test_the_usual_rings_are_there_without_a_word_and_a_plan_may_have_its_own(api: Api, admin: str) -> None:
    usual = api.get(f"{STORE}/rings", admin).json()
    assert [ring["ring"] for ring in usual] == ["city", "neighbourhood", "street", "store", "zone", "shelf"]
    own = usual[2] | {"radius_m": 40}
    put(api, admin, changed(rings=[own]))
    assert api.get(f"{STORE}/rings", admin).json()[2] == own
    assert api.get(f"{STORE}/rings", admin, params={"at_us": 0}).json() == usual


def test_a_floor_tells_its_expected_error_and_where_the_next_node_would_hang(
    api: Api, admin: str, database: Database
) -> None:
    block = {"kind": "block", "floor": "0", "path": [[3, 3], [5, 3], [5, 5], [3, 5]], "loss_db": 10}
    put(api, admin, changed(nodes=NODES[:3], zones=PLAN["zones"], obstacles=[block]))
    told = api.get(f"{STORE}/floors/0/coverage", make_caller(database, "acme", "technician")).json()
    assert (told["nx"], told["ny"], told["error_m"][3][3], len(told["error_m"])) == (8, 8, None, 8)
    best = told["next_node"]
    assert best["mean_error_m"] < told["mean_error_m"] < told["p90_error_m"] < 4
    assert best["x_m"] > 4 and best["y_m"] > 4, "the corner that has none"
    assert api.get(f"{STORE}/floors/9/coverage", admin).status_code == 404
