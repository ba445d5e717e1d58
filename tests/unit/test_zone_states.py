"""Who is in which zone: hysteresis on the belief, beginnings told in hindsight, cells by their centres."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.locate.radiomap import Grid
from cloud.locate.zones import (
    ENTER,
    ENTER_AFTER_US,
    LEAVE,
    LEAVE_AFTER_US,
    RISE,
    Crossing,
    ZoneStates,
    zone_masks,
    zones_apart,
)

STEP = 500_000
ROW = np.array([0])
GRID = Grid((0.0, 0.0), 1.0, 4, 3)


def states(zones: int = 1, rows: int = 1) -> ZoneStates:
    made = ZoneStates(zones)
    made.reset(np.arange(rows))
    return made


def run(beliefs: list[float], zone_states: ZoneStates | None = None) -> list[Crossing]:
    """The crossings of one subject and one zone whose belief is looked at every half second."""
    zone_states = zone_states or states()
    found = []
    for step, belief in enumerate(beliefs, 1):
        found += zone_states.update(ROW, np.array([[belief]]), step * STEP, STEP)
    return found


def test_two_seconds_of_belief_are_an_entry_dated_to_its_beginning() -> None:
    (entry,) = run([0.0, 0.9, 0.9, 0.9, 0.9, 0.9])
    # Between the first look (0.5 s) and the second (1.0 s) it began: 0.75 s.
    assert entry == Crossing(0, 0, True, 750_000, 0.9)


PASSING = [
    ("shorter than two seconds", [0.9] * 4 + [0.0] * 9),
    ("never sure", [ENTER - 0.01] * 20),
    ("interrupted", [0.9, 0.9, 0.9, RISE - 0.01] * 5),
]


@pytest.mark.parametrize("beliefs", [pytest.param(b, id=name) for name, b in PASSING])
def test_passing_by_is_no_entry(beliefs: list[float]) -> None:
    assert run(beliefs) == []


def test_a_slow_rise_is_dated_to_where_it_began_to_rise() -> None:
    (entry,) = run([0.1, RISE, 0.5, 0.6, ENTER, 0.9])
    assert (entry.entered, entry.at_us) == (True, 750_000)


INSIDE = [0.9] * 6


def test_four_seconds_of_doubt_are_an_exit_dated_to_its_beginning() -> None:
    entry, exit_ = run(INSIDE + [0.0] * 9)
    assert (exit_.entered, exit_.at_us) == (False, 3_250_000)
    assert entry.entered


STAYING = [
    ("doubt shorter than four seconds", [0.0] * 8 + [0.9] * 4),
    ("doubt that never becomes certainty", [LEAVE] * 30),
    ("doubt that is interrupted", ([0.0] * 7 + [RISE]) * 4),
]


@pytest.mark.parametrize("beliefs", [pytest.param(b, id=name) for name, b in STAYING])
def test_a_doubt_is_no_exit(beliefs: list[float]) -> None:
    assert [c.entered for c in run(INSIDE + beliefs)] == [True]


def test_a_row_that_is_handed_out_again_begins_outside() -> None:
    made = states()
    run(INSIDE, made)
    assert made.inside[0, 0]
    made.reset(ROW)
    assert not made.inside[0, 0]
    assert run([0.9] * 2, made) == [], "what the row's last holder did does not count"


def test_more_rows_keep_what_is_known_of_the_others() -> None:
    made = states()
    run(INSIDE, made)
    made.reset(np.array([4]))
    assert made.inside.tolist() == [[True], [False], [False], [False], [False]]
    assert made.update(np.array([], np.int64), np.zeros((0, 1)), 10 * STEP, STEP) == []


@given(st.lists(st.floats(0, 1), max_size=80))
def test_entries_and_exits_take_turns_in_time(beliefs: list[float]) -> None:
    made = states()
    found = run(beliefs, made)
    assert [c.entered for c in found] == [i % 2 == 0 for i in range(len(found))]
    assert all(a.at_us < b.at_us for a, b in zip(found, found[1:], strict=False)), "nobody leaves before coming in"
    assert bool(made.inside[0, 0]) is (len(found) % 2 == 1)
    assert ENTER_AFTER_US < LEAVE_AFTER_US


MASKS = [
    ("a rectangle", [(0, 0), (2, 0), (2, 2), (0, 2)], {0, 1, 4, 5}),
    ("the same the other way round", [(0, 2), (2, 2), (2, 0), (0, 0)], {0, 1, 4, 5}),
    ("a triangle", [(0, 0), (3.1, 0), (0, 3.1)], {0, 1, 2, 4, 5, 8}),
    ("one with a notch", [(0, 0), (4, 0), (4, 3), (2.2, 3), (2.2, 1), (1.8, 1), (1.8, 3), (0, 3)],
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}),
    ("beside every centre", [(0.6, 0.6), (0.9, 0.6), (0.9, 0.9)], set()),
    ("off the floor", [(10, 10), (12, 10), (12, 12)], set()),
]  # fmt: skip


@pytest.mark.parametrize(("polygon", "cells"), [pytest.param(*m[1:], id=m[0]) for m in MASKS])
def test_a_zone_holds_the_cells_whose_centres_lie_in_it(polygon: list[tuple[float, float]], cells: set[int]) -> None:
    (mask,) = zone_masks(GRID, [polygon])
    assert set(np.flatnonzero(mask).tolist()) == cells


def test_who_enters_a_zone_leaves_the_one_that_shares_no_floor_with_it_at_that_instant() -> None:
    left, right = np.zeros((2, GRID.cells), bool)
    left[:6], right[6:] = True, True
    whole = np.ones(GRID.cells, bool)
    apart = zones_apart(np.stack([left, right, whole]))
    assert apart.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    made = ZoneStates(3, apart)
    made.reset(ROW)
    found = []
    for step in range(1, 21):
        there = np.array([[0.75, 0.25, 1.0]] if step <= 8 else [[0.25, 0.75, 1.0]])
        found += made.update(ROW, there, step * STEP, STEP)
    entered = {c.zone: c.at_us for c in found if c.entered}
    left_at = {c.zone: c.at_us for c in found if not c.entered}
    assert set(entered) == {0, 1, 2}
    assert left_at == {0: entered[1]}


def test_a_floor_without_zones_has_nobody_in_any() -> None:
    none = ZoneStates(0, zones_apart(np.zeros((0, GRID.cells), bool)))
    none.reset(ROW)
    assert none.update(ROW, np.zeros((1, 0)), STEP, STEP) == []
