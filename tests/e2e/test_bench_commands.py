"""The speed commands run from beginning to end, on sizes that measure nothing."""

import json
import subprocess
import sys

import pytest

from cli import ROOT
from cli.stack.broker import mosquitto_program

SMALL = {
    "ingest": ["--events", "2000", "--paced-s", "0.5", "--publishers", "2", "--runs", "1"],
    "heatmap": ["--positions", "5000", "--asks", "3"],
}
FIGURES: dict[str, set[str]] = {
    "ingest": {
        "copy_rows_per_s",
        "ingest_rows_per_s",
        "messages_per_s",
        "ratio",
        "p50_ms",
        "p99_ms",
        "single_json_rows_per_s",
        "workers",
        "publishers",
    },
    "heatmap": {"grid_ms", "grid_p95_ms", "peer_ms", "positions", "cells"},
}


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.skipif(mosquitto_program() is None, reason="no mosquitto: apt-get install mosquitto")
@pytest.mark.parametrize("name", SMALL)
def test_a_small_run_tells_its_figures(name: str) -> None:
    done = bench(name, *SMALL[name], "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert FIGURES[name] | {"cpus", "load_before"} <= figures.keys()
    assert all(figures[key] > 0 for key in FIGURES[name])


def test_parts_of_the_nodes_figures_can_be_chosen_and_a_wrong_one_is_named() -> None:
    done = bench("edge", "--part", "epc", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sgtin_per_s"] > 0
    wrong = bench("edge", "--part", "epk")
    assert wrong.returncode == 2
    assert "expected one of ble, wifi, llrp, epc, outbox" in " ".join(wrong.stderr.replace("│", " ").split())


@pytest.mark.parametrize("name", ["vision", "push"])
def test_a_name_that_is_promised_and_not_there_yet_ends_with_3(name: str) -> None:
    done = bench(name, "--json")
    assert done.returncode == 3
    assert f"bench {name}: not built yet" in done.stderr
