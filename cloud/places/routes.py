"""Stores and their plans over HTTP."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from cloud import db
from cloud.access import STAFF_ROLES, Call, allow
from cloud.errors import Invalid, Problem
from cloud.places import rings, service, surveys
from cloud.places.geojson import Coordinates
from cloud.places.models import (
    Coverage,
    Finding,
    Fitted,
    Heard,
    ImageName,
    Name,
    Plan,
    Ring,
    Store,
    Survey,
    SurveyTaken,
    Uploaded,
    Version,
)
from cloud.places.picture import BYTES_MOST as PICTURE_BYTES_MOST
from cloud.places.room import coverage_of
from cloud.places.surveys import BYTES_MOST as SURVEY_BYTES_MOST

router = APIRouter(prefix="/v1/stores", tags=["places"])
sql = db.statements("cloud.places")

LAST_US = 4_102_444_800_000_000

Staff = Annotated[Call, allow(*STAFF_ROLES)]
Instant = Annotated[int, Query(ge=0, le=LAST_US, description="Microseconds since 1970 UTC.")]
At = Annotated[
    int | None,
    Query(ge=0, le=LAST_US, description="The plan of this instant, microseconds since 1970 UTC; else the one of now."),
]
ValidFrom = Annotated[
    int | None,
    Query(ge=0, le=LAST_US, description="The new version counts from this instant, past or to come; else from now."),
]
IfVersion = Annotated[
    int | None, Query(ge=0, description="Refuse (409) if another version was made last; 0: if there is one at all.")
]
Technician = Annotated[Call, allow("technician", "admin")]


def _body(most: int) -> Callable[[Request], Coroutine[Any, Any, bytes]]:
    async def read(request: Request) -> bytes:
        """The request's body as it is, refused as soon as it is too large."""
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > most:
                message = f"at most {most} bytes are taken"
                raise Invalid(message, (Problem(message, "body"),))
        return bytes(data)

    return read


PictureBody = Annotated[bytes, Depends(_body(PICTURE_BYTES_MOST))]
SurveyBody = Annotated[bytes, Depends(_body(SURVEY_BYTES_MOST))]


def _takes(*media_types: str) -> dict[str, Any]:
    """A raw body in the API's description."""
    content = {name: {"schema": {"type": "string", "format": "binary"}} for name in media_types}
    return {"requestBody": {"required": True, "content": content}}


def _now_us(request: Request) -> int:
    now_us: int = request.app.state.clock.now_us()
    return now_us


def _wish(call: Call, request: Request, valid_from_us: int | None, if_version: int | None) -> service.Wish:
    return service.Wish(_now_us(request), call.principal.login, valid_from_us, if_version)


def _told(version: int) -> Response:
    return Response(status_code=204, headers={"X-Aisle-Plan": str(version)})


@router.get("")
def stores(call: Staff) -> list[Store]:
    """The stores one may look at."""
    return [
        Store(store=s, name=n, tz=tz, demo=demo)
        for s, n, tz, demo in call.conn.execute(sql.stores, {"tenant": call.tenant})
    ]


@router.put("/{store}", status_code=204)
def put_plan(
    store: Name,
    plan: Plan,
    call: Technician,
    request: Request,
    valid_from_us: ValidFrom = None,
    if_version: IfVersion = None,
) -> Response:
    """Make a store or a new version of its plan; its number is in X-Aisle-Plan."""
    wish = _wish(call, request, valid_from_us, if_version)
    return _told(service.put_plan(call.conn, call.tenant, store, plan, wish))


@router.get("/{store}/plan")
def read_plan(store: Name, call: Staff, request: Request, response: Response, at_us: At = None) -> Plan:
    """Floors, zones, nodes and beacons of a store; the version's number is in X-Aisle-Plan."""
    at = _now_us(request) if at_us is None else at_us
    version, plan = service.version_at(call.conn, call.tenant, store, at)
    response.headers["X-Aisle-Plan"] = str(version)
    return plan


@router.get("/{store}/plans")
def plans(store: Name, call: Staff, request: Request) -> list[Version]:
    """The versions of a store's plan, in the order of the instants from which they count."""
    return service.versions(call.conn, call.tenant, store, _now_us(request))


@router.get("/{store}/floors/{floor}/geojson")
def read_geojson(
    store: Name, floor: Name, call: Staff, request: Request, at_us: At = None, coordinates: Coordinates = "metres"
) -> dict[str, Any]:
    """A floor as a GeoJSON FeatureCollection, in metres from its corner or in longitude and latitude."""
    at = _now_us(request) if at_us is None else at_us
    return service.read_geojson(call.conn, call.tenant, store, floor, at, coordinates)


