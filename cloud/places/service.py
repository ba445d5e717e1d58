"""Plans in versions: reading the one of an instant, putting a new one, applying it when its instant comes."""

import hashlib
import logging
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.types.json import Jsonb

from cloud import db
from cloud.errors import Conflict, Invalid, NotFound, Problem
from cloud.places.geojson import Coordinates, Document, read_floor, write_floor
from cloud.places.holds import problems
from cloud.places.models import Finding, Floor, Heard, Plan, Uploaded, Version
from cloud.places.picture import read_picture
from cloud.places.surveys import map_of
from contract.identity import beacon_subject

log = logging.getLogger(__name__)
sql = db.statements("cloud.places")

AHEAD_MOST_US = 366 * 86_400_000_000
"""A version may be made a year ahead."""


@dataclass(frozen=True, slots=True)
class StoreRow:
    """A store without what stands in it."""

    store: str
    name: str
    tz: str
    demo: bool
    opens: str
    closes: str
    located_until_us: int | None


@dataclass(frozen=True, slots=True)
class Wish:
    """How a new version is to be made."""

    now_us: int
    by: str | None = None
    """A login."""
    valid_from_us: int | None = None
    """Now where it is not said."""
    if_version: int | None = None
    """Only if this is the version that was made last."""


def store_row(conn: Connection[Any], tenant: str, store: str) -> StoreRow:
    """The store. Raises NotFound."""
    row = conn.execute(sql.store, {"tenant": tenant, "store": store}).fetchone()
    if row is None:
        raise NotFound(f"no store {store!r}")
    return StoreRow(*row)


# -- reading


def read_plan(conn: Connection[Any], tenant: str, store: str, at_us: int) -> Plan:
    """The plan that is valid at an instant. Raises NotFound."""
    return version_at(conn, tenant, store, at_us)[1]


def version_at(conn: Connection[Any], tenant: str, store: str, at_us: int) -> tuple[int, Plan]:
    """The version that is valid at an instant, with its number. Raises NotFound."""
    row = conn.execute(sql.plan_at, {"tenant": tenant, "store": store, "at": at_us}).fetchone()
    if row is None:
        raise NotFound(f"no store {store!r}")
    return row[0], Plan.model_validate(row[1])


def versions(conn: Connection[Any], tenant: str, store: str, now_us: int) -> list[Version]:
    """All versions of a store's plan, in the order of the instants from which they are valid. Raises NotFound."""
    store_row(conn, tenant, store)
    key = {"tenant": tenant, "store": store}
    valid = conn.execute(sql.plan_at, key | {"at": now_us}).fetchone()
    return [
        Version(
            version=version,
            valid_from_us=from_us,
            valid_until_us=until_us,
            made_us=made_us,
            made_by=by,
            now=valid is not None and version == valid[0],
        )
        for version, from_us, until_us, made_us, by in conn.execute(sql.versions, key)
    ]


def floor_of(plan: Plan, store: str, floor: str) -> Floor:
    """Raises NotFound."""
    found = next((one for one in plan.floors if one.floor == floor), None)
    if found is None:
        raise NotFound(f"store {store!r} has no floor {floor!r}")
    return found


def read_geojson(
    conn: Connection[Any], tenant: str, store: str, floor: str, at_us: int, coordinates: Coordinates
) -> Document:
    """A floor as a FeatureCollection. Raises NotFound, and Invalid for wgs84 of a store without a location."""
    plan = read_plan(conn, tenant, store, at_us)
    if coordinates == "wgs84" and plan.location is None:
        raise Invalid("the plan has no location", (Problem("'wgs84' needs the plan's location", "coordinates"),))
    return write_floor(plan, floor_of(plan, store, floor), coordinates)


# -- changing


