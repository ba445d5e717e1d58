"""Fuzzing with atheris: seconds for each parser, ten minutes in the long tier; and that it finds what is there."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz import broken
from tests.fuzz.run import START_S, Outcome, fuzz, missing
from tests.fuzz.table import TARGETS

SHORT_S = 2.0
LONG_S = float(os.environ.get("AISLE_FUZZ_S", "600"))
AT_ONCE = 2

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

Fuzzing = dict[str, Future[Outcome]]
"""By a test's name."""


@pytest.fixture(scope="module")
def fuzzing(request: pytest.FixtureRequest) -> Iterator[Fuzzing]:
    """All that this run asks for, some at a time, each in a process of its own."""
    stop = threading.Event()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started: Fuzzing = {}
        for item in request.session.items:
            if isinstance(item, pytest.Function) and item.obj in (short_tier, long_tier):
                seconds = LONG_S if item.obj is long_tier else SHORT_S
                target = TARGETS[str(item.callspec.params["name"])]
                started[item.name] = pool.submit(fuzz, target, seconds, stop=stop)
        try:
            yield started
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _nothing_found(fuzzing: Fuzzing, request: pytest.FixtureRequest) -> None:
    outcome = fuzzing[request.node.name].result()
    if outcome.complaint:
        pytest.fail(outcome.complaint, pytrace=False)
    assert outcome.executions > 0


@pytest.mark.parametrize("name", TARGETS)
def test_some_seconds_of_fuzzing_find_nothing(name: str, fuzzing: Fuzzing, request: pytest.FixtureRequest) -> None:
    _nothing_found(fuzzing, request)


@pytest.mark.long
@pytest.mark.timeout(LONG_S + 2 * START_S)
@pytest.mark.parametrize("name", TARGETS)
def test_ten_minutes_of_fuzzing_find_nothing(name: str, fuzzing: Fuzzing, request: pytest.FixtureRequest) -> None:
    _nothing_found(fuzzing, request)


short_tier, long_tier = test_some_seconds_of_fuzzing_find_nothing, test_ten_minutes_of_fuzzing_find_nothing


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (broken.TARGETS[0], ("IndexError", "in read_badly", "--input")),
        (broken.TARGETS[1], ("MemoryError", "in read_greedily", "--input")),
        (broken.TARGETS[2], ("in read_for_ever", "--input", "imeout")),
    ],
    ids=["raises", "devours", "hangs"],
)
def test_what_breaks_a_parser_is_found_kept_and_told(target, words, tmp_path: Path):
    outcome = fuzz(target, 30.0, kept=tmp_path, hang_s=2.0)
    assert outcome.found is not None and outcome.found.parent == tmp_path / "found"
    data = outcome.found.read_bytes()
    assert repr(data) in outcome.complaint
    assert [word for word in words if word not in outcome.complaint] == []
    if target.name == "raises":
        with pytest.raises(IndexError):
            target.check(data)


def test_a_run_that_is_stopped_says_so(tmp_path: Path):
    stop = threading.Event()
    stop.set()
    outcome = fuzz(TARGETS["epc"], 600.0, kept=tmp_path, stop=stop)
    assert outcome.found is None and "stopped" in outcome.complaint
