"""A store's crowd: its calibration from counted heads, occupancy with an interval, footfall, and drift."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from psycopg import Connection

from cloud import db
from cloud.crowd.drift import RECENT_DAYS, Day, Moved, addresses_moved, counts_moved, nodes_moved
from cloud.crowd.forest import Floats, Forest
from cloud.crowd.model import (
    PRIORS,
    TRAIL_S,
    Estimates,
    Learned,
    Ratio,
    Whole,
    cross_validated,
    trailing,
)
from cloud.errors import Invalid
from cloud.places.service import store_row

sql = db.statements("cloud.crowd")

Source = Literal["wifi", "stations", "ble"]
SOURCES: tuple[Source, ...] = ("wifi", "stations", "ble")
"""The better known to stand for people first: stations are those who joined a network, gadgets are anybody's guess."""

SPAN_US = 300_000_000
"""Nodes count by spans of five minutes on the clock's grid."""
TRAIL = TRAIL_S * 1_000_000 // SPAN_US
DAY_US = 86_400_000_000
LONGEST_US = 31 * DAY_US
COUNTS_KEPT_US = 365 * DAY_US
LONG_RUN_DAYS = 70
EARLY_US = 300_000_000
"""A technician's clock may be ahead of ours by so much."""

FOREST_COUNTS, FOREST_DAYS = 60, 5
"""A forest is tried from so many counted spans on so many days on, and kept where its error is a twentieth smaller."""
FOREST_BETTER = 0.95

STAY_VISITS = 30
ASSUMED_STAY_S, ASSUMED_FACTOR = 900.0, 2.0
"""While a store has no such number of visits: a quarter of an hour, within a factor. A supermarket's trips last 11
minutes in the mean (covid19-supermarket-abm), a fashion store's longer."""


COVERED_SIGMAS = 1.2816
"""Either side of a mean, for an interval that holds it in 80 of 100 cases."""


@dataclass(frozen=True, slots=True)
class Spans:
    """What nodes counted in slots of five minutes, ascending; those that nobody told of are left out."""

    slots: Whole
    units: Floats
    """Devices that people are told by."""
    features: Floats
    """(slots, …): nodes and their counts, beside the same over the last half hour."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Heads counted by hand, beside the spans they were counted in."""

    source: Source
    slots: Whole
    people: Floats
    digest: bytes


@dataclass(frozen=True, slots=True)
class Calibration:
    """What counts of a store's devices stand for."""

    source: Source
    matched: int
    """Counted spans it rests on; 0 says that it is a belief and no calibration."""
    fitted_us: int | None
    ratio: Ratio
    learned: Learned | None
    error_people: float | None

    @property
    def method(self) -> Literal["none", "ratio", "forest"]:
        return "forest" if self.learned else "ratio" if self.matched else "none"

    def estimate(self, spans: Spans) -> Estimates:
        """People in each slot; devices as they are, within a wide interval, while nobody counted heads."""
        return self.learned.estimate(spans.features) if self.learned else self.ratio.estimate(spans.units)


@dataclass(frozen=True, slots=True)
class Slot:
    """A step's mean occupancy; None where nodes told nothing: fewer than five devices were about, or none listened."""

    at_us: int
    people: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Footfall:
    """Visits begun in the whole time: the hours that people spent by how long one stays. None without a told slot."""

    visits: float | None
    low: float
    high: float
    told_share: float
    """Of the time: what is missing counts as nobody."""
    stay_s: float
    stay_known: bool
    """Whether it is the store's own, from visits that were recognised."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What is estimated of a store in a span of time."""

    calibration: Calibration
    slots: list[Slot]
    footfall: Footfall
    drift: list[str]
    """Why the calibration should not be trusted any more, in words."""


