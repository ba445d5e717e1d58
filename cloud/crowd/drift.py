"""When devices no longer stand for as many people as they did: phones, fittings or nodes have changed; count again."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cloud.crowd.forest import Floats

RECENT_DAYS = 7
COUNTS_RECENT_DAYS = 14
DAYS_LEAST = 3
SPANS_LEAST = 6
"""Of a day: half an hour in which enough devices were near."""
MOVED = 1.25
"""A relation that moved by less is no reason to count again: the interval is wider than that."""
SIGMAS = 4.0
COUNT_SIGMAS = 3.0
DAILY_SD = 0.08
"""The least that a ratio of counts is believed to differ from day to day, as its logarithm."""
PEOPLE_LEAST = 30
"""Counted heads on either side, before two ratios are compared."""


class Day(NamedTuple):
    """What a store's nodes counted on one day in spans with enough devices near, summed over these."""

    day: int
    spans: int
    radios: float
    devices: float


@dataclass(frozen=True, slots=True)
class Moved:
    """A relation that is not what it was."""

    factor: float
    """The new relation by the old one."""
    reason: str


def addresses_moved(before: list[Day], recent: list[Day]) -> Moved | None:
    """Whether a device shows more or fewer addresses than it did, as a new generation of phones does: nobody has to
    count heads to see it, and more or fewer people alone do not change it.

    Of near devices alone: what share of all radios is near, and how those outside sound, changes with every closed door
    and holiday (a recorded room: 50 times).
    """
    old, new = _log_ratios(before), _log_ratios(recent)
    if min(len(old), len(new)) < DAYS_LEAST:
        return None
    shift = float(np.median(new) - np.median(old))
    sd = max(1.4826 * float(np.median(np.abs(old - np.median(old)))), DAILY_SD)
    error = 1.2533 * sd * (1 / len(old) + 1 / len(new)) ** 0.5  # of two medians, of normal values
    if abs(shift) <= max(float(np.log(MOVED)), SIGMAS * error):
        return None
    factor = float(np.exp(shift))
    return Moved(factor, f"addresses for each device: {factor:.2f} times what they were; phones have changed")


def _log_ratios(days: list[Day]) -> Floats:
    told = [day for day in days if day.spans >= SPANS_LEAST and day.radios > 0 and day.devices > 0]
    return np.log([day.radios / day.devices for day in told])


def counts_moved(devices: Floats, people: Floats, age_days: Floats, dispersion: float) -> Moved | None:
    """Whether the last counts of heads say another number of people a device than those before."""
    recent = age_days <= COUNTS_RECENT_DAYS
    sums = [(float(people[side].sum()), float(devices[side].sum())) for side in (recent, ~recent)]
    (heads, found), (heads_before, found_before) = sums
    if min(heads, heads_before) < PEOPLE_LEAST or min(found, found_before) <= 0:
        return None
    new, old = heads / found, heads_before / found_before
    error = float(np.sqrt(dispersion / heads + dispersion / heads_before))
    shift = float(np.log(new / old))
    if abs(shift) <= max(float(np.log(MOVED)), COUNT_SIGMAS * error):
        return None
    return Moved(
        new / old, f"counts of the last {COUNTS_RECENT_DAYS} days: {new:.2f} people a device, {old:.2f} before"
    )


def nodes_moved(before: set[str], recent: set[str]) -> list[str]:
    """Nodes that told something when heads were counted and are silent, and the other way round."""
    if not before or not recent:
        return []
    return [f"node {node} tells nothing any more" for node in sorted(before - recent)] + [
        f"node {node} has joined since" for node in sorted(recent - before)
    ]
