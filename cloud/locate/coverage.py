"""The error to expect on a floor from where its nodes hang, and the place where one more would lower it most. Pure.

What a look at a transmitter can tell at best is bounded by its Fisher information (Cramér-Rao; for received power:
Patwari et al., IEEE Trans. Signal Processing 51(8), 2003). A level falls by 10 n log10 d, so node i at distance d from
a place contributes p/σ² g gᵀ with g = 10 n / ln 10 · (place - node) / d², where p is the chance that it hears anything.
The transmitter's own power is not known: what all nodes share is taken out. Before anything is heard, somebody may be
anywhere on the floor. Walls only weaken: that they also tell one side from the other, a survey has to find.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.locate.radiomap import PACKET_SD_DB, PATH_LOSS_SD_DB, SENSITIVITY_DBM, SENSITIVITY_SLOPE_DB
from cloud.locate.shadowing import LAW, NEAREST_M

Floats = npt.NDArray[np.float64]

DEVICE_HEIGHT_M = 1.0
PACKETS = 4.0
"""Heard by a node in a look of a second or two."""
BODY_SD_DB = 2.0
LEVEL_SD_DB = float(np.sqrt(PACKET_SD_DB**2 / PACKETS + PATH_LOSS_SD_DB**2 + BODY_SD_DB**2))
OFFSET_SD_DB = 3.0
"""Between phones and tags of many makes."""
AT_ONCE = 1 << 21
"""Places times candidates times walls in one piece: some 100 MB."""


@dataclass(frozen=True, slots=True)
class Walls:
    """Straight pieces of walls, and what a signal loses in each."""

    ends: Floats
    """(S, 4): x1, y1, x2, y2 in metres."""
    loss_db: Floats
    """(S,)"""

    @classmethod
    def none(cls) -> "Walls":
        return cls(np.empty((0, 4)), np.empty(0))


@dataclass(frozen=True, slots=True)
class Place:
    """Where one more node would hang, and the mean expected error with it."""

    x_m: float
    y_m: float
    mean_error_m: float


def expected_error(places: Floats, nodes: Floats, walls: Walls, size_m: tuple[float, float]) -> Floats:
    """Root mean square distance to expect at each place (G, 2), metres. `nodes` (N, 3); `size_m` of the floor."""
    return _error(_information(places, nodes, walls).sum(axis=1), size_m)


def best_place(
    places: Floats, nodes: Floats, candidates: Floats, walls: Walls, size_m: tuple[float, float]
) -> Place | None:
    """The candidate (C, 3) that lowers the mean expected error over the places (G, 2) most; None if none does."""
    if not len(candidates) or not len(places):
        return None
    have = _information(places, nodes, walls).sum(axis=1)
    step = max(1, AT_ONCE // (len(places) * max(1, len(walls.loss_db))))
    means = np.concatenate(
        [
            _error(have[:, None] + _information(places, candidates[i : i + step], walls), size_m).mean(axis=-1)
            for i in range(0, len(candidates), step)
        ]
    )
    best = int(means.argmin())
    if means[best] >= _error(have, size_m).mean() - 1e-9:
        return None
    return Place(float(candidates[best, 0]), float(candidates[best, 1]), float(means[best]))


def losses(places: Floats, nodes: Floats, walls: Walls) -> Floats:
    """(N, G): what the walls between a node and a place take away, dB. A line along a wall does not cross it."""
    total = np.zeros((len(nodes), len(places)))
    px, py = places.T
    qx, qy = nodes[:, 0, None], nodes[:, 1, None]
    for (x1, y1, x2, y2), loss in zip(walls.ends, walls.loss_db, strict=True):
        # Two pieces cross if each has the other's ends on either side.
        side_p = (x2 - x1) * (py - y1) - (y2 - y1) * (px - x1)
        side_q = (x2 - x1) * (qy - y1) - (y2 - y1) * (qx - x1)
        dx, dy = px - qx, py - qy
        side_1 = dx * (y1 - qy) - dy * (x1 - qx)
        side_2 = dx * (y2 - qy) - dy * (x2 - qx)
        total += loss * ((side_p * side_q < 0) & (side_1 * side_2 < 0))
    return total


def _information(places: Floats, nodes: Floats, walls: Walls) -> Floats:
    """(6, N, G): what each node adds of w gx², w gx gy, w gy², w gx, w gy and w."""
    dx, dy = (places[None, :, axis] - nodes[:, axis, None] for axis in (0, 1))
    squared = np.maximum(dx**2 + dy**2 + (DEVICE_HEIGHT_M - nodes[:, 2, None]) ** 2, NEAREST_M**2)
    at_1m, exponent = LAW
    level = at_1m - 5.0 * exponent * np.log10(squared) - losses(places, nodes, walls)
    heard = 1.0 / (1.0 + np.exp((SENSITIVITY_DBM - level) / SENSITIVITY_SLOPE_DB))
    weight = heard / LEVEL_SD_DB**2
    slope = 10.0 * exponent / np.log(10.0) / squared
    gx, gy = slope * dx, slope * dy
    return np.stack([weight * gx * gx, weight * gx * gy, weight * gy * gy, weight * gx, weight * gy, weight])


def _error(information: Floats, size_m: tuple[float, float]) -> Floats:
    """From sums over the nodes, (6, …)."""
    xx, xy, yy, x, y, total = information
    shared = 1.0 / (total + 1.0 / OFFSET_SD_DB**2)
    # A place that is anywhere on a width w has the variance w² / 12.
    a, b, c = xx - x * x * shared + 12 / size_m[0] ** 2, xy - x * y * shared, yy - y * y * shared + 12 / size_m[1] ** 2
    error: Floats = np.sqrt((a + c) / (a * c - b * b))
    return error