def put_count(
    conn: Connection[Any], tenant: str, store: str, at_us: int, people: int, by: str, now_us: int
) -> Calibration:
    """Keeps heads counted at an instant; returns what the store's counts say now. Raises NotFound and Invalid."""
    store_row(conn, tenant, store)
    if at_us > now_us + EARLY_US:
        raise Invalid("nobody can have counted heads at an instant that is yet to come")
    if at_us < now_us - COUNTS_KEPT_US:
        raise Invalid("a count that is older than a year says nothing of today's phones")
    values = {"tenant": tenant, "store": store, "at_us": at_us, "people": people, "by": by}
    conn.execute(sql.put_count, values)
    return calibrate(conn, tenant, store, now_us) or _believed(conn, tenant, store, at_us - DAY_US, now_us)


def occupancy(
    conn: Connection[Any], tenant: str, store: str, from_us: int, to_us: int, step_s: int, now_us: int
) -> Occupancy:
    """Estimates of whole steps on the clock's grid that begin in [from_us, to_us). Raises NotFound and Invalid.

    Steps never move: a span cannot be slid along until it tells of one person.
    """
    store_row(conn, tenant, store)
    step_us = step_s * 1_000_000
    first, last = -(-from_us // step_us), -(-to_us // step_us)
    if not 0 < last - first <= LONGEST_US // step_us:
        raise Invalid(f"a span of one step to {LONGEST_US // DAY_US} days is needed")
    begin_us, end_us = first * step_us, last * step_us
    calibration = calibrate(conn, tenant, store, now_us) or _believed(conn, tenant, store, begin_us, end_us)
    spans = _spans(conn, tenant, store, calibration.source, begin_us, end_us)
    moved = _moved(conn, tenant, store, calibration, min(end_us, now_us))
    found = _widened(calibration.estimate(spans), moved)
    reasons = [one if isinstance(one, str) else one.reason for one in moved]
    return Occupancy(
        calibration,
        _steps(spans.slots * SPAN_US // step_us, found, first, last, step_us),
        _footfall(conn, tenant, store, calibration, spans, found, moved, begin_us, end_us),
        reasons,
    )


def calibrate(conn: Connection[Any], tenant: str, store: str, now_us: int) -> Calibration | None:
    """The store's calibration, fitted again where its counts or their spans are not those it was fitted to.

    None while no head was counted in a span that nodes told of. A count is often told before its span has ended, so
    what is there is looked at each time it is asked for; fitting is rare.
    """
    counted = _counted(conn, tenant, store, now_us)
    if counted is None:
        return None
    key = {"tenant": tenant, "store": store}
    row = conn.execute(sql.calibration, key).fetchone()
    if row is not None and bytes(row[3]) == counted.digest:
        return _calibration(*row)
    spans = _spans_at(conn, tenant, store, counted)
    made = _fit(counted, spans, now_us)
    learned = made.learned
    conn.execute(
        sql.put_calibration,
        key
        | {
            "source": made.source,
            "fitted_us": now_us,
            "matched": made.matched,
            "digest": counted.digest,
            "people_per_device": made.ratio.people_per_device,
            "weight": made.ratio.weight,
            "dispersion": made.ratio.dispersion,
            "forest": learned.forest.to_bytes() if learned else None,
            "scale": learned.scale if learned else 1.0,
            "error_people": made.error_people,
        },
    )
    return made


def _calibration(
    source: str,
    fitted_us: int,
    matched: int,
    _digest: bytes,
    people_per_device: float,
    weight: float,
    dispersion: float,
    forest: bytes | None,
    scale: float,
    error_people: float | None,
) -> Calibration:
    return Calibration(
        cast(Source, source),
        matched,
        fitted_us,
        Ratio(people_per_device, weight, dispersion),
        Learned(Forest.from_bytes(forest), scale) if forest is not None else None,
        error_people,
    )


def _fit(counted: Counted, spans: Spans, now_us: int) -> Calibration:
    units, people = spans.units, counted.people
    days, age_days = _days(counted.slots), _age_days(counted.slots, now_us)
    prior = PRIORS[counted.source]
    ratio = Ratio.fit(units, people, age_days, prior)
    learned, error = None, None
    if len(np.unique(days)) >= 2:
        enough = len(people) >= FOREST_COUNTS and len(np.unique(days)) >= FOREST_DAYS
        error, forest_error = cross_validated(spans.features if enough else None, units, people, days, age_days, prior)
        if forest_error is not None and forest_error < error * FOREST_BETTER:
            learned, error = Learned.fit(spans.features, people, days), forest_error
    return Calibration(counted.source, len(people), now_us, ratio, learned, error)


def _believed(conn: Connection[Any], tenant: str, store: str, from_us: int, to_us: int) -> Calibration:
    """What is held of the best source there is, before anybody counted."""
    key = {"tenant": tenant, "store": store, "from_us": from_us, "to_us": to_us}
    heard = {row[0] for row in conn.execute(sql.sources, key)}
    source = next((source for source in SOURCES if source in heard), SOURCES[0])
    nothing = np.empty(0)
    return Calibration(source, 0, None, Ratio.fit(nothing, nothing, nothing, PRIORS[source]), None, None)


def _counted(conn: Connection[Any], tenant: str, store: str, now_us: int) -> Counted | None:
    """Counts with the source that told of most of them."""
    key = {"tenant": tenant, "store": store, "span_us": SPAN_US}
    rows = conn.execute(sql.counted, key | {"from_us": now_us - COUNTS_KEPT_US, "to_us": now_us + EARLY_US}).fetchall()
    if not rows:
        return None
    number = {source: sum(row[0] == source for row in rows) for source in SOURCES}
    best = max(SOURCES, key=lambda source: number[source])  # of equals the first
    ours = [row for row in rows if row[0] == best]
    # The day is part of the name: counts lose weight as they grow old.
    digest = hashlib.blake2b(repr((now_us // DAY_US, ours)).encode(), digest_size=16).digest()
    return Counted(best, np.array([r[1] for r in ours], np.int64), np.array([r[2] for r in ours], float), digest)


def _spans(conn: Connection[Any], tenant: str, store: str, source: Source, from_us: int, to_us: int) -> Spans:
    key = {"tenant": tenant, "store": store, "source": source, "span_us": SPAN_US}
    before_us = from_us - (TRAIL - 1) * SPAN_US
    found = _as_spans(conn.execute(sql.spans, key | {"from_us": before_us, "to_us": to_us}).fetchall())
    return _only(found, found.slots >= from_us // SPAN_US)


def _spans_at(conn: Connection[Any], tenant: str, store: str, counted: Counted) -> Spans:
    """The spans that heads were counted in; those before them are read for their half hour."""
    key = {"tenant": tenant, "store": store, "source": counted.source, "span_us": SPAN_US}
    slots = np.unique(counted.slots[:, None] - np.arange(TRAIL))
    found = _as_spans(conn.execute(sql.spans_at, key | {"slots": slots.tolist()}).fetchall())
    return _only(found, np.isin(found.slots, counted.slots))


def _as_spans(rows: list[tuple[Any, ...]]) -> Spans:
    slots = np.array([row[0] for row in rows], np.int64)
    counts = np.array([row[1:] for row in rows], float).reshape(len(rows), 7)
    return Spans(slots, counts[:, 1], np.hstack([counts, trailing(counts, slots, TRAIL)]))


def _only(spans: Spans, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> Spans:
    return Spans(spans.slots[chosen], spans.units[chosen], spans.features[chosen])


def _steps(steps: Whole, found: Estimates, first: int, last: int, step_us: int) -> list[Slot]:
    """The mean of each step's spans. Their intervals are not narrowed by it: what is wrong is wrong in all of them."""
    number = np.bincount(steps - first, minlength=last - first)
    people, low, high = (
        np.bincount(steps - first, values, minlength=last - first) / np.maximum(number, 1)
        for values in (found.people, found.low, found.high)
    )
    return [
        Slot((first + i) * step_us, float(people[i]) if number[i] else None, float(low[i]), float(high[i]))
        for i in range(last - first)
    ]


def _footfall(
    conn: Connection[Any],
    tenant: str,
    store: str,
    calibration: Calibration,
    spans: Spans,
    found: Estimates,
    moved: list[Moved | str],
    begin_us: int,
    end_us: int,
) -> Footfall:
    """Little's law: people present on average = arrivals in an hour × hours stayed."""
    stay_s, stay_low_s, stay_high_s, known = _stay(conn, tenant, store, begin_us, end_us)
    told = len(spans.slots) / ((end_us - begin_us) / SPAN_US)
    if not len(spans.slots):
        return Footfall(None, 0.0, 0.0, 0.0, stay_s, known)
    seconds = SPAN_US / 1e6
    hours = float(found.people.sum()) * seconds
    if calibration.learned is None:
        # Heads differ from span to span, which evens out; the ratio is the same in all of them.
        low, high = (float(spans.units.sum()) * seconds * rate for rate in calibration.ratio.rate_bounds())
        factor = _factor(moved)
        low, high = low / factor, high * factor
    else:
        low, high = float(found.low.sum()) * seconds, float(found.high.sum()) * seconds
    visits = hours / stay_s
    return Footfall(visits, min(low / stay_high_s, visits), max(high / stay_low_s, visits), told, stay_s, known)


def _stay(
    conn: Connection[Any], tenant: str, store: str, begin_us: int, end_us: int
) -> tuple[float, float, float, bool]:
    """Seconds that one stays: the mean, its bounds, and whether they are the store's own."""
    span = {"tenant": tenant, "store": store, "from_us": min(begin_us, end_us - 28 * DAY_US), "to_us": end_us}
    row = conn.execute(sql.stay, span).fetchone()
    assert row is not None
    visits, mean_s, sd_s = row
    if visits < STAY_VISITS or not mean_s:
        return ASSUMED_STAY_S, ASSUMED_STAY_S / ASSUMED_FACTOR, ASSUMED_STAY_S * ASSUMED_FACTOR, False
    off = COVERED_SIGMAS * sd_s / visits**0.5
    return mean_s, max(mean_s - off, mean_s / 2), mean_s + off, True


def _moved(
    conn: Connection[Any], tenant: str, store: str, calibration: Calibration, until_us: int
) -> list[Moved | str]:
    """What changed since heads were counted; or of late, where none were."""
    found: list[Moved | str] = []
    counted = _counted(conn, tenant, store, until_us) if calibration.matched else None
    recent_us = until_us - RECENT_DAYS * DAY_US
    span = (until_us - LONG_RUN_DAYS * DAY_US, recent_us)
    if counted is not None:
        spans = _spans_at(conn, tenant, store, counted)
        ages = _age_days(counted.slots, until_us)
        moved = counts_moved(spans.units, counted.people, ages, calibration.ratio.dispersion)
        found += [moved] if moved else []
        week_us = RECENT_DAYS * DAY_US
        about = (int(counted.slots[0]) * SPAN_US - week_us, int(counted.slots[-1]) * SPAN_US + week_us)
        span = (about[0], min(about[1], recent_us)) if about[0] < recent_us else span
    before, nodes_before = _read_days(conn, tenant, store, calibration.source, *span)
    recent, nodes = _read_days(conn, tenant, store, calibration.source, recent_us, until_us)
    moved = addresses_moved(before, recent)
    found += [moved] if moved else []
    if calibration.matched:
        found += nodes_moved(nodes_before, nodes)
    return found


def _read_days(
    conn: Connection[Any], tenant: str, store: str, source: Source, from_us: int, to_us: int
) -> tuple[list[Day], set[str]]:
    key = {"tenant": tenant, "store": store, "source": source, "from_us": from_us, "to_us": to_us}
    rows = conn.execute(sql.days, key).fetchall()
    return [Day(*row[:4]) for row in rows], {node for row in rows for node in row[4]}


def _factor(moved: list[Moved | str]) -> float:
    """By what an interval is widened: as much as the relation moved, threefold at most."""
    factors = [max(one.factor, 1 / one.factor) for one in moved if isinstance(one, Moved)]
    return min(max(factors, default=1.0), 3.0)


def _widened(found: Estimates, moved: list[Moved | str]) -> Estimates:
    factor = _factor(moved)
    return Estimates(found.people, found.low / factor, found.high * factor)


def _days(slots: Whole) -> Whole:
    return slots * SPAN_US // DAY_US


def _age_days(slots: Whole, now_us: int) -> Floats:
    return np.asarray(np.maximum(now_us - slots * SPAN_US, 0) / DAY_US)
