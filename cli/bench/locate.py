"""How many positions a second one core tells: the filter of one floor, a crowd that all nodes hear each second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

from cloud.locate.engine import BODY_SD_DB, OFFSET_SD_DB, SHOPPERS
from cloud.locate.filter import GridFilter
from cloud.locate.radiomap import Grid, RadioMap

PEOPLE = 200
WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True)
class LocateBench:
    """An update is one person's second: moved, weighed by all nodes, position and spread told. Medians of the steps."""

    updates_per_s: float
    us_per_update: float
    people: int
    nodes: int
    cells: int


def measure(width_m: float = 24.0, depth_m: float = 18.0, cell_m: float = 1.0, steps: int = 25) -> LocateBench:
    """A floor with a node every 8 × 6 m and everybody heard by all of them, on one core.

    In a process of its own: how many threads a product of matrices takes is settled when numpy is loaded.
    """
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    floor = [str(value) for value in (width_m, depth_m, cell_m, steps)]
    run = subprocess.run(
        [sys.executable, "-m", "cli.bench.locate", *floor],
        env=os.environ | one_thread,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return LocateBench(**json.loads(run.stdout))


def _measure_here(width_m: float, depth_m: float, cell_m: float, steps: int) -> LocateBench:
    rng = np.random.default_rng(1)
    grid = Grid.covering((0.0, 0.0), (width_m, depth_m), cell_m)
    x, y = np.arange(4.0, width_m, 8.0), np.arange(3.0, depth_m, 6.0)
    nodes = np.column_stack([np.repeat(x, len(y)), np.tile(y, len(x)), np.full(len(x) * len(y), 2.6)])
    radio_map = RadioMap.from_path_loss(grid, nodes)
    locator = GridFilter(radio_map, motion=SHOPPERS, offset_sd_db=OFFSET_SD_DB, body_sd_db=BODY_SD_DB)
    rows = locator.add(PEOPLE)
    alive = np.ones(len(nodes), bool)
    places = rng.integers(0, grid.cells, PEOPLE)
    windows = np.repeat(rows, len(nodes)), np.tile(np.arange(len(nodes)), PEOPLE)
    took = []
    for _ in range(WARM_UP_STEPS + steps):
        levels = radio_map.mean_dbm[:, places].T.ravel() + rng.normal(0, 5, PEOPLE * len(nodes))
        began = time.thread_time()
        locator.predict(1.0)
        locator.update(*windows, levels, np.ones(len(levels), np.int64), alive=alive)
        locator.estimates()
        took.append(time.thread_time() - began)
    one_s = float(np.median(took[WARM_UP_STEPS:])) / PEOPLE
    return LocateBench(1 / one_s, one_s * 1e6, PEOPLE, len(nodes), grid.cells)


if __name__ == "__main__":
    width, depth, cell, count = sys.argv[1:]
    print(json.dumps(asdict(_measure_here(float(width), float(depth), float(cell), int(count)))))
