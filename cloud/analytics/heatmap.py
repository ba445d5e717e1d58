"""The heatmap of a span of time, from what was told of its days and of nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from psycopg import Connection

from cloud import db
from cloud.analytics.release import Tiling
from cloud.errors import NotFound

sql = db.statements("cloud.analytics")

Layer = Literal["presence", "stops", "dwell"]
Grid = npt.NDArray[np.float32]

HOUR_US = 3_600_000_000
UNITS: dict[Layer, str] = {"presence": "s", "stops": "visits", "dwell": "s"}


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A value for each cell, shape (ny, nx), row 0 at y = 0."""

    values: Grid
    cell_m: float
    suppressed: bool
    """Nothing is shown though somebody may have been there: too few, or not told yet."""
    begins_us: int | None
    """The floor's first hour of all time; None while there is none."""
    told_until_us: int | None
    """Where the last hour ends that is told."""


def heatmap(
    conn: Connection[Any],
    tenant: str,
    store: str,
    floor: str,
    from_us: int,
    to_us: int,
    layer: Layer = "presence",
    zoom: int = 0,
) -> Heatmap:
    """Whole hours of the local day that begin in [from_us, to_us); of stops and dwell whole days. Raises NotFound.

    Each step of zoom joins two by two cells. Dwell is the mean of a person's day in a tile, whatever the zoom.
    """
    key: dict[str, Any] = {"tenant": tenant, "store": store, "floor": floor}
    row = conn.execute(sql.floor, key).fetchone()
    if row is None:
        raise NotFound(f"store {store!r} has no floor {floor!r}")
    width_m, depth_m, cell_m = row
    nx, ny = int(np.ceil(width_m / cell_m)), int(np.ceil(depth_m / cell_m))
    key |= {"from_us": from_us, "to_us": to_us}
    nx, ny, cell_m = conn.execute(sql.told_grid, key).fetchone() or (nx, ny, cell_m)
    values, waiting = _LAYERS[layer](conn, key, Tiling.of(nx, ny, cell_m))
    since = conn.execute(sql.told_since, key).fetchone() or (None, None)
    zoomed = _zoomed(values.astype(np.float32), zoom, mean=layer == "dwell")
    return Heatmap(zoomed, cell_m * 2**zoom, waiting and not values.any(), *since)


def _presence(conn: Connection[Any], key: dict[str, Any], tiling: Tiling) -> tuple[Grid, bool]:
    """Seconds. Of a part of a day that is over: each tile's day, in the share that its hours have in the part."""
    values, waiting = _days(conn, key, tiling, sql.told_days)
    of_cell = tiling.block(np.arange(tiling.nx * tiling.ny), tiling.level)
    tile_cells = np.maximum(tiling.cells(tiling.level), 1)
    with conn.cursor(binary=True) as cursor:
        parts = cursor.execute(sql.told_parts, key).fetchall()
    for nx, ny, begins_us, by_hour, day in parts:
        if (nx, ny) != (tiling.nx, tiling.ny):
            continue
        hours = np.frombuffer(by_hour, "<f4").reshape(-1, tile_cells.size)
        begins = begins_us + np.arange(len(hours)) * HOUR_US
        within = hours[(begins >= key["from_us"]) & (begins < key["to_us"])].sum(axis=0, dtype=float)
        if day is None:
            values += (within / tile_cells)[of_cell].reshape(ny, nx).astype(np.float32)
            waiting = True
        else:
            whole = hours.sum(axis=0, dtype=float)
            # What was pooled with other tiles has no hours of its own: it takes the floor's.
            floor = within.sum() / max(whole.sum(), 1e-9)
            share = np.where(whole > 0, within / np.maximum(whole, 1e-9), floor)
            values += np.frombuffer(day, "<f4").reshape(ny, nx) * share[of_cell].reshape(ny, nx).astype(np.float32)
            waiting |= not day
    return values, waiting


def _stops(conn: Connection[Any], key: dict[str, Any], tiling: Tiling) -> tuple[Grid, bool]:
    return _days(conn, key, tiling, sql.told_stops)


def _dwell(conn: Connection[Any], key: dict[str, Any], tiling: Tiling) -> tuple[Grid, bool]:
    tiles = tiling.width(tiling.level) ** 2
    seconds, people = np.zeros(tiles), np.zeros(tiles)
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(sql.told_people, key).fetchall()
    for nx, ny, by_hour, told in rows:
        if (nx, ny) == (tiling.nx, tiling.ny):
            here = np.frombuffer(told, "<f4")
            people += here
            seconds += np.where(here > 0, np.frombuffer(by_hour, "<f4").reshape(-1, tiles).sum(axis=0), 0)
    mean = np.divide(seconds, people, out=np.zeros(tiles), where=people > 0)
    of_cell = tiling.block(np.arange(tiling.nx * tiling.ny), tiling.level)
    return mean[of_cell].reshape(tiling.ny, tiling.nx).astype(np.float32), bool(rows)


_LAYERS: dict[Layer, Callable[[Connection[Any], dict[str, Any], Tiling], tuple[Grid, bool]]] = {
    "presence": _presence,
    "stops": _stops,
    "dwell": _dwell,
}


def _days(conn: Connection[Any], key: dict[str, Any], tiling: Tiling, statement: Any) -> tuple[Grid, bool]:
    """The sum of whole days, and whether there were any: their grids may be empty for want of people."""
    values = np.zeros((tiling.ny, tiling.nx), np.float32)
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(statement, key).fetchall()
    for nx, ny, day in rows:
        if (nx, ny) == (tiling.nx, tiling.ny):  # a day from before the floor was measured anew has another grid
            values += np.frombuffer(day, "<f4").reshape(ny, nx)
    return values, bool(rows)


def _zoomed(values: Grid, zoom: int, *, mean: bool) -> Grid:
    """Blocks of 2**zoom by 2**zoom cells from the floor's corner: their sums, or means of what is not empty."""
    if zoom == 0:
        return values
    edge, (ny, nx) = 1 << zoom, values.shape
    rows, columns = np.arange(0, ny, edge), np.arange(0, nx, edge)
    total: Grid = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    if not mean:
        return total
    filled = np.add.reduceat(np.add.reduceat((values > 0).astype(np.float32), rows, axis=0), columns, axis=1)
    return np.divide(total, filled, out=np.zeros_like(total), where=filled > 0)
