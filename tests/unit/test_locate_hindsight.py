"""Smoothing a trail backwards: the instant of entry is that of the evidence, not that of the certainty."""

import numpy as np
import numpy.typing as npt

from cloud.locate.hindsight import LOOK_BACK_US, Hindsight, Trail
from cloud.locate.motion import Motion
from cloud.locate.radiomap import Grid

GRID = Grid((0.0, 0.0), 0.5, 24, 8)
INSIDE = GRID.centres[:, 0] > 6.0
HINDSIGHT = Hindsight(GRID, Motion())


def belief(x_m: float, sd_m: float) -> npt.NDArray[np.float32]:
    """A round belief about a place in the middle of the corridor."""
    square = ((GRID.centres - (x_m, 2.0)) ** 2).sum(axis=1)
    weights = np.exp(-square / (2 * sd_m**2))
    normed: npt.NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return normed


def trail(places: list[tuple[float, float]]) -> Trail:
    made = Trail()
    for second, (x_m, sd_m) in enumerate(places):
        made.add(second * 1_000_000, belief(x_m, sd_m))
    return made


def test_a_walk_into_the_zone_is_told_at_its_crossing() -> None:
    walk = trail([(min(2.0 + second, 10.0), 0.7) for second in range(16)])  # at x = 6 after 4 s
    told = HINDSIGHT.entered_us(walk, INSIDE, 7_000_000)
    assert 2_500_000 < told < 4_500_000, "it knows no heading and tells a straight walk a little early"


def test_a_filter_that_lags_is_set_right_by_what_came_later() -> None:
    lagging = trail([(2.0, 0.5)] * 4 + [(5.0, 3.0)] * 3 + [(10.0, 0.5)] * 8)  # vague for 3 s, then sure at 10 m
    told = HINDSIGHT.entered_us(lagging, INSIDE, 7_000_000)
    assert 3_500_000 < told < 6_500_000, "before the filter was sure, after it was surely outside"


def test_nothing_is_told_of_a_trail_that_begins_inside_or_is_too_short() -> None:
    assert HINDSIGHT.entered_us(trail([(10.0, 0.5)] * 5), INSIDE, 1_234_567) == 1_234_567
    assert HINDSIGHT.entered_us(trail([(10.0, 0.5)]), INSIDE, 42) == 42


def test_somebody_who_is_outside_after_all_keeps_the_first_telling() -> None:
    assert HINDSIGHT.entered_us(trail([(2.0, 0.5)] * 8), INSIDE, 3_000_000) == 3_000_000


def test_a_trail_forgets_what_is_too_old() -> None:
    long = trail([(2.0, 0.5)] * 60)
    assert long.looks[-1][0] - long.looks[0][0] <= LOOK_BACK_US
