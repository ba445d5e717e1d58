"""A floor as GeoJSON: what goes out comes in again, and whatever comes in is a plan or a list of its mistakes."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import Problem
from cloud.places.geojson import Coordinates, read_floor, write_floor
from cloud.places.models import Plan

BEACON = {"uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 1, "role": "fixed"}
PLAN = Plan.model_validate(
    {
        "name": "Main Street",
        "tz": "Europe/Berlin",
        "location": {"lat": 52.52, "lon": 13.4, "bearing_deg": 30},
        "floors": [
            {"floor": "0", "name": "Ground", "width_m": 20, "depth_m": 10},
            {"floor": "1", "name": "First", "width_m": 8, "depth_m": 8, "cell_m": 1},
        ],
        "zones": [
            {"zone": "coffee", "name": "Coffee", "kind": "shelf", "floor": "0", "polygon": [[0, 0], [4, 0], [4, 4]],
             "categories": ["coffee"]},
            {"zone": "tea", "name": "Tea", "kind": "aisle", "floor": "1", "polygon": [[0, 0], [4, 0], [4, 4]]},
        ],
        "nodes": [
            {"node": "door", "floor": "0", "x_m": 1, "y_m": 1, "zone": "coffee",
             "antennas": [{"port": 1, "x_m": 1.5, "y_m": 1}, {"port": 2, "x_m": 2, "y_m": 1, "zone": "coffee"}]},
            {"node": "stairs", "floor": "1", "x_m": 1, "y_m": 1},
        ],
        "beacons": [
            BEACON | {"minor": 1, "label": "A", "floor": "0", "x_m": 3.25, "y_m": 4.5},
            BEACON | {"minor": 2, "label": "B", "floor": "0"},
            BEACON | {"minor": 3, "label": "C", "role": "staff"},
        ],
        "obstacles": [
            {"kind": "wall", "floor": "0", "path": [[5, 0], [5, 5]], "loss_db": 6},
            {"kind": "block", "floor": "0", "path": [[6, 6], [8, 6], [8, 8]]},
        ],
    }
).in_order()  # fmt: skip
GROUND = write_floor(PLAN, PLAN.floors[0], "metres")


def changed(feature: int, **parts: Any) -> dict[str, Any]:
    """The ground floor with one feature's properties or geometry replaced."""
    document = copy.deepcopy(GROUND)
    document["features"][feature] |= parts
    return document


def which(kind: str) -> int:
    return next(i for i, one in enumerate(GROUND["features"]) if one["properties"]["feature"] == kind)


@pytest.mark.parametrize("floor", [0, 1])
def test_a_floor_that_went_out_comes_in_as_it_was(floor: int) -> None:
    there = PLAN.floors[floor]
    document = json.loads(json.dumps(write_floor(PLAN, there, "metres")))
    back = read_floor(document, PLAN, there.floor)
    assert isinstance(back, Plan) and sorted(map(repr, back.obstacles)) == sorted(map(repr, PLAN.obstacles))
    assert back.model_dump(exclude={"obstacles"}) == PLAN.model_dump(exclude={"obstacles"})


def test_in_degrees_a_floor_comes_back_to_a_tenth_of_a_millimetre() -> None:
    back = read_floor(write_floor(PLAN, PLAN.floors[0], "wgs84"), PLAN, "0")
    assert isinstance(back, Plan)
    assert back.zones[0].polygon == [pytest.approx(point, abs=2e-4) for point in PLAN.zones[0].polygon]
    beacon = next(one for one in back.beacons if one.label == "A")
    assert [beacon.x_m, beacon.y_m] == pytest.approx([3.25, 4.5], abs=2e-4)


def test_an_outline_goes_out_closed_and_counter_clockwise() -> None:
    clockwise = PLAN.zones[0].model_copy(update={"polygon": [(0, 0), (4, 4), (4, 0)]})
    told = write_floor(PLAN.model_copy(update={"zones": [clockwise]}), PLAN.floors[0], "metres")
    zone = next(one for one in told["features"] if one["id"] == "zone/coffee")
    assert zone["geometry"]["coordinates"] == [[[0, 0], [4, 0], [4, 4], [0, 0]]]


def test_what_the_collection_has_not_is_gone_from_that_floor_only() -> None:
    document = GROUND | {"features": [one for one in GROUND["features"] if one["properties"]["feature"] == "floor"]}
    back = read_floor(document, PLAN, "0")
    assert isinstance(back, Plan)
    assert ([z.zone for z in back.zones], [n.node for n in back.nodes]) == (["tea"], ["stairs"])
    assert [b.label for b in back.beacons] == ["C"], "a badge stands on no floor"


def test_a_new_floor_needs_its_own_feature() -> None:
    nothing: dict[str, Any] = {"type": "FeatureCollection", "coordinates": "metres", "features": []}
    assert read_floor(nothing, PLAN, "2") == (
        Problem("the plan has no floor '2', and none of the features is a floor", "features"),
    )
    size = {"feature": "floor", "name": "Roof", "width_m": 5, "depth_m": 5}
    # A floor's geometry is drawn for the eye: its size is in its properties.
    roof = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}, "properties": size}
    with_roof = nothing | {"features": [roof]}
    back = read_floor(with_roof, PLAN, "2")
    assert isinstance(back, Plan) and [one.floor for one in back.floors] == ["0", "1", "2"]


