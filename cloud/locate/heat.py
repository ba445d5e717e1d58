"""Heat: how long people were in each cell, and how many visits came there, in buckets of five minutes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BUCKET_US = 300 * 1_000_000


@dataclass(slots=True)
class HeatBucket:
    """Five minutes of one floor, one entry a cell."""

    seconds: npt.NDArray[np.float32]
    visits: npt.NDArray[np.float32]
    """Visits that came to the cell for the first time: summed over buckets, nobody is counted twice."""
    positions: int = 0

    @classmethod
    def empty(cls, cells: int) -> "HeatBucket":
        return cls(np.zeros(cells, np.float32), np.zeros(cells, np.float32))

    @staticmethod
    def beginning(at_us: int) -> int:
        """The beginning of the bucket that an instant lies in; an instant on the edge ends the bucket before it."""
        return (at_us - 1) // BUCKET_US * BUCKET_US
