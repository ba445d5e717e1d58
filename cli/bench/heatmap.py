"""How fast a day's and a year's heatmap are answered and painted, beside grouping the positions themselves in SQL."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import numpy as np
import numpy.typing as npt
import psycopg

from cli.stack.cloud import LocalCloud
from cli.stack.processes import StackError
from cli.stack.scratch import ask, scratch_cloud, staff
from cloud.analytics.jobs import tell_days
from cloud.ingest.columns import POSTGRES_EPOCH_US
from contract.clock import SimulatedClock

if TYPE_CHECKING:
    from playwright.sync_api import Page

TENANT, STORE = "bench", "store"
WIDTH_M, DEPTH_M, CELL_M = 40.0, 30.0, 0.5
NX, NY = int(WIDTH_M / CELL_M), int(DEPTH_M / CELL_M)
OPENS_US = int(datetime(2026, 11, 24, 8, tzinfo=UTC).timestamp() * 1e6)
CLOSES_US = OPENS_US + 12 * 3_600_000_000
MIDNIGHT_US = OPENS_US - 8 * 3_600_000_000
DAY_US = 86_400_000_000
YEAR = 365
VISIT_S = 600
"""A visit gives a position a second for so long."""
STEP_M = 0.8
CHROMIUM = Path("/usr/bin/chromium")
PAINTS = 5
PEER_ASKS = 3

PEER = """
SELECT floor(x_m / %(cell)s)::int, floor(y_m / %(cell)s)::int, count(*) FROM position
WHERE time >= at_us(%(from_us)s) AND time < at_us(%(to_us)s) GROUP BY 1, 2
"""
"""The naive way, kindly: one store's positions only, no visits to join, nobody's privacy to keep."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds; the grid's are those of a client on this machine, connection kept."""

    grid_ms: float
    grid_p95_ms: float
    year_ms: float
    year_p95_ms: float
    peer_ms: float
    """Of the day; it has only the one day in its table."""
    tell_s: float
    """What the worker needs, once, to tell the day from its positions."""
    told_share: float
    """Of the seconds that people spent there: those that the day's map shows, k-floor kept."""
    paint_ms: float | None
    """First paint of the heat layer in headless Chromium, median of fresh loads; None where there is no Chromium."""
    positions: int
    cells: int


@dataclass(frozen=True, slots=True)
class Day:
    """Everybody's positions of a day, one entry each, in the order of time."""

    time_us: Ints
    visit: Ints
    x_m: Floats
    y_m: Floats