@router.put("/{store}/floors/{floor}/geojson", status_code=204)
def put_geojson(
    store: Name,
    floor: Name,
    document: Annotated[dict[str, Any], Body()],
    call: Technician,
    request: Request,
    valid_from_us: ValidFrom = None,
    if_version: IfVersion = None,
) -> Response:
    """Replace a floor of the plan by a FeatureCollection, whole or not at all; other floors stay."""
    wish = _wish(call, request, valid_from_us, if_version)
    return _told(service.put_geojson(call.conn, call.tenant, store, floor, document, wish))


@router.post("/{store}/images", status_code=201, openapi_extra=_takes("image/png", "image/jpeg"))
def add_image(store: Name, call: Technician, data: PictureBody) -> Uploaded:
    """Upload a floor's picture, PNG or JPEG, as the body of the request; a floor then names it."""
    return service.add_image(call.conn, call.tenant, store, data)


@router.get("/{store}/images/{image}", response_class=Response)
def read_image(store: Name, image: ImageName, call: Staff) -> Response:
    """A floor's picture."""
    media_type, content = service.read_image(call.conn, call.tenant, store, image)
    headers = {
        "Cache-Control": "private, max-age=31536000, immutable",  # its name is its digest
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, media_type=media_type, headers=headers)


@router.get("/{store}/rings")
def read_rings(store: Name, call: Staff, request: Request, at_us: At = None) -> list[Ring]:
    """What may be said to whom, from 10 km to 1 m: the usual rings with the plan's own in their place."""
    at = _now_us(request) if at_us is None else at_us
    return rings.rings(service.read_plan(call.conn, call.tenant, store, at))


@router.get("/{store}/floors/{floor}/coverage")
def coverage(store: Name, floor: Name, call: Technician, request: Request, at_us: At = None) -> Coverage:
    """The error to expect on a floor from where its nodes hang, and where one more would help most."""
    at = _now_us(request) if at_us is None else at_us
    return coverage_of(service.read_plan(call.conn, call.tenant, store, at), store, floor)


@router.put("/{store}/floors/{floor}/survey")
def put_survey(store: Name, floor: Name, survey: Survey, call: Technician, request: Request) -> Fitted:
    """Fit the floor's radio map from what the nodes heard of the surveyor's tag at known places."""
    return _take_survey(store, floor, survey, call, request)[1]


@router.post("/{store}/surveys", status_code=201, openapi_extra=_takes("text/csv", "application/json"))
def add_survey(store: Name, call: Technician, request: Request, data: SurveyBody, floor: Name = "0") -> SurveyTaken:
    """The file that `edge survey` writes, CSV or JSON by its Content-Type, becomes the floor's radio map."""
    media_type = request.headers.get("content-type", "text/csv").partition(";")[0].strip().lower()
    number, _ = _take_survey(store, floor, surveys.read_survey(data, media_type), call, request)
    return next(one for one in surveys.surveys(call.conn, call.tenant, store) if one.survey == number)


def _take_survey(store: str, floor: str, survey: Survey, call: Call, request: Request) -> tuple[int, Fitted]:
    now_us = _now_us(request)
    version, plan = service.version_at(call.conn, call.tenant, store, now_us)
    walk = surveys.Walk(call.tenant, store, floor, version, now_us, call.principal.login)
    return surveys.take_survey(call.conn, walk, plan, survey)


@router.get("/{store}/surveys")
def read_surveys(store: Name, call: Technician) -> list[SurveyTaken]:
    """Walks over a store's floors, the newest first."""
    service.store_row(call.conn, call.tenant, store)
    return surveys.surveys(call.conn, call.tenant, store)


@router.get("/{store}/findings")
def findings(store: Name, call: Technician, closed: bool = False) -> list[Finding]:
    """Beacons that are cloned or elsewhere, nodes whose radio map has aged; with `closed`, also what was mended."""
    return service.findings(call.conn, call.tenant, store, closed=closed)


@router.post("/{store}/findings/{finding}/close", status_code=204)
def close_finding(store: Name, finding: int, call: Technician, request: Request) -> None:
    """Say that it was mended; should it show again, it is found again."""
    service.close_finding(call.conn, call.tenant, store, finding, call.principal.login, _now_us(request))


@router.get("/{store}/heard")
def heard(
    store: Name,
    uuid: UUID,
    major: Annotated[int, Query(ge=0, le=65535)],
    minor: Annotated[int, Query(ge=0, le=65535)],
    from_us: Instant,
    to_us: Instant,
    call: Technician,
) -> list[Heard]:
    """What each node heard of an enrolled asset beacon, for a walk test: a span of ten minutes at most."""
    return service.heard(call.conn, call.tenant, store, (uuid, major, minor), from_us, to_us)
