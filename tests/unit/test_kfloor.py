"""The k-floor: nobody is told apart below it, nothing is lost above it, and nothing can be had by subtraction."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from cloud.analytics.kfloor import K_COUNT, Floored, floored, merge_upward

Grid = npt.NDArray[np.float32]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, Floored(0, None)),
        (1, Floored(None, 5)),
        (4, Floored(None, 5)),
        (5, Floored(5, None)),
        (99, Floored(99, None)),
    ],
)
def test_a_count_of_one_to_four_is_told_as_less_than_five(count: int, told: Floored) -> None:
    assert floored(count) == told


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, Grid]:
    """Seconds and visits of a floor; some cells have seconds though nobody's middle was there."""
    shape = draw(st.tuples(st.integers(1, 13), st.integers(1, 13)))
    visits = draw(np_st.arrays(np.float32, shape, elements=st.sampled_from([0, 0, 1, 3, 4, 5, 6, 20])))
    seconds = draw(np_st.arrays(np.float32, shape, elements=st.sampled_from([0, 0, 0.5, 7, 30, 600])))
    return seconds, visits


def blocks(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Every block of two cells and more of the fixed quadtree over a floor, the largest first."""
    size = 1
    while size < max(shape):
        size *= 2
    found = []
    while size >= 2:
        found += [
            (slice(y, min(y + size, shape[0])), slice(x, min(x + size, shape[1])))
            for y in range(0, shape[0], size)
            for x in range(0, shape[1], size)
        ]
        size //= 2
    return found


def quarters(block: tuple[slice, slice], shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    half = 1
    while half * 2 < max(s.stop - s.start for s in block):
        half *= 2
    y0, x0 = block[0].start, block[1].start
    return [
        (slice(y, min(y + half, block[0].stop)), slice(x, min(x + half, block[1].stop)))
        for y in (y0, y0 + half)
        for x in (x0, x0 + half)
        if y < block[0].stop and x < block[1].stop
    ]


@given(grids())
def test_a_block_that_few_entered_shows_nothing_of_its_own(grid: tuple[Grid, Grid]) -> None:
    seconds, visits = grid
    shown = merge_upward(seconds, visits)
    size = 1
    while size <= max(seconds.shape):
        for y in range(0, seconds.shape[0], size):
            for x in range(0, seconds.shape[1], size):
                inner = (slice(y, y + size), slice(x, x + size))
                if seconds[inner].sum() == 0 or visits[inner].max() >= K_COUNT:
                    continue
                step = 2 * size
                outer = (
                    slice(y // step * step, y // step * step + step),
                    slice(x // step * step, x // step * step + step),
                )
                assert np.ptp(shown[outer]) == 0, f"block {inner} is told apart from its siblings"
        size *= 2


@given(grids())
def test_seconds_are_moved_but_never_made_or_lost(grid: tuple[Grid, Grid]) -> None:
    seconds, visits = grid
    shown = merge_upward(seconds, visits)
    told = seconds.sum() if visits.max() >= K_COUNT else 0
    assert shown.shape == seconds.shape and shown.dtype == np.float32
    assert shown.sum() == pytest.approx(told, rel=1e-4)
    for block in blocks((seconds.shape[0], seconds.shape[1])):
        inside = shown[block]
        if np.ptp(inside) > 0:  # a block that shows detail keeps its sum
            assert inside.sum() == pytest.approx(seconds[block].sum(), rel=1e-4)


@given(grids())
def test_where_nobody_was_in_a_whole_block_that_is_shown_it_stays_zero(grid: tuple[Grid, Grid]) -> None:
    seconds, visits = grid
    empty = np.zeros_like(seconds)
    assert not merge_upward(empty, empty).any()
    crowded = np.full_like(visits, K_COUNT)
    assert np.array_equal(merge_upward(seconds, crowded), seconds), "above the floor everywhere: nothing is merged"


def test_nothing_can_be_had_by_subtracting_what_is_shown_inside_a_merged_block() -> None:
    """Three quarters full of people and one with a single visitor: were the three shown, the one would be known."""
    seconds, visits = np.full((4, 4), 10, np.float32), np.full((4, 4), 9, np.float32)
    seconds[:2, 2:], visits[:2, 2:] = [[1, 0], [0, 0]], [[1, 0], [0, 0]]
    shown = merge_upward(seconds, visits)
    assert np.ptp(shown) == 0
    assert shown.sum() == pytest.approx(121)


def test_detail_is_kept_where_every_quarter_may_be_shown() -> None:
    seconds = np.arange(16, dtype=np.float32).reshape(4, 4) + 1
    visits = np.full((4, 4), 5, np.float32)
    visits[0, 0] = 4  # its block of four shows its mean, the other three their cells
    shown = merge_upward(seconds, visits)
    assert np.allclose(shown[:2, :2], (1 + 2 + 5 + 6) / 4)
    assert np.array_equal(shown[2:], seconds[2:]) and np.array_equal(shown[:2, 2:], seconds[:2, 2:])
