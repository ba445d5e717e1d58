"""Telling a store's days: as hours are over their columns, when the day is over its rows and its visits in numbers.

Once told, a figure is never told otherwise: what comes late, or is erased, would show by the difference.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from psycopg import Connection

from cloud import db
from cloud.analytics.release import STOP_M, Hours, Ints, Tiling, Walked, first_stops, pool_upward, tell_places
from cloud.visits import day as visit_day
from cloud.visits.rules import Rule

log = logging.getLogger(__name__)
sql = db.statements("cloud.analytics")

HOUR_US = 3_600_000_000
SETTLED_US = 35 * 60_000_000
"""A day is told so long after its end: receipts find their visits within half an hour."""
BACK = timedelta(days=30)
"""No further than positions are kept (cloud/retention.py)."""
LONGEST_STEP_S = 10.0
"""A position holds until the next one, or so long: the locator's own longest step."""
POSITION = np.dtype([("time", ">i8"), ("x", ">f4"), ("y", ">f4")])
POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01, where the server's binary timestamps begin."""


@dataclass(frozen=True, slots=True)
class StoreDay:
    """A store's local day."""

    tenant: str
    store: str
    day: date
    begins_us: int
    ends_us: int

    @property
    def hours(self) -> int:
        """23 to 25; a day's last hour may be a shorter one where a zone changed by half an hour."""
        return -(-(self.ends_us - self.begins_us) // HOUR_US)

    @property
    def key(self) -> dict[str, Any]:
        return {
            "tenant": self.tenant,
            "store": self.store,
            "day": self.day,
            "begins_us": self.begins_us,
            "ends_us": self.ends_us,
        }


@dataclass(frozen=True, slots=True)
class _Paths:
    """Positions of a day in the order of visit and time; parallel arrays but for `people`."""

    visit: Ints
    time_us: Ints
    x_m: np.ndarray[Any, np.dtype[np.float64]]
    y_m: np.ndarray[Any, np.dtype[np.float64]]
    people: Ints
    """Of each visit."""


def tell_days(conn: Connection[Any], _now_us: int) -> int:
    """Tell what is due of every store's days; returns how many rows of heat were written. Each day commits for itself.

    Time is how far the locator has told the story, not the clock: what comes late from a node is waited for.
    """
    written = 0
    for tenant, store, tz, located_us, first_us, last in conn.execute(sql.stores_to_tell).fetchall():
        for one in _days(tenant, store, ZoneInfo(tz), located_us, first_us, last):
            with conn.transaction():
                if conn.execute(sql.lock_store_days, one.key).fetchone() == (True,):
                    written += _tell(conn, one, located_us)
    return written


def _days(
    tenant: str, store: str, tz: ZoneInfo, located_us: int, first_us: int | None, last: date | None
) -> Iterator[StoreDay]:
    """Days that are not told yet, up to that of `located_us`."""
    today = _at(located_us).astimezone(tz).date()
    first = last + timedelta(days=1) if last else _at(first_us or located_us).astimezone(tz).date()
    day = max(first, today - BACK)
    while day <= today:
        begins_us, ends_us = (midnight_us(each, tz) for each in (day, day + timedelta(days=1)))
        yield StoreDay(tenant, store, day, begins_us, ends_us)
        day += timedelta(days=1)


def midnight_us(day: date, tz: ZoneInfo) -> int:
    """When a local day begins, microseconds since 1970."""
    return int(datetime.combine(day, time(), tz).timestamp()) * 1_000_000


def _at(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)


def _tell(conn: Connection[Any], day: StoreDay, located_us: int) -> int:
    if conn.execute(sql.store_day_told, day.key).fetchone():
        return 0  # by another worker, while this one waited for the lock
    over = located_us >= day.ends_us + SETTLED_US
    closed = min((located_us - day.begins_us) // HOUR_US, day.hours) if located_us < day.ends_us else day.hours
    rule_row = conn.execute(sql.visit_rule, day.key).fetchone()
    rule = Rule(*rule_row) if rule_row else Rule()
    written = 0
    floors = conn.execute(sql.floors, day.key).fetchall()
    paths: _Paths | None = None
    for floor, width_m, depth_m, cell_m in floors:
        row = conn.execute(sql.told_hours, day.key | {"floor": floor}).fetchone()
        if not over and closed <= (row[0] if row else 0):
            continue
        paths = paths or _read(conn, day, rule)
        nx, ny = int(np.ceil(width_m / cell_m)), int(np.ceil(depth_m / cell_m))
        values = _heat(paths, day, Tiling.of(nx, ny, cell_m), cell_m, row, closed, over=over)
        conn.execute(sql.put_heat_day, day.key | values | {"floor": floor, "nx": nx, "ny": ny, "cell_m": cell_m})
        written += 1
    if over:
        _tell_visits(conn, day, rule)
    return written


def _read(conn: Connection[Any], day: StoreDay, rule: Rule) -> _Paths:
    parts, people = [], []
    with conn.cursor(binary=True) as cursor:
        for person, packed in cursor.execute(sql.walked, day.key | {"longest_s": rule.longest_s}):
            people.append(person)
            parts.append(np.frombuffer(packed, POSITION))
    at = np.concatenate(parts) if parts else np.zeros(0, POSITION)
    visit = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    time_us = at["time"].astype(np.int64) + POSTGRES_EPOCH_US
    return _Paths(visit, time_us, at["x"].astype(float), at["y"].astype(float), np.array(people, np.int64))


def _heat(
    paths: _Paths, day: StoreDay, tiling: Tiling, cell_m: float, row: tuple[Any, ...] | None, closed: int, *, over: bool
) -> dict[str, Any]:
    x, y = (np.clip(at // cell_m, 0, n - 1).astype(np.int64) for at, n in (
        (paths.x_m, tiling.nx), (paths.y_m, tiling.ny)))  # fmt: skip
    cell = y * tiling.nx + x
    hour = np.minimum((paths.time_us - day.begins_us) // HOUR_US, day.hours - 1)
    walked = Walked(hour, cell, paths.people[paths.visit], _seconds(paths))
    hours = Hours.none(tiling, day.hours)
    if row and len(row[1]) == hours.seconds.size * 4:  # else the floor was measured anew since: told anew, on its grid
        seconds = np.frombuffer(row[1], "<f4").reshape(hours.seconds.shape).astype(float)
        hours = Hours(seconds, np.frombuffer(row[2], np.uint8).astype(np.int64), row[0])
    hours.close(walked, tiling, closed)
    values = {
        "closed": closed,
        "by_hour": hours.seconds.astype("<f4").tobytes(),
        "told": hours.told.astype(np.uint8).tobytes(),
        "seconds": None,
        "stops": None,
        "people": None,
    }
    if over:
        places = tell_places(walked, tiling, hours)
        level = min(max(round(np.log2(STOP_M / cell_m)), 0), tiling.level)
        first = first_stops(paths.visit, paths.time_us, cell, tiling, level)
        stood = first >= 0
        who, ones = paths.people[: first.size][stood], np.ones(int(stood.sum()))
        stops = pool_upward(first[stood], who, ones, tiling, level)
        for name, grid in (("seconds", places.seconds), ("stops", stops), ("people", places.people)):
            values[name] = grid.astype("<f4").tobytes()
    return values


def _seconds(paths: _Paths) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How long each position stands for: since the visit's last one, as the locator counts; its first a second."""
    since = np.diff(paths.time_us, prepend=0) / 1e6
    first = np.diff(paths.visit, prepend=-1) > 0
    return np.where(first, 1.0, np.minimum(since, LONGEST_STEP_S))


def _tell_visits(conn: Connection[Any], day: StoreDay, rule: Rule) -> None:
    stays = [visit_day.Stay(*row) for row in conn.execute(sql.stays, day.key)]
    midnights = np.array([day.begins_us, day.ends_us])
    told = visit_day.told(visit_day.visits(stays, rule, day.begins_us, day.ends_us, midnights))
    values = {
        "people": told.people,
        "stages": list(told.stages),
        "newcomers": told.newcomers,
        "returning": told.returning,
    }
    conn.execute(sql.put_store_day, day.key | values)
    with conn.cursor() as cursor:
        moves = [{"from": a, "to": b, "moves": n} for (a, b), n in told.moves.items()]
        cursor.executemany(sql.put_flow, [day.key | move for move in moves])
    log.info("told the day %s of a store", day.day)
