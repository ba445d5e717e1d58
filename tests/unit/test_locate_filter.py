"""The grid filter: it finds and follows devices, keeps rows apart, and is not misled by what it should doubt."""

import numpy as np
import pytest

from cloud.locate.filter import GridFilter
from cloud.locate.motion import STATES, Motion
from cloud.locate.radiomap import Grid, RadioMap

GRID = Grid.covering((0.0, 0.0), (20.0, 12.0), 1.0)
NODES = np.array([[0, 0, 2.5], [10, 0, 2.5], [20, 0, 2.5], [0, 12, 2.5], [10, 12, 2.5], [20, 12, 2.5]], float)
LAW = RadioMap.from_path_loss(GRID, NODES)
MAP = RadioMap(GRID, LAW.mean_dbm, LAW.sd_db, np.full_like(LAW.mean_dbm, 1.0), LAW.heard)  # as if surveyed well
ALL = np.arange(len(NODES))


def levels_at(places: np.ndarray, rng: np.random.Generator, noise_db: float = 4.5) -> np.ndarray:
    """(D, N) levels of devices at places (D, 2), as the map's own law has them."""
    apart = np.sqrt(((places[:, None] - NODES[:, :2]) ** 2).sum(-1) + 1.5**2)
    levels: np.ndarray = -61.0 - 16.0 * np.log10(apart) + rng.normal(0, noise_db, apart.shape)
    return levels


def hear(locator: GridFilter, rows: np.ndarray, levels: np.ndarray, packets: int = 2, dt_s: float = 1.0) -> None:
    locator.predict(dt_s)
    devices, nodes = np.nonzero(np.isfinite(levels))
    locator.update(rows[devices], nodes, levels[devices, nodes], np.full(len(devices), packets))


def test_devices_that_stand_are_found_within_two_metres() -> None:
    rng = np.random.default_rng(1)
    places = rng.uniform([1, 1], [19, 11], (30, 2))
    locator = GridFilter(MAP)
    rows = locator.add(30)
    for _ in range(30):
        hear(locator, rows, levels_at(places, rng))
    mean, spread = locator.estimates()
    assert np.linalg.norm(mean - places, axis=1).mean() < 2.0
    assert (spread > 0).all()


def test_a_walker_is_followed_a_metre_or_so_behind() -> None:
    rng = np.random.default_rng(2)
    locator = GridFilter(MAP)
    rows = locator.add(20)
    ahead, aside = [], []
    for second in range(25):
        place = np.array([1.5 + 0.7 * second, 6.0])
        hear(locator, rows, levels_at(np.tile(place, (20, 1)), rng, noise_db=1.5), packets=8)
        miss = (locator.estimates()[0] - place)[:, 0]
        ahead.append(miss.mean())
        aside.append(np.abs(miss - miss.mean()).mean())
    assert -1.5 < np.mean(ahead[8:]) < 0.0
    assert np.mean(aside[8:]) < 1.0


def test_belief_stays_a_distribution_whatever_is_heard() -> None:
    rng = np.random.default_rng(3)
    locator = GridFilter(MAP)
    rows = locator.add(7)
    for _ in range(40):
        hear(locator, rows, rng.uniform(-120, 62, (7, 6)), packets=int(rng.integers(1, 40)), dt_s=rng.uniform(0, 9))
        assert np.exp(locator.log_belief).sum(axis=1) == pytest.approx(np.ones(7), abs=1e-4)


def test_windows_together_say_what_they_say_one_by_one_in_any_order() -> None:
    rng = np.random.default_rng(4)
    levels = levels_at(np.array([[4.0, 4.0], [15.0, 9.0]]), rng)
    flat = (np.repeat([0, 1], 6), np.tile(ALL, 2), levels.ravel(), np.full(12, 3))
    order = rng.permutation(12)
    beliefs = []
    for pick in (np.arange(12), order):
        locator = GridFilter(MAP)
        locator.add(2)
        locator.update(*(column[pick] for column in flat))
        beliefs.append(locator.log_belief)
    assert beliefs[0] == pytest.approx(beliefs[1], abs=1e-4)


def test_what_one_device_is_heard_by_moves_no_other() -> None:
    rng = np.random.default_rng(5)
    alone, crowd = GridFilter(MAP), GridFilter(MAP)
    (row,), rows = alone.add(1), crowd.add(40)
    places = rng.uniform([1, 1], [19, 11], (40, 2))
    for _ in range(10):
        levels = levels_at(places, rng)
        hear(alone, np.array([row]), levels[17:18])
        hear(crowd, rows, levels)
    assert crowd.estimates()[0][17] == pytest.approx(alone.estimates()[0][0], abs=1e-3)


def test_dropped_rows_are_handed_out_again_as_new() -> None:
    rng = np.random.default_rng(6)
    locator = GridFilter(MAP)
    rows = locator.add(5)
    for _ in range(5):
        hear(locator, rows, levels_at(np.full((5, 2), 3.0), rng))
    kept = locator.estimates()[0][rows[[0, 2, 4]]]
    locator.drop(rows[[1, 3]])
    again = locator.add(3)
    assert set(rows[[1, 3]]) <= set(again) and not set(again) & set(rows[[0, 2, 4]])
    assert locator.estimates()[0][rows[[0, 2, 4]]] == pytest.approx(kept)
    assert locator.estimates()[0][again] == pytest.approx(np.tile([10.0, 6.0], (3, 1)), abs=1e-3)  # anywhere
    assert locator.offset_db[again] == pytest.approx(np.zeros(3))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda f: f.drop([9]), "not in use"),
        (lambda f: (f.drop([0]), f.drop([0])), "not in use"),
        (lambda f: f.update([9], [0], [-60.0], [1]), "not in use"),
        (lambda f: f.update([0], [6], [-60.0], [1]), r"outside 0\.\.5"),
    ],
)
def test_rows_and_nodes_that_do_not_exist_are_refused(act, message: str) -> None:
    locator = GridFilter(MAP)
    locator.add(2)
    with pytest.raises(ValueError, match=message):
        act(locator)


