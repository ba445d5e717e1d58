"""A Bayes filter over the floor grid, for all devices of a store at once: where each is, by all it was heard by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cloud.locate.body import Bodies, directions
from cloud.locate.evidence import Evidence, window_table
from cloud.locate.fingerprints import Fingerprints
from cloud.locate.motion import STATES, Motion
from cloud.locate.radiomap import RadioMap

Singles = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

# Transmit power against the surveyed beacon: one of the same kind; phones of any kind spread about 4 dB.
OFFSET_SD_DB = 1.0
# What one node hears of one device beyond the map: the body that carries it, its antenna's bearing. It changes as
# people turn, so it is forgotten. The same windows also taught the position, hence a quarter of their evidence only.
BIAS_SD_DB = 1.0
BIAS_BESIDE_BODY_SD_DB = 0.3  # where the body is estimated by itself little is left: chosen on simulated shoppers
BIAS_DRIFT_DB2_PER_S = 0.03
BIAS_EVIDENCE_SHARE = 0.25
# Devices × cells worked on at once: their tables then fit a core's cache, twice as fast as all at once.
CHUNK_CELLS = 16_384
# Belief and evidence that agree less than this have nothing in common: start over.
ASTRAY = 1e-20


class GridFilter:
    """Positions of D devices as probabilities over G cells × standing or one of eight headings.

    A device is a row: `add` hands out rows, `drop` takes them back, other rows stay where they are. Between two
    `predict` calls `update` weighs the windows heard since. Memory: 4 · 9 · G bytes a device.
    """

    def __init__(
        self,
        radio_map: RadioMap,
        *,
        walkable: npt.NDArray[np.bool_] | None = None,
        motion: Motion | None = None,
        offset_sd_db: float = OFFSET_SD_DB,
        fingerprints: Fingerprints | None = None,
        body_sd_db: float = 0.0,
    ) -> None:
        """`walkable` (G,) is false where nobody can be: shelves, walls, the outside.

        `fingerprints` are heeded instead of the map's law. `body_sd_db`: how much a body shadows what it carries (see
        `body`), 0 for a beacon in the open.
        """
        self._grid = radio_map.grid
        self._map = radio_map
        self._motion = motion or Motion()
        self._offset_sd = offset_sd_db
        self._centres = self._grid.centres.astype(np.float32)
        allowed = np.ones(self._grid.cells, bool) if walkable is None else np.asarray(walkable, bool)
        if allowed.shape != (self._grid.cells,) or not allowed.any():
            raise ValueError(f"walkable must have shape {(self._grid.cells,)} and a cell to stand on")
        self._prior = (allowed / allowed.sum() / STATES).astype(np.float32)  # (G,), the same for every state
        self._walled = not allowed.all()
        self._steps: dict[float, tuple[Singles, Singles, Singles]] = {}
        self._evidence = fingerprints or Evidence(radio_map)
        self._dt_s = 1.0
        self._chunk = max(1, CHUNK_CELLS // self._grid.cells)
        self._free: list[int] = []
        self._top = 0  # rows below it are in use or free, rows above were never used
        self._belief = np.empty((0, STATES, self._grid.cells), np.float32)
        self._offset = np.empty(0, np.float32)
        self._offset_var = np.empty(0, np.float32)
        self._bias = np.empty((0, radio_map.nodes), np.float32)
        self._bias_var = np.empty((0, radio_map.nodes), np.float32)
        self._packet_var = (radio_map.sd_db.reshape(radio_map.nodes, -1) ** 2).mean(axis=1)
        self._mean_square = radio_map.mean_dbm**2
        self._map_var = 0.0 if radio_map.map_sd_db is None else (radio_map.map_sd_db**2).mean(axis=1)
        self._bias_limit = (BIAS_BESIDE_BODY_SD_DB if body_sd_db > 0 else BIAS_SD_DB) ** 2
        self._bodies = Bodies(body_sd_db)
        turned = radio_map.nodes_xy if body_sd_db > 0 else None
        self._towards = None if turned is None else directions(self._grid.centres, turned)

    # --- rows

    def add(self, k: int) -> Rows:
        """Start k devices anywhere on the floor; their rows (k,)."""
        reused = [self._free.pop() for _ in range(min(k, len(self._free)))]
        fresh = range(self._top, self._top + k - len(reused))
        self._top += len(fresh)
        if self._top > len(self._belief):
            self._grow(max(self._top, 2 * len(self._belief), 16))
        rows = np.array([*reused, *fresh], np.int64)
        self._belief[rows] = self._prior
        self._offset[rows] = 0.0
        self._offset_var[rows] = self._offset_sd**2
        self._bias[rows] = 0.0
        self._bias_var[rows] = self._bias_limit
        self._bodies.reset(rows)
        return rows

    def drop(self, rows: npt.ArrayLike) -> None:
        """Forget devices; their rows may be handed out again."""
        gone = np.unique(np.asarray(rows, np.int64))
        if gone.size and (gone[0] < 0 or gone[-1] >= self._top or not set(self._free).isdisjoint(gone.tolist())):
            raise ValueError("a row to drop is not in use")
        self._free.extend(gone.tolist())
        self._belief[gone] = self._prior  # an idle row stays a distribution, so no step needs to know it is idle
        if len(self._free) == self._top:
            self._free.clear()
            self._top = 0

    def _grow(self, capacity: int) -> None:
        for name in ("_belief", "_offset", "_offset_var", "_bias", "_bias_var"):
            old = getattr(self, name)
            new = np.zeros((capacity, *old.shape[1:]), np.float32)
            new[: len(old)] = old
            setattr(self, name, new)

    # --- time and evidence

    def predict(self, dt_s: float) -> None:
        """Let dt_s seconds pass: everyone may have stood, walked on, turned or stopped."""
        if dt_s <= 0:
            return
        self._dt_s = _rounded(dt_s)
        changes, along_y, along_x = self._steps_for(self._dt_s)
        drifted = self._bias_var[: self._top] + np.float32(BIAS_DRIFT_DB2_PER_S * self._dt_s)
        np.minimum(drifted, self._bias_limit, out=self._bias_var[: self._top])
        self._bodies.turn(self._dt_s)
        lost = np.float32(min(1.0, self._motion.lost_per_s * self._dt_s))
        mixed = np.empty((self._chunk, STATES, self._grid.ny, self._grid.nx), np.float32)
        moved = np.empty_like(mixed)
        for first in range(0, self._top, self._chunk):
            belief = self._belief[first : min(first + self._chunk, self._top)]
            k = len(belief)
            flat = mixed[:k].reshape(belief.shape)
            np.matmul(changes, belief, out=flat)
            np.matmul(along_y, mixed[:k], out=moved[:k])
            np.matmul(moved[:k], along_x, out=mixed[:k])
            flat += lost * self._prior
            if self._walled:
                flat *= self._prior > 0
            np.multiply(flat, 1.0 / flat.sum(axis=(1, 2), keepdims=True), out=belief)

    def update(
        self,
        device_rows: npt.ArrayLike,
        node_index: npt.ArrayLike,
        rssi_dbm: npt.ArrayLike,
        n: npt.ArrayLike,
        *,
        alive: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Weigh windows: flat arrays, one entry a device × node, the mean RSSI over n packets.

        `alive` (N,) marks the nodes that would have reported: their silence about a device that others heard is weak
        evidence. Without it silence means nothing.
        """
        rows, device = np.unique(np.asarray(device_rows, np.int64), return_inverse=True)
        if not rows.size:
            return
        if rows[0] < 0 or rows[-1] >= self._top:
            raise ValueError("a window names a row that is not in use")
        rssi, packets = window_table(len(rows), self._map.nodes, device, node_index, rssi_dbm, n)
        for first in range(0, len(rows), self._chunk):
            part = slice(first, first + self._chunk)
            self._weigh(rows[part], rssi[part], packets[part], alive)

    def _weigh(self, rows: Rows, rssi: Singles, packets: Rows, alive: npt.NDArray[np.bool_] | None) -> None:
        together = rows[-1] - rows[0] + 1 == len(rows)
        at = slice(int(rows[0]), int(rows[-1]) + 1) if together else rows  # a slice is worked on in place
        belief = self._belief[at]
        before = belief.sum(axis=1)
        if self._towards is not None:
            rssi = rssi - self._bodies.gain_db(rows, before @ self._towards.transpose(0, 2, 1))
        log_likelihood, offset, certainty = self._evidence.log_likelihood(
            rssi - self._bias[rows], packets, self._offset[rows], self._offset_var[rows], self._dt_s
        )
        if alive is not None:
            silence = self._evidence.silence(packets > 0, alive, self._dt_s)
            if silence is not None:
                log_likelihood += silence
        if self._walled:
            log_likelihood[:, self._prior == 0] = -np.inf
        log_likelihood -= log_likelihood.max(axis=1, keepdims=True)
        likelihood = np.exp(log_likelihood)
        where = before * likelihood
        total = where.sum(axis=1, keepdims=True)
        astray = total[:, 0] < ASTRAY
        if astray.any():
            belief[astray] = self._prior
            where[astray] = STATES * self._prior * likelihood[astray]
            total = where.sum(axis=1, keepdims=True)
        where /= total
        belief *= (likelihood / total)[:, None]
        if not together:
            self._belief[rows] = belief
        self._offset[rows] = (where * offset).sum(axis=1)
        self._offset_var[rows] = 1.0 / (1.0 / self._offset_var[rows] + (where * certainty).sum(axis=1))
        self._learn(rows, rssi, packets, where)

    def _learn(self, rows: Rows, rssi: Singles, packets: Rows, where: Singles) -> None:
        """Move bodies and each heard node's bias towards what windows leave unexplained at the places now believed.

        From `rssi` the body as it was known is taken off already.
        """
        expected = where @ self._map.mean_dbm.T
        doubt = np.maximum(where @ self._mean_square.T - expected**2, 0.0) + self._packet_var / np.maximum(packets, 1)
        unexplained = rssi - expected - self._offset[rows][:, None]
        if self._towards is not None:
            towards = where @ self._towards.transpose(0, 2, 1)
            beyond = unexplained - self._bias[rows] + self._bodies.gain_db(rows, towards)
            self._bodies.learn(rows, towards, beyond, (packets > 0) / (doubt + self._map_var))
        gain = self._bias_var[rows] / (self._bias_var[rows] + doubt / BIAS_EVIDENCE_SHARE) * (packets > 0)
        self._bias[rows] += gain * (unexplained - self._bias[rows])
        self._bias_var[rows] *= 1.0 - gain

    # --- answers

    @property
    def log_belief(self) -> Singles:
        """(D, G) log probability of each cell; rows not in use hold the prior."""
        with np.errstate(divide="ignore"):
            result: Singles = np.log(self.places())
        return result

    @property
    def offset_db(self) -> Singles:
        """(D,) how much louder than the surveyed beacon each device sends."""
        return self._offset[: self._top].copy()

    def estimates(self) -> tuple[Singles, Singles]:
        """Mean position (D, 2) and root mean square distance from it (D,), metres, by row."""
        where = self.places()
        mean = where @ self._centres
        square = where @ (self._centres**2).sum(axis=1) - (mean**2).sum(axis=1)
        return mean, np.sqrt(np.maximum(square, 0.0))

    def zone_probabilities(self, zone_masks: npt.NDArray[np.bool_]) -> Singles:
        """(D, Z) probability to be in each zone, given as cells (Z, G); zones may overlap."""
        return self.places() @ np.asarray(zone_masks, np.float32).T

    def places(self) -> Singles:
        """(D, G) probability of each cell; rows not in use hold the prior."""
        places: Singles = self._belief[: self._top].sum(axis=1)
        return places

    # --- tables that depend on the time step only

    def _steps_for(self, dt_s: float) -> tuple[Singles, Singles, Singles]:
        if dt_s not in self._steps:
            along_y, along_x = self._motion.steps(self._grid, dt_s)
            # As left factors of a product; contiguous, since only then the product is a fast one.
            changes, along_y = self._motion.state_changes(dt_s).T.copy(), along_y.transpose(0, 2, 1).copy()
            self._steps[dt_s] = (changes, along_y, along_x)
        return self._steps[dt_s]


def _rounded(dt_s: float) -> float:
    """To a quarter of a second up to 10 s, then to whole seconds up to a minute: few tables serve any jitter."""
    return max(0.25, round(dt_s * 4) / 4) if dt_s < 10 else float(min(60, round(dt_s)))
