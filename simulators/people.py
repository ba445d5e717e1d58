"""One person's way through the store: arrival, shelves, till, exit. Drawn from a generator, so repeatable."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulators.baskets import NO_RESPONSE, Line, Response, assortment, fill, respond
from simulators.paths import Point, Trail, Ways
from simulators.scenario import Mission, Scenario, Zone

Kind = Literal["member", "stranger", "staff", "asset"]
Radio = Literal["tag", "phone", "stranger", "wearable", "beacon"]

CLOSING_US = 8 * 60 * 1_000_000
"""People who would stay longer than this after closing leave stops out."""
ONLY_LOOK = 0.08
"""Shoppers who buy nothing, where the scenario has no missions that say so."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A stay at a shelf: its instants, standing time without the way there."""

    zone: str
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Carried:
    """How a device is carried and sends."""

    tx_db: float
    """How much stronger than usual it sends, dB."""
    pocket_rad: float
    """Where it is worn, relative to the way the body faces."""
    phase_us: int
    """Offset of its adverts within their interval."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone (or, for kind asset, something) in the store on a day."""

    index: int
    kind: Kind
    member: int | None
    """Number in the member pool."""
    radio: Radio | None
    app: bool
    """A phone with the app is along."""
    enters_us: int
    leaves_us: int
    stops: tuple[Stop, ...]
    till_us: int | None
    """When they stand at the till with the receipt, if they get there."""
    shows_card: bool
    lines: tuple[Line, ...]
    """The basket without the campaign's category."""
    response: Response
    carried: Carried
    mission: str = ""
    """What they came for, where the scenario tells missions apart."""


@dataclass(frozen=True, slots=True)
class Who:
    """What is known of a person before they come in."""

    index: int
    kind: Kind
    member: int | None
    enters_us: int


