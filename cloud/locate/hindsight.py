"""When a zone was really entered: the beliefs of the last seconds, smoothed by what was learned since.

A filter lags: it believes in a step into a zone only after some windows from inside. Seconds later it knows better, and
the smoother of Rauch, Tung and Striebel (1965), here on a grid, takes that knowledge back in time:
    smoothed_t(x) = belief_t(x) · Σ_x' P(x'|x) smoothed_t+1(x') / predicted_t+1(x')
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cloud.locate.motion import Motion
from cloud.locate.radiomap import Grid

Singles = npt.NDArray[np.float32]

LOOK_BACK_US = 25 * 1_000_000


@dataclass(slots=True)
class Trail:
    """What was believed of one subject at each look of late, oldest first."""

    looks: deque[tuple[int, Singles]] = field(default_factory=deque)

    def add(self, at_us: int, belief: Singles) -> None:
        """Keep a belief (G,), and forget those too old to matter."""
        self.looks.append((at_us, belief))
        while self.looks[0][0] < at_us - LOOK_BACK_US:
            self.looks.popleft()


class Hindsight:
    """Smooths trails over one floor."""

    def __init__(self, grid: Grid, motion: Motion) -> None:
        self._grid = grid
        self._motion = motion
        self._kernels: dict[float, tuple[Singles, Singles, Singles]] = {}

    def entered_us(self, trail: Trail, zone: npt.NDArray[np.bool_], around_us: int) -> int:
        """When the subject that is in the zone (G,) now came in, told from its trail; `around_us` if it cannot be told.

        Back from the newest look, the last instant at which being inside became likelier than not, between two looks
        in proportion to the belief.
        """
        if len(trail.looks) < 2:
            return around_us
        times = [at_us for at_us, _ in trail.looks]
        inside = self._smoothed(trail.looks) @ zone.astype(np.float32)
        start = int(np.searchsorted(times, around_us))
        within = min(start, len(times) - 1)
        while within < len(times) - 1 and inside[within] < 0.5:
            within += 1
        while within > 0 and inside[within - 1] >= 0.5:
            within -= 1
        if within == 0 or inside[within] < 0.5:
            return around_us
        before, after = float(inside[within - 1]), float(inside[within])
        share = (0.5 - before) / (after - before)
        return times[within - 1] + int(share * (times[within] - times[within - 1]))

    def _smoothed(self, looks: Sequence[tuple[int, Singles]]) -> Singles:
        """The beliefs (K, G) given all that was heard until the last of them."""
        result = np.empty((len(looks), self._grid.cells), np.float32)
        result[-1] = looks[-1][1]
        for t in range(len(looks) - 2, -1, -1):
            dt_s = round((looks[t + 1][0] - looks[t][0]) / 1e6, 1)
            belief = looks[t][1]
            ratio = result[t + 1] / np.maximum(self._moved(belief, dt_s, forward=True), 1e-12)
            smoothed = belief * self._moved(ratio, dt_s, forward=False)
            result[t] = smoothed / max(float(smoothed.sum()), 1e-12)
        return result

    def _moved(self, field_: Singles, dt_s: float, *, forward: bool) -> Singles:
        """A field (G,) carried along by one step of people whose heading is not known, or back against it."""
        share, along_y, along_x = self._kernel(dt_s)
        plane = field_.reshape(self._grid.ny, self._grid.nx)
        if forward:
            moved = along_y.transpose(0, 2, 1) @ plane @ along_x
        else:
            moved = along_y @ plane @ along_x.transpose(0, 2, 1)
        total: Singles = (share[:, None, None] * moved).sum(axis=0).ravel()
        return total

    def _kernel(self, dt_s: float) -> tuple[Singles, Singles, Singles]:
        if dt_s not in self._kernels:
            changes = self._motion.state_changes(600.0)  # in the long run: how often people stand or walk each way
            self._kernels[dt_s] = (changes[0], *self._motion.steps(self._grid, dt_s))
        return self._kernels[dt_s]
