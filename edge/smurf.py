"""How long a tag may go unread before it is gone: a window that adapts to how well the tag is read.

SMURF, per-tag cleaning: Jeffery, Garofalakis, Franklin, "Adaptive Cleaning for RFID Data Streams", VLDB 2006,
Algorithm 1. Reads are a random sample: a tag that answers in a share p of an epoch's rounds is expected to be seen
within ln(1/δ)/p epochs with probability 1-δ, so the window need be no longer; where too few are seen, it halves.

Three things are other than in the paper, each for fewer false departures or earlier true ones: the window begins as
long as it needs to be, not with 1; it grows only in epochs that saw the tag, for the few reads of the last epoch would
else stretch it after the tag has left; and only too few reads halve it, not too many.
"""

import math
from collections import deque

EPOCH_US = 1_000_000
DELTA = 0.05
"""The probability with which a tag that is there may be missed in a whole window (the paper's)."""


class AdaptiveWindow:
    """One tag's window, in epochs."""

    __slots__ = ("_first", "_seen", "size")

    def __init__(self) -> None:
        self._first = 0
        self._seen: deque[tuple[int, float]] = deque()
        self.size = 0

    def slide(self, epoch: int, rate: float) -> bool:
        """Ends an epoch in which the tag answered in that share of the rounds (0: not seen); whether it is there."""
        seen = self._seen
        if rate:
            seen.append((epoch, min(rate, 1.0)))
        while seen and self.size and seen[0][0] <= epoch - self.size:
            seen.popleft()
        if not seen:
            return False
        mean = sum(share for _, share in seen) / len(seen)
        needed = math.ceil(math.log(1 / DELTA) / mean)
        if not self.size:
            self._first, self.size = epoch, needed
        trials = min(self.size, epoch - self._first + 1)  # in epochs before it came it could not be seen
        if needed > self.size:
            if rate:
                self.size = min(self.size + 2, needed)
        elif trials * mean - len(seen) > 2 * math.sqrt(trials * mean * (1 - mean)):
            self.size = max(min(self.size // 2, needed), 1)
        return True
