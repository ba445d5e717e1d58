"""How far the cloud's own positions of the walking beacons are from the truth in the recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cli.replay.recording import Truth, Walk

Points = Sequence[tuple[int, float, float, float]]
"""t_us, x_m, y_m, spread_m: as GET /v1/stores/{store}/tracks gives them."""


@dataclass(frozen=True, slots=True)
class TrackError:
    """Distances in x, y between positions and truth at the same instants, metres; None without a position."""

    mean_m: float | None
    median_m: float | None
    n: int
    per_track: Mapping[str, float]
    """Mean of each track that got a position."""


def track_error(walks: Sequence[Walk], tracks: Mapping[str, Points]) -> TrackError:
    """Compare the tracks that the cloud tells with the walks that were played, both by label."""
    found = {
        walk.label: _distances(walk.truth, tracks[walk.label])
        for walk in walks
        if walk.truth is not None and tracks.get(walk.label)
    }
    together = np.concatenate(list(found.values())) if found else np.empty(0)
    if not together.size:
        return TrackError(None, None, 0, {})
    return TrackError(
        mean_m=round(float(together.mean()), 3),
        median_m=round(float(np.median(together)), 3),
        n=int(together.size),
        per_track={label: round(float(distances.mean()), 3) for label, distances in found.items()},
    )


def _distances(truth: Truth, points: Points) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    at_us = np.array([point[0] for point in points], np.int64)
    told = np.array([point[1:3] for point in points], float)
    return np.asarray(np.hypot(*(told - truth.at(at_us)).T), np.float64)
