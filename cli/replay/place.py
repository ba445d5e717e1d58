"""The plan of a recording whose place nobody drew: one floor, one node in its middle."""


def plan(name: str, node: str, width_m: float, depth_m: float, zones: list[str] | None = None) -> dict[str, object]:
    """The body of PUT /v1/stores/{store}; the zones, if any, lie side by side from wall to wall."""
    strips = zones or []
    step_m = width_m / max(1, len(strips))
    return {
        "name": name,
        "tz": "UTC",
        "opens": "00:00",
        "closes": "23:59",
        "demo": False,
        "floors": [{"floor": "0", "name": "Floor", "width_m": width_m, "depth_m": depth_m, "cell_m": 2.0}],
        "zones": [
            {
                "zone": zone,
                "name": zone.capitalize(),
                "kind": "shelf",
                "floor": "0",
                "polygon": _rectangle(i * step_m, (i + 1) * step_m, depth_m),
                "categories": [],
            }
            for i, zone in enumerate(strips)
        ],
        "nodes": [{"node": node, "floor": "0", "x_m": width_m / 2, "y_m": depth_m / 2, "z_m": 1.0, "zone": None}],
        "beacons": [],
    }


def _rectangle(left_m: float, right_m: float, depth_m: float) -> list[list[float]]:
    return [[left_m, 0], [right_m, 0], [right_m, depth_m], [left_m, depth_m]]
