"""No figure about fewer than k people: a count of a few is told as "fewer than k" (grids: release.py)."""

from dataclasses import dataclass

K_COUNT = 5


@dataclass(frozen=True, slots=True)
class Floored:
    """A count that may be told, or the k that it is less than."""

    n: int | None
    less_than: int | None


def floored(count: int, k: int = K_COUNT) -> Floored:
    """Zero is nobody and may be said."""
    return Floored(None, k) if 0 < count < k else Floored(count, None)
