"""A floor of a plan as one GeoJSON FeatureCollection (RFC 7946), out and in. Pure and total: any JSON gives a plan or
every mistake in it, each by the path to the value.

GeoJSON means longitude and latitude; a plan is drawn in metres. So a collection says which of the two it holds
(`"coordinates": "metres"` or `"wgs84"`), and without that word nothing is guessed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError

from cloud.errors import Problem
from cloud.places.frame import Globe
from cloud.places.holds import problems
from cloud.places.models import Antenna, Beacon, Floor, Node, Obstacle, Plan, Point, Zone

Coordinates = Literal["metres", "wgs84"]
Document = dict[str, Any]
M = TypeVar("M", bound=BaseModel)

KINDS = ("floor", "zone", "node", "antenna", "wall", "block", "beacon")
FEATURES_MOST = 25_000
MISTAKES_MOST = 100
"""A file of the wrong kind is wrong everywhere; so many mistakes say that."""

_SHAPES = {"zone": "Polygon", "node": "Point", "antenna": "Point", "wall": "LineString", "block": "Polygon"}


# -- out


def write_floor(plan: Plan, floor: Floor, coordinates: Coordinates) -> Document:
    """Everything that stands on a floor. `wgs84` needs the plan's location (the caller has looked)."""
    place = _placing(plan, coordinates)
    key = floor.floor
    corners: list[Point] = [(0, 0), (floor.width_m, 0), (floor.width_m, floor.depth_m), (0, floor.depth_m)]
    features = [_feature("floor", key, _polygon(corners, place), _rest(floor))]
    for zone in plan.zones:
        if zone.floor == key:
            features.append(_feature("zone", zone.zone, _polygon(zone.polygon, place), _rest(zone, "floor", "polygon")))
    for i, obstacle in enumerate(one for one in plan.obstacles if one.floor == key):
        line = [list(place(*point)) for point in obstacle.path]
        shape = {"type": "LineString", "coordinates": line}
        if obstacle.kind == "block":
            shape = _polygon(obstacle.path, place)
        features.append(_feature(obstacle.kind, str(i), shape, _rest(obstacle, "kind", "floor", "path")))
    for node in plan.nodes_on(key):
        features.append(_feature("node", node.node, _point(node, place), _rest(node, "floor", "antennas", *_XY)))
        for antenna in node.antennas:
            rest = {"node": node.node} | _rest(antenna, *_XY)
            features.append(_feature("antenna", f"{node.node}/{antenna.port}", _point(antenna, place), rest))
    for beacon in plan.beacons:
        if beacon.floor == key:
            shape_or_none = None if beacon.x_m is None else _point(beacon, place)
            name = f"{beacon.uuid}/{beacon.major}/{beacon.minor}"
            features.append(_feature("beacon", name, shape_or_none, _rest(beacon, "floor", *_XY)))
    return {"type": "FeatureCollection", "coordinates": coordinates, "floor": key, "features": features}


_XY = ("x_m", "y_m")
_Placing = Callable[[float, float], tuple[float, float]]


def _placing(plan: Plan, coordinates: Coordinates) -> _Placing:
    if coordinates == "wgs84" and plan.location is not None:
        return Globe(plan.location).to_lon_lat
    return lambda x_m, y_m: (x_m, y_m)


def _feature(kind: str, name: str, geometry: Document | None, properties: Document) -> Document:
    told = {"feature": kind} | properties
    return {"type": "Feature", "id": f"{kind}/{name}", "geometry": geometry, "properties": told}


def _rest(model: BaseModel, *left_out: str) -> Document:
    return model.model_dump(mode="json", exclude=set(left_out))


def _point(one: Node | Antenna | Beacon, place: _Placing) -> Document:
    return {"type": "Point", "coordinates": list(place(one.x_m or 0.0, one.y_m or 0.0))}


