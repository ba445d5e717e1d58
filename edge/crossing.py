"""When somebody crossed a level of signal strength, told with hindsight from noisy samples.

A person who walks up to an antenna and stops makes a known shape: the strength rises along the log-distance law
r = -10·n·log10(d), n = 2 indoors in sight (Rappaport, Wireless Communications, 4.9), then stays. Every crossing instant
on a grid, with a few paces and a few heights of the rest, is weighed by how well its shape explains all samples (normal
noise); the answer is the weighted mean. That uses the seconds before the crossing, where the slope is steep, and has
no lag, which a running mean always has.
"""

import math
from collections.abc import Sequence

NOISE_DB = 5.0
"""Spread of a single RSSI about its local mean, indoors (radio surveys: 4.5 to 6 dB)."""
_STEP_S = 0.2
_PACES = (0.25, 0.45, 0.75)
"""Walking speed over the zone's radius, 1/s: 1.2 m/s and 4.8, 2.7 or 1.6 m."""
_RESTS_DB = (1.0, 3.0, 6.0, 12.0)
"""How far above the level the walk ends."""


def crossing_us(samples: Sequence[tuple[int, int]], level: float, rising: bool, first_us: int, last_us: int) -> int:
    """The instant in [first_us, last_us] at which the samples, (instant, RSSI) in order, crossed the level for good.

    For a fall (`rising` false) time is run backwards. About 2 ms for 40 samples.
    """
    if last_us <= first_us or not samples:
        return last_us
    sign = 1 if rising else -1
    seconds = [(sign * (at - last_us) / 1e6, rssi - level) for at, rssi in samples]
    span_s = (last_us - first_us) / 1e6
    steps = max(1, round(span_s / _STEP_S))
    costs: list[tuple[float, float]] = []
    for step in range(steps + 1):
        back_s = span_s * step / steps
        shifted = [(at + sign * back_s, above) for at, above in seconds]
        costs += [(_misfit(shifted, pace, rest), back_s) for pace in _PACES for rest in _RESTS_DB]
    best = min(cost for cost, _ in costs)
    total = mean = 0.0
    for cost, back_s in costs:
        weight = math.exp((best - cost) / (2 * NOISE_DB**2))
        total += weight
        mean += weight * back_s
    return last_us - int(mean / total * 1e6)


def _misfit(samples: list[tuple[float, float]], pace: float, rest_db: float) -> float:
    """Sum of squared dB by which samples (seconds from the crossing, dB above the level) differ from the shape."""
    rest_s = (1 - 10 ** (-rest_db / 20)) / pace
    cost = 0.0
    for at, above in samples:
        shape = rest_db if at >= rest_s else -20 * math.log10(1 - pace * at)
        cost += (above - shape) ** 2
    return cost