class Walker:
    """Draws people for a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.ways = Ways(scenario)
        self._shelves = [zone for zone in scenario.zones if zone.weight > 0]
        weights = np.array([zone.weight for zone in self._shelves])
        self._weights = weights / weights.sum()
        self._categories = assortment(scenario)
        self._till = next(zone for zone in scenario.zones if zone.kind == "till" and zone.stand and zone.access)
        self._rooms = [zone for zone in scenario.zones if zone.kind == "staff" and zone.stand and zone.access]

    def shopper(self, who: Who, closes_us: int, rng: np.random.Generator) -> tuple[Person, Trail]:
        """A shopper's day: the person and the trajectory."""
        scenario, walk = self.scenario, self.scenario.walk
        speed = float(rng.uniform(*walk.speed_m_s))
        mission = self._mission(rng)
        plan = self._plan(mission.stops_mean if mission else walk.stops_mean, rng)
        browses_only = bool(rng.random() < ONLY_LOOK) if mission is None else mission.lines_median == 0
        seed = int(rng.integers(2**63))
        while True:
            trail, stops, at = self._shelve(who.enters_us, plan, speed, np.random.default_rng(seed))
            if trail.end_us <= closes_us + CLOSING_US or len(plan) == 1:
                break
            plan = plan[:-1]
        dwells = [(stop.zone, (stop.to_us - stop.from_us) / 1e6) for stop in stops]
        lines = () if browses_only else fill(scenario, self._categories, dwells, mission, rng)
        dwell_s = max((dwell for zone, dwell in dwells if zone == scenario.campaign.zone), default=0.0)
        response = respond(scenario, dwell_s, rng) if dwell_s >= 8 and not browses_only else NO_RESPONSE
        till_us = None
        if lines or response.buys_if_offered:
            till_us = self._pay(trail, at, len(lines) + 1, speed, rng)
            at = "till"
        self._go(trail, at, "door", speed, rng)
        radio = self._radio(who.kind, rng)
        person = Person(
            index=who.index,
            kind=who.kind,
            member=who.member,
            radio=radio,
            app=bool(rng.random() < scenario.people.app_share) and who.member is not None,
            enters_us=who.enters_us,
            leaves_us=trail.end_us,
            stops=tuple(stops),
            till_us=till_us,
            shows_card=bool(rng.random() < scenario.people.card_share) and who.member is not None,
            lines=lines,
            response=response,
            carried=self._carried(radio, rng),
            mission=mission.mission if mission else "",
        )
        return person, trail

    def worker(self, who: Who, leaves_us: int, rng: np.random.Generator) -> tuple[Person, Trail]:
        """Someone of the staff, or the trolley: from place to place all day (the first mostly at the till)."""
        speed = float(rng.uniform(0.7, 1.1))
        trail = Trail()
        trail.start(who.enters_us, self.ways.at("door"), math.pi / 2)
        at, stops = "door", []
        places = [*self._shelves, self._till, *(self._rooms if who.kind == "staff" else [])]
        while trail.end_us < leaves_us:
            mostly_till = who.kind == "staff" and who.index % 3 == 0 and rng.random() < 0.7
            zone = self._till if mostly_till else places[int(rng.integers(len(places)))]
            at, stop = self._visit(trail, at, zone, float(rng.uniform(*self.scenario.walk.staff_stay_s)), speed, rng)
            stops.append(stop)
        self._go(trail, at, "door", speed, rng)
        person = Person(
            index=who.index,
            kind=who.kind,
            member=None,
            radio="beacon" if who.kind == "asset" else "tag",
            app=False,
            enters_us=who.enters_us,
            leaves_us=trail.end_us,
            stops=tuple(stops),
            till_us=None,
            shows_card=False,
            lines=(),
            response=NO_RESPONSE,
            carried=self._carried("tag", rng),
        )
        return person, trail

    def _mission(self, rng: np.random.Generator) -> Mission | None:
        missions = self.scenario.missions
        if not missions:
            return None
        limits = np.cumsum([mission.share for mission in missions])
        return missions[int(np.searchsorted(limits, rng.random() * limits[-1], side="right"))]

    def _plan(self, stops_mean: float, rng: np.random.Generator) -> list[tuple[Zone, float]]:
        """Shelves with dwell times, counter-clockwise around the store as most go (Larson, Bradlow, Fader 2005)."""
        walk, store = self.scenario.walk, self.scenario.store
        n = int(np.clip(1 + rng.poisson(stops_mean - 1), 1, min(walk.stops_max, len(self._shelves))))
        chosen = rng.choice(len(self._shelves), n, replace=False, p=self._weights)
        turn = {}
        for i in chosen:
            stand = self._shelves[i].stand
            assert stand is not None, "checked on load"
            x, y = (stand[0] + stand[2]) / 2 - store.width_m / 2, (stand[1] + stand[3]) / 2 - store.depth_m / 2
            turn[int(i)] = math.atan2(y, x) % (2 * math.pi) + float(rng.normal(0, 0.7))
        backwards = rng.random() < 0.25
        order = sorted(turn, key=lambda i: turn[i], reverse=bool(backwards))
        dwell = np.clip(rng.lognormal(math.log(walk.dwell_median_s), walk.dwell_sigma, n), *walk.dwell_s)
        return [(self._shelves[i], float(seconds)) for i, seconds in zip(order, dwell, strict=True)]

    def _shelve(
        self, enters_us: int, plan: list[tuple[Zone, float]], speed: float, rng: np.random.Generator
    ) -> tuple[Trail, list[Stop], str]:
        trail = Trail()
        trail.start(enters_us, self.ways.at("door"), math.pi / 2)
        at, stops = "door", []
        for zone, dwell_s in plan:
            at, stop = self._visit(trail, at, zone, dwell_s, speed, rng)
            stops.append(stop)
        return trail, stops, at

    def _visit(
        self, trail: Trail, at: str, zone: Zone, dwell_s: float, speed: float, rng: np.random.Generator
    ) -> tuple[str, Stop]:
        """Walk to a shelf and stand there, shifting a little every few seconds; back to its access waypoint."""
        assert zone.access is not None and zone.stand is not None, "checked on load"
        self._go(trail, at, zone.access, speed, rng)
        trail.walk(_somewhere(zone.stand, rng), speed)
        begin_us = trail.end_us
        while (left := dwell_s - (trail.end_us - begin_us) / 1e6) > 0.5:
            trail.stay(min(left, float(rng.uniform(5, 16))), math.radians(zone.faces) + float(rng.normal(0, 0.45)))
            if dwell_s - (trail.end_us - begin_us) / 1e6 > 3:
                trail.walk(_near(trail.here, zone.stand, rng), 0.5)
        stop = Stop(zone.zone, begin_us, trail.end_us)
        trail.walk(self.ways.at(zone.access), speed)
        return zone.access, stop

    def _go(self, trail: Trail, start: str, end: str, speed: float, rng: np.random.Generator) -> None:
        """Along the shortest way, a little beside its waypoints: no two people tread the same line."""
        for x, y in self.ways.between(start, end)[1:]:
            dx, dy = rng.normal(0, 0.2, 2).clip(-0.45, 0.45)
            place = _between(0.1, float(x + dx), self.scenario.store.width_m - 0.1), max(float(y + dy), 0.05)
            trail.walk(place, speed * float(rng.uniform(0.9, 1.1)))

    def _pay(self, trail: Trail, at: str, lines: int, speed: float, rng: np.random.Generator) -> int:
        walk = self.scenario.walk
        seconds = walk.till_s + walk.till_line_s * lines + float(rng.exponential(walk.till_queue_mean_s))
        _, stop = self._visit(trail, at, self._till, seconds, speed, rng)
        return stop.to_us - 3_000_000  # the receipt is printed while one packs the last things

    def _radio(self, kind: Kind, rng: np.random.Generator) -> Radio | None:
        people, draw = self.scenario.people, float(rng.random())
        if kind == "member":
            return "tag" if draw < people.tag_share else "phone"
        strangers = 1 - people.member_share
        if draw < people.phone_share / strangers:
            return "stranger"
        return "wearable" if draw < (people.phone_share + people.wearable_share) / strangers else None

    def _carried(self, radio: Radio | None, rng: np.random.Generator) -> Carried:
        spread = self.scenario.radio.tag_tx_sd_db if radio == "tag" else self.scenario.radio.phone_tx_sd_db
        tx_db, pocket_rad = float(rng.normal(0, spread)), float(rng.uniform(-math.pi, math.pi))
        return Carried(tx_db, pocket_rad, int(rng.integers(1_000_000)))


def _somewhere(stand: tuple[float, float, float, float], rng: np.random.Generator) -> Point:
    return float(rng.uniform(stand[0], stand[2])), float(rng.uniform(stand[1], stand[3]))


def _near(place: Point, stand: tuple[float, float, float, float], rng: np.random.Generator) -> Point:
    dx, dy = rng.normal(0, 0.35, 2)
    return _between(stand[0], place[0] + float(dx), stand[2]), _between(stand[1], place[1] + float(dy), stand[3])


def _between(least: float, value: float, most: float) -> float:
    return min(max(value, least), most)
