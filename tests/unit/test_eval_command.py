"""`./aisle eval`: its options, its two outputs, what it says about wrong files, and names that are not there yet."""

import json
from pathlib import Path

import polars as pl
import pytest

from cli.__main__ import FAMILIES, NOT_BUILT_YET, main
from cli.evaluate import LATER

SENSORS = {
    f"00000000000{k}": {"name": f"s{k}", "x_m": 8.0 * (k % 2), "y_m": 6.0 * (k // 2), "z_m": 2} for k in range(4)
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny survey.parquet, sensors.json and two walks, a.csv and b.csv."""
    (tmp_path / "sensors.json").write_text(json.dumps(SENSORS))
    places = [(float(x), float(y)) for x in (1, 4, 7) for y in (1, 5)]
    survey = [
        {"sensor": f"s{k}", "x_m": x, "y_m": y, "z_m": 1.0, "rssi_dbm": _level(x, y, k) + i % 3}
        for x, y in places
        for k in range(4)
        for i in range(12)
    ]
    pl.DataFrame(survey).write_parquet(tmp_path / "survey.parquet")
    for name, (x, y) in {"a": places[0], "b": places[3]}.items():
        walk = [
            {"t_s": i * 0.25, "sensor_mac": mac, "rssi_dbm": _level(x, y, k), "x_m": x, "y_m": y}
            for i in range(20)
            for k, mac in enumerate(SENSORS)
        ]
        pl.DataFrame(walk).write_csv(tmp_path / f"{name}.csv")
    return tmp_path


def _level(x: float, y: float, k: int) -> float:
    return -60 - abs(x - 8 * (k % 2)) - abs(y - 6 * (k // 2))


def _run(arguments: list[str]) -> int:
    """The exit code of `./aisle eval …`."""
    try:
        return main(["eval", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)


def _locate(folder: Path, *tracks: str) -> list[str]:
    return ["locate", "--survey", str(folder / "survey.parquet"), "--sensors", str(folder / "sensors.json"), *tracks]


def test_eval_is_the_evaluate_package() -> None:
    assert FAMILIES["eval"].module == "cli.evaluate"


@pytest.mark.parametrize("repeated", [False, True])
def test_several_tracks_follow_one_flag_or_each_its_own(
    folder: Path, repeated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(folder / "a.csv"), str(folder / "b.csv")
    tracks = ["--tracks", a, "--tracks", b] if repeated else ["--tracks", a, b]
    assert _run([*_locate(folder, *tracks), "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    report = json.loads(out)
    assert set(report) == {"mean_m", "p50_m", "p90_m", "n", "per_track", "baselines"}
    assert {name: figures["n"] for name, figures in report["per_track"].items()} == {"a": 6, "b": 6}
    assert report["n"] == 12  # 2.0, 2.5 … 4.5 s of two walks that end at 4.75 s
    assert set(report["baselines"]) == {"strongest", "centroid", "multilateration", "knn"}


def test_for_people_it_is_a_table_with_a_line_a_track_and_a_baseline(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(_locate(folder, "--tracks", str(folder / "a.csv"))) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["mean", "m", "p50", "m", "p90", "m", "n"]
    assert {line[0] for line in lines[2:] if line} == {"a", "plain", "strongest", "centroid", "multilateration", "knn"}


def test_tracks_of_one_name_in_two_folders_are_both_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = folder / "other" / "a.csv"
    other.parent.mkdir()
    (folder / "b.csv").rename(other)
    assert _run([*_locate(folder, "--tracks", str(folder / "a.csv"), str(other)), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["per_track"]) == {str(folder / "a.csv"), str(other)}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("no track", "a.csv: cannot be read"),
        ("no column", "a.csv: column 'rssi_dbm' is missing"),
        ("too short", "no instant of the tracks had 3 sensors heard"),
    ],
)
def test_a_wrong_file_is_one_line_on_stderr_and_ends_with_2(
    folder: Path, spoil: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    track = folder / "a.csv"
    rows = pl.read_csv(track, infer_schema=False)
    match spoil:
        case "no track":
            track.unlink()
        case "no column":
            rows.drop("rssi_dbm").write_csv(track)
        case "too short":
            rows.head(4).write_csv(track)
    assert _run([*_locate(folder, "--tracks", str(track)), "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("name", sorted(LATER))
def test_a_promised_name_says_that_it_is_not_there_yet_and_ends_with_3(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run([name, "some.file", "--folds", "5", "--json"]) == NOT_BUILT_YET
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"eval {name}: not built yet")
