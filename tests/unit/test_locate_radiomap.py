"""The radio map: grid arithmetic, path loss, the survey's fit and its way through bytes."""

import numpy as np
import pytest

from cloud.locate.radiomap import Grid, RadioMap

HALL = Grid.covering((0.0, 0.0), (20.0, 10.0), 1.0)
CORNERS = np.array([[0.0, 0.0, 2.5], [20.0, 0.0, 2.5], [0.0, 10.0, 2.5], [20.0, 10.0, 2.5]])


def survey_of(law: tuple[float, float], seed: int = 0, local_db: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Points 2 m apart and the levels a log-distance law gives there, 1 m above the floor."""
    rng = np.random.default_rng(seed)
    points = np.stack(np.meshgrid(np.arange(1.0, 20, 2), np.arange(1.0, 10, 2)), -1).reshape(-1, 2)
    apart = np.sqrt(((points[:, None] - CORNERS[:, :2]) ** 2).sum(-1) + 1.5**2)
    levels = law[0] - 10 * law[1] * np.log10(apart)
    return points, levels + rng.normal(0, local_db, levels.shape)


@pytest.mark.parametrize(
    ("xy", "cell"),
    [
        ((0.0, 0.0), 0),
        ((0.99, 0.0), 0),
        ((1.0, 0.0), 1),  # a cell holds its lower edge
        ((0.5, 1.5), 20),  # second row of 20 columns
        ((19.9, 9.9), 199),
        ((-3.0, 50.0), 180),  # off the floor: the nearest cell
    ],
)
def test_a_point_lies_in_its_cell(xy: tuple[float, float], cell: int) -> None:
    assert HALL.cell_of(xy) == cell


def test_the_middle_of_every_cell_lies_in_that_cell() -> None:
    grid = Grid.covering((-3.0, 2.0), (4.2, 9.1), 0.5)
    assert (grid.nx, grid.ny) == (15, 15)  # 7.2 / 0.5 and 7.1 / 0.5, rounded up
    assert grid.cell_of(grid.centres).tolist() == list(range(grid.cells))


def test_path_loss_is_the_level_at_one_metre_less_16_db_a_decade() -> None:
    grid = Grid((0.0, -0.5), 1.0, 10, 1)
    node = [[0.5, 0.0, 1.0]]
    level = RadioMap.from_path_loss(grid, node, device_height_m=1.0).mean_dbm[0]
    assert level[1] == pytest.approx(-61.0)  # 1 m
    assert level[9] == pytest.approx(-61.0 - 16.0 * np.log10(9.0), abs=1e-4)
    assert level[0] == pytest.approx(-61.0 + 16.0 * np.log10(2.0), abs=1e-4)  # nearer than 0.5 m counts as 0.5 m


def test_a_survey_of_a_known_law_gives_that_law_between_its_points() -> None:
    points, levels = survey_of((-58.0, 2.0))
    full = np.full(levels.shape, 100.0)
    fitted = RadioMap.from_survey(HALL, CORNERS, points, levels, full / 50, full)
    truth = RadioMap.from_path_loss(HALL, CORNERS, rssi_1m=-58.0, exponent=2.0)
    assert np.abs(fitted.mean_dbm - truth.mean_dbm).max() < 1.5


def test_fading_of_the_survey_points_becomes_packet_noise_not_bumps_of_the_map() -> None:
    points, levels = survey_of((-60.0, 1.8), local_db=3.0)
    full = np.full(levels.shape, 200.0)
    fitted = RadioMap.from_survey(HALL, CORNERS, points, levels, np.full(levels.shape, 3.0), full)
    truth = RadioMap.from_path_loss(HALL, CORNERS, rssi_1m=-60.0, exponent=1.8)
    assert np.sqrt(np.mean((fitted.mean_dbm - truth.mean_dbm) ** 2)) < 1.5  # half of the 3 dB on each point
    assert fitted.sd_db == pytest.approx(np.full(4, np.sqrt(3.0**2 + 3.0**2)), abs=0.7)


def test_the_map_doubts_what_lies_far_from_any_survey_point() -> None:
    points, levels = survey_of((-60.0, 1.8), local_db=3.0)
    left = points[:, 0] < 8
    counts = np.full(levels[left].shape, 100.0)
    fitted = RadioMap.from_survey(HALL, CORNERS, points[left], levels[left], counts / 30, counts)
    assert fitted.map_sd_db is not None
    doubt = fitted.map_sd_db.mean(axis=0)
    assert doubt[HALL.cell_of([19.0, 5.0])] > 1.3 * doubt[HALL.cell_of([4.0, 5.0])]


def test_points_where_a_node_heard_nothing_are_left_out_and_a_deaf_node_keeps_the_usual_law() -> None:
    points, levels = survey_of((-61.0, 1.6))
    levels[::3, 0] = np.nan
    levels[:, 3] = np.nan
    counts = np.where(np.isnan(levels), 0.0, 50.0)
    fitted = RadioMap.from_survey(HALL, CORNERS, points, levels, np.full(levels.shape, 3.0), counts)
    usual = RadioMap.from_path_loss(HALL, CORNERS, rssi_1m=-61.0, exponent=1.6)
    assert fitted.mean_dbm[3] == pytest.approx(usual.mean_dbm[3], abs=0.1)
    assert np.abs(fitted.mean_dbm[0] - usual.mean_dbm[0]).max() < 1.5
    assert fitted.map_sd_db is not None and fitted.map_sd_db[3].min() > 5  # nothing is known of it
    assert fitted.heard is not None and np.isfinite(fitted.heard).all()


def test_survey_tables_of_another_shape_are_refused_with_the_shape_expected() -> None:
    points, levels = survey_of((-61.0, 1.6))
    with pytest.raises(ValueError, match=r"survey sd has shape \(4, 50\), expected \(50, 4\)"):
        RadioMap.from_survey(HALL, CORNERS, points, levels, levels.T, levels)
    with pytest.raises(ValueError, match="no node heard 5 packets"):
        RadioMap.from_survey(HALL, CORNERS, points, levels, levels, np.ones(levels.shape))


@pytest.mark.parametrize("bare", [False, True])
def test_a_map_comes_back_from_its_bytes(bare: bool) -> None:
    whole = RadioMap.from_path_loss(HALL, CORNERS)
    before = RadioMap(HALL, whole.mean_dbm, whole.sd_db) if bare else whole
    after = RadioMap.from_bytes(before.to_bytes())
    assert after.grid == before.grid
    for name in ("mean_dbm", "sd_db", "map_sd_db", "heard", "nodes_xy"):
        old, new = getattr(before, name), getattr(after, name)
        assert (old is None and new is None) or np.array_equal(old, new)


def test_a_map_must_fit_its_grid() -> None:
    with pytest.raises(ValueError, match="mean_dbm has 3 cells, its grid 200"):
        RadioMap(HALL, np.zeros((1, 3), np.float32), np.ones(1, np.float32))
