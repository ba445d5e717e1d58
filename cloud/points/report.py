"""Breakage and liability: which share of issued points expires unused, and what the outstanding ones will cost."""

from collections.abc import Sequence
from datetime import date
from math import sqrt
from typing import Any, NamedTuple

from psycopg import Connection

from cloud import db
from cloud.points.models import BreakageReport, Cohort, Liability, LiabilityReport, Reason

sql = db.statements("cloud.points")

USUAL = (0.15, 0.20)
"""Of issued bonuses are burnt in programmes that work (Paper Planes lecture, 2021): less or more is worth a look."""
Z95 = 1.96
FEWEST = 3
"""Resolved months, before their spread says something about the next."""


class Month(NamedTuple):
    """A month's awards, in units."""

    month: date
    issued: int
    redeemed: int
    expired: int
    open: int


class Forecast(NamedTuple):
    """The share of open awards that will expire, with its 95 % interval."""

    share: float | None
    low: float
    high: float


def forecast(months: Sequence[Month]) -> Forecast:
    """From the months of which nothing is open any more, each weighing by what was issued in it.

    A ratio estimate with the months as clusters: members of one month share its promotions, so single lots are not
    independent. Its variance is k/(k−1) · Σ(eᵢ − p·nᵢ)² / (Σnᵢ)² (Cochran, Sampling Techniques, 3rd ed., §6.4). With
    fewer than FEWEST months anything is possible, and the interval says so.
    """
    resolved = [m for m in months if m.open == 0 and m.issued > 0]
    issued = sum(m.issued for m in resolved)
    if not issued:
        return Forecast(None, 0.0, 1.0)
    share = sum(m.expired for m in resolved) / issued
    if (k := len(resolved)) < FEWEST:
        return Forecast(share, 0.0, 1.0)
    spread = sqrt(k / (k - 1) * sum((m.expired - share * m.issued) ** 2 for m in resolved)) / issued
    return Forecast(share, max(share - Z95 * spread, 0.0), min(share + Z95 * spread, 1.0))


def cost(outstanding: int, expected_breakage: float | None, scale: int, worth: int) -> int:
    """Minor units of money, rounded up: a liability is not told smaller than it is. Unknown breakage counts as none."""
    kept = 1_000_000 - round((expected_breakage or 0.0) * 1_000_000)
    whole_point: int = 10**scale
    return -(-outstanding * kept * worth // (whole_point * 1_000_000))


def breakage(conn: Connection[Any], tenant: str) -> BreakageReport:
    """By month of issue, and expected of what is open."""
    months = _months(conn, tenant)
    expected = forecast(months)
    cohorts = []
    for m in months:
        share = m.expired / m.issued if m.issued > 0 else 0.0
        unusual = m.open == 0 and m.issued > 0 and not USUAL[0] <= share <= USUAL[1]
        cohorts.append(Cohort(**m._asdict(), breakage=round(share, 4), unusual=unusual))
    open_ = sum(m.open for m in months)
    return BreakageReport(
        cohorts=cohorts,
        share=expected.share,
        low=expected.low,
        high=expected.high,
        open=open_,
        expected_to_expire=None if expected.share is None else round(open_ * expected.share),
    )


def liability(conn: Connection[Any], tenant: str) -> LiabilityReport:
    """What is outstanding by wallet and payer, and how much of it staff credited by hand."""
    values = {"tenant": tenant}
    scale, worth = conn.execute(sql.worth, values).fetchone() or (2, 100)
    share = forecast(_months(conn, tenant)).share
    rows = [
        Liability(wallet=w, funder=f, issued=i, outstanding=o, cost=cost(o, share, scale, worth))
        for w, f, i, o in conn.execute(sql.liability, values)
    ]
    earns, adjusted = conn.execute(sql.credits, values).fetchone() or (0, 0)
    reasons = [Reason(reason=r, credits=n, amount=a) for r, n, a in conn.execute(sql.manual, values)]
    manual = sum(reason.credits for reason in reasons)
    return LiabilityReport(
        scale=scale,
        breakage=share,
        rows=rows,
        adjusted=adjusted,
        manual_share=manual / (manual + earns) if manual else 0.0,
        manual_reasons=reasons,
    )


def _months(conn: Connection[Any], tenant: str) -> list[Month]:
    return [Month(*row) for row in conn.execute(sql.cohorts, {"tenant": tenant})]