def _polygon(outline: Sequence[Point], place: _Placing) -> Document:
    """Counter-clockwise and closed, as the format has it."""
    turned = zip(outline, [*outline[1:], outline[0]], strict=True)
    clockwise = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in turned) < 0
    ring = [list(place(*point)) for point in ([outline[0], *outline[:0:-1]] if clockwise else outline)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


# -- in


@dataclass(slots=True)
class _Found:
    """What was read of a collection so far, and which feature each part came from."""

    floor: tuple[int, Floor] | None = None
    zones: list[tuple[int, Zone]] = field(default_factory=list)
    nodes: list[tuple[int, Node]] = field(default_factory=list)
    antennas: list[tuple[int, str, Antenna]] = field(default_factory=list)
    obstacles: list[tuple[int, Obstacle]] = field(default_factory=list)
    beacons: list[tuple[int, Beacon]] = field(default_factory=list)
    mistakes: list[Problem] = field(default_factory=list)

    def wrong(self, path: str, message: str) -> None:
        self.mistakes.append(Problem(message, path))


def read_floor(document: object, plan: Plan, key: str) -> Plan | tuple[Problem, ...]:
    """The plan with this floor replaced, or all mistakes.

    What the floor had and the collection has not is gone; other floors stay, and beacons that stand on no floor.
    """
    found = _Found()
    if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
        return (Problem("expected a FeatureCollection", "type"),)
    to_metres = _to_metres(document.get("coordinates"), plan, found)
    features = document.get("features")
    if document.get("floor", key) != key:
        found.wrong("floor", f"the collection is of floor {document['floor']!r}, not of {key!r}")
    if not isinstance(features, list) or len(features) > FEATURES_MOST:
        found.wrong("features", f"expected a list of at most {FEATURES_MOST}")
        features = []
    if to_metres is not None:
        for i, feature in enumerate(features):
            _read_feature(found, f"features.{i}", i, feature, key, to_metres)
            if len(found.mistakes) >= MISTAKES_MOST:
                break
    if found.mistakes:
        return tuple(found.mistakes[:MISTAKES_MOST])
    return _merged(found, plan, key)


def _to_metres(said: object, plan: Plan, found: _Found) -> _Placing | None:
    if said == "metres":
        return lambda x, y: (x, y)
    if said != "wgs84":
        found.wrong("coordinates", "expected 'metres' (from the floor's corner) or 'wgs84' (longitude, latitude)")
        return None
    if plan.location is None:
        found.wrong("coordinates", "'wgs84' needs the plan's location: give it with the plan, or use 'metres'")
        return None
    return Globe(plan.location).to_metres


def _read_feature(found: _Found, path: str, i: int, feature: object, key: str, to_metres: _Placing) -> None:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        return found.wrong(path, "expected a Feature")
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        return found.wrong(f"{path}.properties", "expected an object")
    kind = properties.get("feature")
    if kind not in KINDS:
        return found.wrong(f"{path}.properties.feature", f"expected one of {', '.join(KINDS)}")
    rest = {name: value for name, value in properties.items() if name != "feature"}
    if kind == "floor":
        if found.floor is not None:
            return found.wrong(path, "a collection has one floor")
        if rest.setdefault("floor", key) != key:
            return found.wrong(f"{path}.properties.floor", f"expected {key!r}")
        if (floor := _made(found, Floor, rest, path, {})) is not None:
            found.floor = i, floor
        return None
    points: list[tuple[float, float]] = []
    geometry = feature.get("geometry")
    if kind != "beacon" or geometry is not None:
        read = _points(geometry, _SHAPES.get(kind, "Point"), f"{path}.geometry", to_metres)
        if isinstance(read, Problem):
            found.mistakes.append(read)
            return None
        points = read
    _read_part(found, kind, i, path, rest, points, key)
    return None


def _read_part(
    found: _Found, kind: str, i: int, path: str, rest: Document, points: list[tuple[float, float]], key: str
) -> None:
    at = {"x_m": points[0][0], "y_m": points[0][1]} if points else {}
    where = f"{path}.geometry.coordinates"
    point_paths = {"x_m": f"{where}.0", "y_m": f"{where}.1"}
    if kind == "zone":
        given = rest | {"floor": key, "polygon": points}
        if (zone := _made(found, Zone, given, path, {"polygon": f"{where}.0"})) is not None:
            found.zones.append((i, zone))
    elif kind in ("wall", "block"):
        given = rest | {"floor": key, "kind": kind, "path": points}
        ring = where if kind == "wall" else f"{where}.0"
        if (obstacle := _made(found, Obstacle, given, path, {"path": ring})) is not None:
            found.obstacles.append((i, obstacle))
    elif kind == "node":
        if (node := _made(found, Node, rest | {"floor": key} | at, path, point_paths)) is not None:
            found.nodes.append((i, node))
    elif kind == "antenna":
        node_name = rest.pop("node", None)
        antenna = _made(found, Antenna, rest | at, path, point_paths)
        if not isinstance(node_name, str):
            found.wrong(f"{path}.properties.node", "expected the name of the node that it hangs on")
        elif antenna is not None:
            found.antennas.append((i, node_name, antenna))
    elif (beacon := _made(found, Beacon, rest | {"floor": key} | at, path, point_paths)) is not None:
        found.beacons.append((i, beacon))


def _made(found: _Found, model: type[M], values: Document, path: str, elsewhere: dict[str, str]) -> M | None:
    """The part; its mistakes are told where the value stands in the feature."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for mistake in error.errors(include_url=False, include_input=False, include_context=False):
            first, *more = (str(part) for part in mistake["loc"])
            found.wrong(".".join([elsewhere.get(first, f"{path}.properties.{first}"), *more]), mistake["msg"])
        return None


def _points(geometry: object, shape: str, path: str, to_metres: _Placing) -> list[tuple[float, float]] | Problem:
    """The corners of a geometry, a polygon's without its closing one."""
    if not isinstance(geometry, dict) or geometry.get("type") != shape:
        return Problem(f"expected a {shape}", f"{path}.type" if isinstance(geometry, dict) else path)
    inner, path = geometry.get("coordinates"), f"{path}.coordinates"
    if shape == "Polygon":
        if not isinstance(inner, list) or not inner:
            return Problem("expected one outline", path)
        if len(inner) > 1:
            return Problem("an outline may have no holes: draw what is inside as a zone of its own", f"{path}.1")
        inner, path = inner[0], f"{path}.0"
    pairs = [inner] if shape == "Point" else inner
    if not isinstance(pairs, list):
        return Problem("expected a list of positions", path)
    points = []
    for i, pair in enumerate(pairs):
        at = path if shape == "Point" else f"{path}.{i}"
        if not isinstance(pair, list) or not 2 <= len(pair) <= 3:
            return Problem("expected a position of two numbers", at)
        for j, value in enumerate(pair):
            if not _is_number(value):
                return Problem("expected a number", f"{at}.{j}")
        points.append(to_metres(float(pair[0]), float(pair[1])))
    if shape == "Polygon" and len(points) > 1 and pairs[0] == pairs[-1]:
        points.pop()
    return points


def _is_number(value: object) -> TypeGuard[float]:
    """Within what coordinates can be: larger integers do not even fit a float."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9 and not math.isnan(value)
    )


def _merged(found: _Found, plan: Plan, key: str) -> Plan | tuple[Problem, ...]:
    floor = found.floor[1] if found.floor else next((one for one in plan.floors if one.floor == key), None)
    if floor is None:
        return (Problem(f"the plan has no floor {key!r}, and none of the features is a floor", "features"),)
    source: dict[str, int] = {}
    floors = [one for one in plan.floors if one.floor != key] + [floor]
    zones = [one for one in plan.zones if one.floor != key]
    nodes = [one for one in plan.nodes if one.floor != key]
    obstacles = [one for one in plan.obstacles if one.floor != key]
    beacons = [one for one in plan.beacons if one.floor != key]
    if found.floor:
        source[f"floors.{len(floors) - 1}"] = found.floor[0]
    for i, zone in found.zones:
        source[f"zones.{len(zones)}"] = i
        zones.append(zone)
    for i, obstacle in found.obstacles:
        source[f"obstacles.{len(obstacles)}"] = i
        obstacles.append(obstacle)
    for i, beacon in found.beacons:
        source[f"beacons.{len(beacons)}"] = i
        beacons.append(beacon)
    orphans = {name: i for i, name, _ in found.antennas}
    for i, node in found.nodes:
        at = len(nodes)
        source[f"nodes.{at}"] = i
        hung = [(j, antenna) for j, name, antenna in found.antennas if name == node.node] if found.antennas else []
        orphans.pop(node.node, None)
        source |= {f"nodes.{at}.antennas.{k}": j for k, (j, _) in enumerate(hung)}
        nodes.append(node.model_copy(update={"antennas": [antenna for _, antenna in hung]}))
    if orphans:
        return tuple(
            Problem(f"node {name!r} is not in the collection", f"features.{i}.properties.node")
            for name, i in orphans.items()
        )
    parts = {"floors": floors, "zones": zones, "nodes": nodes, "obstacles": obstacles, "beacons": beacons}
    merged = plan.model_copy(update=parts).in_order()
    whole = plan.model_copy(update=parts)
    mistakes = problems(whole)
    if mistakes:
        return tuple(Problem(one.message, _in_feature(one.field or "", source)) for one in mistakes[:MISTAKES_MOST])
    try:
        Plan.model_validate(merged.model_dump())
    except ValidationError as error:  # more zones or nodes than a plan may have
        return tuple(Problem(one["msg"], "features") for one in error.errors(include_url=False))
    return merged


def _in_feature(path: str, source: dict[str, int]) -> str:
    """The path of a value of the plan as the path in the collection that it came from; others stay as they are."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        i = source.get(".".join(parts[:cut]))
        if i is not None:
            rest = parts[cut:]
            if rest and rest[0] in ("polygon", "path"):
                return f"features.{i}.geometry.coordinates"
            return ".".join([f"features.{i}", *(["properties", *rest] if rest else [])])
    return path
