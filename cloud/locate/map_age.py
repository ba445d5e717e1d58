"""How old a radio map has become, told by enrolled tags that hang where they hung. Pure.

A fixed tag is heard at the level that the map expects, plus what is its own (its power, its battery) and what is the
pair's own (fading at that one spot: learned in the days after the survey). What is left and shared by a node's tags is
the node's: it was turned, a shelf was put before it, its antenna is loose. Medians throughout: one tag that fell behind
a shelf is no finding about the node.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PACKETS_LEAST = 50
"""Of a tag at a node in a day; fewer are no mean."""
LEARN_DAYS = 7
"""After the survey, in which a pair's own deviation is learned."""
DAYS_LEAST = 2
"""To learn from, and to tell of."""
RECENT_DAYS = 3
NODES_LEAST = 3
"""That hear a tag: with fewer, the tag's own change cannot be told from theirs."""
AGED_DB = 4.0
"""A survey's points deviate by some 4 dB anyway; beyond that the map does more harm than path loss (3.8 dB)."""
SURE = 3.0
"""Standard errors."""
LEARNED_SD_DB = 1.5
"""A daily median at a spot that was learned: people and goods about it."""
UNLEARNED_SD_DB = 4.0
"""At a spot that was not: the map's error and the spot's fading."""
POLISHED = 10
"""Rounds of Tukey's median polish; it stands still after three or four."""


@dataclass(frozen=True, slots=True)
class DayLevel:
    """What a node heard of a tag on one day."""

    tag: int
    node: str
    day: int
    """Days since any beginning."""
    mean_dbm: float
    n: int


@dataclass(frozen=True, slots=True)
class Aged:
    """A node whose rows of the map no longer hold."""

    node: str
    drift_db: float
    """Above 0: it hears louder than the map says."""
    error_db: float
    """Standard error of the drift."""
    tags: int
    days: int


def aged_nodes(
    levels: Iterable[DayLevel], expected: Mapping[tuple[int, str], float], surveyed_day: int, today: int
) -> list[Aged]:
    """The nodes whose map has aged, the worst first. `expected` is the map's level for each tag and node, dBm."""
    pairs: dict[tuple[int, str], dict[int, float]] = defaultdict(dict)
    for level in levels:
        key = level.tag, level.node
        if level.n >= PACKETS_LEAST and key in expected and surveyed_day <= level.day <= today:
            pairs[key][level.day] = level.mean_dbm - expected[key]
    tags, nodes = sorted({tag for tag, _ in pairs}), sorted({node for _, node in pairs})
    off = np.full((len(tags), len(nodes)), np.nan)
    doubt, days = np.full_like(off, np.nan), np.zeros(off.shape, int)
    for (tag, node), by_day in pairs.items():
        recent = [db for day, db in by_day.items() if day > today - RECENT_DAYS]
        if len(recent) < DAYS_LEAST:
            continue
        learned = [db for day, db in by_day.items() if day < min(surveyed_day + LEARN_DAYS, today - RECENT_DAYS + 1)]
        own = float(np.median(learned)) if len(learned) >= DAYS_LEAST else 0.0
        at = tags.index(tag), nodes.index(node)
        off[at] = float(np.median(recent)) - own
        doubt[at] = LEARNED_SD_DB if len(learned) >= DAYS_LEAST else UNLEARNED_SD_DB
        days[at] = len(recent)
    drift = _drift(off)
    found = []
    for j, node in enumerate(nodes):
        here = ~np.isnan(off[:, j])
        if np.isnan(drift[j]) or not here.any():
            continue
        error = float(np.sqrt(np.mean(doubt[here, j] ** 2) / here.sum()))
        if abs(drift[j]) >= max(AGED_DB, SURE * error):
            found.append(Aged(node, float(drift[j]), error, int(here.sum()), int(days[here, j].max())))
    return sorted(found, key=lambda one: -abs(one.drift_db))


def _drift(off: Floats) -> Floats:
    """The nodes' share (N,) of deviations (tags, nodes), the tags' own taken out; nan where nothing is known."""
    off = off[(~np.isnan(off)).sum(axis=1) >= NODES_LEAST]
    drift = np.full(off.shape[1], np.nan)
    if not len(off):
        return drift
    known = (~np.isnan(off)).any(axis=0)
    rest, node_part = off[:, known].copy(), np.zeros(int(known.sum()))
    for _ in range(POLISHED):
        rest -= np.nanmedian(rest, axis=1, keepdims=True)
        step = np.nanmedian(rest, axis=0)
        rest -= step
        node_part += step
    drift[known] = node_part
    return drift
