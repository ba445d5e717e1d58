"""What is told of a day on a floor: all of it of k people or more, nothing by subtraction, most of it there."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.analytics.kfloor import K_COUNT
from cloud.analytics.release import (
    Hours,
    Places,
    Tiling,
    Walked,
    first_stops,
    people,
    pool_upward,
    tell_places,
)

HOURS = 5
K = 3
"""Smaller than the product's: so small days have tiles told hour by hour, over hours, pooled and never."""


def told(walked: Walked, tiling: Tiling, k: int = K) -> tuple[Hours, Places]:
    """As the product does: an hour after the other, then the day."""
    hours = Hours.none(tiling, HOURS)
    for until in range(1, HOURS + 1):
        hours.close(walked, tiling, until, k)
    return hours, tell_places(walked, tiling, hours, k)


@st.composite
def days(draw: st.DrawFn) -> tuple[Walked, Tiling]:
    """A small floor and a day of at most nine people on it, whole seconds of them."""
    nx, ny = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    tiling = Tiling(nx, ny, draw(st.integers(0, 2)))
    places = st.tuples(st.integers(0, HOURS - 1), st.integers(0, nx * ny - 1), st.integers(0, 8), st.integers(1, 90))
    seen = draw(st.lists(places, max_size=70))
    hour, cell, person, seconds = (np.array([row[i] for row in seen], np.int64) for i in range(4))
    return Walked(hour, cell, person, seconds.astype(float)), tiling


def alike(one: tuple[Hours, Places], other: tuple[Hours, Places]) -> bool:
    """Whether two days are told alike: whatever is computed from what is told is then alike, too."""
    return bool(
        np.allclose(one[0].seconds, other[0].seconds, atol=1e-3)
        and np.array_equal(one[0].told, other[0].told)
        and np.allclose(one[1].seconds, other[1].seconds, rtol=1e-5, atol=1e-3)
        and np.array_equal(one[1].people, other[1].people)
    )


def moved(walked: Walked, changes: list[tuple[int, float]], added: list[tuple[int, int, int, float]]) -> Walked:
    """The day with seconds more or less of some positions, and some positions more."""
    seconds = walked.seconds.copy()
    for row, change in changes:
        seconds[row] += change
    hour, cell, person, more = (np.array([float(row[i]) for row in added]) for i in range(4))
    return Walked(
        np.r_[walked.hour, hour].astype(np.int64),
        np.r_[walked.cell, cell].astype(np.int64),
        np.r_[walked.person, person].astype(np.int64),
        np.r_[seconds, more].astype(float),
    )


def another_day(walked: Walked, tiling: Tiling, hour: int, cell: int) -> Walked | None:
    """A day that differs in what a few did in a cell and an hour, and that is told alike; None if there is none.

    The one that the rule's proof names, found by trying: half a second to the entry, from somebody in the same row at
    another time and somebody else in the same column, and to where those two cross, by somebody who was there anyway.
    """
    shown = told(walked, tiling)
    entry = np.flatnonzero((walked.hour == hour) & (walked.cell == cell))
    tile = tiling.block(walked.cell, tiling.level)
    others = np.setdiff1d(np.arange(walked.cell.size), entry)
    near = others[tile[others] == tile[entry[0]]].tolist()
    more = (int(entry[0]), 0.5)

    def days() -> Iterator[Walked]:
        yield moved(walked, [more], [])  # not told at all
        for a in others.tolist():
            yield moved(walked, [more, (a, -0.5)], [])  # in one sum with the other: a pool, or a block as a whole
        for a in near:
            for b in near:
                for late in range(HOURS - 1, -1, -1) if a != b else ():
                    for who in (walked.person[b], walked.person[a]):
                        yield moved(walked, [more, (a, -0.5), (b, -0.5)], [(late, walked.cell[b], who, 0.5)])

    return next((day for day in days() if alike(told(day, tiling), shown)), None)


