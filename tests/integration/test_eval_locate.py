"""The locator against recorded walks with known truth, and what its evaluation says about wrong files."""

import json
import os
from pathlib import Path

import polars as pl
import pytest

from cli.evaluate.locate import evaluate
from cli.evaluate.radio_recordings import RecordingError

DATA = Path(os.environ.get("AISLE_DATA") or Path(__file__).parents[3] / "shared" / "data") / "ble_tetam"

SENSORS = {
    f"00000000000{k}": {"name": f"s{k}", "x_m": 8.0 * (k % 2), "y_m": 6.0 * (k // 2), "z_m": 2} for k in range(4)
}


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A tiny survey, its sensors and a straight walk, all right."""
    survey, sensors, track = tmp_path / "survey.parquet", tmp_path / "sensors.json", tmp_path / "walk.csv"
    sensors.write_text(json.dumps(SENSORS), "utf-8")
    level = {
        (x, y, k): -60 - abs(x - 8 * (k % 2)) - abs(y - 6 * (k // 2))
        for x in (1, 4, 7)
        for y in (1, 5)
        for k in range(4)
    }
    pl.DataFrame(
        [
            {"sensor": f"s{k}", "x_m": x, "y_m": y, "z_m": 1.0, "t_s": float(i), "rssi_dbm": rssi + i % 3}
            for (x, y, k), rssi in level.items()
            for i in range(12)
        ]
    ).write_parquet(survey)
    pl.DataFrame(
        [
            {"t_s": i * 0.25, "sensor_mac": mac, "rssi_dbm": level[4, 1, k], "x_m": 4.0, "y_m": 1.0, "z_m": 1.0}
            for i in range(40)
            for k, mac in enumerate(SENSORS)
        ]
    ).write_csv(track)
    return survey, sensors, track


def test_a_small_recording_is_measured_every_half_second_from_its_third_on(recording: tuple[Path, Path, Path]) -> None:
    survey, sensors, track = recording
    report = evaluate(survey, sensors, [track])
    assert report.n == 16  # 2.0, 2.5 … 9.5 s of a track that ends at 9.75 s
    assert report.per_track["walk"].n == 16
    assert report.mean_m < 3.0
    assert {name: figures.n for name, figures in report.baselines.items()} == dict.fromkeys(
        ("strongest", "centroid", "multilateration", "knn"), 16
    )


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("no survey", "survey.parquet: cannot be read"),
        ("survey is text", "survey.parquet: is not of the expected file type"),
        ("survey without x_m", "survey.parquet: column 'x_m' is missing; it has sensor, "),
        ("survey of other sensors", "survey.parquet: column 'sensor': no packet of any sensor"),
        ("sensors without z_m", "sensors.json: sensor '000000000000' has no 'z_m'"),
        ("sensors not json", "sensors.json: is not JSON"),
        ("track level is a word", "walk.csv: column 'rssi_dbm', row 1: 'loud' is not a Float64"),
        ("track of other sensors", "walk.csv: column 'sensor_mac': no packet of any sensor"),
        ("track without rows", "walk.csv: has no rows"),
    ],
)
def test_a_wrong_file_is_named_with_its_column(recording: tuple[Path, Path, Path], broken: str, expected: str) -> None:
    survey, sensors, track = recording
    match broken:
        case "no survey":
            survey.unlink()
        case "survey is text":
            survey.write_text("x", "utf-8")
        case "survey without x_m":
            pl.read_parquet(survey).drop("x_m").write_parquet(survey)
        case "survey of other sensors":
            pl.read_parquet(survey).with_columns(sensor=pl.lit("other")).write_parquet(survey)
        case "sensors without z_m":
            entries = {mac: {k: v for k, v in entry.items() if k != "z_m"} for mac, entry in SENSORS.items()}
            sensors.write_text(json.dumps(entries), "utf-8")
        case "sensors not json":
            sensors.write_text("{", "utf-8")
        case "track level is a word":
            pl.read_csv(track, infer_schema=False).with_columns(rssi_dbm=pl.lit("loud")).write_csv(track)
        case "track of other sensors":
            pl.read_csv(track, infer_schema=False).with_columns(sensor_mac=pl.lit("ff")).write_csv(track)
        case "track without rows":
            pl.read_csv(track, infer_schema=False).clear().write_csv(track)
    with pytest.raises(RecordingError) as caught:
        evaluate(survey, sensors, [track])
    assert expected in str(caught.value)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recordings at {DATA} (set AISLE_DATA)")
def test_real_walks_are_located_within_1_1_m_and_better_than_by_any_plain_method() -> None:
    report = evaluate(DATA / "fingerprints_set1.parquet", DATA / "sensors.json", sorted(DATA.glob("track_*.csv")))
    assert report.n == 219
    assert report.mean_m <= 1.10
    assert report.p90_m <= 1.90
    # What the plain methods are known to reach on these instants: the metric is the one others use.
    assert {name: round(figures.mean_m, 2) for name, figures in report.baselines.items()} == {
        "strongest": 4.01,
        "centroid": 3.84,
        "multilateration": 2.18,
        "knn": 1.68,
    }
