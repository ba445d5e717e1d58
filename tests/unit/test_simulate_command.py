"""`./aisle simulate`: what it prints, where it writes, how it ends."""

import json

import pytest
from typer.testing import CliRunner

from cli.simulate import app
from simulators import scenario_files as scenarios


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_help_lists_every_scenario_with_what_it_is_for():
    told = " ".join(invoke("--help").stdout.split())
    for name in scenarios.known():
        assert name in told
    assert "Parquet" in told and "JSON lines" in told


def test_json_is_one_object_with_counts_speed_and_no_checks_unless_asked(tmp_path):
    ended = invoke("new-shop", "--seed", "2", "--hours", "0.5", "--out", str(tmp_path / "t"), "--json")
    assert ended.exit_code == 0
    found = json.loads(ended.stdout)
    assert found["scenario"] == "new-shop" and found["seed"] == 2 and found["records"] > 1000
    assert found["shopper_hours_per_min"] > 0 and found["failed"] == 0
    assert found["calibration"] == found["invariants"] == []
    assert (tmp_path / "t" / "trace.json").exists()


def test_a_report_that_fails_ends_with_one(tmp_path):
    scenario = tmp_path / "jammed.toml"
    scenario.write_text('base = "new-shop"\nname = "jammed"\nwalls = [[[0.0, 4.0], [24.0, 4.0]]]\n')
    ended = invoke(str(scenario), "--hours", "0.5", "--report", "--json", "--out", str(tmp_path / "t"))
    assert ended.exit_code == 1
    found = json.loads(ended.stdout)
    assert [check["name"] for check in found["invariants"] if check["verdict"] == "fail"] == [
        "nobody walks through walls"
    ]
    assert {"name", "verdict", "measured", "expected", "source"} == set(found["calibration"][0])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["moon-base"], "scenarios that come along: black-friday"), (["new-shop", "--out", "{busy}"], "no trace")],
)
def test_what_cannot_begin_ends_with_two_and_says_why(tmp_path, arguments, told):
    (tmp_path / "mine.txt").touch()
    ended = invoke(*(argument.format(busy=tmp_path) for argument in arguments))
    assert ended.exit_code == 2
    assert told in ended.stderr
