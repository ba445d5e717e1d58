"""Three plain ways to guess a position from one window, measured beside the locator so that its gain is seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cli.evaluate.radio_recordings import Floats, Sensors, Survey

UNHEARD_DBM = -100.0
NEIGHBOURS = 5
MIN_PACKETS = 6

Guess = Callable[[Floats], Floats]  # mean RSSI by sensor (N,), nan where unheard -> (2,)


def baselines(survey: Survey, sensors: Sensors) -> dict[str, Guess]:
    """nearest sensor, centroid weighted by amplitude, and the 5 survey points nearest in signal."""
    places = sensors.positions[:, :2]
    fingerprints = np.where(survey.packets >= MIN_PACKETS, survey.mean_dbm, UNHEARD_DBM)

    def nearest(levels: Floats) -> Floats:
        place: Floats = places[np.nanargmax(levels)]
        return place

    def centroid(levels: Floats) -> Floats:
        weights = np.where(np.isnan(levels), 0.0, 10 ** ((levels - UNHEARD_DBM) / 20))
        mean: Floats = weights @ places / weights.sum()
        return mean

    def knn(levels: Floats) -> Floats:
        heard = ~np.isnan(levels)
        apart = np.sqrt(((fingerprints[:, heard] - levels[heard]) ** 2).mean(axis=1))
        closest = np.argsort(apart)[:NEIGHBOURS]
        weights = 1 / np.maximum(apart[closest], 1e-6) ** 2
        mean: Floats = weights @ survey.points[closest] / weights.sum()
        return mean

    return {"nearest": nearest, "centroid": centroid, "knn": knn}
