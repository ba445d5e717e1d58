"""The radio map: what each node of a store is expected to hear from every cell of its floor."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from cloud.locate.shadowing import Fit, fit_survey, log_distance_basis

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

FORMAT = 1
# One packet at a fixed place: fading over the three advertising channels and a few centimetres of place (survey of a
# 20 m hall: 3.2 dB over time, 3.1 dB over place; log-distance fits of the same kind: 4.5 to 5.4 dB in all).
PACKET_SD_DB = 4.5
# Shadowing that a log-distance law knows nothing of: it misses survey points by 3.8 dB, of which 2.8 dB are fading of
# the point itself and already in PACKET_SD_DB.
PATH_LOSS_SD_DB = 2.6
# A receiver of a Pi or an ESP32 hears half of the packets at about this level, with a soft edge.
SENSITIVITY_DBM = -95.0
SENSITIVITY_SLOPE_DB = 3.0
CLEAR_CHANNEL_SHARE = 0.95  # the best a scanner does: collisions and scan gaps cost the rest


@dataclass(frozen=True, slots=True)
class Grid:
    """Square cells over a floor; cell index = row * nx + column, rows along y, both from the origin (a corner)."""

    origin: tuple[float, float]
    cell_m: float
    nx: int
    ny: int

    @classmethod
    def covering(cls, low: tuple[float, float], high: tuple[float, float], cell_m: float) -> Self:
        """The smallest grid from corner `low` that holds corner `high`."""
        nx, ny = (max(1, int(np.ceil((b - a) / cell_m - 1e-9))) for a, b in zip(low, high, strict=True))
        return cls((float(low[0]), float(low[1])), cell_m, nx, ny)

    @property
    def cells(self) -> int:
        return self.nx * self.ny

    @property
    def centres(self) -> Floats:
        """Middle of every cell, (G, 2) in metres."""
        x = self.origin[0] + (np.arange(self.nx) + 0.5) * self.cell_m
        y = self.origin[1] + (np.arange(self.ny) + 0.5) * self.cell_m
        return np.column_stack([np.tile(x, self.ny), np.repeat(y, self.nx)])

    def cell_of(self, xy: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Index of the cell that holds each point (…, 2); a point off the floor gets the nearest cell."""
        column, row = np.moveaxis(np.floor((np.asarray(xy, float) - self.origin) / self.cell_m), -1, 0)
        index = np.clip(row, 0, self.ny - 1) * self.nx + np.clip(column, 0, self.nx - 1)
        return np.asarray(index, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class RadioMap:
    """Expected RSSI of N nodes over the G cells of a grid, and how far to trust it."""

    grid: Grid
    mean_dbm: Singles  # (N, G)
    sd_db: Singles  # (N, G) or (N,): spread of one packet around the true mean of its place; averages out over packets
    map_sd_db: Singles | None = None  # (N, G): doubt about the mean itself; does not average out while one stays there
    heard: Singles | None = None  # (N, G): probability that a 1 s window holds at least one packet
    nodes_xy: Floats | None = None  # (N, 2) metres: on which side of a body a node is

    def __post_init__(self) -> None:
        nodes, cells = self.mean_dbm.shape
        if cells != self.grid.cells:
            raise ValueError(f"mean_dbm has {cells} cells, its grid {self.grid.cells}")
        if self.sd_db.shape not in ((nodes,), (nodes, cells)):
            raise ValueError(f"sd_db has shape {self.sd_db.shape}, expected {(nodes,)} or {(nodes, cells)}")
        for name, table in (("map_sd_db", self.map_sd_db), ("heard", self.heard)):
            if table is not None and table.shape != (nodes, cells):
                raise ValueError(f"{name} has shape {table.shape}, expected {(nodes, cells)}")
        if self.nodes_xy is not None and self.nodes_xy.shape != (nodes, 2):
            raise ValueError(f"nodes_xy has shape {self.nodes_xy.shape}, expected {(nodes, 2)}")

    @property
    def nodes(self) -> int:
        return int(self.mean_dbm.shape[0])

    @classmethod
    def from_survey(
        cls,
        grid: Grid,
        node_positions: npt.ArrayLike,
        points_xy: npt.ArrayLike,
        mean_dbm: npt.ArrayLike,
        sd: npt.ArrayLike,
        n: npt.ArrayLike,
        *,
        device_height_m: float = 1.0,
    ) -> Self:
        """Fit a map to a walk-through of the store with a beacon.

        `node_positions` (N, 3) and `points_xy` (P, 2) in metres; `mean_dbm`, `sd`, `n` (P, N) of the packets each node
        heard at each point, nan where it heard none. A node heard nowhere keeps the path loss of the others' kind, with
        wide doubt. Raises ValueError for shapes that do not belong together or a survey in which nothing was heard.
        """
        positions, points = np.asarray(node_positions, float), np.asarray(points_xy, float)
        mean, spread, packets = (np.asarray(table, float) for table in (mean_dbm, sd, n))
        expected = (len(points), len(positions))
        for name, table in (("mean_dbm", mean), ("sd", spread), ("n", packets)):
            if table.shape != expected:
                raise ValueError(f"survey {name} has shape {table.shape}, expected {expected} (points, nodes)")
        fit = fit_survey(positions, points, mean, spread, packets, device_height_m)
        level, doubt = fit.predict(grid.centres)
        return cls(
            grid=grid,
            mean_dbm=level.astype(np.float32),
            sd_db=fit.packet_sd_db.astype(np.float32),
            map_sd_db=doubt.astype(np.float32),
            heard=_heard_of(fit, level, mean, packets),
            nodes_xy=positions[:, :2],
        )

    @classmethod
    def from_path_loss(
        cls,
        grid: Grid,
        node_positions: npt.ArrayLike,
        rssi_1m: float = -61.0,
        exponent: float = 1.6,
        device_height_m: float = 1.0,
    ) -> Self:
        """A map for a store without a survey: RSSI = rssi_1m - 10 exponent log10(distance in 3D).

        The default figures are a fit of 12 Raspberry Pi receivers in one hall (Danis et al. 2022: -61.0 dBm, 1.53).
        """
        positions = np.asarray(node_positions, float)
        law = np.array([rssi_1m, exponent])
        level = np.stack([log_distance_basis(grid.centres, p, device_height_m) @ law for p in positions])
        return cls(
            grid=grid,
            mean_dbm=level.astype(np.float32),
            sd_db=np.full(len(positions), PACKET_SD_DB, np.float32),
            map_sd_db=np.full(level.shape, PATH_LOSS_SD_DB, np.float32),
            heard=_window_share(CLEAR_CHANNEL_SHARE * _reception(level)).astype(np.float32),
            nodes_xy=positions[:, :2],
        )

    def to_bytes(self) -> bytes:
        """The map as an npz archive."""
        shape = np.array([*self.grid.origin, self.grid.cell_m, self.grid.nx, self.grid.ny])
        nothing = np.empty(0, np.float32)
        out = io.BytesIO()
        np.savez_compressed(
            out,
            format=np.array(FORMAT),
            grid=shape,
            mean_dbm=self.mean_dbm,
            sd_db=self.sd_db,
            map_sd_db=nothing if self.map_sd_db is None else self.map_sd_db,
            heard=nothing if self.heard is None else self.heard,
            nodes_xy=nothing if self.nodes_xy is None else self.nodes_xy,
        )
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The map that `to_bytes` wrote; ValueError if it is of another format."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            if "format" not in archive or int(archive["format"]) != FORMAT:
                raise ValueError("not a radio map of this format")
            x, y, cell_m, nx, ny = archive["grid"].tolist()
            mean, sd, doubt, heard = (archive[name] for name in ("mean_dbm", "sd_db", "map_sd_db", "heard"))
            nodes_xy = archive["nodes_xy"] if "nodes_xy" in archive else np.empty(0)  # maps of before 1.0 lack it
        return cls(
            grid=Grid((x, y), cell_m, int(nx), int(ny)),
            mean_dbm=mean,
            sd_db=sd,
            map_sd_db=doubt if doubt.size else None,
            heard=heard if heard.size else None,
            nodes_xy=nodes_xy if nodes_xy.size else None,
        )


def _reception(level_dbm: Floats) -> Floats:
    share: Floats = 1.0 / (1.0 + np.exp((SENSITIVITY_DBM - level_dbm) / SENSITIVITY_SLOPE_DB))
    return share


def _window_share(packet_share: Floats) -> Floats:
    """Probability of at least one packet in 1 s of a device that advertises twice a second (slow tags do)."""
    return np.clip(1.0 - (1.0 - packet_share) ** 2, 0.02, 0.98)


def _heard_of(fit: Fit, level: Floats, mean: Floats, packets: Floats) -> Singles:
    """Packets of a node against the best node at the same point, binned by expected level, are its reception curve."""
    best = packets.max(axis=1, keepdims=True)
    share = np.where(best > 0, packets / np.maximum(best, 1), np.nan)
    expected = np.where(np.isnan(mean), fit.predict(fit.points)[0].T, mean)
    edges = np.arange(-110.0, -30.0, 5.0)
    bin_of = np.digitize(expected, edges)
    # Half of a pseudo count of ten sits on the sensitivity curve, so that a level nobody surveyed has a value too.
    curve = np.empty(len(edges) + 1)
    for b in range(len(curve)):
        here = share[(bin_of == b) & ~np.isnan(share)]
        prior = CLEAR_CHANNEL_SHARE * float(_reception(np.array(edges[0] - 2.5 + 5.0 * b)))
        curve[b] = (here.sum() + 10.0 * prior) / (len(here) + 10.0)
    middles = np.concatenate([edges - 2.5, edges[-1:] + 2.5])
    return _window_share(np.interp(level, middles, curve)).astype(np.float32)
