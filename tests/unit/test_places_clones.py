"""Beacons that are copied or moved are found by what nodes hear; a beacon that only changes its address is not."""

from collections.abc import Iterable

import pytest

from cloud.places.clones import HeardMinute, Hung, Registered, doubts, farthest_m

NODES = {
    ("main", "west"): Hung("0", 0, 0),
    ("main", "east"): Hung("0", 40, 0),
    ("main", "above"): Hung("1", 40, 0),
    ("side", "till"): Hung("0", 0, 0),
}
FIXED = Registered("main", fixed=True, floor="0", x_m=1, y_m=1)
ASSET = Registered("main", fixed=False, floor=None, x_m=None, y_m=None)


def heard(node: str, dbm: float, minutes: Iterable[int], radio: int = 1, store: str = "main") -> list[HeardMinute]:
    return [HeardMinute(store, node, radio, minute, dbm) for minute in minutes]


def test_a_beacon_at_its_place_is_no_finding() -> None:
    assert doubts(FIXED, heard("west", -60, range(60)) + heard("east", -85, range(60)), NODES) == []


def test_an_address_that_changes_every_quarter_of_an_hour_is_no_copy() -> None:
    rows = [row for i in range(4) for row in heard("west", -60, range(15 * i, 15 * i + 16), radio=10 + i)]
    assert doubts(FIXED, rows, NODES) == []


def test_two_addresses_at_once_are_two_senders() -> None:
    (found,) = doubts(ASSET, heard("west", -60, range(9), 1) + heard("west", -80, range(5, 9), 2), NODES)
    assert found.kind == "beacon-cloned"
    assert found.evidence == {"senders": [{"store": "main", "node": "west", "senders": 2, "minutes_at_once": 4}]}


def test_addresses_of_two_nodes_are_not_compared() -> None:
    """Each night nodes agree on a key; one without it has digests of its own."""
    assert doubts(FIXED, heard("west", -70, range(9), 1) + heard("east", -80, range(9), 2), NODES) == []


def test_a_makers_default_sent_by_many_is_cloned() -> None:
    rows = [row for i in range(12) for row in heard("west", -80, [5 * i], radio=1 + i)]
    assert [one.kind for one in doubts(ASSET, rows, NODES)] == ["beacon-cloned"]


def test_a_copy_with_the_same_address_is_found_by_being_loud_at_both_ends() -> None:
    (found,) = doubts(ASSET, heard("west", -55, range(4)) + heard("east", -55, range(4)), NODES)
    assert found.evidence == {"several_places": [{"stores": ["main", "main"], "nodes": ["east", "west"], "minutes": 4}]}


def test_loud_through_a_ceiling_is_no_copy() -> None:
    assert doubts(ASSET, heard("west", -55, range(4)) + heard("above", -55, range(4)), NODES) == []


def test_two_stores_in_the_same_minutes_are_a_copy_and_one_after_the_other_a_journey() -> None:
    both = heard("west", -60, range(4)) + heard("till", -95, range(4), store="side")
    assert [one.kind for one in doubts(ASSET, both, NODES)] == ["beacon-cloned"]
    later = heard("west", -60, range(4)) + heard("till", -60, range(10, 14), store="side")
    assert doubts(ASSET, later, NODES) == [], "a cart goes where it is driven"
    (found,) = doubts(FIXED, later, NODES)
    assert found.kind == "beacon-elsewhere", "a shelf does not"


def test_a_fixed_beacon_that_is_loud_far_from_its_place_is_elsewhere() -> None:
    (found,) = doubts(FIXED, heard("east", -58, range(5)), NODES)
    assert found.kind == "beacon-elsewhere"
    # 10^((-49 + 58) / 16) = 3.7 m at most, and its place is 39 m away
    assert found.evidence == {"too_far": [{"store": "main", "node": "east", "loudest_dbm": -58, "at_most_m": 3.7}]}
    assert doubts(FIXED, heard("east", -58, range(2)), NODES) == [], "two minutes are a coincidence"


@pytest.mark.parametrize(("dbm", "metres"), [(-49, 1.0), (-65, 10.0), (-81, 100.0)])
def test_how_far_a_level_can_come_from(dbm: float, metres: float) -> None:
    assert farthest_m(dbm) == pytest.approx(metres)