def measure(positions: int, asks: int) -> Figures:
    """All of it, about half a minute by default. Raises StackError."""
    clock = SimulatedClock(CLOSES_US - 60_000_000, time.time_ns() // 1_000)
    with scratch_cloud("bench", TENANT, [], clock=clock.spec()) as cloud:
        with staff(cloud) as api:
            floor = {"floor": "0", "name": "Floor", "width_m": WIDTH_M, "depth_m": DEPTH_M, "cell_m": CELL_M}
            plan = {"name": "Bench", "tz": "UTC", "opens": "08:00", "closes": "20:00", "demo": True}
            ask(api, "PUT", f"/v1/stores/{STORE}", plan | {"floors": [floor], "zones": [], "nodes": []})
        for name in ("ingest", "locate", "worker"):
            cloud.processes.stop(name)
        _fill(cloud, walked(positions))
        begun = time.perf_counter()
        with psycopg.connect(cloud.postgres.dsn("aisle_service"), autocommit=True) as conn:
            tell_days(conn, CLOSES_US)
        tell_s = time.perf_counter() - begun
        _fill_year(cloud)
        with staff(cloud, "analyst") as api:
            grid_ms, shown_s = _grid_ms(api, MIDNIGHT_US, asks)
            year_ms, _ = _grid_ms(api, MIDNIGHT_US - (YEAR - 1) * DAY_US, asks)
        peer_ms = _peer_ms(cloud, positions)
        paint_ms = _paint_ms(cloud) if CHROMIUM.exists() else None
    return Figures(
        grid_ms=round(median(grid_ms), 2),
        grid_p95_ms=round(float(np.percentile(grid_ms, 95)), 2),
        year_ms=round(median(year_ms), 2),
        year_p95_ms=round(float(np.percentile(year_ms, 95)), 2),
        peer_ms=round(peer_ms, 1),
        tell_s=round(tell_s, 2),
        told_share=round(shown_s / positions, 4),
        paint_ms=None if paint_ms is None else round(paint_ms, 1),
        positions=positions,
        cells=NX * NY,
    )


def walked(positions: int, seed: int = 1) -> Day:
    """Visits that wander about the floor at random, a position a second, spread over the day."""
    rng = np.random.default_rng(seed)
    visits = -(-positions // VISIT_S)
    begins = rng.integers(OPENS_US, CLOSES_US - VISIT_S * 1_000_000, visits)
    time_us = begins[:, None] + np.arange(VISIT_S) * 1_000_000
    steps = rng.normal(0, STEP_M, (2, visits, VISIT_S)).cumsum(axis=2)
    x, y = (_reflected(start[:, None] + step, size) for start, step, size in _starts(rng, visits, steps))
    visit = np.repeat(np.arange(1, visits + 1), VISIT_S)
    order = np.argsort(time_us.ravel(), kind="stable")[:positions]
    return Day(
        time_us.ravel()[order],
        visit[order],
        x.ravel()[order].astype(np.float32),
        y.ravel()[order].astype(np.float32),
    )


def _starts(
    rng: np.random.Generator, visits: int, steps: npt.NDArray[np.float64]
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]]:
    for step, size in zip(steps, (WIDTH_M, DEPTH_M), strict=True):
        yield rng.uniform(0, size, visits), step, size


def _reflected(at: npt.NDArray[np.float64], size: float) -> npt.NDArray[np.float64]:
    """A walk that turns back at the walls."""
    folded = np.abs((at + size) % (2 * size) - size)
    return np.minimum(folded, size - 1e-3)


def _fill(cloud: LocalCloud, day: Day) -> None:
    """Members, their visits, and positions as the locator would have told them."""
    with psycopg.connect(cloud.postgres.dsn("postgres")) as conn:
        conn.execute("SELECT ensure_day('position', at_us(%s)::date)", (OPENS_US,))
        visits, first = np.unique(day.visit, return_index=True)
        conn.execute(
            "WITH m AS (INSERT INTO member (tenant_id, card) SELECT %(tenant)s, (10000000 + n)::text"
            "           FROM generate_series(1, %(count)s) n RETURNING member_id),"
            " numbered AS (SELECT member_id, row_number() OVER () AS n FROM m)"
            " INSERT INTO visit (visit_id, tenant_id, store_id, member_id, started_at, seen_at, ended_at)"
            " SELECT v.id, %(tenant)s, %(store)s, member_id, at_us(v.at), at_us(v.at) + %(s)s * interval '1 second',"
            "        at_us(v.at) + %(s)s * interval '1 second'"
            " FROM unnest(%(visits)s::bigint[], %(begins)s::bigint[]) WITH ORDINALITY v (id, at, n)"
            " JOIN numbered USING (n)",
            {"tenant": TENANT, "store": STORE, "count": visits.size, "s": VISIT_S, "visits": visits.tolist(),
             "begins": day.time_us[first].tolist()},
        )  # fmt: skip
        with conn.cursor() as cursor:
            with cursor.copy("COPY position (time, visit_id, x_m, y_m, spread_m) FROM STDIN (FORMAT binary)") as copy:
                copy.write(_copy_rows(day))
        conn.execute("UPDATE store SET located_until = at_us(%s)", (MIDNIGHT_US + DAY_US + 3_600_000_000,))
    with psycopg.connect(cloud.postgres.dsn("postgres"), autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE position")  # the peer gets a settled table, too


def _fill_year(cloud: LocalCloud) -> None:
    """The day again and again, for the days before it."""
    with psycopg.connect(cloud.postgres.dsn("postgres")) as conn:
        for table in ("heat_day", "store_day"):
            columns = [row[0] for row in conn.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,))]  # fmt: skip
            moved = {"day": "day - n", "begins_at": "begins_at - n * interval '1 day'",
                     "ends_at": "ends_at - n * interval '1 day'"}  # fmt: skip
            values = ", ".join(moved.get(column, column) for column in columns)
            conn.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, generate_series(1, %s) n"
                " WHERE day = at_us(%s)::date".encode(), (YEAR - 1, MIDNIGHT_US)
            )  # fmt: skip


