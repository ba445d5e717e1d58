"""Reading and replacing a store's plan, and fitting its radio map from a survey."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import Connection
from psycopg.types.json import Jsonb

from cloud import db
from cloud.errors import Conflict, Invalid, NotFound
from cloud.locate.radiomap import Grid, RadioMap
from cloud.places.models import Beacon, Fitted, Floor, Heard, Node, Plan, Survey, Zone
from contract.identity import beacon_subject

sql = db.statements("cloud.places")


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


def store_row(conn: Connection[Any], tenant: str, store: str) -> StoreRow:
    """The store. Raises NotFound."""
    row = conn.execute(sql.store, {"tenant": tenant, "store": store}).fetchone()
    if row is None:
        raise NotFound(f"no store {store!r}")
    return StoreRow(*row)


def read_plan(conn: Connection[Any], tenant: str, store: str) -> Plan:
    """The plan as it was put. Raises NotFound."""
    row = store_row(conn, tenant, store)
    key = {"tenant": tenant, "store": store}
    return Plan(
        name=row.name,
        tz=row.tz,
        opens=row.opens,
        closes=row.closes,
        demo=row.demo,
        floors=[Floor(**_named(Floor, r)) for r in conn.execute(sql.floors, key)],
        zones=[Zone(**_named(Zone, r)) for r in conn.execute(sql.zones, key)],
        nodes=[Node(**_named(Node, r)) for r in conn.execute(sql.nodes, key)],
        beacons=[Beacon(**_named(Beacon, r)) for r in conn.execute(sql.beacons, key)],
    )


def _named(model: type[Floor | Zone | Node | Beacon], row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(model.model_fields, row, strict=False))


def put_plan(conn: Connection[Any], tenant: str, store: str, plan: Plan) -> None:
    """Make or replace a store. Raises Conflict if a node's name is taken by another store,

    if the floor has another key than before, or if a zone that a campaign names is gone.
    """
    key: dict[str, Any] = {"tenant": tenant, "store": store}
    gone = {row[0] for row in conn.execute(sql.floors, key)} - {f.floor for f in plan.floors}
    if gone:
        raise Conflict(f"store {store!r} has floor {min(gone)!r}: its name may change, its key may not")
    conn.execute(sql.put_store, key | plan.model_dump(include={"name", "tz", "opens", "closes", "demo"}))
    for floor in plan.floors:
        conn.execute(sql.put_floor, key | floor.model_dump())
    try:
        conn.execute(sql.drop_zones, key | {"zones": [z.zone for z in plan.zones]})
    except psycopg.errors.ForeignKeyViolation as error:
        raise Conflict(f"a zone that the plan no longer has is a campaign's: {error.diag.message_detail}") from None
    for zone in plan.zones:
        conn.execute(sql.put_zone, key | zone.model_dump() | {"polygon": Jsonb(zone.polygon)})
    conn.execute(sql.retire_nodes, key | {"nodes": [n.node for n in plan.nodes]})
    for node in plan.nodes:
        if conn.execute(sql.put_node, key | node.model_dump()).fetchone() is None:
            raise Conflict(f"node {node.node!r} stands in another store of this tenant")
    for beacon in plan.beacons:
        subject = db.signed(beacon_subject(beacon.uuid.bytes, beacon.major, beacon.minor))
        conn.execute(sql.put_beacon, key | beacon.model_dump() | {"subject": subject})
    conn.execute(sql.plan_changed, key)


def put_survey(conn: Connection[Any], tenant: str, store: str, floor_name: str, survey: Survey) -> Fitted:
    """Fit the floor's radio map. Raises NotFound for the floor and Invalid for a node that does not stand on it."""
    plan = read_plan(conn, tenant, store)
    floor = next((f for f in plan.floors if f.floor == floor_name), None)
    if floor is None:
        raise NotFound(f"store {store!r} has no floor {floor_name!r}")
    nodes = [n for n in plan.nodes if n.floor == floor_name]
    index = {n.node: i for i, n in enumerate(nodes)}
    strange = {p.node for p in survey.points} - index.keys()
    if strange:
        raise Invalid(f"node {min(strange)!r} of the survey does not stand on floor {floor_name!r}")
    places = sorted({(p.x_m, p.y_m) for p in survey.points})
    at = {place: i for i, place in enumerate(places)}
    mean = np.full((len(places), len(nodes)), np.nan)
    sd, count = np.zeros_like(mean), np.zeros_like(mean)
    for p in survey.points:
        cell = at[p.x_m, p.y_m], index[p.node]
        mean[cell], sd[cell], count[cell] = p.mean_dbm, p.sd_db, p.n
    fitted = RadioMap.from_survey(floor_grid(floor), node_positions(nodes), np.array(places), mean, sd, count)
    key = {"tenant": tenant, "store": store, "floor": floor_name}
    conn.execute(sql.put_radio_map, key | {"radio_map": fitted.to_bytes()})
    conn.execute(sql.plan_changed, key)
    return Fitted(places=len(places), nodes=len(nodes), sd_db=float(np.mean(fitted.sd_db)))


HEARD_MOST_US = 600_000_000
"""A survey's place takes seconds; longer spans would make a history of where a thing was."""


def heard(
    conn: Connection[Any], tenant: str, store: str, beacon: tuple[UUID, int, int], from_us: int, to_us: int
) -> list[Heard]:
    """What each node heard of an asset beacon, nothing if it is not enrolled. Raises NotFound and Invalid."""
    store_row(conn, tenant, store)
    if not 0 < to_us - from_us <= HEARD_MOST_US:
        raise Invalid("from_us must be before to_us, by ten minutes at most")
    uuid, major, minor = beacon
    subject = db.signed(beacon_subject(uuid.bytes, major, minor))
    rows = conn.execute(sql.heard, {"store": store, "subject": subject, "from_us": from_us, "to_us": to_us})
    return [Heard(node=node, mean_dbm=round(mean, 2), sd_db=round(sd, 2), n=n) for node, mean, sd, n in rows]


def floor_grid(floor: Floor) -> Grid:
    """The grid that a floor's radio map, positions and heatmaps share."""
    nx, ny = int(np.ceil(floor.width_m / floor.cell_m)), int(np.ceil(floor.depth_m / floor.cell_m))
    return Grid((0.0, 0.0), floor.cell_m, nx, ny)


def node_positions(nodes: list[Node]) -> npt.NDArray[np.float64]:
    """Shape (N, 3), metres."""
    return np.array([(n.x_m, n.y_m, n.z_m) for n in nodes], float).reshape(-1, 3)