def put_plan(conn: Connection[Any], tenant: str, store: str, plan: Plan, wish: Wish) -> int:
    """Make a store or a new version of its plan; returns the version. The same plan again makes none.

    Raises Invalid for a plan that does not hold together, and Conflict if another version was made meanwhile, if a
    node's name is taken by another store, if no floor keeps its key, or if a zone that a campaign names is gone.
    """
    if mistakes := problems(plan):
        raise Invalid("1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes", mistakes)
    plan = plan.in_order()
    key: dict[str, Any] = {"tenant": tenant, "store": store}
    _require_pictures(conn, key, plan)
    conn.execute(sql.make_store, key | {"name": plan.name, "tz": plan.tz})
    conn.execute(sql.lock_store, key)
    newest = conn.execute(sql.newest_version, key).fetchone()
    last: int | None = newest[0] if newest else None
    if wish.if_version is not None and wish.if_version != (last or 0):
        raise Conflict(f"the newest version is {last or 0}, not {wish.if_version}: read it and change that")
    from_us = 0 if last is None else wish.now_us if wish.valid_from_us is None else wish.valid_from_us
    if from_us > wish.now_us + AHEAD_MOST_US:
        raise Invalid("valid_from_us lies more than a year ahead", (Problem("at most a year ahead", "valid_from_us"),))
    before = conn.execute(sql.plan_at, key | {"at": from_us}).fetchone()
    body = plan.model_dump(mode="json")
    if before is not None and before[1] == body:
        return int(before[0])
    version = (last or 0) + 1
    row = {"version": version, "valid_from": from_us, "body": Jsonb(body), "now": wish.now_us, "by": wish.by}
    conn.execute(sql.add_version, key | row | {"applied": from_us <= wish.now_us})
    valid = conn.execute(sql.plan_at, key | {"at": wish.now_us}).fetchone()
    if valid is not None and valid[0] == version:  # else it is of the past, or to come
        _apply(conn, key, wish.now_us)
    return version


def put_geojson(conn: Connection[Any], tenant: str, store: str, floor: str, document: object, wish: Wish) -> int:
    """Replace one floor of the plan by a FeatureCollection; returns the version.

    Raises NotFound for the store, Invalid with the path of each mistake, and what `put_plan` raises.
    """
    from_us = wish.now_us if wish.valid_from_us is None else wish.valid_from_us
    read = read_floor(document, read_plan(conn, tenant, store, from_us), floor)
    if not isinstance(read, Plan):
        raise Invalid("1 mistake" if len(read) == 1 else f"{len(read)} mistakes", read)
    return put_plan(conn, tenant, store, read, wish)


def apply_due(conn: Connection[Any], now_us: int) -> int:
    """Apply versions whose instant has come; returns of how many stores. The caller opens and commits the transaction.

    One that contradicts what happened since it was made (a campaign in a zone that it has not) becomes a finding, and
    the plan before it stays.
    """
    due = set(conn.execute(sql.due_plans, {"now": now_us}).fetchall())
    for tenant, store in sorted(due):
        key = {"tenant": tenant, "store": store}
        try:
            with conn.transaction():
                _apply(conn, key, now_us)
        except Conflict as error:
            log.warning("a plan of %s/%s could not be applied", tenant, store)
            row = {"kind": "plan-refused", "about": f"from {now_us}", "says": error.detail, "evidence": Jsonb({})}
            conn.execute(sql.found, key | row | {"from": now_us, "to": now_us})
        conn.execute(sql.set_applied, key | {"now": now_us})
    return len(due)


def _require_pictures(conn: Connection[Any], key: dict[str, Any], plan: Plan) -> None:
    named = {i: floor.picture.image for i, floor in enumerate(plan.floors) if floor.picture is not None}
    if not named:
        return
    rows = conn.execute(sql.images, key | {"images": list(named.values())}).fetchall()
    sizes = {image: (width, height) for image, width, height in rows}
    for i, image in named.items():
        if image not in sizes:
            message = f"picture {image[:8]}… is not there: upload it first"
            raise Invalid(message, (Problem(message, f"floors.{i}.picture.image"),))


def _apply(conn: Connection[Any], key: dict[str, Any], now_us: int) -> None:
    """Make the tables of now say what the version that is valid now says."""
    row = conn.execute(sql.plan_at, key | {"at": now_us}).fetchone()
    assert row is not None, "the first version is valid from the beginning"
    plan = Plan.model_validate(row[1])
    floors = [floor.floor for floor in plan.floors]
    had = [floor for (floor,) in conn.execute(sql.floor_keys, key)]
    if had and not set(had) & set(floors):
        raise Conflict(f"store {key['store']!r} has floor {had[0]!r}: its name may change, its key may not")
    conn.execute(sql.set_store, key | plan.model_dump(include={"name", "tz", "opens", "closes", "demo"}))
    for floor in plan.floors:
        conn.execute(sql.put_floor, key | floor.model_dump())
    _put_zones(conn, key, plan)
    conn.execute(sql.retire_nodes, key | {"nodes": [node.node for node in plan.nodes]})
    for node in plan.nodes:
        if conn.execute(sql.put_node, key | node.model_dump()).fetchone() is None:
            raise Conflict(f"node {node.node!r} stands in another store of this tenant")
    _put_beacons(conn, key, plan)
    conn.execute(sql.move_retired, key | {"floor": floors[0], "floors": floors})
    conn.execute(sql.drop_floors, key | {"floors": floors})
    for floor in plan.floors:
        fitted = map_of(conn, key, plan, floor)
        if fitted is not None:
            conn.execute(sql.put_radio_map, key | {"floor": floor.floor, "radio_map": fitted.radio_map})
    conn.execute(sql.plan_changed, key)


