"""What analysts read now: counts below five are not told, only things have tracks. (Days: test_api_days.py.)"""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cloud import db
from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON,
    NOON_US,
    Api,
    add_presence,
    add_visit,
    make_member,
    superuser,
    told_until,
)

MINUTE = timedelta(minutes=1)
SPAN = {"from_us": NOON_US - 10**10, "to_us": NOON_US + 10**10}


@pytest.fixture
def conn(api: Api, database: Database) -> Iterator[psycopg.Connection[Any]]:
    with superuser(database) as connection:
        yield connection


def visitors(conn: psycopg.Connection[Any], database: Database, count: int, **how: Any) -> list[int]:
    return [add_visit(conn, "acme", make_member(database, "acme"), NOON - 10 * MINUTE, 10 * MINUTE, **how)
            for _ in range(count)]  # fmt: skip


COUNTS = [(0, 0, None), (1, None, 5), (4, None, 5), (5, 5, None), (6, 6, None)]


@pytest.mark.parametrize(("count", "n", "less_than"), COUNTS)
def test_fewer_than_five_people_are_told_as_that(
    api: Api, analyst: str, conn, database: Database, count: int, n: int | None, less_than: int | None
) -> None:
    for visit in visitors(conn, database, count):
        add_presence(conn, "acme", visit, "coffee", NOON - 2 * MINUTE)
        add_presence(conn, "acme", visit, "coffee", NOON - MINUTE, source="node")
    for visit in visitors(conn, database, 7, excluded=True):
        add_presence(conn, "acme", visit, "coffee", NOON - MINUTE)
    visitors(conn, database, 7, ended=True)
    told_until(conn, "acme", NOON)
    now = api.get("/v1/stores/main-street/now", analyst).json()
    assert now["people"] == {"n": n, "less_than": less_than}
    assert now["zones"] == [
        {"zone": "coffee", "n": n, "less_than": less_than},
        {"zone": "till", "n": 0, "less_than": None},
    ]
    assert (now["at_us"], now["nodes"], now["nodes_online"]) == (NOON_US, 2, 0)


def test_who_was_not_heard_for_five_minutes_is_not_counted(api: Api, analyst: str, conn, database: Database) -> None:
    visitors(conn, database, 5)
    for later, n in ((5 * MINUTE - timedelta(seconds=1), 5), (5 * MINUTE, 0)):
        told_until(conn, "acme", NOON + later)
        assert api.get("/v1/stores/main-street/now", analyst).json()["people"]["n"] == n


def test_the_live_stream_tells_now_and_again_when_the_story_goes_on(
    api: Api, analyst: str, conn, database: Database
) -> None:
    told_until(conn, "acme", NOON)

    def then(events: int) -> None:
        if events == 1:
            visitors(conn, database, 5)
            conn.execute("SELECT pg_notify('aisle_now', 'acme/main-street')")

    status, events = api.events("/v1/stores/main-street/live", analyst, 2, then=then)
    told = [json.loads(e.split("data: ")[1])["people"] for e in events]
    assert (status, told) == (200, [{"n": 0, "less_than": None}, {"n": 5, "less_than": None}])


@pytest.mark.parametrize(("count", "told"), [(4, False), (5, True)])
def test_a_zone_that_fewer_than_five_visits_entered_tells_nothing_but_its_name(
    api: Api, analyst: str, conn, database: Database, count: int, told: bool
) -> None:
    visits = visitors(conn, database, count)
    for n, visit in enumerate(visits, 1):
        add_presence(conn, "acme", visit, "coffee", NOON - 9 * MINUTE, NOON - 9 * MINUTE + n * timedelta(seconds=10))
    receipt = conn.execute(
        "WITH r AS (INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total)"
        " VALUES ('acme', 'main-street', 'r', '1', %s, 'sale', 'EUR', 5) RETURNING receipt_id), l AS ("
        " INSERT INTO receipt_line SELECT 'acme', receipt_id, 1, 's', 'n', 'coffee', 1000, 5, 0, 5 FROM r)"
        " INSERT INTO receipt_visit SELECT receipt_id, 'acme', %s, 1, 'x' FROM r RETURNING receipt_id",
        (NOON, visits[0]),
    ).fetchone()
    conn.execute(db.statements("cloud.receipts").count_conversions, {"receipts": list(receipt)})
    coffee, till = api.get("/v1/stores/main-street/zones", analyst, params=SPAN).json()
    figures = ("visits", "less_than", "mean_dwell_s", "median_dwell_s", "conversion")
    assert [coffee[f] for f in figures] == ([5, None, 30.0, 30.0, 0.2] if told else [None, 5, None, None, None])
    assert [till[f] for f in figures] == [0, None, None, None, None]
    earlier = {"from_us": 0, "to_us": NOON_US - 10**9}
    before = api.get("/v1/stores/main-street/zones", analyst, params=earlier).json()
    assert before[0]["visits"] == 0


WRONG = [
    ({"floor": "9"}, 404),
    ({"from_us": -1}, 422),
    ({"to_us": 10**20}, 422),
    ({"floor": "a b"}, 422),
    ({"layer": "faces"}, 422),
    ({"zoom": 11}, 422),
    ({"format": "pdf"}, 422),
]


@pytest.mark.parametrize(("query", "status"), WRONG)
def test_a_heatmap_that_cannot_be(api: Api, analyst: str, query: dict[str, Any], status: int) -> None:
    assert api.get("/v1/stores/main-street/heatmap", analyst, params=SPAN | query).status_code == status


def test_only_enrolled_assets_have_tracks(api: Api, analyst: str, conn, database: Database) -> None:
    (cart,) = conn.execute("SELECT beacon_id FROM beacon").fetchone()
    cart_visit = conn.execute(
        "INSERT INTO visit (tenant_id, store_id, beacon_id, started_at, seen_at, excluded)"
        " VALUES ('acme', 'main-street', %s, %s, %s, true) RETURNING visit_id",
        (cart, NOON - MINUTE, NOON),
    ).fetchone()
    (member_visit,) = visitors(conn, database, 1)
    conn.execute("SELECT ensure_day('position', %s)", (NOON.date(),))
    for visit in (cart_visit[0], member_visit):
        conn.execute("INSERT INTO position VALUES (%s, %s, 1.5, 2.5, 0.5)", (NOON, visit))
    assert api.get("/v1/stores/main-street/tracks", analyst, params=SPAN).json() == [
        {"label": "Cart 7", "points": [[NOON_US, 1.5, 2.5, 0.5]]}
    ]
    conn.execute("UPDATE beacon SET role = 'staff'")
    assert api.get("/v1/stores/main-street/tracks", analyst, params=SPAN).json() == []


@pytest.mark.parametrize("path", ["heatmap", "flows", "funnel", "panel", "zones", "tracks"])
def test_a_span_that_ends_before_it_begins_is_refused_with_what_is_meant(api: Api, analyst: str, path: str) -> None:
    seconds = {"from_us": NOON_US, "to_us": NOON_US // 1_000_000}
    answer = api.get(f"/v1/stores/main-street/{path}", analyst, params=seconds)
    assert answer.status_code == 422
    assert "microseconds since 1970" in answer.text