@settings(max_examples=60, deadline=None)
@given(days(), st.data())
def test_what_a_few_did_in_a_cell_and_an_hour_cannot_be_had_from_all_that_is_told_together(
    day: tuple[Walked, Tiling], data: st.DataObject
) -> None:
    """Every map is computed from what is told: if another day is told alike, no arithmetic tells them apart."""
    walked, tiling = day
    walked = replace(walked, seconds=walked.seconds + 1)  # so that half a second can be taken from anybody
    few = [
        (h, c)
        for h, c in sorted(set(zip(walked.hour.tolist(), walked.cell.tolist(), strict=True)))
        if len(set(walked.person[(walked.hour == h) & (walked.cell == c)].tolist())) < K
    ]
    if few:
        hour, cell = data.draw(st.sampled_from(few))
        assert another_day(walked, tiling, hour, cell) is not None


@given(days())
def test_each_hour_that_is_told_of_a_tile_is_of_k_people(day: tuple[Walked, Tiling]) -> None:
    walked, tiling = day
    hours, _ = told(walked, tiling)
    tile = tiling.block(walked.cell, tiling.level)
    for one in range(hours.told.size):
        column = hours.seconds[:, one]
        assert not column[hours.told[one] :].any(), "what waits is not told"
        hour = 0
        while hour < HOURS:
            if not column[hour]:
                hour += 1
                continue
            for end in range(hour + 1, HOURS + 1):  # the span that was told: the first whose sum is its own
                inside = (tile == one) & (walked.hour >= hour) & (walked.hour < end)
                if np.isclose(walked.seconds[inside].sum(), column[hour:end].sum()) and np.ptp(column[hour:end]) < 1e-9:
                    break
            assert len(set(walked.person[inside].tolist())) >= K
            hour = end


@given(days())
def test_seconds_are_moved_but_never_made_and_lost_only_where_few_are_left(day: tuple[Walked, Tiling]) -> None:
    walked, tiling = day
    hours, places = told(walked, tiling)
    total, shown = walked.seconds.sum(), float(places.seconds.sum())
    assert shown <= total + 1e-2
    tile = tiling.block(walked.cell, tiling.level)
    waiting = walked.hour >= hours.told[tile]
    lost = total - shown
    assert lost < 1e-2 or len(set(walked.person[waiting].tolist())) > 0
    everybody = len(set(walked.person[waiting].tolist()))
    if everybody >= K:  # the whole floor is the last pool: only what other pools left of it can be missing
        assert lost < walked.seconds[waiting].sum()


@given(days())
def test_nothing_moves_once_it_is_told_even_if_somebody_is_erased(day: tuple[Walked, Tiling]) -> None:
    walked, tiling = day
    hours = Hours.none(tiling, HOURS)
    hours.close(walked, tiling, 3, K)
    before, told_before = hours.seconds[:3].copy(), hours.told.copy()
    erased = walked.only(walked.person != 0)
    hours.close(erased, tiling, HOURS, K)
    for one in range(hours.told.size):
        assert np.array_equal(hours.seconds[: told_before[one], one], before[: told_before[one], one])
    places = tell_places(erased, tiling, hours, K)
    of = tiling.block(np.arange(tiling.nx * tiling.ny), tiling.level)
    rows = np.bincount(of, places.seconds.ravel(), minlength=hours.told.size)
    assert (rows >= hours.seconds.sum(axis=0) - 1e-2).all(), "rows add up to the columns that were told"


def person_seconds(rows: list[tuple[int, int, int, float]]) -> Walked:
    hour, cell, person, seconds = (np.array([row[i] for row in rows]) for i in range(4))
    return Walked(hour.astype(np.int64), cell.astype(np.int64), person.astype(np.int64), seconds.astype(float))


def test_where_every_quarter_has_k_people_the_day_keeps_its_detail() -> None:
    tiling = Tiling(4, 4, 2)
    rows = [(h, c, p, c + 1.0) for h in range(2) for c in range(16) for p in range(K_COUNT)]
    _, places = told(person_seconds(rows), tiling, K_COUNT)
    assert np.allclose(places.seconds, 2 * K_COUNT * (np.arange(16).reshape(4, 4) + 1))
    assert places.people.tolist() == [K_COUNT]
    _, places = told(person_seconds([row for row in rows if row[1:3] != (0, 0)]), tiling, K_COUNT)
    assert np.ptp(places.seconds[:2, :2]) == 0, "one cell of this quarter had four people: it shows its mean"
    assert np.allclose(places.seconds[2:], 2 * K_COUNT * (np.arange(8, 16).reshape(2, 4) + 1))


