"""The store's truth: for a seed and a date, who comes, walks where, buys what. Same seed and date, same bytes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec
import numpy as np
import numpy.typing as npt

from simulators.paths import Trail
from simulators.people import Person, Walker, Who
from simulators.scenario import Scenario
from simulators.zones import Floats, Ints, intervals

SPAN_US = 2**38
"""Longer than a day (3.2 days): person × SPAN_US + time of day orders all knots of a day by person, then time."""
STAFF_BEFORE_US = 15 * 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class ZoneInterval:
    """A person inside a zone's polygon."""

    person: int
    zone: str
    enter_us: int
    exit_us: int


@dataclass(frozen=True, slots=True)
class Poses:
    """Where people are and which way they face at an instant; rows where `present` is false mean nothing."""

    present: npt.NDArray[np.bool_]
    xy: Floats
    heading: Floats


class Day:
    """One day in the store: its people and their trajectories as flat arrays of knots."""

    def __init__(self, day: date, start_us: int, people: list[Person], trails: list[Trail], scenario: Scenario) -> None:
        self.date = day
        self.people = tuple(people)
        self.enters_us: Ints = np.array([p.enters_us for p in people], np.int64)
        self.leaves_us: Ints = np.array([p.leaves_us for p in people], np.int64)
        self._start_us = start_us
        self._scenario = scenario
        self._bounds: Ints = np.cumsum([0, *(len(trail.t_us) for trail in trails)])
        self.t_us: Ints = np.concatenate([np.array(trail.t_us, np.int64) for trail in trails])
        self.x: Floats = np.concatenate([np.array(trail.x) for trail in trails])
        self.y: Floats = np.concatenate([np.array(trail.y) for trail in trails])
        self.heading: Floats = np.concatenate([np.array(trail.heading) for trail in trails])
        owner = np.repeat(np.arange(len(people), dtype=np.int64), np.diff(self._bounds))
        self._key: Ints = owner * SPAN_US + (self.t_us - start_us)

    @property
    def knots(self) -> Ints:
        """Where each person's knots end in the arrays."""
        return self._bounds[1:]

    def path(self, person: int) -> tuple[Ints, Floats, Floats]:
        """One person's knots: t_us, x, y."""
        rows = slice(int(self._bounds[person]), int(self._bounds[person + 1]))
        return self.t_us[rows], self.x[rows], self.y[rows]

    def at(self, person: Ints, t_us: Ints) -> tuple[Floats, Floats]:
        """Places (n, 2) and headings (n,) of n persons at n instants within their stay."""
        key = person * SPAN_US + (t_us - self._start_us)
        knot = np.searchsorted(self._key, key, side="right") - 1
        knot = np.clip(knot, self._bounds[person], self._bounds[person + 1] - 2)
        span = self.t_us[knot + 1] - self.t_us[knot]
        part = np.clip((t_us - self.t_us[knot]) / span, 0.0, 1.0)
        x = self.x[knot] + part * (self.x[knot + 1] - self.x[knot])
        y = self.y[knot] + part * (self.y[knot + 1] - self.y[knot])
        return np.column_stack([x, y]), self.heading[knot]

    def poses(self, t_us: int) -> Poses:
        """Everyone at one instant: arrays of the length of `people`."""
        present = (self.enters_us <= t_us) & (t_us < self.leaves_us)
        who = np.flatnonzero(present)
        xy, heading = np.zeros((len(self.people), 2)), np.zeros(len(self.people))
        xy[who], heading[who] = self.at(who, np.full(len(who), t_us, np.int64))
        return Poses(present, xy, heading)

    def positions(self, t_us: int) -> tuple[npt.NDArray[np.bool_], Floats]:
        """Who is present at an instant (n,), and where (n, 2) metres."""
        poses = self.poses(t_us)
        return poses.present, poses.xy

    def intervals(self) -> list[ZoneInterval]:
        """When every shopper was in which zone, in order of entry."""
        return sorted(self._intervals(), key=lambda interval: (interval.enter_us, interval.person, interval.zone))

    def _intervals(self) -> Iterator[ZoneInterval]:
        shopper = [person.kind in ("member", "stranger") for person in self.people]
        for zone in self._scenario.zones:
            found = intervals(zone.polygon, self._bounds, self._key, self.x, self.y)
            for person, enter, exit_ in zip(*(column.tolist() for column in found), strict=True):
                if shopper[person]:
                    from_us = self._start_us - person * SPAN_US
                    yield ZoneInterval(person, zone.zone, from_us + enter, from_us + exit_)

    def digest(self) -> str:
        """SHA-256 over all of the day: people, baskets and trajectories."""
        digest = hashlib.sha256(msgspec.json.encode(self.people))
        for column in (self.t_us, self.x, self.y, self.heading):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()


class World:
    """Days of a scenario under a seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self._walker = Walker(scenario)

    def day(self, day: date, until_us: int | None = None) -> Day:
        """The day of that date, the same each time; with `until_us`, without the shoppers who come later."""
        rng = np.random.default_rng([self.seed, day.toordinal()])
        opens_us, closes_us = self.scenario.hours_us(day)
        people, trails = [], []
        for who in self._workers(opens_us):
            person, trail = self._walker.worker(who, closes_us + STAFF_BEFORE_US, rng)
            people.append(person)
            trails.append(trail)
        members = self._members(day, rng)
        for at_us in self._arrivals(day, rng):
            if until_us is not None and at_us >= until_us:
                break
            member = next(members) if rng.random() < self.scenario.people.member_share else None
            who = Who(len(people), "stranger" if member is None else "member", member, at_us)
            person, trail = self._walker.shopper(who, closes_us, rng)
            people.append(person)
            trails.append(trail)
        return Day(day, self.scenario.instant_us(day, "00:00"), people, trails, self.scenario)

    def _workers(self, opens_us: int) -> Iterator[Who]:
        for index in range(self.scenario.people.staff):
            yield Who(index, "staff", None, opens_us - STAFF_BEFORE_US + index * 60_000_000)
        for index, _ in enumerate([beacon for beacon in self.scenario.beacons if beacon.role == "asset"]):
            yield Who(self.scenario.people.staff + index, "asset", None, opens_us - STAFF_BEFORE_US)

    def _members(self, day: date, rng: np.random.Generator) -> Iterator[int]:
        """Members who may come today, in random order: each is due on one day in `member_days_apart`."""
        apart = self.scenario.people.member_days_apart
        due = np.arange(day.toordinal() % apart, self.scenario.people.member_pool, apart)
        yield from (int(member) for member in rng.permutation(due))

    def _arrivals(self, day: date, rng: np.random.Generator) -> list[int]:
        """Arrival instants in order: a Poisson number, from the piecewise linear intensity by inversion."""
        people = self.scenario.people
        knots = np.array([self.scenario.instant_us(day, at) for at, _ in people.arrivals], np.int64)
        rate = np.array([value for _, value in people.arrivals])
        grid = np.arange(knots[0], knots[-1], 10_000_000)
        share = np.cumsum(np.interp(grid, knots, rate))
        draws = np.sort(rng.random(rng.poisson(people.per_day * people.weekdays[day.weekday()])))
        return [int(at) for at in np.interp(draws, share / share[-1], grid)]


def days_from(first: date, n: int) -> list[date]:
    """`n` days in a row."""
    return [first + timedelta(days=i) for i in range(n)]


def card(member: int) -> str:
    """The card number of a member of the pool."""
    return f"4100{member:06d}"


def staff_card(index: int) -> str:
    """The card number that stands for a staff tag."""
    return f"4190{index:06d}"