def test_a_weak_transmitter_is_found_and_its_weakness_learned() -> None:
    rng = np.random.default_rng(7)
    places = np.tile([6.0, 4.0], (10, 1))
    locator = GridFilter(MAP, offset_sd_db=6.0)
    rows = locator.add(10)
    for _ in range(30):
        hear(locator, rows, levels_at(places, rng) - 8.0)
    assert locator.offset_db.mean() == pytest.approx(-8.0, abs=2.0)
    assert np.linalg.norm(locator.estimates()[0] - places, axis=1).mean() < 2.5


def test_a_node_that_is_shadowed_beyond_belief_stops_to_matter() -> None:
    estimates = []
    for shadow_db in (20.0, 40.0):
        rng = np.random.default_rng(8)
        locator = GridFilter(MAP)
        rows = locator.add(10)
        for _ in range(10):
            levels = levels_at(np.tile([7.0, 5.0], (10, 1)), rng)
            levels[:, 0] -= shadow_db
            hear(locator, rows, levels)
        estimates.append(locator.estimates()[0])
    assert np.linalg.norm(estimates[1] - estimates[0], axis=1).mean() < 1.0


def test_silence_of_a_live_node_says_far_and_of_a_dead_one_nothing() -> None:
    grid = Grid.covering((0.0, 0.0), (70.0, 4.0), 2.0)
    nodes = [[0.0, 2.0, 2.5], [70.0, 2.0, 2.5]]
    far = RadioMap.from_path_loss(grid, nodes, rssi_1m=-61.0, exponent=2.2)
    where = {}
    for name, alive in (("live", [True, True]), ("dead", [True, False]), ("unknown", None)):
        locator = GridFilter(far)
        row = locator.add(1)
        for _ in range(20):
            locator.predict(1.0)
            locator.update(row, [0], [-95.0], [1], alive=None if alive is None else np.array(alive))
        where[name] = float(locator.estimates()[0][0, 0])
    assert where["live"] < where["dead"] - 0.5
    assert where["unknown"] != where["live"]


def test_nobody_is_believed_where_nobody_can_be() -> None:
    rng = np.random.default_rng(9)
    walkable = ~((GRID.centres[:, 0] > 8) & (GRID.centres[:, 0] < 12))
    locator = GridFilter(MAP, walkable=walkable)
    rows = locator.add(4)
    for _ in range(10):
        hear(locator, rows, levels_at(np.tile([10.0, 6.0], (4, 1)), rng))
        assert np.exp(locator.log_belief)[:, ~walkable].max() == 0.0


def test_zone_probabilities_are_the_belief_within_each_zone() -> None:
    rng = np.random.default_rng(10)
    left = GRID.centres[:, 0] < 10
    locator = GridFilter(MAP)
    rows = locator.add(3)
    for _ in range(10):
        hear(locator, rows, levels_at(np.tile([3.0, 6.0], (3, 1)), rng))
    zones = locator.zone_probabilities(np.stack([left, ~left, np.ones(GRID.cells, bool)]))
    assert zones.shape == (3, 3)
    assert zones[:, 0] + zones[:, 1] == pytest.approx(zones[:, 2])
    assert (zones[:, 0] > 0.95).all()


def test_a_filter_that_was_wrong_comes_back() -> None:
    rng = np.random.default_rng(11)
    locator = GridFilter(MAP)
    rows = locator.add(5)
    for _ in range(20):
        hear(locator, rows, levels_at(np.tile([1.0, 1.0], (5, 1)), rng))
    for _ in range(15):
        hear(locator, rows, levels_at(np.tile([18.0, 11.0], (5, 1)), rng))  # a tag that was carried by a lift, say
    assert np.linalg.norm(locator.estimates()[0] - [18.0, 11.0], axis=1).mean() < 3.0


@pytest.mark.parametrize("dt_s", [0.25, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("cell_m", [0.5, 1.0])
def test_a_heading_carries_a_person_by_speed_times_time(cell_m: float, dt_s: float) -> None:
    grid = Grid((0.0, 0.0), cell_m, 61, 61)
    along_y, along_x = Motion(speed_m_s=0.8).steps(grid, dt_s)
    at = np.arange(61) - 30
    east, north_east = 1, 2
    assert along_x[east, 30] @ at * cell_m == pytest.approx(0.8 * dt_s, rel=1e-3)
    assert along_y[east, 30] @ at == pytest.approx(0.0, abs=1e-3)
    assert along_y[north_east, 30] @ at * cell_m == pytest.approx(0.8 * dt_s / np.sqrt(2), rel=1e-3)
    assert along_x[:, 30].sum(axis=1) == pytest.approx(np.ones(STATES), abs=1e-4)


def test_the_speed_never_exceeds_three_metres_a_second_but_by_chance() -> None:
    grid = Grid((0.0, 0.0), 0.5, 81, 81)
    _, along_x = Motion().steps(grid, 1.0)
    beyond = np.abs(np.arange(81) - 40) * grid.cell_m > 3.0
    assert along_x[:, 40, beyond].sum(axis=1).max() < 1e-4


def test_changes_of_state_compose_over_time() -> None:
    motion = Motion()
    assert motion.state_changes(0.5) @ motion.state_changes(0.5) == pytest.approx(motion.state_changes(1.0), abs=1e-5)
