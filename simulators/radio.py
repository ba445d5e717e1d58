"""What a node's antenna hears: log-distance path loss, correlated shadowing, bodies, fading, loss, a sensitivity floor.

The parameters stand in the scenario. Correlated shadowing follows Gudmundson 1991 (covariance sd² · exp(-d / length)),
drawn once per node and seed as a random field over the floor, so that a place sounds the same each time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulators.scenario import Scenario
from simulators.zones import Floats

CELL_M = 0.25
"""Cell of the shadowing fields, far below the correlation length."""
FEATURES = 256
NEAREST_M = 0.4
"""Below this distance the far field's law does not hold; a body is rarely nearer to an antenna anyway."""
SURVEY_ADVERTS = 10
"""Adverts a technician hears in each of four directions at a survey point."""


@dataclass(frozen=True, slots=True)
class SurveyPoint:
    """What a technician with a tag measured at a place, for one node."""

    x_m: float
    y_m: float
    node: str
    mean_dbm: float
    sd_db: float
    n: int


class RadioModel:
    """RSSI from places to the scenario's nodes, in the order of `nodes`."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.nodes = tuple(node.node for node in scenario.nodes)
        self._radio = radio = scenario.radio
        self._store = scenario.store
        rng = np.random.default_rng([seed, 0x5241])
        n = len(self.nodes)
        self._xyz = np.array([(node.x_m, node.y_m, node.z_m) for node in scenario.nodes])
        self._at_1m = radio.rssi_at_1m_dbm + rng.normal(0, radio.rssi_at_1m_sd_db, n).clip(-4, 2)
        self._exponent = radio.exponent + rng.normal(0, radio.exponent_sd, n).clip(-0.5, 0.5)
        self._nx = int(np.ceil(scenario.store.width_m / CELL_M)) + 1
        self._ny = int(np.ceil(scenario.store.depth_m / CELL_M)) + 1
        self._shadow = np.stack([self._field(rng) for _ in range(n)], axis=1)

    def mean(self, xy: Floats, heading: Floats, tx_db: Floats) -> tuple[Floats, Floats]:
        """Mean RSSI (n, nodes) in dBm without fading, and distances (n, nodes) in metres.

        xy: (n, 2) metres; heading: (n,) radians, the way the device looks (body + pocket); tx_db: (n,) dB.
        """
        dx, dy, distance = self._away(xy)
        towards = (dx * np.cos(heading)[:, None] + dy * np.sin(heading)[:, None]) / distance
        rssi = self._at_1m - 10 * self._exponent * np.log10(distance) + self._radio.body_loss_db / 2 * towards
        rssi += self._shadow[self._cell(xy)] + tx_db[:, None]
        return rssi, distance

    def hear(
        self, xy: Floats, heading: Floats, tx_db: Floats, rng: np.random.Generator
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """One advert from each of n places: RSSI (n, nodes) in dBm and whether each node received it."""
        radio = self._radio
        rssi, distance = self.mean(xy, heading, tx_db)
        rssi += rng.normal(0, radio.fading_sd_db, rssi.shape)
        received = rng.random(rssi.shape) >= radio.loss + radio.loss_per_m * distance
        received &= rssi >= radio.floor_dbm
        return rssi, received

    def survey(self, points: Floats, rng: np.random.Generator) -> list[SurveyPoint]:
        """What a technician with a tag collects at points (n, 2), turning to four sides; silent nodes are left out."""
        turns = np.arange(4) * (np.pi / 2)
        heading = np.repeat(np.tile(turns, len(points)), SURVEY_ADVERTS)
        xy = np.repeat(points, 4 * SURVEY_ADVERTS, axis=0)
        rssi, received = self.hear(xy, heading, np.zeros(len(xy)), rng)
        heard = np.where(received, np.round(rssi), np.nan).reshape(len(points), 4 * SURVEY_ADVERTS, -1)
        result = []
        for i, (x, y) in enumerate(points):
            for j, node in enumerate(self.nodes):
                values = heard[i, ~np.isnan(heard[i, :, j]), j]
                if len(values) >= 2:
                    mean, sd = float(values.mean()), float(values.std(ddof=1))
                    result.append(SurveyPoint(float(x), float(y), node, round(mean, 2), round(sd, 2), len(values)))
        return result

    def shadow(self, xy: Floats) -> Floats:
        """What the shadowing adds at n places, (n, nodes) in dB."""
        field: Floats = self._shadow[self._cell(xy)]
        return field

    def distance(self, xy: Floats) -> Floats:
        """How far the nodes' antennas are from something carried at n places, (n, nodes) in metres."""
        return self._away(xy)[2]

    def towards(self, xy: Floats, heading: Floats) -> Floats:
        """How far n devices look towards the nodes, (n, nodes): 1 straight at it, -1 away from it."""
        dx, dy, distance = self._away(xy)
        towards: Floats = (dx * np.cos(heading)[:, None] + dy * np.sin(heading)[:, None]) / distance
        return towards

    def _away(self, xy: Floats) -> tuple[Floats, Floats, Floats]:
        dx = self._xyz[None, :, 0] - xy[:, 0, None]
        dy = self._xyz[None, :, 1] - xy[:, 1, None]
        dz = self._xyz[None, :, 2] - self._radio.carried_z_m
        distance: Floats = np.sqrt(dx * dx + dy * dy + dz * dz)
        np.maximum(distance, NEAREST_M, out=distance)
        return dx, dy, distance

    def _cell(self, xy: Floats) -> npt.NDArray[np.int64]:
        column = np.clip(np.rint(xy[:, 0] / CELL_M), 0, self._nx - 1)
        row = np.clip(np.rint(xy[:, 1] / CELL_M), 0, self._ny - 1)
        cell: npt.NDArray[np.int64] = (row * self._nx + column).astype(np.int64)
        return cell

    def _field(self, rng: np.random.Generator) -> Floats:
        """A stationary Gaussian field over the floor by random Fourier features.

        Frequencies of an exponential covariance in the plane are bivariate Cauchy: normal over |normal|.
        """
        waves = rng.normal(size=(2, FEATURES)) / np.abs(rng.normal(size=FEATURES)) / self._radio.shadow_length_m
        phase = rng.uniform(0, 2 * np.pi, FEATURES)
        # cos(a + b) = cos a cos b - sin a sin b: one cosine a column and a row instead of one a cell.
        across = np.outer(np.arange(self._nx) * CELL_M, waves[0]) + phase
        along = np.outer(np.arange(self._ny) * CELL_M, waves[1])
        scale = self._radio.shadow_sd_db * np.sqrt(2 / FEATURES)
        waves_here = np.einsum("yf,xf->yx", np.cos(along), np.cos(across))
        waves_here -= np.einsum("yf,xf->yx", np.sin(along), np.sin(across))
        field: Floats = scale * waves_here.ravel()
        return field