def _zone(**parts: Any) -> dict[str, Any]:
    there = GROUND["features"][which("zone")]["properties"]
    return {"properties": there | parts}


Z, N, A, B = which("zone"), which("node"), which("antenna"), which("beacon")
WRONG: list[tuple[str, Any, list[str]]] = [
    ("no collection", [], ["type"]),
    ("no word on its coordinates", {k: v for k, v in GROUND.items() if k != "coordinates"}, ["coordinates"]),
    ("another floor", GROUND | {"floor": "7"}, ["floor"]),
    ("features that are none", GROUND | {"features": [1, {"type": "Feature"}]},
     ["features.0", "features.1.properties"]),
    ("a kind that is unknown", changed(Z, properties={"feature": "lift"}), [f"features.{Z}.properties.feature"]),
    ("a zone's kind", changed(Z, **_zone(kind="bar")), [f"features.{Z}.properties.kind"]),
    ("a key that is unknown", changed(Z, **_zone(colour="red")), [f"features.{Z}.properties.colour"]),
    ("a point for a zone", changed(Z, geometry={"type": "Point", "coordinates": [1, 1]}),
     [f"features.{Z}.geometry.type"]),
    ("a word for a number", changed(Z, geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [2, 2]]]}),
     [f"features.{Z}.geometry.coordinates.0.1.1"]),
    ("a hole", changed(Z, geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]], [[0, 0]]]}),
     [f"features.{Z}.geometry.coordinates.1"]),
    ("far away", changed(N, geometry={"type": "Point", "coordinates": [1, 5000]}),
     [f"features.{N}.geometry.coordinates.1"]),
    ("a zone without an area", changed(Z, geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2]]]}),
     [f"features.{Z}.geometry.coordinates"]),
    ("a zone that is not there", changed(N, properties=GROUND["features"][N]["properties"] | {"zone": "moon"}),
     [f"features.{N}.properties.zone"]),
    ("a zone of an antenna", changed(A, properties=GROUND["features"][A]["properties"] | {"zone": "moon"}),
     [f"features.{A}.properties.zone"]),
    ("an antenna of no node", changed(A, properties=GROUND["features"][A]["properties"] | {"node": "roof"}),
     [f"features.{A}.properties.node"]),
    ("a name of another floor", changed(Z, **_zone(zone="tea")), [f"features.{Z}", f"features.{N}.properties.zone",
     f"features.{A + 1}.properties.zone"]),
    ("a number that is infinite", changed(B, geometry={"type": "Point", "coordinates": [10**400, float("nan")]}),
     [f"features.{B}.geometry.coordinates.0"]),
]  # fmt: skip


@pytest.mark.parametrize(("document", "paths"), [pytest.param(*case[1:], id=case[0]) for case in WRONG])
def test_each_mistake_is_named_by_its_path(document: Any, paths: list[str]) -> None:
    told = read_floor(document, PLAN, "0")
    assert isinstance(told, tuple)
    assert [one.field for one in told] == paths, told


def test_degrees_need_a_place_on_earth() -> None:
    nowhere = PLAN.model_copy(update={"location": None})
    told = read_floor(GROUND | {"coordinates": "wgs84"}, nowhere, "0")
    assert isinstance(told, tuple) and told[0].field == "coordinates"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.integers(0, len(GROUND["features"]) - 1), st.sampled_from(["", "properties", "geometry"]))
def test_any_json_is_a_plan_or_mistakes(value: Any, feature: int, part: str) -> None:
    assert isinstance(read_floor(value, PLAN, "0"), Plan | tuple)
    document = copy.deepcopy(GROUND)
    if part:
        document["features"][feature][part] = value
    else:
        document["features"][feature] = value
    assert isinstance(read_floor(document, PLAN, "0"), Plan | tuple)


@given(
    st.sampled_from(["zone", "name", "kind", "polygon", "categories", "node", "port", "uuid", "width_m", "loss_db"]),
    json_values,
    st.integers(0, len(GROUND["features"]) - 1),
)
def test_any_value_of_a_property_is_a_plan_or_mistakes(name: str, value: Any, feature: int) -> None:
    document = copy.deepcopy(GROUND)
    document["features"][feature]["properties"][name] = value
    assert isinstance(read_floor(document, PLAN, "0"), Plan | tuple)


coordinates = st.floats(-900, 900).map(lambda metres: round(metres, 3))


@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8, unique=True),
    st.floats(-80, 80),
    st.floats(0, 359.9),
    st.sampled_from(["metres", "wgs84"]),
)
def test_any_outline_survives_the_way_there_and_back(
    outline: list[tuple[float, float]], lat: float, bearing: float, how: Coordinates
) -> None:
    location = PLAN.location.model_copy(update={"lat": lat, "bearing_deg": bearing}) if PLAN.location else None
    zone = PLAN.zones[0].model_copy(update={"polygon": outline})
    plan = PLAN.model_copy(update={"location": location, "zones": [zone, PLAN.zones[1]]})
    back = read_floor(write_floor(plan, plan.floors[0], how), plan, "0")
    if isinstance(back, tuple):
        assert "encloses nothing" in back[0].message
        return
    there, found = set(outline), {(round(x, 2), round(y, 2)) for x, y in back.zones[0].polygon}
    assert len(found) <= len(there)
    off = 0.0 if how == "metres" else 1e-3
    assert all(min(abs(x - p) + abs(y - q) for p, q in back.zones[0].polygon) <= off for x, y in there)
