"""A map without a law: how often each level was heard around each cell while somebody surveyed by moving about.

A survey of many short scans (a robot, a technician who walks) knows more than a mean and a spread: the spread of one
place has several humps, one for each way the carrier was turned. This keeps the whole density, smoothed by a kernel in
space and one in level, as a table that is looked up.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from cloud.locate.evidence import Rows, Singles
from cloud.locate.radiomap import Grid

Floats = npt.NDArray[np.float64]

LOWEST_DBM, HIGHEST_DBM = -105, -25
# Kernel widths: about a robot's own length, and the fading of one scan: 3 to 6 dB do alike.
SPACE_M = 0.5
LEVEL_DB = 4.0
# Scans that follow each other within this time stand in the same fading and the same turn: together they count once.
SHARED_S = 0.67
# A cell that few scans stand behind leans on "any level", which weighs as much as so many scans.
ANY_LEVEL_SCANS = 0.1
# Not to be heard is a level too, the one at which receivers give up: a node that is often missed says so of a cell.
UNHEARD_DBM = -93
OUTLIERS = 0.01  # of the levels tell nothing: somebody stood in the way
COVERED_SCANS = 0.3  # a cell with less weight of scans around it was not surveyed


class Fingerprints:
    """Evidence of levels under the densities of a survey; the same questions as `Evidence` answers by a law."""

    def __init__(self, log_density: Singles, covered: npt.NDArray[np.bool_]) -> None:
        """`log_density` (N, levels, G) from LOWEST_DBM up in steps of 1 dB; `covered` (G,): where the survey went."""
        self._log_density = log_density
        self.covered = covered

    @classmethod
    def from_scans(cls, grid: Grid, places: npt.ArrayLike, rssi_dbm: npt.ArrayLike) -> Self:
        """From scans at places (S, 2) metres, levels (S, N), nan where a node heard nothing.

        Raises ValueError if the two do not belong together.
        """
        where, heard = np.asarray(places, float), np.asarray(rssi_dbm, float)
        if where.shape != (len(heard), 2) or heard.ndim != 2:
            raise ValueError(f"places of shape {where.shape} do not belong to levels of shape {heard.shape}")
        apart = np.square(where[:, None] - grid.centres[None]).sum(axis=-1)
        near = np.exp(-apart / (2 * SPACE_M**2))  # (S, G)
        levels = np.arange(LOWEST_DBM, HIGHEST_DBM + 1, dtype=float)
        flat = 1.0 / len(levels)
        table = np.empty((heard.shape[1], len(levels), grid.cells), np.float32)
        for node, column in enumerate(heard.T):
            known = np.where(np.isfinite(column), column, UNHEARD_DBM)
            kernel = np.exp(-np.square(levels[:, None] - known) / (2 * LEVEL_DB**2))
            kernel /= np.maximum(kernel.sum(axis=0), 1e-9)
            density = (kernel @ near + ANY_LEVEL_SCANS * flat) / (near.sum(axis=0) + ANY_LEVEL_SCANS)
            table[node] = np.log((1 - OUTLIERS) * density + OUTLIERS * flat)
        return cls(table, near.sum(axis=0) >= COVERED_SCANS)

    def log_likelihood(
        self, rssi: Singles, packets: Rows, offset_before: Singles, _offset_var: Singles, dt_s: float
    ) -> tuple[Singles, Singles, Singles]:
        """Of windows (U, N): (U, G) log likelihood; a density says nothing about the device's own offset."""
        steps = np.clip(np.rint(rssi - offset_before[:, None]) - LOWEST_DBM, 0, self._log_density.shape[1] - 1)
        level = steps.astype(np.int64)
        result = np.zeros((len(packets), self._log_density.shape[2]), np.float32)
        for node, table in enumerate(self._log_density):
            heard = packets[:, node] > 0
            result[heard] += table[level[heard, node]]
        result *= np.float32(min(1.0, dt_s / SHARED_S))
        return result, np.broadcast_to(offset_before[:, None], result.shape), np.zeros_like(result)

    def silence(self, heard: npt.NDArray[np.bool_], alive: npt.NDArray[np.bool_], dt_s: float) -> Singles | None:
        """(U, G) log likelihood of the live nodes that did not hear each device (U, N)."""
        silent = self._log_density[:, UNHEARD_DBM - LOWEST_DBM]
        result: Singles = (~heard & alive).astype(np.float32) @ silent * np.float32(min(1.0, dt_s / SHARED_S))
        return result
