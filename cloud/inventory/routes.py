"""Tagged things over HTTP: how many of what are where, what moved, and the same as EPCIS 2.0."""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from cloud import db
from cloud.access import Call, allow
from cloud.inventory import epcis
from cloud.inventory.models import Gtin, Location, Stock, TagEvent
from cloud.inventory.store import gtin_of
from cloud.places.models import Name
from cloud.places.service import store_row
from contract.epc import uri_of

router = APIRouter(prefix="/v1/stores/{store}", tags=["inventory"])
sql = db.statements("cloud.inventory")

Reader = Annotated[Call, allow("analyst", "technician", "admin")]
Instant = Annotated[int, Query(ge=0, lt=4_102_444_800_000_000)]
Limit = Annotated[int, Query(ge=1, le=10_000)]


@router.get("/inventory")
def inventory(
    store: Name,
    call: Reader,
    gtin: Annotated[Gtin | None, Query()] = None,
    zone: Annotated[Name | None, Query()] = None,
) -> list[Stock]:
    """Tags in each zone by article, as readers last told."""
    store_row(call.conn, call.tenant, store)
    rows = call.conn.execute(sql.stock, {"tenant": call.tenant, "store": store, "gtin": gtin, "zone": zone})
    return [Stock(**dict(zip(Stock.model_fields, row, strict=True))) for row in rows]


@router.get("/inventory/events")
def events(store: Name, call: Reader, from_us: Instant, to_us: Instant, limit: Limit = 1_000) -> list[TagEvent]:
    """What nodes told of tags in a span of time, oldest first."""
    store_row(call.conn, call.tenant, store)
    return [
        TagEvent(
            time_us=time,
            since_us=since,
            node=node,
            epc=epc.hex(),
            uri=uri_of(epc),
            gtin=gtin_of(epc.hex()),
            state=state,
            zone=zone,
            origin=origin,
            rssi=rssi,
            reads=reads,
        )
        for time, since, node, epc, state, zone, origin, rssi, reads, _ in call.conn.execute(
            sql.events, {"tenant": call.tenant, "store": store, "from_us": from_us, "to_us": to_us, "limit": limit}
        )
    ]


@router.get("/epcis", response_class=Response, responses={200: {"content": {epcis.MEDIA_TYPE: {}}}})
def as_epcis(
    store: Name, call: Reader, request: Request, from_us: Instant, to_us: Instant, limit: Limit = 1_000
) -> Response:
    """The same events as an EPCIS 2.0 document in JSON-LD; events are found by when they were told."""
    store_row(call.conn, call.tenant, store)
    key = {"tenant": call.tenant, "store": store}
    row = call.conn.execute(sql.store, key).fetchone()
    assert row is not None
    tz, sgln = row
    found = call.conn.execute(sql.events, key | {"from_us": from_us, "to_us": to_us, "limit": limit})
    changes = [epcis.TagChange(since, epc, state, zone, kind) for _, since, _, epc, state, zone, _, _, _, kind in found]
    site = epcis.Site(call.tenant, store, tz, sgln)
    told = epcis.document(changes, site, request.app.state.clock.now_us())
    return Response(json.dumps(told, ensure_ascii=False), media_type=epcis.MEDIA_TYPE)


@router.put("/sgln", status_code=204)
def put_sgln(store: Name, location: Location, call: Annotated[Call, allow("technician", "admin")]) -> None:
    """Names the store for EPCIS documents by its GLN; null takes the name away."""
    store_row(call.conn, call.tenant, store)
    call.conn.execute(sql.set_sgln, {"tenant": call.tenant, "store": store, "sgln": location.sgln})
