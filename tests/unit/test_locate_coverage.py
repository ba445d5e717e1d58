"""The expected error falls where nodes are added, as the bound says; the suggested spot does it best."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.locate.coverage import LEVEL_SD_DB, OFFSET_SD_DB, Walls, best_place, expected_error, losses
from cloud.locate.radiomap import Grid
from cloud.locate.shadowing import LAW

Floats = npt.NDArray[np.float64]
SIZE = (20.0, 12.0)
GRID = Grid((0.0, 0.0), 1.0, 20, 12)
CORNERS = np.array([[1, 1, 2.5], [19, 1, 2.5], [1, 11, 2.5], [19, 11, 2.5]], float)
SPOTS = np.column_stack([GRID.centres, np.full(GRID.cells, 2.5)])


def test_without_nodes_one_may_be_anywhere() -> None:
    error = expected_error(GRID.centres, np.empty((0, 3)), Walls.none(), SIZE)
    assert error == pytest.approx(np.sqrt((20**2 + 12**2) / 12))


def test_the_bound_is_the_inverse_of_the_fisher_information() -> None:
    """Against numbers: the information of (x, y, power) from finite differences of the log-likelihood's mean."""
    place, size = np.array([7.0, 4.0]), (1e6, 1e6)
    nodes = CORNERS.copy()

    def levels(at: Floats) -> Floats:
        squared = ((at - nodes[:, :2]) ** 2).sum(axis=1) + 1.5**2
        found: Floats = LAW[0] - 5 * LAW[1] * np.log10(squared)
        return found

    h = 1e-5
    slopes = [(levels(place + d) - levels(place - d)) / (2 * h) for d in (np.array([h, 0]), np.array([0, h]))]
    jacobian = np.column_stack([*slopes, np.ones(4)])
    weight = 1 / (1 + np.exp((-95 - levels(place)) / 3)) / LEVEL_SD_DB**2
    information = jacobian.T @ (weight[:, None] * jacobian) + np.diag([0, 0, 1 / OFFSET_SD_DB**2])
    covariance = np.linalg.inv(information)
    expected = np.sqrt(covariance[0, 0] + covariance[1, 1])
    assert expected_error(place[None], nodes, Walls.none(), size) == pytest.approx(expected, rel=1e-6)


@given(st.floats(0, 20), st.floats(0, 12), st.floats(1, 4))
def test_one_more_node_never_makes_it_worse(x: float, y: float, z: float) -> None:
    before = expected_error(GRID.centres, CORNERS, Walls.none(), SIZE)
    after = expected_error(GRID.centres, np.vstack([CORNERS, [x, y, z]]), Walls.none(), SIZE)
    assert (after <= before + 1e-9).all()


def test_the_next_node_hangs_in_the_corner_that_has_none() -> None:
    best = best_place(GRID.centres, CORNERS[:3], SPOTS, Walls.none(), SIZE)
    assert best is not None and best.x_m > 12 and best.y_m > 6, best


def test_the_suggestion_is_the_best_of_all_candidates() -> None:
    best = best_place(GRID.centres, CORNERS[:2], SPOTS, Walls.none(), SIZE)
    means = [expected_error(GRID.centres, np.vstack([CORNERS[:2], spot]), Walls.none(), SIZE).mean() for spot in SPOTS]
    assert best is not None
    assert best.mean_error_m == pytest.approx(min(means))
    assert (best.x_m, best.y_m) == tuple(SPOTS[int(np.argmin(means)), :2])


def test_nowhere_to_hang_it_is_no_suggestion() -> None:
    assert best_place(GRID.centres, CORNERS, np.empty((0, 3)), Walls.none(), SIZE) is None


def test_walls_take_from_what_passes_through_them_and_from_nothing_else() -> None:
    walls = Walls(np.array([[5.0, 0, 5, 6], [8, 0, 8, 6]]), np.array([6.0, 12.0]))
    places = np.array([[4.0, 3], [6, 3], [9, 3], [9, 11]])
    node = np.array([[1.0, 3, 2.5], [1, 11, 2.5]])
    # From (1, 3) to (9, 11) the line passes above both; from (1, 11) to (9, 3) it passes x = 5 at y = 7, x = 8 at 4.
    assert losses(places, node, walls).tolist() == [[0, 6, 18, 0], [0, 6, 12, 0]]


def test_behind_a_metal_wall_the_error_is_larger() -> None:
    wall = Walls(np.array([[10.0, -1, 10, 13]]), np.array([40.0]))
    nodes = CORNERS[[0, 2]]
    open_error = expected_error(GRID.centres, nodes, Walls.none(), SIZE)
    walled = expected_error(GRID.centres, nodes, wall, SIZE)
    behind = GRID.centres[:, 0] > 10
    assert walled[~behind] == pytest.approx(open_error[~behind])
    assert (walled[behind] > open_error[behind]).all()
