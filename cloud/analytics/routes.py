"""What analysts read, over HTTP: people now, heatmaps as binary grids, zone tables, tracks of assets."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from cloud import db
from cloud.access import STAFF_ROLES, Call, Principal, allow, in_tenant
from cloud.analytics.heatmap import heatmap as make_heatmap
from cloud.analytics.kfloor import K_COUNT, floored
from cloud.hub import Hub
from cloud.places.models import Name
from cloud.places.service import store_row

router = APIRouter(prefix="/v1/stores/{store}", tags=["analytics"])
sql = db.statements("cloud.analytics")

Staff = Annotated[Call, allow(*STAFF_ROLES)]
Instant = Annotated[int, Query(ge=0, lt=4_102_444_800_000_000)]

LIVE_EVERY_S = 1.0


class Count(BaseModel):
    """A number of people, or the k that it is less than."""

    n: int | None
    less_than: int | None


class ZoneCount(Count):
    zone: str


class Now(BaseModel):
    at_us: int
    people: Count
    zones: list[ZoneCount]
    nodes_online: int
    nodes: int


class ZoneFigures(BaseModel):
    zone: str
    name: str
    kind: str
    visits: int | None
    less_than: int | None
    mean_dwell_s: float | None
    median_dwell_s: float | None
    conversion: float | None


class Track(BaseModel):
    label: str
    points: list[tuple[int, float, float, float]]
    """t_us, x_m, y_m, spread_m."""


@router.get("/now")
def now(store: Name, call: Staff) -> Now:
    """Who is in the store now, as counts."""
    return people_now(call.conn, call.tenant, store)


def people_now(conn: Connection[TupleRow], tenant: str, store: str) -> Now:
    """The store as its story stands. Raises NotFound."""
    told_us = store_row(conn, tenant, store).located_until_us or 0
    key = {"tenant": tenant, "store": store, "now": told_us}
    people = conn.execute(sql.people_now, key).fetchone()
    nodes = conn.execute(sql.nodes_now, key).fetchone()
    assert people is not None and nodes is not None
    zones = [ZoneCount(zone=zone, **asdict(floored(n))) for zone, n in conn.execute(sql.people_by_zone, key)]
    count = Count(**asdict(floored(people[0])))
    return Now(at_us=told_us, people=count, zones=zones, nodes_online=nodes[0], nodes=nodes[1])


@router.get("/live")
def live(store: Name, call: Staff, request: Request) -> EventSourceResponse:
    """`now`, about once a second while something happens."""
    store_row(call.conn, call.tenant, store)
    return EventSourceResponse(_live(request, call.principal, store), ping=20)


async def _live(request: Request, principal: Principal, store: str) -> AsyncIterator[ServerSentEvent]:
    hub: Hub = request.app.state.hub
    async with hub.waiting(f"{principal.tenant}/{store}") as event:
        while True:
            event.clear()
            told = await run_in_threadpool(_now_in_tenant, request, principal, store)
            yield ServerSentEvent(event="now", data=told.model_dump_json())
            await event.wait()
            await asyncio.sleep(LIVE_EVERY_S)


def _now_in_tenant(request: Request, principal: Principal, store: str) -> Now:
    with in_tenant(request.app.state.pool, principal) as conn:
        return people_now(conn, principal.tenant, store)


@router.get("/heatmap", response_class=Response)
def heatmap(store: Name, call: Staff, from_us: Instant, to_us: Instant, floor: Name = "0") -> Response:
    """Seconds of presence in each cell: float32, little-endian, row by row from y = 0; its shape is in X-Aisle-Grid."""
    found = make_heatmap(call.conn, call.tenant, store, floor, from_us, to_us)
    ny, nx = found.seconds.shape
    shape = {"nx": nx, "ny": ny, "cell_m": found.cell_m, "unit": "s", "k": K_COUNT, "visits": found.visits}
    shape |= {"suppressed": found.suppressed, "from_us": max(from_us, found.begins_us or from_us), "to_us": to_us}
    headers = {"X-Aisle-Grid": json.dumps(shape), "Cache-Control": "no-store"}
    return Response(found.seconds.astype("<f4").tobytes(), media_type="application/octet-stream", headers=headers)


@router.get("/zones")
def zones(store: Name, call: Staff, from_us: Instant, to_us: Instant) -> list[ZoneFigures]:
    """Visits, dwell and conversion of each zone; nothing but the name of a zone that fewer than k visits entered."""
    store_row(call.conn, call.tenant, store)
    rows = call.conn.execute(
        sql.zone_table, {"tenant": call.tenant, "store": store, "from_us": from_us, "to_us": to_us}
    )
    return [_zone_figures(*row) for row in rows]


def _zone_figures(
    zone: str, name: str, kind: str, visits: int, mean: float | None, median: float | None, conversion: float | None
) -> ZoneFigures:
    count = floored(visits)
    if count.n is None:
        mean = median = conversion = None
    return ZoneFigures(
        zone=zone,
        name=name,
        kind=kind,
        visits=count.n,
        less_than=count.less_than,
        mean_dwell_s=mean,
        median_dwell_s=median,
        conversion=conversion,
    )


@router.get("/tracks")
def tracks(
    store: Name, call: Annotated[Call, allow("analyst", "technician", "admin")], from_us: Instant, to_us: Instant
) -> list[Track]:
    """Where enrolled asset beacons went. There is no such route for people."""
    store_row(call.conn, call.tenant, store)
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for label, *point in call.conn.execute(sql.tracks, {"store": store, "from_us": from_us, "to_us": to_us}):
        found.setdefault(label, []).append((point[0], *(round(value, 2) for value in point[1:])))
    return [Track(label=label, points=points) for label, points in found.items()]
