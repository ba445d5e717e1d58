"""The difference of two shares with an interval that holds for small numbers too."""

from dataclasses import dataclass
from math import sqrt

Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Difference:
    """p1 − p2 and its confidence interval, as fractions."""

    value: float
    low: float
    high: float


def wilson(hits: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927)."""
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def newcombe(hits1: int, n1: int, hits2: int, n2: int, z: float = Z_95) -> Difference:
    """The difference of two independent shares, method 10 of Newcombe (1998), Statistics in Medicine 17:873-890.

    Raises ValueError for an empty group.
    """
    if not n1 or not n2:
        raise ValueError("both groups need a member")
    p1, p2 = hits1 / n1, hits2 / n2
    low1, high1 = wilson(hits1, n1, z)
    low2, high2 = wilson(hits2, n2, z)
    low = p1 - p2 - sqrt((p1 - low1) ** 2 + (high2 - p2) ** 2)
    high = p1 - p2 + sqrt((high1 - p1) ** 2 + (p2 - low2) ** 2)
    return Difference(p1 - p2, low, high)
