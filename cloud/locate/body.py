"""The body that carries a tag weakens what it sends backwards; which way that is nobody tells, so it is estimated.

A device's body is a vector in dB: a node in direction u (a unit vector) hears it louder than the map by vector · u.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# Shoppers turn about so often. Chosen on simulated shoppers.
TURNS_AFTER_S = 10.0
# The windows that teach the body also taught the position, and a step towards some nodes looks like a turn to them: on
# recorded walks of a beacon in the open more than a quarter of the evidence costs accuracy.
EVIDENCE_SHARE = 0.25
NEAR_M = 0.5  # right below a node there is no direction


def directions(centres: Floats, nodes_xy: Floats) -> Singles:
    """(2, N, G) unit vectors from each cell's centre (G, 2) to each node (N, 2), shorter than one close to the node."""
    away = nodes_xy[:, None] - centres[None]
    unit = away / np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), NEAR_M)
    return np.ascontiguousarray(np.moveaxis(unit, -1, 0), np.float32)


class Bodies:
    """The body vectors of all rows of a filter, each with its 2 × 2 covariance (as xx, xy, yy)."""

    def __init__(self, sd_db: float) -> None:
        """`sd_db`: of each of the vector's two parts, before anything was heard."""
        self._variance = sd_db**2
        self._vector: Floats = np.zeros((0, 2))
        self._covariance: Floats = np.zeros((0, 3))

    def reset(self, rows: Rows) -> None:
        """Nothing is known of these rows."""
        missing = int(rows.max(initial=-1)) + 1 - len(self._vector)
        if missing > 0:
            self._vector = np.pad(self._vector, ((0, missing), (0, 0)))
            self._covariance = np.pad(self._covariance, ((0, missing), (0, 0)))
        self._vector[rows] = 0.0
        self._covariance[rows] = (self._variance, 0.0, self._variance)

    def turn(self, dt_s: float) -> None:
        """Let time pass: people turn, so what was learned fades."""
        keeps = np.exp(-dt_s / TURNS_AFTER_S)
        self._vector *= keeps
        self._covariance *= keeps**2
        self._covariance[:, (0, 2)] += self._variance * (1 - keeps**2)

    def gain_db(self, rows: Rows, towards: Singles) -> Singles:
        """How much louder (U, N) the nodes that lie `towards` (2, U, N) hear the devices at rows (U,)."""
        vector = self._vector[rows].T[:, :, None].astype(np.float32)
        gain: Singles = vector[0] * towards[0] + vector[1] * towards[1]
        return gain

    def learn(self, rows: Rows, towards: Singles, unexplained: Singles, precision: Floats) -> None:
        """Kalman update by what windows (U, N) leave unexplained, dB, each of a precision in 1/dB² (0: not heard)."""
        x, y = towards
        weight = EVIDENCE_SHARE * precision
        xx, xy, yy = self._covariance[rows].T
        determinant = xx * yy - xy**2
        information = np.stack(
            [
                yy / determinant + (weight * x * x).sum(axis=1),
                -xy / determinant + (weight * x * y).sum(axis=1),
                xx / determinant + (weight * y * y).sum(axis=1),
            ]
        )
        bx, by = self._vector[rows].T
        sum_x = (yy * bx - xy * by) / determinant + (weight * x * unexplained).sum(axis=1)
        sum_y = (xx * by - xy * bx) / determinant + (weight * y * unexplained).sum(axis=1)
        a, b, c = information
        determinant = a * c - b**2
        self._vector[rows] = np.column_stack([c * sum_x - b * sum_y, a * sum_y - b * sum_x]) / determinant[:, None]
        self._covariance[rows] = np.column_stack([c, -b, a]) / determinant[:, None]
