"""Days as they are told: by the hour while they last, to the end afterwards; what is asked of them over the api."""

import json
import zlib
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from psycopg.rows import TupleRow

from cloud.analytics.jobs import midnight_us, tell_days
from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON_US,
    Api,
    add_presence,
    add_visit,
    make_caller,
    make_member,
    say_consent,
    superuser,
    told_until,
)

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2026, 11, 23)
"""A Monday; the product's clock stands at noon of the Tuesday."""
HOUR_US = 3_600_000_000
MIDNIGHT_US = midnight_us(DAY, BERLIN)
TUESDAY_US = MIDNIGHT_US + 24 * HOUR_US
WHOLE = {"from_us": MIDNIGHT_US, "to_us": TUESDAY_US}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def conn(api: Api, database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    with superuser(database) as connection:
        yield connection


def at(hour: float, day: date = DAY) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=BERLIN) + timedelta(hours=hour)


def stand(
    conn: psycopg.Connection[Any],
    member: UUID,
    hour: float,
    way: list[tuple[float, float]],
    each_s: int = 1,
    **how: Any,
) -> int:
    """A visit that stands at each place of its way for some seconds, a position a second."""
    began = at(hour)
    lasts = timedelta(seconds=len(way) * each_s)
    visit = add_visit(conn, "acme", member, began, lasts, ended=True, **how)
    conn.execute("SELECT ensure_day('position', %s)", (began.astimezone(ZoneInfo("UTC")).date(),))
    with conn.cursor() as cursor, cursor.copy("COPY position (time, visit_id, x_m, y_m, spread_m) FROM STDIN") as copy:
        for n in range(len(way) * each_s):
            copy.write_row((began + timedelta(seconds=n), visit, *way[n // each_s], 1.0))
    return visit


def tell(conn: psycopg.Connection[Any], database: Database, until: datetime) -> int:
    """The worker's job, when the locator has told the story so far."""
    told_until(conn, "acme", until)
    with psycopg.connect(database.service, autocommit=True) as service:
        return tell_days(service, 0)


def heatmap(api: Api, key: str, **query: Any) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
    answer = api.get("/v1/stores/main-street/heatmap", key, params=WHOLE | query)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/octet-stream"
    grid = json.loads(answer.headers["x-aisle-grid"])
    return grid, np.frombuffer(answer.content, "<f4").reshape(grid["ny"], grid["nx"])


def members(database: Database, count: int) -> list[UUID]:
    return [make_member(database, "acme") for _ in range(count)]


def test_a_day_is_told_by_the_hour_and_when_it_is_over_cell_by_cell(
    api: Api, analyst: str, conn, database: Database
) -> None:
    people = members(database, 6)
    for n, member in enumerate(people):
        stand(conn, member, 10 + n / 10, [(0.5, 0.5)] * 60)
        stand(conn, member, 11.5 + n / 100, [(3.5, 0.5)] * 30)
    assert tell(conn, database, at(10.9)) == 1
    _, cells = heatmap(api, analyst)
    assert not cells.any(), "the hour is not over"
    assert tell(conn, database, at(11.2)) == 1
    grid, cells = heatmap(api, analyst)
    assert (grid["nx"], grid["ny"], grid["cell_m"], grid["unit"], grid["k"]) == (8, 8, 1.0, "s", 5)
    assert cells[:4, :4].sum() == pytest.approx(360) and np.ptp(cells[:4, :4]) == 0, "a tile's hour is one sum"
    assert not cells[4:].any() and grid["told_until_us"] == MIDNIGHT_US + 11 * HOUR_US
    assert tell(conn, database, at(24.2)) == 1
    assert tell(conn, database, at(24.7)) == 1, "receipts have had their time"
    grid, cells = heatmap(api, analyst)
    assert cells[0, 0] == pytest.approx(360) and cells[0, 3] == pytest.approx(180) and cells.sum() == pytest.approx(540)
    assert not grid["suppressed"] and grid["visits"] == 12
    _, ten = heatmap(api, analyst, from_us=MIDNIGHT_US + 10 * HOUR_US, to_us=MIDNIGHT_US + 11 * HOUR_US)
    _, eleven = heatmap(api, analyst, from_us=MIDNIGHT_US + 11 * HOUR_US, to_us=MIDNIGHT_US + 12 * HOUR_US)
    assert ten.sum() == pytest.approx(360) and eleven.sum() == pytest.approx(180)
    assert np.allclose(ten + eleven, cells), "hours add up to their day"
    assert tell(conn, database, at(24.8)) == 0, "nothing is told twice"


def test_spans_that_differ_by_one_visit_are_told_alike(api: Api, analyst: str, conn, database: Database) -> None:
    """Each instant of the day as the end of a span, from before and after one person's minute."""
    for member in members(database, 5):
        stand(conn, member, 10, [(1.5, 1.5)] * 60)
    stand(conn, make_member(database, "acme"), 12.5, [(6.5, 6.5)] * 60)
    tell(conn, database, at(25))
    maps = [heatmap(api, analyst, to_us=MIDNIGHT_US + minutes * 60_000_000)[1] for minutes in range(660, 840, 10)]
    assert all(np.array_equal(maps[0], one) for one in maps[1:])
    assert maps[0].sum() == pytest.approx(300) and not maps[0][4:, 4:].any()


def test_a_day_of_fewer_than_five_people_shows_nothing_and_says_so(
    api: Api, analyst: str, conn, database: Database
) -> None:
    grid, cells = heatmap(api, analyst)
    assert (grid["suppressed"], bool(cells.any())) == (False, False), "nothing was told yet"
    people = members(database, 4)
    for n in range(3):  # twelve visits of four people
        for member in people:
            stand(conn, member, 9 + n, [(1.5, 1.5)] * 60)
    tell(conn, database, at(25))
    grid, cells = heatmap(api, analyst)
    assert (grid["suppressed"], bool(cells.any())) == (True, False)


def test_staff_are_in_no_map_nor_who_stays_too_long_after_that(
    api: Api, analyst: str, conn, database: Database
) -> None:
    for member in members(database, 5):
        stand(conn, member, 10, [(1.5, 1.5)] * 60)
    for member in members(database, 7):
        stand(conn, member, 10, [(1.5, 1.5)] * 60, excluded=True)
    rule = {"ends_after_s": 300, "longest_s": 600}
    assert api.put("/v1/stores/main-street/visits/rule", make_caller(database, "acme", "admin"), json=rule).is_success
    stand(conn, make_member(database, "acme"), 10, [(1.5, 1.5)] * 1200)
    tell(conn, database, at(25))
    _, cells = heatmap(api, analyst)
    assert cells.sum() == pytest.approx(5 * 60 + 600)
    funnel = api.get("/v1/stores/main-street/funnel", analyst, params=WHOLE).json()
    assert funnel["stages"][0]["visits"] == 5


def test_zoom_joins_cells_and_the_layers_tell_stops_and_dwell(api: Api, analyst: str, conn, database: Database) -> None:
    for member in members(database, 8):
        stand(conn, member, 10, [(1.5, 1.5)], 40)
        stand(conn, member, 15, [(5.5, 1.5), (5.5, 5.5)], 20)
    tell(conn, database, at(25))
    _, fine = heatmap(api, analyst)
    for zoom, side in ((1, 4), (2, 2), (3, 1), (6, 1)):
        grid, cells = heatmap(api, analyst, zoom=zoom)
        assert cells.shape == (side, side) and grid["cell_m"] == 2.0**zoom
        assert cells.sum() == pytest.approx(fine.sum())
    grid, stops = heatmap(api, analyst, layer="stops")
    assert grid["unit"] == "visits" and stops.sum() == pytest.approx(16)
    assert stops[:2, :2].sum() == pytest.approx(8) and stops[:2, 4:6].sum() == pytest.approx(8)
    _, dwell = heatmap(api, analyst, layer="dwell")
    assert dwell[0, 0] == pytest.approx(40) and dwell[0, 4] == pytest.approx(20) and dwell[4, 0] == 0


def test_a_map_leaves_as_a_picture_a_table_and_polygons_in_metres(
    api: Api, analyst: str, conn, database: Database
) -> None:
    for member in members(database, 5):
        stand(conn, member, 10, [(1.5, 2.5)] * 60)
    tell(conn, database, at(25))

    def get(form: str) -> Any:
        answer = api.get("/v1/stores/main-street/heatmap", analyst, params=WHOLE | {"format": form})
        assert answer.status_code == 200 and f"presence-main-street-0.{form}" in answer.headers["content-disposition"]
        return answer

    assert get("csv").text == "x_m,y_m,cell_m,seconds\r\n1,2,1,300\r\n"
    (feature,) = get("geojson").json()["features"]
    assert feature["geometry"]["coordinates"] == [[[1, 2], [2, 2], [2, 3], [1, 3], [1, 2]]]
    picture = get("png").content
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    start = picture.index(b"IDAT") + 4
    length = int.from_bytes(picture[start - 8 : start - 4], "big")
    lines = np.frombuffer(zlib.decompress(picture[start : start + length]), np.uint8).reshape(height, -1)
    alpha = lines[:, 1:].reshape(height, width, 4)[:, :, 3].reshape(8, height // 8, 8, width // 8)
    assert np.array_equal(alpha[:, 0, :, 0] > 0, heatmap(api, analyst)[1][::-1] > 0), "north is up"


def paid(conn: psycopg.Connection[Any], visit: int | None, n: int) -> None:
    conn.execute(
        "WITH r AS (INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total, join_state)"
        " VALUES ('acme', 'main-street', %s, '1', %s, 'sale', 'EUR', 5, %s) RETURNING receipt_id)"
        " INSERT INTO receipt_visit SELECT receipt_id, 'acme', %s::bigint, 1, 'x' FROM r WHERE %s::bigint IS NOT NULL",
        (f"r{n}", at(12), "joined" if visit else "unmatched", visit, visit),
    )


def test_the_funnel_the_moves_and_the_share_of_shoppers_they_stand_for(
    api: Api, analyst: str, conn, database: Database
) -> None:
    people = members(database, 30)
    for n, member in enumerate(people):
        visit = add_visit(conn, "acme", member, at(11), 20 * MINUTE, ended=True)
        if n < 24:
            add_presence(conn, "acme", visit, "coffee", at(11), at(11) + timedelta(seconds=60 if n < 18 else 10))
        if n < 10:
            add_presence(conn, "acme", visit, "till", at(11.2), at(11.3))
            paid(conn, visit, n)
        if n in (28, 29):
            add_presence(conn, "acme", visit, "till", at(11), at(11.1))
    for n in range(10, 40):
        paid(conn, None, n)
    for member in people[:6]:
        say_consent(conn, "acme", member, "profiling", False)
    for member in people[6:16]:
        add_visit(conn, "acme", member, at(-40), ended=True)
    tell(conn, database, at(25))
    told = api.get("/v1/stores/main-street/funnel", analyst, params=WHOLE).json()
    assert [stage["visits"] for stage in told["stages"]] == [30, 30, 24, 18, 10]
    assert [stage["share"] for stage in told["stages"]] == [None, 1.0, 0.8, 0.75, round(10 / 18, 4)]
    assert (told["new"], told["returning"], told["days"]) == (14, 10, 1)
    assert (told["panel"]["of"], told["panel"]["share"], told["panel"]["weight"]) == ("receipts", 0.25, 4.0)
    assert 0.13 < told["panel"]["low"] < 0.25 < told["panel"]["high"] < 0.41
    assert told["stages"][4]["weighted"] == 40
    flows = api.get("/v1/stores/main-street/flows", analyst, params=WHOLE).json()
    moves = {(move["from_zone"], move["to_zone"]): move["moves"] for move in flows["moves"]}
    assert moves == {("", "coffee"): 24, ("coffee", ""): 14, ("coffee", "till"): 10, ("till", ""): 12}
    panels = api.get("/v1/stores/main-street/panel", analyst, params=WHOLE).json()
    assert panels["receipts"] == told["panel"] and panels["footfall"] is None, "nobody counted heads"
    assert heatmap(api, analyst)[0]["panel_share"] == 0.25
    short = {"from_us": MIDNIGHT_US, "to_us": TUESDAY_US - 1}
    assert api.get("/v1/stores/main-street/funnel", analyst, params=short).json()["days"] == 0, "whole days only"


def test_a_visit_is_what_the_stores_rule_says(api: Api, analyst: str, database: Database) -> None:
    path = "/v1/stores/main-street/visits/rule"
    told = api.get(path, analyst).json()
    assert told["preset"] == "aisle" and told["presets"]["palexy-street"]["shortest_s"] == 120
    assert api.put(path, analyst, json=told["presets"]["cisco"]).status_code == 204
    told = api.get(path, analyst).json()
    assert (told["preset"], told["rule"]["ends_after_s"]) == ("cisco", 10_800)
    assert api.put(path, analyst, json={"ends_after_s": 10}).status_code == 422
    assert api.put(path, make_caller(database, "acme", "marketer"), json={"ends_after_s": 600}).status_code == 403


def test_the_days_of_a_store_that_changes_its_clock_have_23_and_25_hours(conn, database: Database) -> None:
    conn.execute("UPDATE store SET located_until = %s", (at(12, date(2026, 10, 26)),))
    member = make_member(database, "acme")
    add_visit(conn, "acme", member, at(12, date(2026, 10, 24)), ended=True)
    with psycopg.connect(database.service, autocommit=True) as service:
        assert tell_days(service, 0) == 3
    rows = conn.execute(
        "SELECT day::text, extract(epoch FROM ends_at - begins_at)::int / 3600 FROM heat_day ORDER BY day"
    )
    assert rows.fetchall() == [("2026-10-24", 24), ("2026-10-25", 25), ("2026-10-26", 24)]
    assert conn.execute("SELECT count(*) FROM store_day").fetchone() == (2,), "the last one is not over"


def test_a_day_keeps_the_grid_that_its_floor_had(api: Api, analyst: str, conn, database: Database) -> None:
    for member in members(database, 5):
        stand(conn, member, 10, [(1.5, 2.5)] * 60)
    tell(conn, database, at(25))
    conn.execute("UPDATE floor SET width_m = 10, cell_m = 0.5")
    grid, cells = heatmap(api, analyst)
    assert (grid["nx"], grid["ny"], grid["cell_m"]) == (8, 8, 1.0) and cells[2, 1] == pytest.approx(300)
    later = {"from_us": TUESDAY_US + 24 * HOUR_US, "to_us": TUESDAY_US + 48 * HOUR_US}
    grid, _ = heatmap(api, analyst, **later)
    assert (grid["nx"], grid["ny"], grid["cell_m"]) == (20, 16, 0.5)


def test_the_api_cannot_read_what_is_not_told(database: Database, api: Api) -> None:
    with psycopg.connect(database.app) as app:
        for table in ("sighting", "position"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), app.transaction():
                app.execute(f"SELECT 1 FROM {table}".encode())
    assert NOON_US > TUESDAY_US
