"""The map's age is told from fixed tags: a node that changed is found, a tag that changed is not its fault."""

from collections.abc import Callable

import numpy as np
import pytest

from cloud.locate.map_age import Aged, DayLevel, aged_nodes

NODES = [f"node-{i}" for i in range(6)]
TAGS = range(5)
EXPECTED = {(tag, node): -60.0 - 2 * tag - i for tag in TAGS for i, node in enumerate(NODES)}
SURVEYED, TODAY = 100, 130
Change = Callable[[int, str, int], float]


def levels(change: Change, seed: int = 1, n: int = 500) -> list[DayLevel]:
    """A month: each pair's spot deviates by 3 dB for good, each day by 1 dB; `change` comes on top."""
    rng = np.random.default_rng(seed)
    spot = {pair: rng.normal(0, 3) for pair in EXPECTED}
    return [
        DayLevel(tag, node, day, expected + spot[tag, node] + rng.normal(0, 1) + change(tag, node, day), n)
        for (tag, node), expected in EXPECTED.items()
        for day in range(SURVEYED, TODAY + 1)
    ]


def told(change: Change, **how: int) -> list[Aged]:
    return aged_nodes(levels(change, **how), EXPECTED, SURVEYED, TODAY)


@pytest.mark.parametrize("seed", range(20))
def test_a_month_in_which_nothing_changed_is_no_finding(seed: int) -> None:
    assert told(lambda tag, node, day: 0, seed=seed) == []


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("drift", [-8.0, 7.0])
def test_a_node_that_changed_is_named_with_its_decibels(drift: float, seed: int) -> None:
    (found,) = told(lambda tag, node, day: drift if node == "node-2" and day > 120 else 0, seed=seed)
    assert (found.node, found.tags, found.days) == ("node-2", 5, 3)
    assert found.drift_db == pytest.approx(drift, abs=2.0)
    assert found.error_db < 1


def test_a_tag_whose_battery_fades_says_nothing_about_nodes() -> None:
    assert told(lambda tag, node, day: -10 if tag == 3 and day > 110 else 0) == []


def test_a_tag_that_fell_behind_a_shelf_says_nothing_about_nodes() -> None:
    gone = {"node-0": -14.0, "node-1": -9.0, "node-4": 6.0}
    assert told(lambda tag, node, day: gone.get(node, 0) if tag == 1 and day > 110 else 0) == []


def test_one_bad_day_is_no_age() -> None:
    assert told(lambda tag, node, day: -15 if node == "node-2" and day == TODAY else 0) == []


def test_few_packets_are_no_mean() -> None:
    assert told(lambda tag, node, day: -15 if node == "node-2" and day > 110 else 0, n=20) == []


def test_with_two_nodes_nobody_knows_whose_fault_it_is() -> None:
    few = [one for one in levels(lambda tag, node, day: -9 if node == "node-1" else 0) if one.node in NODES[:2]]
    assert aged_nodes(few, EXPECTED, SURVEYED, TODAY) == []


def test_what_was_heard_before_the_survey_does_not_count() -> None:
    old = [DayLevel(tag, node, SURVEYED - 1 - day, -99.0, 500) for tag, node in EXPECTED for day in range(5)]
    assert aged_nodes(old, EXPECTED, SURVEYED, SURVEYED) == []


def test_nothing_heard_is_nothing_told() -> None:
    assert aged_nodes([], EXPECTED, SURVEYED, TODAY) == []
