"""How far a store's story may be told: nobody is waited for who cannot be, everybody else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.locate.timeline import LIVE_US, WAIT_BACKLOG_S, WAIT_S, Timeline

S = 1_000_000
NOW = 1_000 * S


def heard(*nodes: tuple[str, int, bool]) -> Timeline:
    timeline = Timeline()
    for node, until_us, silent in nodes:
        timeline.heard(node, until_us, silent=silent)
    return timeline


def test_without_nodes_nothing_is_told() -> None:
    assert Timeline(7).ready_until(NOW, 0) == 7
    assert not Timeline().is_waiting()


def test_all_nodes_at_one_instant_let_it_be_told_at_once() -> None:
    timeline = heard(("a", NOW, False), ("b", NOW, False))
    assert timeline.ready_until(NOW, 0) == NOW
    assert not timeline.is_waiting()


WAITS = [
    ("live", NOW, WAIT_S),
    ("a backlog", NOW + LIVE_US, WAIT_BACKLOG_S),
]


@pytest.mark.parametrize(("now_us", "wait_s"), [pytest.param(*w[1:], id=w[0]) for w in WAITS])
def test_a_node_that_lags_is_waited_for_so_long_and_no_longer(now_us: int, wait_s: float) -> None:
    timeline = heard(("a", NOW, False), ("b", NOW - S, False))
    assert timeline.ready_until(now_us, 100.0) == NOW - S
    assert timeline.is_waiting()
    assert timeline.ready_until(now_us, 100.0 + wait_s - 0.01) == NOW - S
    assert timeline.ready_until(now_us, 100.0 + wait_s) == NOW


def test_a_silent_node_is_not_waited_for_while_live_but_is_in_a_backlog() -> None:
    timeline = heard(("a", NOW, False), ("b", NOW - 30 * S, True))
    assert timeline.ready_until(NOW, 0) == NOW
    assert timeline.ready_until(NOW + LIVE_US, 0) == NOW - 30 * S


def test_a_node_that_speaks_again_is_waited_for_again() -> None:
    timeline = heard(("a", NOW, False), ("b", NOW - 2 * S, False))
    timeline.ready_until(NOW, 0)
    timeline.heard("b", NOW - S, silent=False)
    assert timeline.ready_until(NOW, WAIT_S) == NOW - S, "its wait began anew"
    timeline.heard("b", NOW, silent=False)
    assert timeline.ready_until(NOW, WAIT_S) == NOW and not timeline.is_waiting()


def test_an_older_word_of_a_node_takes_nothing_back() -> None:
    timeline = heard(("a", NOW, False))
    timeline.heard("a", NOW - 5 * S, silent=True)
    assert timeline.ready_until(NOW, 0) == NOW
    assert timeline.alive("a", NOW) and not timeline.alive("a", NOW + 1)


ALIVE = [("a", NOW, True), ("a", NOW + 1, False), ("silent", NOW + 99 * S, True), ("stranger", 0, False)]


@pytest.mark.parametrize(("node", "at_us", "alive"), ALIVE)
def test_silence_means_something_only_of_a_node_that_spoke_or_said_so(node: str, at_us: int, alive: bool) -> None:
    assert heard(("a", NOW, False), ("silent", NOW - S, True)).alive(node, at_us) is alive


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 120 * S), st.booleans(), st.floats(0, 3)), max_size=40
)


@given(steps, st.integers(0, 200 * S))
def test_the_story_never_goes_back_and_never_beyond_the_newest_word(
    words: list[tuple[str, int, bool, float]], now_us: int
) -> None:
    timeline, real_s, newest = Timeline(), 0.0, 0
    for node, until_us, silent, passed_s in words:
        timeline.heard(node, until_us, silent=silent)
        newest, real_s = max(newest, until_us), real_s + passed_s
        ready = timeline.ready_until(now_us, real_s)
        assert timeline.told_until_us <= ready <= newest
        timeline.told_until_us = ready
    assert timeline.ready_until(now_us, real_s) <= newest
    timeline.ready_until(now_us, real_s)
    assert timeline.ready_until(now_us, real_s + WAIT_BACKLOG_S + 0.001) == newest, "in the end nobody holds it up"
