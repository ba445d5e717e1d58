"""Metres, degrees and pixels of one floor; and the rings about its store."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.places.frame import Globe, Scale, apart_m
from cloud.places.holds import problems
from cloud.places.models import Cap, Location, Picture, Plan, Ring, Zone
from cloud.places.rings import USUAL, nearest, permits, rings


def picture(*fixes: tuple[float, float, float, float]) -> Picture:
    names = ("x_px", "y_px", "x_m", "y_m")
    return Picture.model_validate({"image": "0" * 64, "fixes": [dict(zip(names, fix, strict=True)) for fix in fixes]})


def test_two_spots_give_a_pictures_scale() -> None:
    # 1000 px wide for 20 m; the picture's lower left corner is the floor's corner.
    scale = Scale.of(picture((0, 500, 0, 0), (1000, 500, 20, 0)))
    assert [scale.m_per_px, scale.turn_deg] == pytest.approx([0.02, 0])
    assert scale.to_metres(1000, 0) == pytest.approx((20, 10)), "up in the picture is up on the floor"


def test_a_picture_that_lies_on_its_side_is_turned() -> None:
    scale = Scale.of(picture((0, 0, 0, 0), (100, 0, 0, 5)))
    assert scale.turn_deg == pytest.approx(90)
    assert scale.to_metres(0, 100) == pytest.approx((5, 0))


pixels, metres = st.floats(0, 5000), st.floats(-100, 100)


@given(st.tuples(pixels, pixels, metres, metres), st.tuples(pixels, pixels, metres, metres))
def test_both_spots_are_where_they_were_said_to_be(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    if math.dist(one[:2], other[:2]) < 20 or math.dist(one[2:], other[2:]) < 0.5:
        return
    scale = Scale.of(picture(one, other))  # type: ignore[arg-type]
    for x_px, y_px, x_m, y_m in (one, other):
        assert scale.to_metres(x_px, y_px) == pytest.approx((x_m, y_m), abs=1e-6)


def test_spots_that_are_too_near_give_no_scale() -> None:
    floor = {"floor": "0", "name": "G", "width_m": 5, "depth_m": 5, "picture": picture((0, 0, 0, 0), (10, 0, 5, 0))}
    plan = Plan.model_validate({"name": "S", "tz": "UTC", "floors": [floor], "zones": [], "nodes": []})
    (problem,) = problems(plan)
    assert problem.field == "floors.0.picture.fixes" and "10 px apart" in problem.message


def test_a_store_that_looks_east_has_its_depth_in_the_east() -> None:
    lon, lat = Globe(Location(lat=0, lon=179.9999, bearing_deg=90)).to_lon_lat(0, 100)
    # 100 m are 0.000899 degrees at the equator; beyond 180 degrees the west begins.
    assert lon == pytest.approx(-180 + 0.000799, abs=2e-6) and lat == pytest.approx(0, abs=1e-9)


def test_a_degree_of_latitude_is_sixty_nautical_miles() -> None:
    assert apart_m(52, 13, 53, 13) == pytest.approx(60 * 1852, rel=0.002)


# -- rings


def zone(kind: str) -> Zone:
    return Zone.model_validate(
        {"zone": kind, "name": kind, "kind": kind, "floor": "0", "polygon": [[0, 0], [1, 0], [1, 1]]}
    )


OWN = Ring(ring="street", radius_m=40, purposes=["service"], channels=["screen"], caps=[Cap(most=2, hours=1)])
FLOOR = {"floor": "0", "name": "G", "width_m": 5, "depth_m": 5}
PLAN = Plan.model_validate(
    {"name": "S", "tz": "UTC", "floors": [FLOOR], "zones": [], "nodes": [], "rings": [OWN.model_dump()]}
)
WALK = [
    (20_000.0, False, [], None),
    (9_000.0, False, [], "city"),
    (800.0, False, [], "neighbourhood"),
    (45.0, False, [], "neighbourhood"),  # the plan's own street ends at 40 m
    (39.0, False, [], "street"),
    (None, False, ["street"], "street"),
    (10.0, True, [], "store"),
    (10.0, True, ["aisle"], "zone"),
    (10.0, True, ["aisle", "shelf"], "shelf"),
    (None, False, [], None),
]


@pytest.mark.parametrize(("apart", "inside", "kinds", "ring"), WALK)
def test_the_nearest_ring_that_holds_speaks(
    apart: float | None, inside: bool, kinds: list[str], ring: str | None
) -> None:
    found = nearest(PLAN, apart, [zone(kind) for kind in kinds], inside=inside)
    assert (found and found.ring) == ring


def test_a_plans_own_ring_stands_in_the_usual_ones_place() -> None:
    assert [ring.ring for ring in rings(PLAN)] == [ring.ring for ring in USUAL]
    assert rings(PLAN)[2] == OWN
    assert [ring.radius_m for ring in USUAL] == [10_000, 1_000, 50, 30, 7.5, 1], "from far to near"


def test_a_ring_lets_out_only_what_it_names_and_only_so_often() -> None:
    assert permits(OWN, "service", "screen")
    assert not permits(OWN, "promo", "screen") and not permits(OWN, "service", "app")
    assert permits(OWN, "service", "screen", [0.5, 1.0]), "an hour ago is over"
    assert not permits(OWN, "service", "screen", [0.5, 0.9])
    street = USUAL[2]
    assert not permits(street, "proximity", "app", [167]) and permits(street, "proximity", "app", [168])
