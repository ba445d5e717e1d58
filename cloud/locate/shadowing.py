"""A Gaussian process over a survey: path loss plus correlated shadowing, with its doubt between the points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]

# Log-distance law of a BLE beacon at 1 m and its exponent, and how far they differ from node to node (12 receivers of
# one hall: -66.9 to -58.3 dBm, 0.89 to 2.18).
LAW = np.array([-61.0, 1.6])
LAW_COVARIANCE = np.diag([8.0**2, 0.5**2])
NEAREST_M = 0.5  # closer than this the far-field law says nothing
MIN_PACKETS = 5  # fewer packets than this are not a mean
DEFAULT_PACKET_SD_DB = 3.2
# Prior of (correlation length m, shadowing sd dB, small-scale sd dB): medians, with a factor of two either way. It
# steers surveys of a dozen points only; 30 points and more speak for themselves.
HYPER_MEDIAN = np.array([5.0, 3.0, 3.0])
HYPER_LOG_SD = np.log(2.0)


def log_distance_basis(xy: Floats, node: Floats, device_height_m: float) -> Floats:
    """[1, -10 log10 d] of each point (Q, 2) for a node (3,): (Q, 2), to be multiplied by (RSSI at 1 m, exponent)."""
    squared = ((xy - node[:2]) ** 2).sum(axis=1) + (device_height_m - node[2]) ** 2
    return np.column_stack([np.ones(len(xy)), -5.0 * np.log10(np.maximum(squared, NEAREST_M**2))])


class Hyper(NamedTuple):
    length_m: float  # distance over which shadowing keeps 1/e of its correlation
    shadow_db: float  # sd of the shadowing that a neighbouring point shares
    local_db: float  # sd of what is the point's own: multipath that is gone a few centimetres on


def shadow_covariance(a: Floats, b: Floats, hyper: Hyper) -> Floats:
    """Exponential in distance, the usual law of shadow fading (Gudmundson 1991); likelier than smoother ones here."""
    apart = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1))
    covariance: Floats = hyper.shadow_db**2 * np.exp(-apart / hyper.length_m)
    return covariance


@dataclass(frozen=True, slots=True)
class _NodeData:
    """What one node heard: where (indices into the points), how much beyond the law, and the law's columns there."""

    at: npt.NDArray[np.int64]
    residual: Floats
    basis: Floats
    sampling_var: Floats


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted survey, ready to be asked for any place."""

    hyper: Hyper
    positions: Floats  # (N, 3)
    points: Floats  # (P, 2)
    device_height_m: float
    packet_sd_db: Floats  # (N,)
    _data: tuple[_NodeData, ...]

    def predict(self, xy: Floats) -> tuple[Floats, Floats]:
        """Mean (N, Q) in dBm at places (Q, 2), and the sd (N, Q) in dB of that mean, small-scale fading left out."""
        mean, doubt = np.empty((2, len(self.positions), len(xy)))
        for j, (node, data) in enumerate(zip(self.positions, self._data, strict=True)):
            basis = log_distance_basis(xy, node, self.device_height_m)
            prior = self.hyper.shadow_db**2 + np.einsum("qi,ij,qj->q", basis, LAW_COVARIANCE, basis)
            mean[j] = basis @ LAW
            explained = np.zeros(len(xy))
            if len(data.at):
                cross = shadow_covariance(xy, self.points[data.at], self.hyper) + basis @ LAW_COVARIANCE @ data.basis.T
                factor = cho_factor(
                    _covariance(shadow_covariance(self.points, self.points, self.hyper), data, self.hyper)
                )
                mean[j] += cross @ cho_solve(factor, data.residual)
                explained = np.einsum("qp,pq->q", cross, cho_solve(factor, cross.T))
            doubt[j] = np.sqrt(np.maximum(prior - explained, 0.01))
        return mean, doubt


def fit_survey(positions: Floats, points: Floats, mean: Floats, sd: Floats, n: Floats, device_height_m: float) -> Fit:
    """Fit shadowing of all nodes together by its marginal likelihood; tables are (points, nodes)."""
    usable = np.isfinite(mean) & (n >= MIN_PACKETS)
    if not usable.any():
        raise ValueError(f"no node heard {MIN_PACKETS} packets or more at any point of the survey")
    data = tuple(
        _node_data(np.flatnonzero(usable[:, j]), positions[j], points, mean[:, j], sd[:, j], n[:, j], device_height_m)
        for j in range(len(positions))
    )

    def cost(log_hyper: Floats) -> float:
        hyper = Hyper(*np.exp(log_hyper))
        shadow = shadow_covariance(points, points, hyper)
        prior = 0.5 * float((((log_hyper - np.log(HYPER_MEDIAN)) / HYPER_LOG_SD) ** 2).sum())
        return prior + sum(_surprise(shadow, d, hyper) for d in data if len(d.at))

    best = minimize(cost, np.log(HYPER_MEDIAN), method="Nelder-Mead", options={"xatol": 0.02, "fatol": 0.05})
    hyper = Hyper(*np.exp(best.x))
    variance = np.where(usable & np.isfinite(sd), sd**2, np.nan)
    counted = np.isfinite(variance).sum(axis=0)
    # A node with few points leans on the usual spread; eight points weigh as much as that prior.
    over_time = (np.nansum(variance, axis=0) + 8 * DEFAULT_PACKET_SD_DB**2) / (counted + 8)
    # A walker passes through the small-scale fading that a survey point stands in: noise of a packet, not of the map.
    return Fit(hyper, positions, points, device_height_m, np.sqrt(over_time + hyper.local_db**2), data)


def _node_data(
    at: npt.NDArray[np.int64], node: Floats, points: Floats, mean: Floats, sd: Floats, n: Floats, height_m: float
) -> _NodeData:
    basis = log_distance_basis(points[at], node, height_m)
    spread = np.where(np.isfinite(sd[at]), sd[at], DEFAULT_PACKET_SD_DB)
    return _NodeData(at, mean[at] - basis @ LAW, basis, spread**2 / n[at])


def _covariance(shadow: Floats, data: _NodeData, hyper: Hyper) -> Floats:
    own = np.diag(hyper.local_db**2 + data.sampling_var)
    return shadow[np.ix_(data.at, data.at)] + data.basis @ LAW_COVARIANCE @ data.basis.T + own


def _surprise(shadow: Floats, data: _NodeData, hyper: Hyper) -> float:
    """Negative log marginal likelihood of one node's residuals, without its constant."""
    factor = cho_factor(_covariance(shadow, data, hyper))
    return float(0.5 * data.residual @ cho_solve(factor, data.residual) + np.log(np.diag(factor[0])).sum())
