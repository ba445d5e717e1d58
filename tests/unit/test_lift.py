"""The lift's interval against published numbers, and what a result says about few members."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.campaigns.lift import newcombe, wilson
from cloud.campaigns.service import FEW, _lift

# Newcombe (1998), Statistics in Medicine 17:873-890, table II, method 10 (score, without continuity correction).
PUBLISHED = [
    ((56, 70), (48, 80), 0.2000, 0.0524, 0.3339),
    ((9, 10), (3, 10), 0.6000, 0.1705, 0.8090),
    ((6, 7), (2, 7), 0.5714, 0.0582, 0.8062),
    ((5, 56), (0, 29), 0.0893, -0.0381, 0.1926),
    ((0, 10), (0, 20), 0.0000, -0.1611, 0.2775),
    ((0, 10), (0, 10), 0.0000, -0.2775, 0.2775),
    ((10, 10), (0, 20), 1.0000, 0.6791, 1.0000),
    ((10, 10), (0, 10), 1.0000, 0.6075, 1.0000),
]


@pytest.mark.parametrize(("one", "other", "value", "low", "high"), PUBLISHED)
def test_the_difference_of_two_shares_is_that_of_newcombes_paper(
    one: tuple[int, int], other: tuple[int, int], value: float, low: float, high: float
) -> None:
    found = newcombe(*one, *other)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=5e-5)


def test_wilsons_interval_of_a_share_is_that_of_newcombes_other_paper() -> None:
    """81 of 263: 0.2553 to 0.3662; Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@given(st.integers(1, 500), st.integers(1, 500), st.data())
def test_an_interval_holds_its_value_and_lies_within_one(n1: int, n2: int, data: st.DataObject) -> None:
    hits1, hits2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    found, back = newcombe(hits1, n1, hits2, n2), newcombe(hits2, n2, hits1, n1)
    assert -1 - 1e-9 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 1 + 1e-9
    assert (found.low, found.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


@pytest.mark.parametrize(("n1", "n2"), [(0, 5), (5, 0), (0, 0)])
def test_an_empty_group_has_no_difference(n1: int, n2: int) -> None:
    with pytest.raises(ValueError, match="both groups"):
        newcombe(0, n1, 0, n2)


VERDICTS = [
    ("nobody in the control arm", (0, 0), (40, 100), "unknown", None),
    ("one short of enough", (20, 40), (0, FEW - 1), "unknown", 50.0),
    ("works", (20, 40), (0, FEW), "works", 50.0),
    ("harms", (0, 40), (15, FEW), "harms", -50.0),
    ("no difference to be seen", (20, 40), (15, FEW), "unknown", 0.0),
]


@pytest.mark.parametrize(("target", "control", "verdict", "lift_pp"), [pytest.param(*v[1:], id=v[0]) for v in VERDICTS])
def test_a_verdict_needs_enough_members_in_both_arms(
    target: tuple[int, int], control: tuple[int, int], verdict: str, lift_pp: float | None
) -> None:
    found = _lift((target[1], target[0]), (control[1], control[0]))
    assert (found["verdict"], found["lift_pp"]) == (verdict, lift_pp)
