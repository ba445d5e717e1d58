"""How people move over the floor grid: they stand, or walk on in a direction that they seldom change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm
from scipy.stats import norm

from cloud.locate.radiomap import Grid

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

HEADINGS = 8
STATES = 1 + HEADINGS  # standing, then the headings counter-clockwise from +x


@dataclass(frozen=True, slots=True)
class Motion:
    """A walker in a store. Figures were chosen on simulated walks over a survey (0.25 to 1.3 m/s with stops)."""

    speed_m_s: float = 0.8
    speed_spread: float = 0.5  # sd of the distance walked, as a share of it
    start_per_s: float = 0.45  # how often one who stands walks off
    stop_per_s: float = 0.2  # how often one who walks stands still
    turn_per_s: float = 0.25  # how often one who walks changes direction: to a neighbour or to any other heading
    neighbour_share: float = 0.7  # of the turns, those by 45 degrees
    lost_per_s: float = 2e-4  # chance to be anywhere at all: how a filter that was wrong comes back

    def state_changes(self, dt_s: float) -> Singles:
        """(STATES, STATES): probability to be in the column's state dt_s after the row's."""
        rate = np.zeros((STATES, STATES))
        rate[0, 1:] = self.start_per_s / HEADINGS
        rate[1:, 0] = self.stop_per_s
        for h in range(HEADINGS):
            for other in range(HEADINGS):
                apart = min((h - other) % HEADINGS, (other - h) % HEADINGS)
                if apart == 1:
                    rate[1 + h, 1 + other] = self.turn_per_s * self.neighbour_share / 2
                elif apart > 1:
                    rate[1 + h, 1 + other] = self.turn_per_s * (1 - self.neighbour_share) / (HEADINGS - 3)
        np.fill_diagonal(rate, -rate.sum(axis=1))
        changes: Floats = expm(rate * dt_s)
        return changes.astype(np.float32)

    def steps(self, grid: Grid, dt_s: float) -> tuple[Singles, Singles]:
        """Where a state carries a person in dt_s: (STATES, ny, ny) along y, (STATES, nx, nx) along x, row to column.

        A walk that would leave the floor is lost, so headings into a wall die out by themselves.
        """
        along_x, along_y = np.empty((STATES, grid.nx, grid.nx)), np.empty((STATES, grid.ny, grid.ny))
        walked = self.speed_m_s * dt_s / grid.cell_m
        still = 0.1 * np.sqrt(dt_s) / grid.cell_m  # one who "stands" shifts about
        for state in range(STATES):
            angle = 2 * np.pi * (state - 1) / HEADINGS
            dx, dy = (walked * np.cos(angle), walked * np.sin(angle)) if state else (0.0, 0.0)
            spread = self.speed_spread * walked if state else still
            along_x[state] = _band(grid.nx, dx, spread)
            along_y[state] = _band(grid.ny, dy, spread)
        return along_y.astype(np.float32), along_x.astype(np.float32)


def _band(size: int, shift: float, spread: float) -> Floats:
    """Chance to come from cell i to cell j: a normal step shared linearly between the two nearest cells.

    Linear sharing keeps the mean of the step exact however small it is against a cell. The chance is the second
    difference of F(x) = x Phi(x / s) + s phi(x / s), the integral of the normal distribution function.
    """
    spread = max(spread, 1e-3)
    offset = np.arange(-size, size + 1, dtype=float) - shift
    integral = offset * norm.cdf(offset / spread) + spread * norm.pdf(offset / spread)
    chance = np.maximum(integral[2:] - 2 * integral[1:-1] + integral[:-2], 0.0)
    at = np.arange(size)
    band: Floats = chance[at[None, :] - at[:, None] + size - 1]
    return band