def _put_zones(conn: Connection[Any], key: dict[str, Any], plan: Plan) -> None:
    try:
        conn.execute(sql.drop_zones, key | {"zones": [zone.zone for zone in plan.zones]})
    except psycopg.errors.ForeignKeyViolation as error:
        raise Conflict(f"a zone that the plan no longer has is a campaign's: {error.diag.message_detail}") from None
    for zone in plan.zones:
        conn.execute(sql.put_zone, key | zone.model_dump() | {"polygon": Jsonb(zone.polygon)})


def _put_beacons(conn: Connection[Any], key: dict[str, Any], plan: Plan) -> None:
    rows = [key | beacon.model_dump() | {"subject": subject_of(beacon.uuid, beacon.major, beacon.minor)}
            for beacon in plan.beacons]  # fmt: skip
    conn.execute(sql.retire_beacons, key | {"subjects": [row["subject"] for row in rows]})
    with conn.cursor() as cursor:
        cursor.executemany(sql.put_beacon, rows)


def subject_of(uuid: UUID, major: int, minor: int) -> int:
    """A beacon's subject as the database has it."""
    return db.signed(beacon_subject(uuid.bytes, major, minor))


# -- pictures


def add_image(conn: Connection[Any], tenant: str, store: str, data: bytes) -> Uploaded:
    """Keep a picture of a floor. Raises NotFound, and Invalid with the reason for a file that is not taken."""
    store_row(conn, tenant, store)
    plate = read_picture(data)
    if isinstance(plate, str):
        raise Invalid(plate, (Problem(plate, "body"),))
    image = hashlib.sha256(plate.content).hexdigest()
    conn.execute(sql.add_image, {"tenant": tenant, "store": store, "image": image} | asdict(plate))
    size = {"width_px": plate.width_px, "height_px": plate.height_px, "bytes": len(plate.content)}
    return Uploaded(image=image, media_type=plate.media_type, **size)


def read_image(conn: Connection[Any], tenant: str, store: str, image: str) -> tuple[str, bytes]:
    """Media type and content. Raises NotFound."""
    row = conn.execute(sql.image, {"tenant": tenant, "store": store, "image": image}).fetchone()
    if row is None:
        raise NotFound(f"store {store!r} has no such picture")
    return row[0], bytes(row[1])


# -- findings and what was heard


def findings(conn: Connection[Any], tenant: str, store: str, *, closed: bool) -> list[Finding]:
    """What the checks found: the open ones, or all. Raises NotFound."""
    store_row(conn, tenant, store)
    names = ("finding", "kind", "about", "says", "evidence", "first_us", "last_us", "closed_us", "closed_by")
    rows = conn.execute(sql.findings, {"tenant": tenant, "store": store, "closed": closed})
    return [Finding(**dict(zip(names, row, strict=True))) for row in rows]


def close_finding(conn: Connection[Any], tenant: str, store: str, finding: int, by: str | None, now_us: int) -> None:
    """Somebody mended it. Raises NotFound for one that is not open."""
    key = {"tenant": tenant, "store": store, "finding": finding, "by": by, "now": now_us}
    if not conn.execute(sql.close_finding, key).rowcount:
        raise NotFound(f"store {store!r} has no open finding {finding}")


HEARD_MOST_US = 600_000_000
"""A survey's place takes seconds; longer spans would make a history of where a thing was."""


def heard(
    conn: Connection[Any], tenant: str, store: str, beacon: tuple[UUID, int, int], from_us: int, to_us: int
) -> list[Heard]:
    """What each node heard of an asset beacon, nothing if it is not enrolled. Raises NotFound and Invalid."""
    store_row(conn, tenant, store)
    if not 0 < to_us - from_us <= HEARD_MOST_US:
        raise Invalid("from_us must be before to_us, by ten minutes at most")
    key = {"store": store, "subject": subject_of(*beacon), "from_us": from_us, "to_us": to_us}
    rows = conn.execute(sql.heard, key)
    return [Heard(node=node, mean_dbm=round(mean, 2), sd_db=round(sd, 2), n=n) for node, mean, sd, n in rows]