def test_an_hour_waits_for_the_next_until_k_people_are_together() -> None:
    tiling = Tiling(1, 1, 0)
    rows = [(0, 0, 0, 10.0), (0, 0, 1, 10.0), (2, 0, 0, 10.0), (2, 0, 2, 10.0), (4, 0, 5, 10.0)]
    hours, places = told(person_seconds(rows), tiling)
    assert hours.seconds[:, 0].tolist() == [40 / 3, 40 / 3, 40 / 3, 0, 0]
    assert hours.told.tolist() == [4], "nobody came at three, and that is told; the one at four waits"
    assert float(places.seconds.sum()) == pytest.approx(40), "and is not told at all"


def test_what_is_left_is_pooled_with_the_tiles_around() -> None:
    tiling = Tiling(2, 2, 0)
    left = pool_upward(np.array([0, 1, 2]), np.array([7, 8, 9]), np.array([1.0, 2.0, 6.0]), tiling, 0, K)
    assert left.tolist() == [3.0, 3.0, 3.0, 0.0]
    few = pool_upward(np.array([0, 1, 2]), np.array([7, 8, 8]), np.array([1.0, 2.0, 6.0]), tiling, 0, K)
    assert not few.any()


def test_most_of_a_days_seconds_are_told_in_detail() -> None:
    """300 recognised people on 40 by 30 m: at least 85 % are told, three quarters in blocks of two metres or less."""
    tiling = Tiling.of(80, 60, 0.5)
    walked = wandering(np.random.default_rng(7), 300, tiling)
    hours = Hours.none(tiling, 12)
    for until in range(1, 13):
        hours.close(walked, tiling, until)
    places = tell_places(walked, tiling, hours)
    total = walked.seconds.sum()
    assert places.seconds.sum() >= 0.95 * total
    assert hours.seconds.sum() >= 0.85 * total, "also hour by hour"
    coarse = places.seconds.reshape(60, 80)
    flat = sum(
        float(coarse[y : y + 8, x : x + 8].sum())
        for y in range(0, 60, 8)
        for x in range(0, 80, 8)
        if np.ptp(coarse[y : y + 8, x : x + 8]) < 1e-6
    )
    assert flat <= 0.25 * total


def wandering(rng: np.random.Generator, count: int, tiling: Tiling) -> Walked:
    """People who drift about for ten minutes each, a position a second, over twelve hours."""
    steps = rng.normal(0, 0.8, (2, count, 600)).cumsum(axis=2) / 0.5 + rng.uniform(0, 60, (2, count, 1))
    x, y = (
        np.abs((at + n) % (2 * n) - n).clip(0, n - 1).astype(np.int64) for at, n in zip(steps, (80, 60), strict=True)
    )
    hour = np.repeat(rng.integers(0, 12, count), 600)
    person = np.repeat(np.arange(count), 600)
    return Walked(hour, (y * tiling.nx + x).ravel(), person, np.ones(count * 600))


def test_the_first_stop_is_where_a_visit_first_stood_still() -> None:
    tiling = Tiling(4, 1, 0)
    visit = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    time_us = np.array([0, 5, 10, 40, 0, 14, 0, 20, 60]) * 1_000_000
    cell = np.array([0, 1, 2, 2, 3, 3, 0, 0, 1])
    assert first_stops(visit, time_us, cell, tiling, 0).tolist() == [2, -1, 0]
    nobody = np.zeros(0, np.int64)
    assert first_stops(nobody, nobody, nobody, tiling, 0).size == 0


def test_people_are_counted_once_however_often_they_come() -> None:
    assert people(np.array([0, 0, 1, 1, 1]), np.array([4, 4, 4, 0, 2]), 3).tolist() == [1, 3, 0]
