"""Zones over a grid, and who is in which: hysteresis on the belief, with the beginning told in hindsight."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cloud.locate.radiomap import Grid

Floats = npt.NDArray[np.float64]

RISE = 0.35
"""From this belief on a subject may have entered: where a later certainty dates the beginning."""
ENTER = 0.65
ENTER_AFTER_US = 2_000_000
"""A belief of ENTER that began to rise this long ago is an entry: shorter is passing by, or noise."""
LEAVE = 0.20
LEAVE_AFTER_US = 4_000_000


def zone_masks(grid: Grid, polygons: Sequence[Sequence[tuple[float, float]]]) -> npt.NDArray[np.bool_]:
    """Which cells' centres lie in each polygon, shape (Z, G), by the even-odd rule."""
    masks = np.zeros((len(polygons), grid.cells), bool)
    x, y = grid.centres.T
    for mask, polygon in zip(masks, polygons, strict=True):
        corners = np.asarray(polygon, float)
        for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y1 != y2:
                crosses = (y1 > y) != (y2 > y)
                mask ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return masks


def zones_apart(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(Z, Z) which zones (Z, G) have no cell in common."""
    cells = masks.astype(np.float32)
    apart: npt.NDArray[np.bool_] = cells @ cells.T == 0
    return apart


@dataclass(frozen=True, slots=True)
class Crossing:
    """A subject (by row) entered or left a zone (by index) at an instant that lies in the past."""

    row: int
    zone: int
    entered: bool
    at_us: int
    belief: float


@dataclass(slots=True)
class ZoneStates:
    """For each row and zone: inside or not, and since when the belief has been rising or falling."""

    zones: int
    apart: npt.NDArray[np.bool_] | None = None
    """(zones, zones): which share no floor, so that to be in one is to have left the other."""
    inside: npt.NDArray[np.bool_] = field(init=False)
    _rising_us: npt.NDArray[np.int64] = field(init=False)
    _falling_us: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.inside = np.zeros((0, self.zones), bool)
        self._rising_us = np.zeros((0, self.zones), np.int64)
        self._falling_us = np.zeros((0, self.zones), np.int64)

    def reset(self, rows: npt.NDArray[np.int64]) -> None:
        """Begin anew for rows that were handed out."""
        missing = int(rows.max(initial=-1)) + 1 - len(self.inside)
        if missing > 0:
            pad = ((0, missing), (0, 0))
            self.inside = np.pad(self.inside, pad)
            self._rising_us, self._falling_us = np.pad(self._rising_us, pad), np.pad(self._falling_us, pad)
        self.inside[rows] = False
        self._rising_us[rows] = self._falling_us[rows] = 0

    def update(self, rows: npt.NDArray[np.int64], belief: Floats, at_us: int, dt_us: int) -> list[Crossing]:
        """The crossings that the belief (len(rows), Z) at an instant makes certain."""
        if not rows.size:
            return []
        rising, falling, inside = self._rising_us[rows], self._falling_us[rows], self.inside[rows]
        middle = at_us - dt_us // 2  # it happened between the last look and this one
        rising = np.where(belief >= RISE, np.where(rising == 0, middle, rising), 0)
        falling = np.where(belief < RISE, np.where(falling == 0, middle, falling), 0)
        enters = ~inside & (belief >= ENTER) & (at_us - rising >= ENTER_AFTER_US)
        leaves = inside & (belief < LEAVE) & (at_us - falling >= LEAVE_AFTER_US)
        self._rising_us[rows] = rising
        if self.apart is not None:  # whoever came into another zone left this one when that one's belief began to rise
            elsewhere = enters @ self.apart
            since = (np.where(enters, rising, 0)[:, :, None] * self.apart).max(axis=1, initial=0)
            falling = np.where(inside & elsewhere, since, falling)
            leaves |= inside & elsewhere
        self._falling_us[rows] = falling
        self.inside[rows] = (inside | enters) & ~leaves
        found = [
            Crossing(int(rows[i]), int(z), True, int(rising[i, z]), float(belief[i, z])) for i, z in np.argwhere(enters)
        ]
        return found + [
            Crossing(int(rows[i]), int(z), False, int(falling[i, z]), float(belief[i, z]))
            for i, z in np.argwhere(leaves)
        ]
