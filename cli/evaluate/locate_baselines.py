"""Plain ways to guess a position from one window, measured beside the locator so that its gain is seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares

from cli.evaluate.radio_recordings import Floats, Sensors, Survey

UNHEARD_DBM = -100.0
LEVEL_SD_DB = 4.5
SCAN_NEIGHBOURS = 25
NEAREST_M = 0.5
USUAL_LAW = (-61.0, 1.6)
NEIGHBOURS = 5
MIN_PACKETS = 6

Guess = Callable[[Floats], Floats]  # mean RSSI by sensor (N,), nan where unheard -> (2,)


def baselines(survey: Survey, sensors: Sensors) -> dict[str, Guess]:
    """Strongest sensor, centroid weighted by amplitude, multilateration, and the 5 survey points nearest in signal."""
    fingerprints = np.where(survey.packets >= MIN_PACKETS, survey.mean_dbm, UNHEARD_DBM)
    enough = np.where(survey.packets >= MIN_PACKETS, survey.mean_dbm, np.nan)

    def knn(levels: Floats) -> Floats:
        heard = ~np.isnan(levels)
        apart = np.sqrt(((fingerprints[:, heard] - levels[heard]) ** 2).mean(axis=1))
        closest = np.argsort(apart)[:NEIGHBOURS]
        weights = 1 / np.maximum(apart[closest], 1e-6) ** 2
        mean: Floats = weights @ survey.points[closest] / weights.sum()
        return mean

    return _without_neighbours(survey.points, enough, sensors, survey.height_m) | {"knn": knn}


def scan_baselines(places: Floats, rssi_dbm: Floats, sensors: Sensors, height_m: float = 0.5) -> dict[str, Guess]:
    """The same for a survey of scans (S, N) at places (S, 2): the mean of the 25 nearest scans."""
    scans = np.nan_to_num(rssi_dbm, nan=UNHEARD_DBM)

    def knn(levels: Floats) -> Floats:
        apart = np.square(scans - np.nan_to_num(levels, nan=UNHEARD_DBM)).sum(axis=1)
        mean: Floats = places[np.argsort(apart)[:SCAN_NEIGHBOURS]].mean(axis=0)
        return mean

    return _without_neighbours(places, rssi_dbm, sensors, height_m) | {"knn": knn}


def _without_neighbours(places: Floats, levels_dbm: Floats, sensors: Sensors, height_m: float) -> dict[str, Guess]:
    """The methods that know of the survey (P, 2), (P, N) no more than a law of path loss a sensor."""
    anchors = sensors.positions[:, :2]
    laws = np.stack(
        [_law(places, column, at, height_m) for column, at in zip(levels_dbm.T, sensors.positions, strict=True)]
    )
    low, high = np.minimum(places.min(axis=0), anchors.min(axis=0)), np.maximum(places.max(axis=0), anchors.max(axis=0))

    def strongest(levels: Floats) -> Floats:
        place: Floats = anchors[np.nanargmax(levels)]
        return place

    def centroid(levels: Floats) -> Floats:
        weights = np.where(np.isnan(levels), 0.0, 10 ** ((levels - UNHEARD_DBM) / 20))
        mean: Floats = weights @ anchors / weights.sum()
        return mean

    def multilateration(levels: Floats) -> Floats:
        heard = ~np.isnan(levels)

        def misfit(xy: Floats) -> Floats:
            apart = np.sqrt(((xy - anchors[heard]) ** 2).sum(axis=1) + (height_m - sensors.positions[heard, 2]) ** 2)
            expected = laws[heard, 0] - laws[heard, 1] * 10 * np.log10(np.maximum(apart, NEAREST_M))
            result: Floats = (levels[heard] - expected) / LEVEL_SD_DB
            return result

        start = np.clip(centroid(levels), low + 1e-3, high - 1e-3)
        place: Floats = least_squares(misfit, start, bounds=(low, high), max_nfev=60).x
        return place

    return {"strongest": strongest, "centroid": centroid, "multilateration": multilateration}


def _law(places: Floats, levels: Floats, sensor: Floats, height_m: float) -> Floats:
    """(RSSI at 1 m, exponent) of one sensor by least squares; the usual ones if it was hardly heard."""
    known = np.isfinite(levels)
    if known.sum() < MIN_PACKETS:
        return np.array(USUAL_LAW)
    apart = np.sqrt(((places[known] - sensor[:2]) ** 2).sum(axis=1) + (height_m - sensor[2]) ** 2)
    basis = np.column_stack([np.ones(known.sum()), -10 * np.log10(np.maximum(apart, NEAREST_M))])
    law: Floats = np.linalg.lstsq(basis, levels[known], rcond=None)[0]
    return law
