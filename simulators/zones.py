"""Where piecewise linear paths are inside a polygon: the exact instants of entry and exit."""

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


def intervals(
    polygon: Sequence[tuple[float, float]], bounds: Ints, t: Ints, x: Floats, y: Floats
) -> tuple[Ints, Ints, Ints]:
    """When paths are inside a polygon: path, entry and exit, by path and then time.

    Path i has the knots `bounds[i]` up to `bounds[i + 1]`; `t` rises over all knots, from path to path too.
    Every leg is cut where it crosses an edge; the middle of each piece then tells for the whole piece.
    """
    leg = np.ones(len(t), bool)
    leg[bounds[1:] - 1] = False  # from the last knot of a path no leg leads on
    corners = np.asarray(polygon, float)
    low, high = corners.min(axis=0), corners.max(axis=0)
    touches = leg[:-1] & (np.maximum(x[:-1], x[1:]) >= low[0]) & (np.minimum(x[:-1], x[1:]) <= high[0])
    touches &= (np.maximum(y[:-1], y[1:]) >= low[1]) & (np.minimum(y[:-1], y[1:]) <= high[1])
    legs = np.flatnonzero(touches)
    x0, y0, dx, dy = x[legs], y[legs], x[legs + 1] - x[legs], y[legs + 1] - y[legs]
    cuts = [t]
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        cross = dx * ey - dy * ex
        crossing = np.abs(cross) > 1e-12
        safe = np.where(crossing, cross, 1.0)
        along_leg = ((ax - x0) * ey - (ay - y0) * ex) / safe
        along_edge = ((ax - x0) * dy - (ay - y0) * dx) / safe
        hit = crossing & (along_leg > 0) & (along_leg < 1) & (along_edge >= 0) & (along_edge <= 1)
        cut = legs[hit]
        cuts.append((t[cut] + along_leg[hit] * (t[cut + 1] - t[cut])).astype(np.int64))
    times = np.sort(np.concatenate(cuts))
    times = times[np.diff(times, prepend=times[0] - 1) > 0]
    knot = np.searchsorted(t, times[:-1], side="right") - 1
    part = ((times[:-1] + times[1:]) / 2 - t[knot]) / (t[knot + 1] - t[knot])
    middle_x = x[knot] + part * (x[knot + 1] - x[knot])
    middle_y = y[knot] + part * (y[knot + 1] - y[knot])
    within = touches[knot] & inside(polygon, middle_x, middle_y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], within, [False]]).astype(np.int8)))
    enters, exits = times[edges[::2]], times[edges[1::2]]
    return np.searchsorted(t[bounds[:-1]], enters, side="right") - 1, enters, exits
