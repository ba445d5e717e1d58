"""Surveys: a walk over a floor becomes its radio map, and what of it still holds serves later plans.

A survey is kept with where the nodes stood. The map of a floor is its newest survey of the same size, row by row: a
node that still stands there keeps what was measured, one that moved or came later gets a law of path loss, with its
wider doubt, until somebody walks again.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import Connection
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from cloud import db
from cloud.errors import Invalid, NotFound, Problem
from cloud.locate.radiomap import Grid, RadioMap
from cloud.places.models import Fitted, Floor, Node, Plan, Survey, SurveyPoint, SurveyTaken

sql = db.statements("cloud.places")

HEADINGS = ("x_m", "y_m", "node", "mean_dbm", "sd_db", "n")
"""Columns of the file that `edge survey` writes."""
POINTS_MOST = 200_000
"""As in `Survey`."""
BYTES_MOST = 32 * 1024 * 1024
SAME_PLACE_M = 0.05
"""A node that was drawn anew within a hand's breadth has not moved."""
MISTAKES_MOST = 100


@dataclass(frozen=True, slots=True)
class Mapped:
    """A floor's radio map for a plan."""

    radio_map: bytes
    measured: int
    """Nodes whose rows were surveyed; the others have a law of path loss."""


def read_survey(data: bytes, media_type: str) -> Survey:
    """The file of a walk: CSV with headings, or JSON `{"points": […]}`. Raises Invalid with lines or paths."""
    if media_type == "application/json":
        try:
            return Survey.model_validate_json(data)
        except ValidationError as error:
            raise Invalid("this is no survey", _told(error)) from None
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Invalid("this is no CSV", (Problem(str(error), "body"),)) from None
    if not rows or not set(HEADINGS) <= set(rows[0]):
        raise Invalid("this is no survey", (Problem(f"expected columns {','.join(HEADINGS)}", "body", 1),))
    if len(rows) > POINTS_MOST:
        raise Invalid("this is no survey", (Problem(f"at most {POINTS_MOST} lines are taken", "body"),))
    points: list[SurveyPoint] = []
    mistakes: list[Problem] = []
    for line, row in enumerate(rows, 2):
        try:
            points.append(SurveyPoint.model_validate({name: row[name] for name in HEADINGS}))
        except ValidationError as error:
            mistakes += [Problem(one.message, one.field, line) for one in _told(error)]
        if len(mistakes) >= MISTAKES_MOST:
            break
    if mistakes:
        raise Invalid(f"{len(mistakes)} mistakes", tuple(mistakes[:MISTAKES_MOST]))
    return Survey(points=points)


def _told(error: ValidationError) -> tuple[Problem, ...]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return tuple(Problem(one["msg"], ".".join(map(str, one["loc"])) or "body") for one in found[:MISTAKES_MOST])


@dataclass(frozen=True, slots=True)
class Walk:
    """Whose walk over which floor, and on which version of the plan."""

    tenant: str
    store: str
    floor: str
    version: int
    now_us: int
    by: str | None


def take_survey(conn: Connection[Any], walk: Walk, plan: Plan, survey: Survey) -> tuple[int, Fitted]:
    """Fit, keep and use a survey; its number and how well it fits.

    Raises NotFound for the floor, and Invalid for a node that does not stand on it or a walk that heard nothing.
    """
    floor = next((one for one in plan.floors if one.floor == walk.floor), None)
    if floor is None:
        raise NotFound(f"store {walk.store!r} has no floor {walk.floor!r}")
    nodes = plan.nodes_on(walk.floor)
    places, radio_map = fit(floor, nodes, survey)
    fitted = Fitted(places=places, nodes=len(nodes), sd_db=float(np.mean(radio_map.sd_db)))
    key = {"tenant": walk.tenant, "store": walk.store, "floor": walk.floor}
    row = {
        "version": walk.version,
        "now": walk.now_us,
        "by": walk.by,
        "points": Jsonb([[p.x_m, p.y_m, p.node, p.mean_dbm, p.sd_db, p.n] for p in survey.points]),
        "nodes": Jsonb([[n.node, n.x_m, n.y_m, n.z_m] for n in nodes]),
        "places": places,
        "sd_db": fitted.sd_db,
        "radio_map": radio_map.to_bytes(),
    }
    number = conn.execute(sql.add_survey, key | row).fetchone()
    assert number is not None
    conn.execute(sql.put_radio_map, key | {"radio_map": row["radio_map"]})
    conn.execute(sql.plan_changed, key)
    return number[0], fitted


