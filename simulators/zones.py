"""Where a piecewise linear path is inside a polygon: the exact instants of entry and exit."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def inside(polygon: Sequence[tuple[float, float]], x: Floats, y: Floats) -> npt.NDArray[np.bool_]:
    """Which points lie in a polygon, by the crossing number."""
    result = np.zeros(x.shape, bool)
    corners = np.asarray(polygon, float)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        between = (y0 > y) != (y1 > y)
        result ^= between & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return result


def intervals(polygon: Sequence[tuple[float, float]], t_us: Ints, x: Floats, y: Floats) -> list[tuple[int, int]]:
    """When a path (knots t_us, x, y) is inside a polygon: [(enter_us, exit_us), …] in time order.

    Every leg is cut where it crosses an edge; the middle of each piece then tells for the whole piece.
    """
    cuts = [t_us]
    corners = np.asarray(polygon, float)
    if not _may_touch(corners, x, y):
        return []
    x0, y0, dx, dy = x[:-1], y[:-1], np.diff(x), np.diff(y)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        cross = dx * ey - dy * ex
        crossing = np.abs(cross) > 1e-12
        safe = np.where(crossing, cross, 1.0)
        along_leg = ((ax - x0) * ey - (ay - y0) * ex) / safe
        along_edge = ((ax - x0) * dy - (ay - y0) * dx) / safe
        hit = crossing & (along_leg > 0) & (along_leg < 1) & (along_edge >= 0) & (along_edge <= 1)
        legs = np.flatnonzero(hit)
        cuts.append((t_us[legs] + along_leg[legs] * (t_us[legs + 1] - t_us[legs])).astype(np.int64))
    times = np.unique(np.concatenate(cuts))
    middle = (times[:-1] + times[1:]) / 2
    within = inside(polygon, np.interp(middle, t_us, x), np.interp(middle, t_us, y))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], within, [False]]).astype(np.int8)))
    return [(int(times[start]), int(times[end])) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _may_touch(corners: Floats, x: Floats, y: Floats) -> bool:
    low, high = corners.min(axis=0), corners.max(axis=0)
    return bool(x.max() >= low[0] and x.min() <= high[0] and y.max() >= low[1] and y.min() <= high[1])
