"""Counts of a few people are told as that."""

import pytest

from cloud.analytics.kfloor import Floored, floored


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, Floored(0, None)),
        (1, Floored(None, 5)),
        (4, Floored(None, 5)),
        (5, Floored(5, None)),
        (99, Floored(99, None)),
    ],
)
def test_a_count_of_one_to_four_is_told_as_less_than_five(count: int, told: Floored) -> None:
    assert floored(count) == told
