"""`eval locate` on recordings of scans: files told by their columns, baselines beside, wrong files named."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cli.evaluate.locate import evaluate
from cli.evaluate.locate_scans import averaged
from cli.evaluate.radio_recordings import RecordingError
from cli.evaluate.scan_recordings import Scans, is_scans, read_anchors, read_scans

ANCHORS = np.array([(0, 0, 2.0), (6, 0, 2.0), (6, 4, 2.0), (0, 4, 2.0)], float)
RECORDING = Path(__file__).parents[2].parent / "shared" / "data" / "ble_calib2021"


def scans_at(places: np.ndarray, seed: int) -> pl.DataFrame:
    """A scan every third of a second at places (R, 2), as the files have them."""
    rng = np.random.default_rng(seed)
    apart = np.sqrt(((places[:, None] - ANCHORS[:, :2]) ** 2).sum(-1) + 1.5**2)
    levels = -55 - 20 * np.log10(apart) + rng.normal(0, 3, apart.shape)
    levels[rng.random(levels.shape) < 0.05] = np.nan
    columns = {"ts": 1.6e18 + np.arange(len(places)) / 3 * 1e9, "x": places[:, 0], "heading": 0.0, "y": places[:, 1]}
    return pl.DataFrame(columns | {f"rssi_{k + 1}": levels[:, k] for k in range(4)}).with_columns(
        pl.col("^rssi_.*$").fill_nan(None)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """survey.csv, anchors.csv, robot.csv, and walk.csv with a path instead of places."""
    rng = np.random.default_rng(1)
    line = np.column_stack([np.linspace(1, 5, 90), np.full(90, 2.0)])
    scans_at(rng.uniform(0, [6, 4], (400, 2)), 2).write_csv(tmp_path / "survey.csv")
    scans_at(line, 3).write_csv(tmp_path / "robot.csv")
    scans_at(line, 4).drop("x", "y", "heading").write_csv(tmp_path / "walk.csv")
    pl.DataFrame({"id": [2, 1, 3, 4], **dict(zip("xyz", ANCHORS[[1, 0, 2, 3]].T, strict=True))}).write_csv(
        tmp_path / "anchors.csv"
    )
    pl.DataFrame({"x0": [1.0], "y0": [2.0], "x1": [5.0], "y1": [2.0]}).write_csv(tmp_path / "path_reference.csv")
    return tmp_path


def test_every_scan_is_placed_better_than_at_the_strongest_anchor(folder: Path) -> None:
    tracks = [folder / "robot.csv", folder / "walk.csv"]
    report = evaluate(folder / "survey.csv", folder / "anchors.csv", tracks, 5)
    assert {name: found.n for name, found in report.per_track.items()} == {"robot": 90, "walk": 90}
    assert set(report.baselines) == {"strongest", "centroid", "multilateration", "knn"}
    assert report.per_track["robot"].mean_m < 0.8
    assert report.mean_m < report.baselines["strongest"].mean_m / 2


def test_anchors_are_ordered_by_their_id_and_scans_told_by_their_columns(folder: Path) -> None:
    assert read_anchors(folder / "anchors.csv").positions == pytest.approx(ANCHORS)
    assert is_scans(folder / "survey.csv")
    assert not is_scans(folder / "anchors.csv") and not is_scans(folder / "nothing.csv")


def test_the_window_is_the_mean_of_the_last_scans_that_heard_a_node() -> None:
    levels = np.array([[-60.0, np.nan], [-70.0, np.nan], [np.nan, -50.0], [-80.0, -60.0]])
    expected = [[-60, np.nan], [-65, np.nan], [-70, -50], [-80, -55]]
    assert averaged(levels, 2) == pytest.approx(np.array(expected, float), nan_ok=True)


def test_without_places_the_error_is_the_distance_from_the_path() -> None:
    path = np.array([[[0.0, 0.0], [4.0, 0.0]], [[4.0, 0.0], [4.0, 3.0]]])
    walk = Scans(np.arange(3.0), np.zeros((3, 1)), None, path)
    assert walk.errors(np.array([[2.0, 1.0], [5.0, 2.0], [-3.0, 4.0]])) == pytest.approx([1.0, 1.0, 5.0])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: f.drop("rssi_3"), "column 'rssi_3' is missing"),
        (lambda f: f.with_columns(rssi_1=pl.lit("loud")), "column 'rssi_1', row 1: 'loud' is not a number"),
        (lambda f: f.with_columns(ts=pl.lit(None, pl.Float64)), "column 'ts', row 1"),
        (lambda f: f.drop("x"), "column 'x' is missing"),
        (lambda f: f.head(0), "has no rows"),
    ],
)
def test_a_wrong_survey_is_named_with_its_column(folder: Path, spoil, told: str) -> None:
    survey = folder / "survey.csv"
    spoil(pl.read_csv(survey)).write_csv(survey)
    with pytest.raises(RecordingError, match=told):
        read_scans(survey, read_anchors(folder / "anchors.csv"), surveyed=True)


def test_the_flat_as_recorded_is_placed_within_a_metre_or_so() -> None:
    if not (RECORDING / "calibration_df.csv").exists():
        pytest.skip("the recordings of ble_calib2021 are not here")
    files = RECORDING / "calibration_df.csv", RECORDING / "anchors.csv", [RECORDING / "test_robot_df.csv"]
    report = evaluate(*files, 5)
    assert report.n == 719
    assert report.mean_m <= 1.05
    assert report.baselines["knn"].mean_m == pytest.approx(1.157, abs=0.005)
