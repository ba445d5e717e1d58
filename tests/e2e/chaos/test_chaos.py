"""Parts of a running stack are killed at random: nothing that a node accepted is lost or stored twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from cli import ROOT
from cli.chaos.round import VICTIMS, Round, run
from cli.stack.broker import mosquitto_program

pytestmark = pytest.mark.skipif(mosquitto_program() is None, reason="no mosquitto: apt-get install mosquitto")

ALL_FOUR = ("edge", "broker", "ingest", "db")


def assert_kept(found: Round) -> None:
    assert (found.lost, found.duplicated) == (0, 0), found
    assert found.accepted == found.stored > 0


def test_a_short_round_that_kills_every_kind_loses_nothing() -> None:
    found = run(25, 400, ALL_FOUR, 2, print)
    assert_kept(found)
    assert found.kills >= 6
    assert set(found.killed) == set(ALL_FOUR)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_minutes_that_kill_every_process_lose_nothing() -> None:
    found = run(180, 500, VICTIMS, 3, print)
    assert_kept(found)
    assert found.kills >= 40
    assert set(found.killed) == set(VICTIMS)


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
