"""What analysts wait for: visits from raw sightings beside Polars doing the same, heatmaps of a day and of a year."""

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import polars as pl

from cli.bench.heatmap import measure as measure_heatmap
from cloud.visits.sightings import visits

AWAY_S = 1800
SUBJECTS_A_DAY = 66_000
DAYS = 20
DAY_S = 86_400
RUNS = 3


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds and milliseconds, medians."""

    visits_s: float
    visits_peer_s: float
    visits: int
    sightings: int
    heatmap_day_ms: float
    heatmap_year_ms: float
    heatmap_peer_ms: float
    tell_day_s: float
    told_share: float


def measure(sightings: int, positions: int, asks: int) -> Figures:
    """All of it, about a minute by default. Raises StackError."""
    ours, peers, count = _visits_s(sightings)
    maps = measure_heatmap(positions, asks)
    return Figures(
        visits_s=round(ours, 3),
        visits_peer_s=round(peers, 3),
        visits=count,
        sightings=sightings,
        heatmap_day_ms=maps.grid_ms,
        heatmap_year_ms=maps.year_ms,
        heatmap_peer_ms=maps.peer_ms,
        tell_day_s=maps.tell_s,
        told_share=maps.told_share,
    )


def _visits_s(count: int) -> tuple[float, float, int]:
    subject, time_us = seen(count)
    frame = pl.DataFrame({"subject": subject, "time_us": time_us})
    ours, peers, found = [], [], 0
    for _ in range(RUNS):
        begun = time.perf_counter()
        found = len(visits(subject, time_us, AWAY_S * 1_000_000).subject)
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        same = _by_polars(frame)
        peers.append(time.perf_counter() - begun)
        if same != found:
            raise AssertionError(f"{found} visits here, {same} by Polars")
    return median(ours), median(peers), found


def seen(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Sightings in the order of time: names of 64 bits, each about eight times within a quarter of an hour a day."""
    rng = np.random.default_rng(seed)
    names = rng.integers(1, 2**63, SUBJECTS_A_DAY * 3, np.uint64)
    groups = -(-count // 8)
    who = names[rng.integers(0, names.size, groups)]
    begins_s = rng.integers(0, DAYS, groups) * DAY_S + rng.integers(36_000, 72_000, groups)
    time_us = (begins_s[:, None] * 1_000_000 + rng.integers(0, 900_000_000, (groups, 8))).ravel()[:count]
    order = np.argsort(time_us, kind="stable")
    return np.repeat(who, 8)[:count][order], time_us[order]


def _by_polars(frame: pl.DataFrame) -> int:
    """The same in the library's own words, both cores."""
    away = (pl.col("time_us").diff() > AWAY_S * 1_000_000) | (pl.col("subject").diff() != 0)
    return (
        frame.lazy()
        .sort("subject", "time_us")
        .with_columns(away.fill_null(True).cum_sum().alias("visit"))
        .group_by("visit", maintain_order=True)
        .agg(
            pl.col("subject").first(),
            pl.col("time_us").min().alias("begins_us"),
            pl.col("time_us").max().alias("ends_us"),
            pl.len(),
        )
        .collect()
        .height
    )