def fit(floor: Floor, nodes: list[Node], survey: Survey) -> tuple[int, RadioMap]:
    """How many places were walked, and the map of them. Raises Invalid."""
    index = {node.node: i for i, node in enumerate(nodes)}
    for i, point in enumerate(survey.points):
        if point.node not in index:
            message = f"node {point.node!r} of the survey does not stand on floor {floor.floor!r}"
            raise Invalid(message, (Problem(message, f"points.{i}.node"),))
    places = sorted({(p.x_m, p.y_m) for p in survey.points})
    at = {place: i for i, place in enumerate(places)}
    mean = np.full((len(places), len(nodes)), np.nan)
    sd, count = np.zeros_like(mean), np.zeros_like(mean)
    for point in survey.points:
        cell = at[point.x_m, point.y_m], index[point.node]
        mean[cell], sd[cell], count[cell] = point.mean_dbm, point.sd_db, point.n
    try:
        fitted = RadioMap.from_survey(floor_grid(floor), node_positions(nodes), np.array(places), mean, sd, count)
    except ValueError as error:  # nothing was heard often enough
        raise Invalid(str(error), (Problem(str(error), "points"),)) from None
    return len(places), fitted


def map_of(conn: Connection[Any], key: Mapping[str, Any], plan: Plan, floor: Floor) -> Mapped | None:
    """A floor's map for a plan by the newest survey; None where there is none that holds."""
    row = conn.execute(sql.last_survey, {**key, "floor": floor.floor}).fetchone()
    if row is None:
        return None
    stood = {name: (x, y, z) for name, x, y, z in row[0]}
    return carried_over(RadioMap.from_bytes(bytes(row[1])), stood, floor, plan.nodes_on(floor.floor))


def carried_over(
    surveyed: RadioMap, stood: Mapping[str, tuple[float, float, float]], floor: Floor, nodes: list[Node]
) -> Mapped | None:
    """A survey's map (rows in the order of `stood`) for nodes that may have moved; None where nothing of it holds."""
    if surveyed.grid != floor_grid(floor):
        return None
    rows = {name: i for i, name in enumerate(stood)}
    kept = [
        (i, rows[node.node])
        for i, node in enumerate(nodes)
        if node.node in rows and _apart_m(node, stood[node.node]) <= SAME_PLACE_M
    ]
    if not kept:
        return None
    law = RadioMap.from_path_loss(surveyed.grid, node_positions(nodes))
    now, then = (list(part) for part in zip(*kept, strict=True))
    parts: dict[str, npt.NDArray[np.float32]] = {}
    for name in ("mean_dbm", "sd_db", "map_sd_db", "heard"):
        mine, theirs = getattr(law, name), getattr(surveyed, name)
        if theirs is not None:
            mine = mine.copy()
            mine[now] = theirs[then]
        parts[name] = mine
    return Mapped(replace(law, **parts).to_bytes(), len(kept))  # type: ignore[arg-type]


def _apart_m(node: Node, place: tuple[float, float, float]) -> float:
    return float(np.linalg.norm(np.subtract((node.x_m, node.y_m, node.z_m), place)))


def surveys(conn: Connection[Any], tenant: str, store: str) -> list[SurveyTaken]:
    """The newest first."""
    names = ("survey", "floor", "version", "taken_us", "taken_by", "places", "nodes", "sd_db")
    rows = conn.execute(sql.surveys, {"tenant": tenant, "store": store})
    return [SurveyTaken(**dict(zip(names, row, strict=True))) for row in rows]


def floor_grid(floor: Floor) -> Grid:
    """The grid that a floor's radio map, positions and heatmaps share."""
    nx, ny = int(np.ceil(floor.width_m / floor.cell_m)), int(np.ceil(floor.depth_m / floor.cell_m))
    return Grid((0.0, 0.0), floor.cell_m, nx, ny)


def node_positions(nodes: list[Node]) -> npt.NDArray[np.float64]:
    """Shape (N, 3), metres."""
    return np.array([(n.x_m, n.y_m, n.z_m) for n in nodes], float).reshape(-1, 3)
