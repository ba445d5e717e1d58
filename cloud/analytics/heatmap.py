"""The heatmap of a span of time: five-minute grids summed, then brought above the k-floor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import Connection

from cloud import db
from cloud.analytics.kfloor import K_COUNT, merge_upward
from cloud.errors import NotFound

sql = db.statements("cloud.analytics")


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Seconds of presence in each cell, shape (ny, nx), row 0 at y = 0."""

    seconds: npt.NDArray[np.float32]
    cell_m: float
    visits: int
    """Visits in the busiest cell: at least so many are in the map. 0 where the map is suppressed."""
    suppressed: bool
    begins_us: int | None
    """The floor's first bucket of all time; None while there is none."""


def heatmap(conn: Connection[Any], tenant: str, store: str, floor: str, from_us: int, to_us: int) -> Heatmap:
    """Whole buckets that begin in [from_us, to_us). Raises NotFound."""
    key = {"tenant": tenant, "store": store, "floor": floor}
    row = conn.execute(sql.floor, key).fetchone()
    if row is None:
        raise NotFound(f"store {store!r} has no floor {floor!r}")
    width_m, depth_m, cell_m = row
    nx, ny = int(np.ceil(width_m / cell_m)), int(np.ceil(depth_m / cell_m))
    seconds, visits = np.zeros((ny, nx), np.float32), np.zeros((ny, nx), np.float32)
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(sql.heat, key | {"from_us": from_us, "to_us": to_us}).fetchall()
    for bucket_nx, bucket_ny, bucket_seconds, bucket_visits in rows:
        if (bucket_nx, bucket_ny) == (nx, ny):  # a bucket from before the floor was measured anew has another grid
            seconds += np.frombuffer(bucket_seconds, "<f4").reshape(ny, nx)
            visits += np.frombuffer(bucket_visits, "<f4").reshape(ny, nx)
    busiest = int(visits.max(initial=0))
    suppressed = 0 < busiest < K_COUNT
    shown = np.zeros_like(seconds) if suppressed else merge_upward(seconds, visits)
    begins = conn.execute(sql.heat_begins, key).fetchone()
    return Heatmap(shown, cell_m, 0 if suppressed else busiest, suppressed, begins[0] if begins else None)