def _copy_rows(day: Day) -> bytes:
    fields = [("time", ">i8"), ("visit", ">i8"), ("x", ">f4"), ("y", ">f4"), ("spread", ">f4")]
    row = np.dtype([("fields", ">i2")] + [(f"{n}{s}", ">i4" if s else t) for n, t in fields for s in ("_length", "")])
    rows = np.empty(day.time_us.size, row)
    rows["fields"] = len(fields)
    for name, kind in fields:
        rows[f"{name}_length"] = int(kind[-1])
    rows["time"], rows["visit"] = day.time_us - POSTGRES_EPOCH_US, day.visit
    rows["x"], rows["y"], rows["spread"] = day.x_m, day.y_m, 1.0
    return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + rows.tobytes() + b"\xff\xff"


def _grid_ms(api: httpx.Client, from_us: int, asks: int) -> tuple[list[float], float]:
    """How long each answer took, and the seconds that the grid shows."""
    query = urlencode({"from_us": from_us, "to_us": MIDNIGHT_US + DAY_US})
    took = []
    for _ in range(asks + 2):
        begun = time.perf_counter()
        answer = api.get(f"/v1/stores/{STORE}/heatmap?{query}")
        took.append((time.perf_counter() - begun) * 1e3)
        if answer.status_code != 200 or len(answer.content) != NX * NY * 4:
            raise StackError(f"heatmap: {answer.status_code}, {len(answer.content)} bytes")
    return took[2:], float(np.frombuffer(answer.content, "<f4").sum())  # the first ones warm the pool and the buffers


def _peer_ms(cloud: LocalCloud, positions: int) -> float:
    took = []
    key = {"cell": CELL_M, "from_us": OPENS_US, "to_us": CLOSES_US}
    with psycopg.connect(cloud.postgres.dsn("postgres")) as conn:
        for _ in range(PEER_ASKS + 1):
            begun = time.perf_counter()
            rows = conn.execute(PEER, key).fetchall()
            took.append((time.perf_counter() - begun) * 1e3)
            if sum(n for _, _, n in rows) != positions:
                raise StackError("the peer's query did not see all positions")
    return median(took[1:])


def _painted(page: "Page", seconds: float = 30) -> None:
    """Until the page has painted. Asked from outside: its own security policy forbids code that is made of strings."""
    deadline = time.monotonic() + seconds
    while not page.evaluate("window.aisle?.paints > 0"):
        if time.monotonic() > deadline:
            raise StackError(f"the console painted no heatmap within {seconds:g} s")
        page.wait_for_timeout(20)


def _paint_ms(cloud: LocalCloud) -> float:
    """The page's own figure, of smoothing and painting the grid, from fresh loads of the map."""
    from playwright.sync_api import sync_playwright

    login = cloud.logins["analyst"]
    took = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{cloud.url}/console/")
        page.get_by_label("Login").fill(login.login)
        page.get_by_label("Password").fill(login.password)
        page.get_by_role("button", name="Log in").click()
        for load in range(PAINTS):
            if load:
                page.reload()
            _painted(page)
            took.append(float(page.evaluate("window.aisle.paintMs")))
        browser.close()
    return median(took)
