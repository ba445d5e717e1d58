"""What windows say about places: the likelihood of every cell of the map, for a transmitter of unknown power."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cloud.locate.radiomap import RadioMap

Singles = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# Packets of one window beyond this many share their fading and tell nothing new.
MAX_PACKETS = 8
# Degrees of freedom of the Student t: a passer-by or a metal trolley in the way costs 10 to 20 dB now and then.
TAIL = 4.0
# The map's error is the same while a person stays within a few metres, so windows that follow each other within this
# time count it once, not each anew. Held-out survey points want more, simulated fast walkers less; flat from 2 to 6 s.
MAP_ERROR_S = 4.0
# A silent node is weak evidence: it may be busy, shadowed or out of luck, and silences come in runs.
SILENCE_WEIGHT = 0.25
LOG_EVERY = 8  # factors multiplied before a logarithm is taken, so that single precision cannot overflow


class Evidence:
    """Likelihoods under a map; what depends on the time step only is worked out once a step length."""

    def __init__(self, radio_map: RadioMap) -> None:
        self._map = radio_map
        self._precision: dict[float, tuple[Singles, ...]] = {}
        self._silence: dict[float, tuple[Singles, Singles]] = {}

    def log_likelihood(
        self, rssi: Singles, packets: Rows, offset_before: Singles, offset_var: Singles, dt_s: float
    ) -> tuple[Singles, Singles, Singles]:
        """Of windows (U, N): (U, G) log likelihood, the transmit offset that fits each cell best, and its precision.

        `offset_before` and `offset_var` (U,) are what is known of each device's offset, dB and dB squared.
        """
        precision, normaliser, weighted_mean, tail_scale = self._precision_for(dt_s)
        users, nodes = packets.shape
        heard_by, heard_node = np.nonzero(packets)
        slot = heard_node * MAX_PACKETS + packets[heard_by, heard_node] - 1
        pick = np.zeros((users, nodes * MAX_PACKETS), np.float32)
        pick[heard_by, slot] = 1.0
        level = np.zeros_like(pick)
        level[heard_by, slot] = rssi[heard_by, heard_node]
        prior: Singles = np.reciprocal(offset_var)[:, None]
        before = offset_before[:, None]
        # The common offset of a device is solved for in every cell, between its prior and this window's residuals.
        certainty = pick @ precision
        offset: Singles = (level @ precision - pick @ weighted_mean + before * prior) / (certainty + prior)
        result: Singles = pick @ normaliser - prior * np.square(offset - before) / 2
        tails, gap, scale = np.ones_like(result), np.empty_like(result), np.empty_like(result)
        for j in range(nodes):
            if packets[:, j].any():
                np.subtract(rssi[:, j, None], self._map.mean_dbm[j], out=gap)
                gap -= offset
                gap *= gap
                np.take(tail_scale, np.where(packets[:, j] > 0, j * MAX_PACKETS + packets[:, j], 0), axis=0, out=scale)
                gap *= scale
                gap += 1.0
                tails *= gap
            if (j + 1) % LOG_EVERY == 0 or j + 1 == nodes:
                result -= (TAIL + 1) / 2 * np.log(tails)
                tails.fill(1.0)
        return result, offset, certainty

    def silence(self, heard: npt.NDArray[np.bool_], alive: npt.NDArray[np.bool_], dt_s: float) -> Singles | None:
        """(U, G) log likelihood of which live nodes heard each device (U, N); None if the map does not know."""
        if self._map.heard is None:
            return None
        spoke, silent = self._silence_for(dt_s, self._map.heard)
        result: Singles = (heard & alive).astype(np.float32) @ spoke
        result += (~heard & alive).astype(np.float32) @ silent
        return result

    def _silence_for(self, dt_s: float, in_1s: Singles) -> tuple[Singles, Singles]:
        """Weakened log probability that a node hears a device in dt_s, and that it does not; each (N, G)."""
        if dt_s not in self._silence:
            chance = np.clip(1.0 - (1.0 - in_1s) ** dt_s, 0.02, 0.98)
            weight = np.float32(SILENCE_WEIGHT)
            self._silence[dt_s] = (weight * np.log(chance), weight * np.log(1.0 - chance))
        return self._silence[dt_s]

    def _precision_for(self, dt_s: float) -> tuple[Singles, ...]:
        """By (node × packets in the window): precision, log normaliser, precision × mean; each (N · MAX_PACKETS, G).

        Last the precision / TAIL once more, below a row of zeros for a node that heard nothing.

        A window's variance is packet noise / n plus the map's. The map's error is shared by `windows` windows in a
        row, so each gets windows × map variance: their sum then counts it once. That would also let an uncertain cell
        excuse the scatter between the windows, hence a normaliser of the joint density, not of the single one:
        -log(q) / 2 windows + (windows - 1) / (2 windows q), q = total / packet variance.
        """
        if dt_s not in self._precision:
            windows = max(1.0, MAP_ERROR_S / dt_s)
            sd = self._map.sd_db if self._map.sd_db.ndim == 2 else self._map.sd_db[:, None]
            packet_var = sd[:, None] ** 2 / np.arange(1, MAX_PACKETS + 1)[None, :, None]
            map_var = 0.0 if self._map.map_sd_db is None else self._map.map_sd_db[:, None] ** 2
            total = np.broadcast_to(
                packet_var + windows * map_var, (self._map.nodes, MAX_PACKETS, self._map.grid.cells)
            )
            q = total / packet_var
            normaliser = -0.5 * np.log(q) / windows + 0.5 * (windows - 1) / windows / q
            tables = (1.0 / total, normaliser, self._map.mean_dbm[:, None] / total)
            flat = [np.ascontiguousarray(t, np.float32).reshape(-1, self._map.grid.cells) for t in tables]
            unheard = np.zeros((1, self._map.grid.cells), np.float32)
            self._precision[dt_s] = (*flat, np.concatenate([unheard, flat[0] / TAIL]))
        return self._precision[dt_s]


def window_table(
    users: int,
    nodes: int,
    device: npt.NDArray[np.intp],
    node_index: npt.ArrayLike,
    rssi_dbm: npt.ArrayLike,
    n: npt.ArrayLike,
) -> tuple[Singles, Rows]:
    """Flat windows as (users, nodes) tables of mean RSSI and packets (0: not heard); twin windows are averaged."""
    node, packets = np.asarray(node_index, np.int64), np.asarray(n, np.float64)
    if node.size and (node.min() < 0 or node.max() >= nodes):
        raise ValueError(f"a window names a node outside 0..{nodes - 1}")
    cell = device.ravel() * nodes + node
    count = np.bincount(cell, packets, users * nodes)
    total = np.bincount(cell, packets * np.asarray(rssi_dbm, np.float64), users * nodes)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    counted = np.minimum(np.ceil(count), MAX_PACKETS).astype(np.int64)
    return mean.reshape(users, nodes).astype(np.float32), counted.reshape(users, nodes)
