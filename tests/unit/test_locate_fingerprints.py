"""Densities of a survey instead of a law: they find places that a mean cannot tell apart."""

import numpy as np
import pytest

from cloud.locate.filter import GridFilter
from cloud.locate.fingerprints import LOWEST_DBM, Fingerprints
from cloud.locate.radiomap import Grid, RadioMap

GRID = Grid.covering((0.0, 0.0), (8.0, 4.0), 0.5)
LEFT, RIGHT = np.array([1.5, 2.0]), np.array([6.5, 2.0])


def two_places(scans: int = 60) -> Fingerprints:
    """Left both nodes are heard at -60 or both at -80, right one at -70 and the other not at all."""
    rng = np.random.default_rng(2)
    places = np.concatenate([rng.normal(LEFT, 0.3, (scans, 2)), rng.normal(RIGHT, 0.3, (scans, 2))])
    turned = rng.integers(0, 2, scans)
    left = np.where(turned, -60.0, -80.0)
    right = np.full(scans, -70.0)
    levels = np.concatenate([np.column_stack([left, left]), np.column_stack([right, np.full(scans, np.nan)])])
    return Fingerprints.from_scans(GRID, places, levels + rng.normal(0, 1, levels.shape))


def likelier_left(rssi: list[float], packets: list[int], fingerprints: Fingerprints) -> bool:
    windows = np.array([rssi], np.float32), np.array([packets])
    zero = np.zeros(1, np.float32)
    found, _, _ = fingerprints.log_likelihood(*windows, zero, zero + 1, 1.0)
    heard = windows[1] > 0
    silent = fingerprints.silence(heard, np.ones(2, bool), 1.0)
    assert silent is not None
    total = (found + silent)[0]
    return bool(total[int(GRID.cell_of(LEFT))] > total[int(GRID.cell_of(RIGHT))])


def test_a_place_with_two_levels_is_not_taken_for_the_mean_of_them() -> None:
    fingerprints = two_places()
    assert likelier_left([-60.0, -60.0], [1, 1], fingerprints)
    assert likelier_left([-80.0, -80.0], [1, 1], fingerprints)


def test_a_node_that_is_never_heard_somewhere_says_so_by_its_silence() -> None:
    assert not likelier_left([-70.0, 0.0], [1, 0], two_places())


def test_every_density_adds_up_to_one_whatever_was_scanned() -> None:
    rng = np.random.default_rng(3)
    levels = np.where(rng.random((50, 3)) < 0.3, np.nan, rng.uniform(-100, -30, (50, 3)))
    fingerprints = Fingerprints.from_scans(GRID, rng.uniform(0, [8, 4], (50, 2)), levels)
    everything = np.arange(LOWEST_DBM, LOWEST_DBM + 81, dtype=np.float32)
    rssi = np.column_stack([everything] * 3)
    zero = np.zeros(len(rssi), np.float32)
    only_first = np.tile([1, 0, 0], (len(rssi), 1))
    density, _, _ = fingerprints.log_likelihood(rssi, only_first, zero, zero + 1, 1.0)
    assert np.exp(density).sum(axis=0) == pytest.approx(np.ones(GRID.cells), abs=1e-3)


def test_cells_far_from_any_scan_are_not_covered_and_nobody_is_placed_there() -> None:
    fingerprints = two_places()
    assert fingerprints.covered[GRID.cell_of(LEFT)] and fingerprints.covered[GRID.cell_of(RIGHT)]
    assert not fingerprints.covered[GRID.cell_of(np.array([4.0, 2.0]))]
    law = RadioMap.from_path_loss(GRID, [[1, 1, 2.0], [7, 3, 2.0]])
    locator = GridFilter(law, walkable=fingerprints.covered, fingerprints=fingerprints)
    row = locator.add(1)
    for _ in range(5):
        locator.predict(0.5)
        locator.update(np.repeat(row, 2), [0, 1], [-80.0, -80.0], [1, 1], alive=np.ones(2, bool))
    assert np.linalg.norm(locator.estimates()[0][0] - LEFT) < 1.0
    assert np.exp(locator.log_belief)[0, ~fingerprints.covered].max() == 0.0


def test_places_and_levels_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong"):
        Fingerprints.from_scans(GRID, np.zeros((3, 2)), np.zeros((4, 2)))
