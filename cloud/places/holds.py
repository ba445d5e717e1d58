"""Whether a plan holds together: what its parts refer to is there, names stand once, outlines enclose something.

Each mistake is named by the path to the value, as in a form's own mistakes.
"""

from collections.abc import Iterator, Sequence

from cloud.errors import Problem
from cloud.places.models import Picture, Plan, Point

LEAST_AREA_M2 = 0.01
"""A smaller outline is a slip of the pen."""
LEAST_APART_PX = 20.0
"""Of the two spots of a picture: nearer ones give a scale that is off by more than a tenth."""
LEAST_APART_M = 0.5


def problems(plan: Plan) -> tuple[Problem, ...]:
    """Everything that does not hold together, in the order of the plan."""
    return tuple(_problems(plan))


def _problems(plan: Plan) -> Iterator[Problem]:
    floors = {floor.floor for floor in plan.floors}
    zones = {zone.zone for zone in plan.zones}
    yield from _twice("floors", "floor", [floor.floor for floor in plan.floors])
    for i, floor in enumerate(plan.floors):
        if floor.picture is not None and (why := _without_scale(floor.picture)):
            yield Problem(why, f"floors.{i}.picture.fixes")
    yield from _twice("zones", "zone", [zone.zone for zone in plan.zones])
    for i, zone in enumerate(plan.zones):
        if zone.floor not in floors:
            yield Problem(f"zone {zone.zone!r} is on floor {zone.floor!r}, which is not in floors", f"zones.{i}.floor")
        if area_m2(zone.polygon) < LEAST_AREA_M2:
            yield Problem(f"zone {zone.zone!r} encloses nothing", f"zones.{i}.polygon")
    yield from _twice("nodes", "node", [node.node for node in plan.nodes])
    for i, node in enumerate(plan.nodes):
        if node.floor not in floors:
            yield Problem(f"node {node.node!r} is on floor {node.floor!r}, which is not in floors", f"nodes.{i}.floor")
        if node.zone is not None and node.zone not in zones:
            yield Problem(f"node {node.node!r} has zone {node.zone!r}, which is not in zones", f"nodes.{i}.zone")
        yield from _twice(f"nodes.{i}.antennas", "port", [antenna.port for antenna in node.antennas])
        for j, antenna in enumerate(node.antennas):
            if antenna.zone is not None and antenna.zone not in zones:
                yield Problem(
                    f"antenna {antenna.port} of node {node.node!r} has zone {antenna.zone!r}, which is not in zones",
                    f"nodes.{i}.antennas.{j}.zone",
                )
    yield from _twice("beacons", "beacon", [f"{b.uuid}/{b.major}/{b.minor}" for b in plan.beacons])
    for i, beacon in enumerate(plan.beacons):
        if beacon.floor is not None and beacon.floor not in floors:
            yield Problem(
                f"beacon {beacon.label!r} is on floor {beacon.floor!r}, which is not in floors", f"beacons.{i}.floor"
            )
        if (beacon.x_m is None) != (beacon.y_m is None):
            yield Problem(f"beacon {beacon.label!r} has one of x_m and y_m, not both", f"beacons.{i}.x_m")
    for i, obstacle in enumerate(plan.obstacles):
        if obstacle.floor not in floors:
            yield Problem(
                f"{obstacle.kind} {i} is on floor {obstacle.floor!r}, which is not in floors", f"obstacles.{i}.floor"
            )
        if obstacle.kind == "block" and area_m2(obstacle.path) < LEAST_AREA_M2:
            yield Problem(f"block {i} encloses nothing", f"obstacles.{i}.path")
    yield from _twice("rings", "ring", [ring.ring for ring in plan.rings])


def _twice(path: str, kind: str, names: Sequence[str | int]) -> Iterator[Problem]:
    met: dict[str | int, int] = {}
    for i, name in enumerate(names):
        met[name] = met.get(name, 0) + 1
        if met[name] == 2:
            yield Problem(f"{kind} {name!r} stands twice", f"{path}.{i}")


def _without_scale(picture: Picture) -> str | None:
    a, b = picture.fixes
    apart_px, apart_m = abs(complex(b.x_px - a.x_px, b.y_px - a.y_px)), abs(complex(b.x_m - a.x_m, b.y_m - a.y_m))
    if apart_px < LEAST_APART_PX:
        return f"the two spots are {apart_px:.0f} px apart, expected {LEAST_APART_PX:.0f} px or more"
    if apart_m < LEAST_APART_M:
        return f"the two spots are {apart_m:.2f} m apart, expected {LEAST_APART_M} m or more"
    return None


def area_m2(outline: list[Point]) -> float:
    """Of a polygon (the shoelace formula); an outline that crosses itself counts its parts against each other."""
    turned = zip(outline, outline[1:] + outline[:1], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in turned)) / 2
