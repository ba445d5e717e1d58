"""No figure about fewer than k people: counts are told as "fewer than k", grids merge upward until k are inside."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

K_COUNT = 5

Grid = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Floored:
    """A count that may be told, or the k that it is less than."""

    n: int | None
    less_than: int | None


def floored(count: int, k: int = K_COUNT) -> Floored:
    """Zero is nobody and may be said."""
    return Floored(None, k) if 0 < count < k else Floored(count, None)


def merge_upward(seconds: Grid, visits: Grid, k: int = K_COUNT) -> Grid:
    """Seconds a cell, shape (ny, nx), where each block that fewer than k visits entered is shown as its parent's mean.

    A quadtree on a fixed grid: a block of 2ˡ × 2ˡ cells keeps its own detail only if each of its non-empty quarters
    was entered by at least k visits; otherwise it shows its mean. Since `visits` counts a visit once a cell, a block's
    count is the largest of its cells' counts: that many different visits at least. Blocks never overlap and the grid
    never moves, so two queries cannot be subtracted to single somebody out of a block.
    """
    ny, nx = seconds.shape
    size = 1 << max(int(np.ceil(np.log2(max(nx, ny, 1)))), 0)
    value, count, known = (np.zeros((size, size), np.float32) for _ in range(3))
    value[:ny, :nx], count[:ny, :nx], known[:ny, :nx] = seconds, visits, 1
    levels = [(value, count, known)]
    while levels[-1][0].shape[0] > 1:
        v, c, n = levels[-1]
        levels.append((_quarters(v).sum(0), _quarters(c).max(0), _quarters(n).sum(0)))
    top_v, top_c, top_n = levels[-1]
    mean = np.where(top_c >= k, top_v / np.maximum(top_n, 1), 0).astype(np.float32)
    splits = np.ones((1, 1), bool)
    for v, c, n in reversed(levels[:-1]):
        fine = np.where((c >= k) | (v == 0), 1, 0)
        # Every quarter may be shown by itself. Within a block that shows its mean nothing may: a quarter's own value
        # there would tell, by subtraction, what its siblings are.
        splits = (_quarters(fine.astype(np.float32)).min(0) > 0) & splits
        own = np.divide(v, n, out=np.zeros_like(v), where=n > 0)
        mean = np.where(_spread(splits), own, _spread(mean))
        splits = _spread(splits)
    return np.ascontiguousarray(mean[:ny, :nx], np.float32)


def _quarters(a: Grid) -> Grid:
    """The four children of each block, shape (4, h/2, w/2)."""
    return np.stack([a[0::2, 0::2], a[0::2, 1::2], a[1::2, 0::2], a[1::2, 1::2]])


def _spread(a: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Each block's value for its four children."""
    return a.repeat(2, 0).repeat(2, 1)
