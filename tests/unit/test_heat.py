"""Heat in buckets of five minutes: where a bucket begins, and that nobody is counted twice in a cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.locate.heat import BUCKET_US, HeatBucket

DAY_US = 86_400_000_000
EDGES = [
    ("the first instant after an edge", 1, 0),
    ("an edge ends the bucket before it", BUCKET_US, 0),
    ("a moment later the next begins", BUCKET_US + 1, BUCKET_US),
    ("the middle of a later day", 20_000 * DAY_US + 7 * BUCKET_US // 2, 20_000 * DAY_US + 3 * BUCKET_US),
]


@pytest.mark.parametrize(("at_us", "beginning"), [pytest.param(*e[1:], id=e[0]) for e in EDGES])
def test_a_bucket_begins_every_five_minutes(at_us: int, beginning: int) -> None:
    assert HeatBucket.beginning(at_us) == beginning


@given(st.integers(1, 4_102_444_800_000_000))
def test_every_instant_lies_in_exactly_one_bucket(at_us: int) -> None:
    beginning = HeatBucket.beginning(at_us)
    assert beginning < at_us <= beginning + BUCKET_US
    assert beginning % BUCKET_US == 0
    assert DAY_US % BUCKET_US == 0, "so no bucket lies in two UTC days"


def test_an_empty_bucket_has_its_own_grids() -> None:
    one, other = HeatBucket.empty(6), HeatBucket.empty(6)
    one.seconds[2] += 1
    assert other.seconds.tolist() == [0] * 6 and other.visits.dtype == np.float32 and other.positions == 0
