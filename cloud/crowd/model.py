"""How many people a count of devices stands for: a ratio while few heads were counted, a forest once many were."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

from cloud.crowd.forest import Floats, Forest, grow, quantile, trimmed_mean

COVERED = 0.8
"""An interval is meant to hold the truth so often: from the 10 % to the 90 % quantile."""
TRAIL_S = 1800
"""Phones ask every few minutes at best, and people stay longer than that: the last half hour steadies an estimate."""

TREES, LEAF, FEATURES = 100, 5, 0.3
TRIM = 0.2
"""The estimate is the mean of the alike cases' heads without a fifth at either end.

Chosen by cross-validation by day with the leaf and the features (Brno, first 70 % of days): .241 by the whole mean,
.223 so.
"""
FOLDS = 5
SLACK = 2.0
"""People; added to either side of an interval before it is scaled: nobody and very few are not told apart.

With less an hour that looks empty would be sure to be: of later recorded bins with somebody in, intervals hold .84 with
2, .37 with 1 and .31 with 0.5. That was looked at on the days held out, where the estimates were not chosen.
"""
LONGEST_SCALE = 10.0
HALF_LIFE_DAYS = 60.0
"""Phones and fittings change: a count weighs half as much as one that is so much younger."""

WANDER = 0.2
"""However many heads were counted, people for each device are not surer than by a fifth: in the recorded room they were
1.2, 1.7, 1.6, 1.5 and 2.0 from term to term, days within a term not much nearer to each other."""

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimates:
    """One of each a case; low <= people <= high."""

    people: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of a source before any head was counted: one person a device, more or less."""

    weight: float
    """The ratio's relative variance is 1 / weight."""
    dispersion: float = 2.0
    """The variance of heads around ratio × devices, in multiples of their mean (1 would be Poisson's)."""


