"""What analysts read, over HTTP: people now, heatmaps as binary grids, zone tables, tracks of assets."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from cloud import db
from cloud.access import STAFF_ROLES, Call, Principal, allow, in_tenant
from cloud.analytics import export
from cloud.analytics.heatmap import UNITS, Grid, Layer
from cloud.analytics.heatmap import heatmap as make_heatmap
from cloud.analytics.kfloor import K_COUNT, floored
from cloud.analytics.panel import Panel, by_footfall, panel
from cloud.errors import Invalid, Problem
from cloud.hub import Hub
from cloud.places.models import Name
from cloud.places.service import store_row
from cloud.visits.day import STAGES

router = APIRouter(prefix="/v1/stores/{store}", tags=["analytics"])
sql = db.statements("cloud.analytics")

Staff = Annotated[Call, allow(*STAFF_ROLES)]
Instant = Annotated[int, Query(ge=0, lt=4_102_444_800_000_000, description="Microseconds since 1970 UTC.")]


def check_span(from_us: Instant, to_us: Instant) -> None:
    """Refuse a span that ends before it begins: most likely seconds where microseconds are meant."""
    if to_us <= from_us:
        problem = Problem(f"to_us {to_us} is not after from_us {from_us}; both are microseconds since 1970", "to_us")
        raise Invalid("the span is empty", (problem,))


SPAN = [Depends(check_span)]

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


class Move(BaseModel):
    """Steps of visits from one zone to the next."""

    from_zone: str
    """"" is the outside; "*" is several zones that too few people left or went to each."""
    to_zone: str
    moves: int
    share: float
    """Of all moves from there."""


class Flows(BaseModel):
    moves: list[Move]
    days: int
    panel: Panel


class Stage(BaseModel):
    stage: str
    visits: int
    share: float | None
    """Of the stage before; null for the first."""
    weighted: float | None
    """As many there would be if everybody were recognised: visits by the panel's weight."""


class Funnel(BaseModel):
    stages: list[Stage]
    new: int | None
    returning: int | None
    """People, of those who agreed to be known again; null where too few for either."""
    days: int
    panel: Panel


class Panels(BaseModel):
    """The share of shoppers that figures of a span stand for, by each way there is to tell."""

    receipts: Panel
    footfall: Panel | None


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


Format = Literal["grid", "png", "csv", "geojson"]


@router.get("/heatmap", dependencies=SPAN, response_class=Response)
def heatmap(
    store: Name,
    call: Staff,
    from_us: Instant,
    to_us: Instant,
    floor: Name = "0",
    layer: Layer = "presence",
    zoom: Annotated[int, Query(ge=0, le=10, description="Each step joins two by two cells.")] = 0,
    format: Format = "grid",
) -> Response:
    """Presence, first stops or mean dwell in each cell: float32, little-endian, row by row from y = 0.

    Its shape is in X-Aisle-Grid. The same as a picture, a table and polygons in metres.
    """
    found = make_heatmap(call.conn, call.tenant, store, floor, from_us, to_us, layer, zoom)
    known = panel(call.conn, call.tenant, store, from_us, to_us)
    ny, nx = found.values.shape
    shape = {"nx": nx, "ny": ny, "cell_m": found.cell_m, "unit": UNITS[layer], "k": K_COUNT, "layer": layer}
    shape |= {"suppressed": found.suppressed, "from_us": max(from_us, found.begins_us or from_us), "to_us": to_us}
    shape |= {"told_until_us": found.told_until_us, "visits": known.visits}
    shape |= {"panel_share": known.share, "panel_low": known.low, "panel_high": known.high, "weight": known.weight}
    headers = {"X-Aisle-Grid": json.dumps(shape), "Cache-Control": "no-store"}
    content, media_type = _as(format, found.values, found.cell_m, UNITS[layer])
    if format != "grid":
        headers["Content-Disposition"] = f'attachment; filename="{layer}-{store}-{floor}.{format}"'
    return Response(content, media_type=media_type, headers=headers)


def _as(form: Format, values: Grid, cell_m: float, unit: str) -> tuple[bytes | str, str]:
    if form == "png":
        return export.png(values), "image/png"
    if form == "csv":
        return export.csv(values, cell_m, unit), "text/csv; charset=utf-8"
    if form == "geojson":
        return export.geojson(values, cell_m, unit), "application/geo+json"
    return values.astype("<f4").tobytes(), "application/octet-stream"


@router.get("/flows", dependencies=SPAN)
def flows(store: Name, call: Staff, from_us: Instant, to_us: Instant) -> Flows:
    """Moves from zone to zone on the whole days that lie in the span."""
    store_row(call.conn, call.tenant, store)
    key = {"tenant": call.tenant, "store": store, "from_us": from_us, "to_us": to_us}
    rows = [(a, b, int(n)) for a, b, n in call.conn.execute(sql.flows, key)]
    left: dict[str, int] = {}
    for a, _, n in rows:
        left[a] = left.get(a, 0) + n
    moves = [Move(from_zone=a, to_zone=b, moves=n, share=round(n / left[a], 4)) for a, b, n in rows]
    known = panel(call.conn, call.tenant, store, from_us, to_us)
    return Flows(moves=moves, days=known.days, panel=known)


@router.get("/funnel", dependencies=SPAN)
def funnel(store: Name, call: Staff, from_us: Instant, to_us: Instant) -> Funnel:
    """How far visits went on the whole days that lie in the span: passed, entered, browsed, engaged, bought."""
    store_row(call.conn, call.tenant, store)
    key = {"tenant": call.tenant, "store": store, "from_us": from_us, "to_us": to_us}
    row = call.conn.execute(sql.funnel, key).fetchone()
    assert row is not None
    *counts, new, returning = row
    known = panel(call.conn, call.tenant, store, from_us, to_us)
    stages = [
        Stage(
            stage=name,
            visits=n,
            share=round(n / before, 4) if before else None,
            weighted=round(n * known.weight, 1) if known.weight else None,
        )
        for name, n, before in zip(STAGES, counts, [None, *counts], strict=False)
    ]
    return Funnel(stages=stages, new=new, returning=returning, days=known.days, panel=known)


@router.get("/panel", dependencies=SPAN)
def panels(store: Name, call: Staff, from_us: Instant, to_us: Instant, request: Request) -> Panels:
    """The share of shoppers that a span's figures stand for: of receipts, and of footfall where heads were counted."""
    store_row(call.conn, call.tenant, store)
    span = (call.conn, call.tenant, store, from_us, to_us)
    return Panels(receipts=panel(*span), footfall=by_footfall(*span, request.app.state.clock.now_us()))


@router.get("/zones", dependencies=SPAN)
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


@router.get("/tracks", dependencies=SPAN)
def tracks(
    store: Name, call: Annotated[Call, allow("analyst", "technician", "admin")], from_us: Instant, to_us: Instant
) -> list[Track]:
    """Where enrolled asset beacons went. There is no such route for people."""
    store_row(call.conn, call.tenant, store)
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for label, *point in call.conn.execute(sql.tracks, {"store": store, "from_us": from_us, "to_us": to_us}):
        found.setdefault(label, []).append((point[0], *(round(value, 2) for value in point[1:])))
    return [Track(label=label, points=points) for label, points in found.items()]
