"""How much of the store the figures stand for: recognised people are a part of everybody, told beside every figure."""

import math
from typing import Any, Literal

from psycopg import Connection
from pydantic import BaseModel

from cloud import db
from cloud.crowd import service as crowd
from cloud.errors import Invalid

sql = db.statements("cloud.analytics")

Z95 = 1.959964
LEAST_RECEIPTS = 30
"""Sales below which a share of them says nothing."""
DAY_US = 86_400_000_000


class Panel(BaseModel):
    """The share of shoppers that was recognised, with its interval of 95 (of footfall: 80) in 100 cases."""

    of: Literal["receipts", "footfall"] | None
    """What it is a share of; null where there is neither."""
    share: float | None
    low: float | None
    high: float | None
    weight: float | None
    """What one recognised visit stands for: 1 / share."""
    days: int
    """Whole days in the span that are told."""
    visits: int
    """Recognised visits on them."""
    receipts: int


def panel(conn: Connection[Any], tenant: str, store: str, from_us: int, to_us: int) -> Panel:
    """By receipts: of all sales of the told days in a span, those whose visit is known (Wilson's interval, 1927)."""
    key = {"tenant": tenant, "store": store, "from_us": from_us, "to_us": to_us}
    row = conn.execute(sql.panel, key).fetchone()
    assert row is not None
    days, visits, receipts, joined = (int(value) for value in row)
    if receipts < LEAST_RECEIPTS or not joined:
        return Panel(of=None, share=None, low=None, high=None, weight=None, days=days, visits=visits, receipts=receipts)
    share, z2 = joined / receipts, Z95**2 / receipts
    middle = (share + z2 / 2) / (1 + z2)
    half = Z95 / (1 + z2) * math.sqrt(share * (1 - share) / receipts + z2 / (4 * receipts))
    low, high = round(middle - half, 4), round(min(middle + half, 1.0), 4)
    weight = round(1 / share, 3)
    return Panel(
        of="receipts",
        share=round(share, 4),
        low=low,
        high=high,
        weight=weight,
        days=days,
        visits=visits,
        receipts=receipts,
    )


def by_footfall(conn: Connection[Any], tenant: str, store: str, from_us: int, to_us: int, now_us: int) -> Panel | None:
    """By footfall: recognised visits of the told days in a span, of all that came.

    None in a store where heads were never counted, and for spans that are too long or not told.
    """
    key = {"tenant": tenant, "store": store, "from_us": from_us, "to_us": to_us}
    row = conn.execute(sql.whole_days, key).fetchone()
    assert row is not None
    days, visits, begins_us, ends_us = row
    if not visits or ends_us - begins_us > (days + 1) * DAY_US:  # or days are missing between them
        return None
    try:
        found = crowd.occupancy(conn, tenant, store, begins_us, ends_us, 3600, now_us)
    except Invalid:
        return None
    footfall = found.footfall
    if not found.calibration.matched or not footfall.visits or footfall.low <= 0:
        return None
    share = min(visits / footfall.visits, 1.0)
    low, high = (round(min(visits / bound, 1.0), 4) for bound in (footfall.high, footfall.low))
    return Panel(
        of="footfall",
        share=round(share, 4),
        low=low,
        high=high,
        weight=round(1 / share, 3),
        days=days,
        visits=visits,
        receipts=0,
    )
