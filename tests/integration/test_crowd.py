"""Occupancy and footfall over HTTP from nodes' counts in a real database: calibration, intervals, floors, drift."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest

from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON,
    NOON_US,
    STORE,
    Api,
    add_visit,
    furnish,
    make_caller,
    make_member,
    superuser,
    us,
)

CROWD = f"/v1/stores/{STORE}/crowd"
SPAN = timedelta(minutes=5)
DAY = timedelta(days=1)


@pytest.fixture
def conn(api: Api, database: Database) -> Iterator[psycopg.Connection[Any]]:
    with superuser(database) as connection:
        yield connection


def told(
    conn: psycopg.Connection[Any],
    end: datetime,
    devices: int,
    *,
    source: str = "wifi",
    node: str = "node-1",
    tenant: str = "acme",
    addresses: float = 5.0,
) -> None:
    """A span as a node tells it: two of three devices are near, and each shows some addresses."""
    near = round(devices * 2 / 3)
    radios, strong = round(devices * addresses), round(near * addresses)
    near = near if near >= 5 else 0
    of = {"ble": (0, 0), "stations": (devices, 0), "wifi": (devices, near)}[source]
    conn.execute(
        "INSERT INTO crowd (tenant_id, store_id, node, time, span_s, radios, strong, source, devices, devices_strong,"
        " frames) VALUES (%s, %s, %s, %s, 300, %s, %s, %s, %s, %s, %s)",
        (tenant, STORE, node, end, radios, strong, source, *of, radios * 3),
    )


def ask(api: Api, key: str, begin: datetime, end: datetime, **query: Any) -> dict[str, Any]:
    answer = api.get(CROWD, key, params={"from_us": us(begin), "to_us": us(end)} | query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def count(api: Api, key: str, at: datetime, people: int) -> dict[str, Any]:
    answer = api.post(f"{CROWD}/counts", key, json={"at_us": us(at), "people": people})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- before anybody counted


def test_of_an_uncalibrated_store_devices_are_told_within_a_wide_interval(api: Api, analyst: str, conn) -> None:
    told(conn, NOON, 30)
    found = ask(api, analyst, NOON - SPAN, NOON, step=300)
    assert found["of"] == "devices"
    assert found["calibration"] == {
        "calibrated": False,
        "method": "none",
        "source": "wifi",
        "counts": 0,
        "people_per_device": 1.0,
        "error_people": None,
        "fitted_at_us": None,
    }
    (slot,) = found["occupancy"]
    assert (slot["at_us"], slot["estimate"], slot["less_than"]) == (us(NOON - SPAN), 20.0, None)
    assert slot["low"] < 10
    assert slot["high"] > 30
    assert (found["drift"], found["drift_reasons"]) == (False, [])


def test_a_step_of_which_nodes_told_nothing_is_unknown_and_not_empty(api: Api, analyst: str, conn) -> None:
    told(conn, NOON, 30)
    found = ask(api, analyst, NOON - 3 * SPAN, NOON, step=300)
    unknown = {"estimate": None, "less_than": None, "low": None, "high": None}
    assert [{k: slot[k] for k in unknown} for slot in found["occupancy"][:2]] == [unknown, unknown]
    assert found["occupancy"][2]["estimate"] == 20.0
    assert found["footfall"]["told_share"] == pytest.approx(1 / 3)
    nobody = ask(api, analyst, NOON - 9 * SPAN, NOON - 6 * SPAN)["footfall"]
    assert (nobody["estimate"], nobody["told_share"]) == (None, 0.0)


@pytest.mark.parametrize(
    ("sources", "used", "estimate"),
    [
        (("ble", "wifi", "stations"), "wifi", 20.0),
        (("ble", "stations"), "stations", 30.0),
        (("ble",), "ble", 100.0),
    ],
)
def test_the_source_that_stands_best_for_people_is_used(
    api: Api, analyst: str, conn, sources: tuple[str, ...], used: str, estimate: float
) -> None:
    for source in sources:
        told(conn, NOON, 30, source=source)
    found = ask(api, analyst, NOON - SPAN, NOON, step=300)
    assert (found["calibration"]["source"], found["occupancy"][0]["estimate"]) == (used, estimate)


# -- steps


def test_spans_fall_into_the_step_that_they_end_in_and_nodes_are_added(api: Api, analyst: str, conn) -> None:
    told(conn, NOON - SPAN, 30)
    told(conn, NOON, 60)
    told(conn, NOON, 30, node="node-2")
    told(conn, NOON + SPAN, 15)
    by_five = ask(api, analyst, NOON - 2 * SPAN, NOON + SPAN, step=300)["occupancy"]
    assert [slot["estimate"] for slot in by_five] == [20.0, 60.0, 10.0]
    by_ten = ask(api, analyst, NOON - 2 * SPAN, NOON + 2 * SPAN, step=600)["occupancy"]
    assert [(slot["at_us"], slot["estimate"]) for slot in by_ten] == [(us(NOON - 2 * SPAN), 40.0), (us(NOON), 10.0)]


def test_steps_lie_on_the_clocks_grid_whatever_is_asked_for(api: Api, analyst: str, conn) -> None:
    told(conn, NOON, 30)
    minute = timedelta(minutes=1)
    found = ask(api, analyst, NOON - 10 * minute - minute, NOON - minute, step=600)
    assert [slot["at_us"] for slot in found["occupancy"]] == [us(NOON - 10 * minute)]


@pytest.mark.parametrize(
    "query",
    [
        {"from_us": NOON_US, "to_us": NOON_US},
        {"from_us": NOON_US, "to_us": NOON_US - 10**9},
        {"from_us": NOON_US - 32 * 86_400 * 10**6, "to_us": NOON_US},
        {"from_us": 0, "to_us": NOON_US, "step": 7},
        {"from_us": 0, "to_us": NOON_US, "step": 7200},
    ],
)
def test_a_span_that_cannot_be_told_is_refused(api: Api, analyst: str, query: dict[str, int]) -> None:
    assert api.get(CROWD, analyst, params=query).status_code == 422


def test_fewer_than_five_people_are_told_as_that_without_an_interval(api: Api, analyst: str, conn) -> None:
    told(conn, NOON, 5)  # three of them near: told as 0
    (slot,) = ask(api, analyst, NOON - SPAN, NOON, step=300)["occupancy"]
    assert (slot["estimate"], slot["less_than"], slot["low"], slot["high"]) == (None, 5, None, None)


# -- calibration


def test_counted_heads_calibrate_the_store(api: Api, analyst: str, conn) -> None:
    for number in range(6):
        told(conn, NOON - number * SPAN, 30)  # 20 near
    widths = []
    for number in range(6):
        count(api, analyst, NOON - number * SPAN - SPAN / 2, 40)
        (slot,) = ask(api, analyst, NOON - SPAN, NOON, step=300)["occupancy"]
        widths.append(slot["high"] - slot["low"])
    found = ask(api, analyst, NOON - SPAN, NOON, step=300)
    assert found["of"] == "people"
    calibration = found["calibration"]
    assert (calibration["calibrated"], calibration["method"], calibration["counts"]) == (True, "ratio", 6)
    assert calibration["people_per_device"] == pytest.approx(2, abs=0.05)
    assert 36 < found["occupancy"][0]["estimate"] < 40.5
    assert widths[-1] < widths[0]


def test_a_count_told_before_its_span_came_in_is_used_once_it_has(api: Api, analyst: str, conn) -> None:
    assert count(api, analyst, NOON - SPAN / 2, 40)["calibrated"] is False
    told(conn, NOON, 30)
    assert ask(api, analyst, NOON - SPAN, NOON, step=300)["calibration"]["counts"] == 1


def test_a_calibration_is_kept_until_there_is_something_new(api: Api, analyst: str, conn) -> None:
    told(conn, NOON, 30)
    count(api, analyst, NOON - SPAN / 2, 40)

    def row() -> Any:
        return conn.execute("SELECT xmin::text, matched, people_per_device FROM crowd_calibration").fetchall()

    before = row()
    ask(api, analyst, NOON - DAY, NOON)
    assert row() == before
    told(conn, NOON, 30, node="node-2")
    ask(api, analyst, NOON - DAY, NOON)
    assert row() != before


def test_the_same_instant_told_again_corrects_the_count(api: Api, analyst: str, conn) -> None:
    told(conn, NOON, 30)
    wrong = count(api, analyst, NOON - SPAN / 2, 400)
    right = count(api, analyst, NOON - SPAN / 2, 20)
    assert (wrong["counts"], right["counts"]) == (1, 1)
    assert right["people_per_device"] == pytest.approx(1)
    assert conn.execute("SELECT people FROM crowd_count").fetchall() == [(20,)]


@pytest.mark.parametrize(
    ("at", "people", "status"),
    [
        (NOON + timedelta(minutes=4), 5, 200),
        (NOON + timedelta(minutes=6), 5, 422),
        (NOON - 366 * DAY, 5, 422),
        (NOON, -1, 422),
        (NOON, 100_001, 422),
    ],
)
def test_a_count_is_of_now_or_of_the_last_year(api: Api, analyst: str, at: datetime, people: int, status: int) -> None:
    assert api.post(f"{CROWD}/counts", analyst, json={"at_us": us(at), "people": people}).status_code == status


def test_with_many_counts_a_forest_serves_where_it_is_better(api: Api, analyst: str, conn) -> None:
    """Above forty devices a second floor is open, from which nothing near is heard: no ratio fits."""
    random = np.random.default_rng(0)
    for day in range(1, 9):
        for number in range(12):
            devices = int(random.integers(12, 70))
            end = NOON - day * DAY + number * SPAN
            told(conn, end, devices)
            conn.execute(
                "INSERT INTO crowd_count VALUES ('acme', %s, %s, %s, 'test')",
                (STORE, end - SPAN / 2, 90 if devices > 40 else 8),
            )
    for number, devices in enumerate((15, 20, 60)):
        told(conn, NOON - (2 - number) * timedelta(minutes=40), devices)
    found = ask(api, analyst, NOON - timedelta(minutes=85), NOON, step=300)
    calibration = found["calibration"]
    assert (calibration["method"], calibration["counts"]) == ("forest", 96)
    assert calibration["error_people"] < 10
    few, some, many = (slot for slot in found["occupancy"] if slot["estimate"] is not None)
    assert few["estimate"] < 30
    assert some["estimate"] < 30
    assert many["estimate"] > 70
    for slot in (few, some, many):
        assert slot["low"] <= slot["estimate"] <= slot["high"]
    again = ask(api, analyst, NOON - timedelta(minutes=85), NOON, step=300)
    assert again["occupancy"] == found["occupancy"], "the stored forest answers like the one that was grown"


# -- footfall


def test_footfall_is_the_time_spent_by_how_long_one_stays(api: Api, analyst: str, conn, database: Database) -> None:
    for number in range(12):
        told(conn, NOON - number * SPAN, 90)  # 60 devices near for an hour
    assumed = ask(api, analyst, NOON - 12 * SPAN, NOON)["footfall"]
    assert (assumed["estimate"], assumed["stay_s"], assumed["stay_known"]) == (240.0, 900.0, False)
    member = make_member(database, "acme")
    for number in range(30):
        lasts = timedelta(minutes=20 if number % 2 else 40)
        add_visit(conn, "acme", member, NOON - (number + 1) * timedelta(hours=1), lasts, ended=True)
    add_visit(conn, "acme", member, NOON - DAY, timedelta(hours=20), ended=True, excluded=True)
    known = ask(api, analyst, NOON - 12 * SPAN, NOON)["footfall"]
    assert (known["estimate"], known["stay_s"], known["stay_known"]) == (120.0, 1800.0, True)
    for found in (assumed, known):
        assert found["low"] < found["estimate"] < found["high"]
    assert known["high"] / known["low"] < assumed["high"] / assumed["low"]


# -- drift


def weeks(conn: psycopg.Connection[Any], first: int, last: int, addresses: float) -> None:
    """An hour of spans on each of so many days ago, with more people on some days than on others."""
    for day in range(first, last):
        for number in range(12):
            told(conn, NOON - day * DAY - number * SPAN, 20 + 7 * (day % 5) + number, addresses=addresses)


def test_phones_that_double_their_addresses_are_noticed_and_widen_the_interval(api: Api, analyst: str, conn) -> None:
    weeks(conn, 20, 40, addresses=5.0)
    for day in range(30, 35):
        count(api, analyst, NOON - day * DAY - SPAN / 2, 30)
    weeks(conn, 7, 20, addresses=5.0)
    quiet = ask(api, analyst, NOON - 10 * DAY, NOON - 9 * DAY)
    assert (quiet["drift"], quiet["drift_reasons"]) == (False, [])
    weeks(conn, 0, 7, addresses=10.0)
    found = ask(api, analyst, NOON - DAY, NOON)
    assert found["drift"] is True
    assert found["drift_reasons"] == ["addresses for each device: 2.00 times what they were; phones have changed"]
    noon = [next(s for s in f["occupancy"] if s["estimate"] and s["at_us"]) for f in (quiet, found)]
    relative = [(slot["high"] - slot["low"]) / slot["estimate"] for slot in noon]
    assert relative[1] > 1.5 * relative[0]


def test_an_uncalibrated_store_drifts_from_its_own_long_run(api: Api, analyst: str, conn) -> None:
    weeks(conn, 7, 40, addresses=5.0)
    assert ask(api, analyst, NOON - DAY, NOON)["drift"] is False
    weeks(conn, 0, 7, addresses=10.0)
    assert ask(api, analyst, NOON - DAY, NOON)["drift"] is True


def test_counts_that_say_another_ratio_than_those_before_are_noticed(api: Api, analyst: str, conn) -> None:
    for day in (*range(1, 7), *range(60, 66)):
        told(conn, NOON - day * DAY, 30)
        count(api, analyst, NOON - day * DAY - SPAN / 2, 40 if day < 10 else 20)
    (reason,) = ask(api, analyst, NOON - DAY, NOON)["drift_reasons"]
    assert reason == "counts of the last 14 days: 2.00 people a device, 1.00 before"


def test_a_node_that_fell_silent_since_heads_were_counted_is_named(api: Api, analyst: str, conn) -> None:
    for day in range(20, 30):
        for node in ("node-1", "node-2"):
            told(conn, NOON - day * DAY, 30, node=node)
        count(api, analyst, NOON - day * DAY - SPAN / 2, 40)
    for day in range(0, 7):
        told(conn, NOON - day * DAY, 30)
    assert ask(api, analyst, NOON - DAY, NOON)["drift_reasons"] == ["node node-2 tells nothing any more"]


# -- who may


@pytest.mark.parametrize(
    ("role", "status"), [("analyst", 200), ("technician", 200), ("admin", 200), ("marketer", 200), ("till", 403)]
)
def test_analysts_technicians_and_admins_may_read_and_count(
    api: Api, database: Database, role: str, status: int
) -> None:
    key = make_caller(database, "acme", role)
    assert api.get(CROWD, key, params={"from_us": NOON_US - 10**9, "to_us": NOON_US}).status_code == status
    assert api.post(f"{CROWD}/counts", key, json={"at_us": NOON_US, "people": 3}).status_code == status


def test_another_tenants_counts_and_devices_are_not_seen(api: Api, database: Database, analyst: str, conn) -> None:
    furnish(api, database, "beta")  # its store has the same name
    told(conn, NOON, 300, tenant="beta")
    theirs = make_caller(database, "beta", "analyst")
    count(api, theirs, NOON - SPAN / 2, 999)
    found = ask(api, analyst, NOON - SPAN, NOON, step=300)
    assert found["calibration"]["calibrated"] is False
    assert found["occupancy"][0]["estimate"] is None
    assert api.get("/v1/stores/none/crowd", analyst, params={"from_us": 0, "to_us": 10**9}).status_code == 404
    assert api.post("/v1/stores/none/crowd/counts", analyst, json={"at_us": NOON_US, "people": 3}).status_code == 404
