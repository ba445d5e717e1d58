"""Parts of a running stack are killed at random: nothing that a node accepted is lost or stored twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from cli import ROOT
from cli.chaos.killer import VICTIMS
from cli.chaos.lines import FAULTS
from cli.chaos.ours import ALSO
from cli.chaos.round import Round, run
from cli.stack.broker import mosquitto_program

pytestmark = pytest.mark.skipif(mosquitto_program() is None, reason="no mosquitto: apt-get install mosquitto")

ALL_FOUR = ("edge", "broker", "ingest", "db")


QUICK = ("latency", "narrow", "stall", "cut", "reset", "corrupt", "slow-close")
"""Faults that end with the fault; a half-open line is dead until somebody's patience ends."""


def assert_kept(found: Round) -> None:
    print(found)
    assert (found.lost, found.duplicated) == (0, 0), found
    assert found.accepted == found.stored + found.refused + found.gone > 0


def test_a_short_round_of_kills_and_bad_lines_loses_nothing() -> None:
    """And a card is wiped."""
    found = run(30, 400, ALL_FOUR, 2, print, faults=QUICK, also=["wiped"])
    assert_kept(found)
    assert found.kills + sum(found.faults.values()) >= 7
    assert found.killed and found.faults
    assert found.refused == 0


@pytest.mark.long
def test_three_minutes_that_kill_every_process_lose_nothing() -> None:
    found = run(180, 500, VICTIMS, 3, print)
    assert_kept(found)
    assert found.kills >= 40
    assert set(found.killed) == set(VICTIMS)


@pytest.mark.long
def test_three_minutes_of_fifty_kills_lose_nothing_and_drain_at_once() -> None:
    found = run(180, 500, ALL_FOUR, 4, print)
    assert_kept(found)
    assert found.kills >= 50
    assert found.drain_s < 10


@pytest.mark.long
def test_three_minutes_of_bad_lines_lose_nothing() -> None:
    found = run(180, 500, [], 5, print, faults=tuple(FAULTS))
    assert_kept(found)
    assert {fault.partition(" ")[2] for fault in found.faults} == set(FAULTS)


@pytest.mark.long
def test_a_wiped_card_a_copied_card_and_a_forged_ack_under_kills_lose_nothing_silently() -> None:
    found = run(60, 500, ALL_FOUR, 6, print, also=ALSO)
    assert_kept(found)
    assert found.refused > 0, "the copied card's batches are in dead letters"


@pytest.mark.long
def test_the_naive_design_loses_and_doubles_under_the_same_hands() -> None:
    """Which shows that the harness can see it."""
    found = run(60, 500, ALL_FOUR, 11, print, naive=True)
    print(found)
    assert found.lost > 0 and found.duplicated > 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"faults": ["gravity"]}, "--faults: found gravity, expected some of latency,narrow"),
        ({"also": ["stolen"]}, "--also: found stolen, expected some of wiped,cloned,forged"),
        ({"naive": True, "also": ["wiped"]}, "--also: found wiped, expected some of nothing"),
    ],
)
def test_an_unknown_name_is_told_before_anything_starts(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        run(1, 10, ALL_FOUR, 1, print, **options)


@pytest.mark.parametrize("victims", [["edge", "moon"], []])
def test_an_unknown_victim_is_named_with_those_that_there_are(victims: list[str]) -> None:
    with pytest.raises(ValueError, match="expected some of edge,broker,ingest,db,locate,worker"):
        run(1, 10, victims, 1, print)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(mkdtemp(prefix="aisle-test-"))
    made.chmod(0o711)
    yield made
    made.rmdir()  # so it must be empty


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)
def test_an_interrupted_round_leaves_no_process_and_no_file(folder: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "cli", "chaos", "--seconds", "60", "--rate", "100", "--kill", "edge,db"]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("killed" in line for line in lines), "the round never began"
        assert len(of_folder(folder)) >= 6
        process.send_signal(number)
        process.stderr.read()
        assert process.wait(60) == code
    deadline = time.monotonic() + 5
    while left := of_folder(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def of_folder(folder: Path) -> list[str]:
    """Processes that have something to do with the folder: in their command line or their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in known:
                found.append(known.split(b"\0\0")[0].replace(b"\0", b" ").decode()[:200])
    return found
