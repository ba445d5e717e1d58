"""What points are expected to expire, and what the rest will cost."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.points.report import Forecast, Month, cost, forecast

AUGUST = date(2026, 8, 1)


def month(issued: int, expired: int, still_open: int = 0) -> Month:
    return Month(AUGUST, issued, issued - expired - still_open, expired, still_open)


def test_nothing_is_forecast_before_a_month_is_resolved_and_no_interval_before_three() -> None:
    assert forecast([]) == forecast([month(100, 10, still_open=1)]) == Forecast(None, 0.0, 1.0)
    assert forecast([month(100, 10), month(100, 30)]) == Forecast(0.2, 0.0, 1.0)


def test_months_weigh_by_what_was_issued_and_their_spread_makes_the_interval() -> None:
    # p = (10 + 30 + 80) / 600 = 0.2; residuals 10 − 20, 30 − 20, 80 − 80 → √(3/2 · 200) / 600 = 0.028868
    share, low, high = forecast([month(100, 10), month(100, 30), month(400, 80), month(900, 0, still_open=500)])
    assert share == 0.2
    assert low == pytest.approx(0.2 - 1.96 * 0.028868, abs=1e-5)
    assert high == pytest.approx(0.2 + 1.96 * 0.028868, abs=1e-5)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), max_size=20))
def test_the_interval_holds_the_share_and_both_are_shares(months: list[tuple[int, float]]) -> None:
    share, low, high = forecast([month(n, int(n * part)) for n, part in months])
    assert 0 <= low <= (0 if share is None else share) <= high <= 1


@pytest.mark.parametrize(
    ("outstanding", "breakage", "scale", "worth", "minor_units"),
    [
        (10_000, None, 2, 100, 10_000),  # 100 points at 1.00 each, none of them expected to expire
        (10_000, 0.2, 2, 100, 8_000),
        (1, None, 2, 100, 1),
        (1, 0.5, 2, 100, 1),  # half a unit of money, rounded up
        (150, 0.0, 0, 7, 1_050),
        (0, 0.2, 2, 100, 0),
    ],
)
def test_the_cost_is_what_remains_after_breakage_in_minor_units_rounded_up(
    outstanding: int, breakage: float | None, scale: int, worth: int, minor_units: int
) -> None:
    assert cost(outstanding, breakage, scale, worth) == minor_units
