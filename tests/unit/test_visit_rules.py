"""Visits: where one ends by each rule, how far it went, what of a day's visits may be told; in bulk from sightings."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.visits.day import STAGES, Stay, Visit, told, visits
from cloud.visits.rules import PRESETS, Rule, joined
from cloud.visits.sightings import codes
from cloud.visits.sightings import visits as of_sightings

S = 1_000_000
HOUR = 3600 * S
DAY = 24 * HOUR
MIDNIGHTS = np.array([0, DAY, 2 * DAY])

# Stays of one person as (begin, end) in hours, and how many visits each preset takes them for.
RULES = [
    ("back within four minutes", [(10, 10.1), (10.15, 10.4)], {"aisle": 1, "cisco": 1, "palexy-mall": 1}),
    ("back after an hour", [(10, 10.2), (11.2, 11.4)], {"aisle": 2, "cisco": 1, "palexy-mall": 1}),
    ("back after four hours", [(10, 10.2), (14.3, 14.4)], {"aisle": 2, "cisco": 2, "palexy-mall": 2}),
    ("over midnight", [(23.5, 23.9), (24.1, 24.3)], {"aisle": 2, "cisco": 1, "palexy-mall": 2}),
    ("over midnight in a minute", [(23.5, 23.99), (24.0, 24.3)], {"aisle": 1, "cisco": 1, "palexy-street": 2}),
]


@pytest.mark.parametrize(("stays", "wanted"), [pytest.param(*r[1:], id=r[0]) for r in RULES])
def test_a_visit_ends_where_the_preset_says(stays: list[tuple[float, float]], wanted: dict[str, int]) -> None:
    begins, ends = (np.array([int(stay[i] * HOUR) for stay in stays]) for i in (0, 1))
    for preset, count in wanted.items():
        numbers = joined(np.zeros(len(stays), np.int64), begins, ends, PRESETS[preset], MIDNIGHTS)
        assert int(numbers.max()) + 1 == count, preset


def stay(person: int, begins_s: float, lasts_s: float, *zones: tuple[str, str, float], bought: bool = False) -> Stay:
    begins = int(begins_s * S)
    entered = [(zone, kind, begins + n * S, seconds) for n, (zone, kind, seconds) in enumerate(zones)]
    return Stay(person, begins, begins + int(lasts_s * S), entered, bought, None)


FAR = [
    ("only the street", [stay(0, 0, 90, ("street", "street", 90))], Rule(), "passed"),
    ("too short", [stay(0, 0, 50, ("coffee", "shelf", 40))], Rule(shortest_s=60), "passed"),
    ("came in", [stay(0, 0, 90, ("door", "entrance", 90))], Rule(), "entered"),
    ("in no zone", [stay(0, 0, 90)], Rule(), "entered"),
    ("at a shelf", [stay(0, 0, 90, ("coffee", "shelf", 29))], Rule(), "browsed"),
    ("stayed there", [stay(0, 0, 90, ("coffee", "shelf", 20), ("coffee", "shelf", 10))], Rule(), "engaged"),
    ("bought", [stay(0, 0, 20, ("till", "till", 20), bought=True)], Rule(shortest_s=60), "bought"),
    ("bought later", [stay(0, 0, 20), stay(0, 200, 20, bought=True)], Rule(), "bought"),
]


@pytest.mark.parametrize(("stays", "rule", "stage"), [pytest.param(*f[1:], id=f[0]) for f in FAR])
def test_how_far_a_visit_went(stays: list[Stay], rule: Rule, stage: str) -> None:
    (visit,) = visits(stays, rule, 0, DAY, MIDNIGHTS)
    assert STAGES[visit.stage] == stage


def test_who_stays_too_long_is_staff_and_a_visit_belongs_to_the_day_it_began() -> None:
    long = stay(1, 0, 5 * 3600)
    yesterdays = [stay(2, -100, 50), stay(2, 100, 50)]
    assert visits([long], Rule(), 0, DAY, MIDNIGHTS) == []
    assert visits(yesterdays, Rule(), 0, DAY, np.array([-DAY, 0, DAY])) == []
    assert len(visits(yesterdays, PRESETS["palexy-mall"], 0, DAY, np.array([-DAY, 0, DAY]))) == 1


K = 3
WAYS = st.lists(st.sampled_from(["door", "coffee", "wine", "till"]), max_size=5).map(
    lambda names: tuple(name for name, before in zip(names, [None, *names], strict=False) if name != before)
)
VISITS = st.lists(
    st.builds(Visit, st.integers(0, 7), st.integers(0, 4), WAYS, st.sampled_from([None, False, True])), max_size=40
)


@given(VISITS)
def test_what_is_told_of_a_day_is_of_k_people_and_so_is_what_is_left_between_stages(found: list[Visit]) -> None:
    day = told(found, K)
    assert list(day.stages) == sorted(day.stages, reverse=True)
    people_from = [len({v.person for v in found if v.stage >= stage}) for stage in range(5)]
    for stage, (count, nobody) in enumerate(zip(day.stages, [*day.stages[1:], 0], strict=True)):
        assert count - nobody == 0 or count - nobody >= K, "stages subtracted tell of k people too"
        assert count == 0 or people_from[0] >= K or stage
    by_step = defaultdict(list)
    for visit in found:
        way = ("", *visit.path, "")
        for step in zip(way, way[1:], strict=False) if visit.path else ():
            by_step[step].append(visit.person)
    for step, count in day.moves.items():
        assert count >= K
        if "*" not in step:
            assert count == len(by_step[step]) and len(set(by_step[step])) >= K
    assert sum(day.moves.values()) <= sum(map(len, by_step.values()))
    if day.newcomers is not None and day.returning is not None:
        groups = (day.newcomers, day.returning)
        assert all(group == 0 or group >= K for group in groups)


def test_a_stage_that_few_reached_is_told_as_the_one_below_it() -> None:
    def day(*counts: int) -> tuple[int, ...]:
        found = [Visit(n * 10 + stage, stage, (), None) for stage, count in enumerate(counts) for n in range(count)]
        return told(found, K).stages

    assert day(5, 4, 3, 6, 7) == (25, 20, 16, 13, 7)
    assert day(5, 4, 3, 6, 2) == (20, 15, 11, 8, 0), "two bought: told as engaged"
    assert day(1, 4, 3, 6, 7) == (21, 21, 16, 13, 7), "one passed by: told as one who came in"
    assert day(0, 0, 1, 1, 0) == (0, 0, 0, 0, 0)


SIGHTINGS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 2**63, 2**64 - 1, 2**40, 77]), st.integers(0, 40_000)), max_size=60
)


@given(SIGHTINGS, st.integers(0, 2000))
def test_visits_in_bulk_are_those_found_one_by_one(seen: list[tuple[int, int]], away_ms: int) -> None:
    subject, time_us = np.array([s for s, _ in seen], np.uint64), np.array([t * 1000 for _, t in seen], np.int64)
    found = of_sightings(subject, time_us, away_ms * 1000)
    wanted: list[tuple[int, int, int, int]] = []
    for who, at in sorted(seen):
        if wanted and wanted[-1][0] == who and at - wanted[-1][2] <= away_ms:
            wanted[-1] = (who, wanted[-1][1], at, wanted[-1][3] + 1)
        else:
            wanted.append((who, at, at, 1))
    assert sorted(zip(*(column.tolist() for column in found), strict=True)) == wanted


def test_every_name_has_a_number_of_its_own_however_many_fall_into_one_slot() -> None:
    rng = np.random.default_rng(3)
    names = np.unique(rng.integers(0, 2**64, 5000, np.uint64, endpoint=False))
    subject = names[rng.integers(0, names.size, 40_000)]
    code, back = codes(subject)
    assert np.array_equal(back[code.astype(np.int64)], subject)
    assert np.unique(code).size == np.unique(subject).size


def test_sightings_that_are_34_years_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="34 years"):
        of_sightings(np.array([1, 1], np.uint64), np.array([0, 40 * 365 * DAY]), HOUR)