PRIORS = {"wifi": Prior(2.0), "stations": Prior(1.5), "ble": Prior(1.0)}
"""Of Wi-Fi devices heard strongly one to two people a device were recorded in one room over a year, see WANDER; how
many visitors join a network, or how many Bluetooth gadgets they carry, is known even less."""
SURE_DISPERSION = 4.0
"""So many counts the dispersion believed beforehand is worth."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """People for each device, by a gamma posterior over a rate; it never falls when devices rise."""

    people_per_device: float
    weight: float
    dispersion: float

    @classmethod
    def fit(cls, devices: Floats, people: Floats, age_days: Floats, prior: Prior) -> "Ratio":
        """Few counts stay near one person a device, many decide; without any it is the prior."""
        shares = 0.5 ** (age_days / HALF_LIFE_DAYS)
        dispersion = prior.dispersion
        if len(people):
            ratio = (shares @ people + 1) / (shares @ devices + 1)
            expected = np.maximum(ratio * devices, 1)
            seen = float(shares @ ((people - expected) ** 2 / expected))
            dispersion = (SURE_DISPERSION * prior.dispersion + seen) / (SURE_DISPERSION + float(shares.sum()))
        dispersion = max(dispersion, 0.5)
        weight = prior.weight + float(shares @ people) / dispersion
        return cls(weight / (prior.weight + float(shares @ devices) / dispersion), weight, dispersion)

    def estimate(self, devices: Floats) -> Estimates:
        """The interval holds both the heads' own variance and the ratio's."""
        mean = self.people_per_device * devices
        at_least = np.maximum(mean, 1e-9)
        shape = 1 / (self.dispersion / at_least + 1 / self._sure)
        scale = at_least / shape
        low, high = (gammaincinv(shape, share) * scale for share in ((1 - COVERED) / 2, (1 + COVERED) / 2))
        return Estimates(mean, np.minimum(low, mean), np.maximum(high, mean))

    @property
    def _sure(self) -> float:
        return 1 / (1 / self.weight + WANDER**2)

    def rate_bounds(self) -> tuple[float, float]:
        """Where the ratio itself lies, COVERED sure."""
        sure = self._sure
        low, high = (gammaincinv(sure, share) / sure for share in ((1 - COVERED) / 2, (1 + COVERED) / 2))
        return float(low) * self.people_per_device, max(1.0, float(high)) * self.people_per_device


@dataclass(frozen=True, slots=True)
class Learned:
    """A forest over a store's own counts, with intervals that held on days it had not seen."""

    forest: Forest
    scale: float
    """What the forest's own spread is multiplied with."""

    @classmethod
    def fit(cls, cases: Floats, people: Floats, days: Whole, *, trees: int = TREES, seed: int = 0) -> "Learned":
        """From cases (rows of features), their heads and the day of each. Raises ValueError without a case."""
        forest = _grow(cases, people, trees, seed)
        off = [
            _score(
                _spread(_grow(cases[learning], people[learning], max(trees // 3, 10), seed), cases[~learning]), truth
            )
            for learning, truth in ((fold, people[~fold]) for fold in folds(days))
        ]
        scores = np.concatenate(off) if off else np.empty(0)
        scale = float(np.quantile(scores, COVERED)) if len(scores) else 2.0
        return cls(forest, min(max(scale, 0.1), LONGEST_SCALE))

    def estimate(self, cases: Floats) -> Estimates:
        """Of each case; never below nobody."""
        people, below, above = _spread(self.forest, cases)
        low = np.maximum(people - self.scale * (below + SLACK), 0)
        return Estimates(people, low, people + self.scale * (above + SLACK))


def _grow(cases: Floats, people: Floats, trees: int, seed: int) -> Forest:
    return grow(cases, people, trees=trees, leaf=LEAF, features=FEATURES, seed=seed)


def _spread(forest: Forest, cases: Floats) -> tuple[Floats, Floats, Floats]:
    """The estimate, and how far below and above it the alike cases lie."""
    shares = forest.distribution(cases)
    people = np.maximum(trimmed_mean(forest.levels, shares, TRIM), 0)
    low, high = (quantile(forest.levels, shares, share) for share in ((1 - COVERED) / 2, (1 + COVERED) / 2))
    return people, np.maximum(people - low, 0), np.maximum(high - people, 0)


def _score(spread: tuple[Floats, Floats, Floats], truth: Floats) -> Floats:
    """By what the interval would have to be scaled to reach the truth, where somebody was expected or was there.

    Empty hours are easy and many: they would say that any interval does.
    """
    people, below, above = spread
    needed = np.where(truth < people, (people - truth) / (below + SLACK), (truth - people) / (above + SLACK))
    return np.asarray(needed[(people > 0.5) | (truth > 0.5)])


def folds(days: Whole) -> list[npt.NDArray[np.bool_]]:
    """Masks of the cases to learn from: each leaves one run of days out, since days that are near are alike."""
    known = np.unique(days)
    n = min(FOLDS, len(known))
    return [~np.isin(days, left) for left in np.array_split(known, n)] if n > 1 else []


def trailing(values: Floats, slots: Whole, length: int) -> Floats:
    """Each row's mean with those of the `length - 1` slots before it, of slots that are there; slots ascend."""
    upto = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])
    first = np.searchsorted(slots, slots - length, side="right")
    last = np.arange(1, len(slots) + 1)
    return np.asarray((upto[last] - upto[first]) / (last - first)[:, None])


def cross_validated(
    cases: Floats | None, devices: Floats, people: Floats, days: Whole, age_days: Floats, prior: Prior
) -> tuple[float, float | None]:
    """The mean error of the ratio, and of a forest if there are cases, on days that they had not seen; people.

    There must be two days at least.
    """
    ratio_off, forest_off = [], []
    for learning in folds(days):
        ratio = Ratio.fit(devices[learning], people[learning], age_days[learning], prior)
        ratio_off.append(np.abs(ratio.estimate(devices[~learning]).people - people[~learning]))
        if cases is not None:
            forest = _grow(cases[learning], people[learning], TREES // 3, 0)
            forest_off.append(np.abs(_spread(forest, cases[~learning])[0] - people[~learning]))
    ratio_error = float(np.concatenate(ratio_off).mean())
    return ratio_error, float(np.concatenate(forest_off).mean()) if forest_off else None
