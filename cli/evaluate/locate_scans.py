"""The locator on recordings of scans, surveyed by moving about: each scan is placed by it and those before it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from cli.evaluate.locate_baselines import scan_baselines
from cli.evaluate.radio_recordings import Floats, Sensors
from cli.evaluate.scan_recordings import Scans, read_anchors, read_scans
from cloud.locate.filter import GridFilter
from cloud.locate.fingerprints import Fingerprints
from cloud.locate.motion import Motion
from cloud.locate.radiomap import Grid, RadioMap

CELL_M = 0.25
SPOT_M = 0.5  # scans of the survey so close to each other are one point of the law's map
CARRIED_M = 0.5
ROBOT = Motion(speed_m_s=0.4)
LOST_AFTER_S = 8.0  # a gap after which the carrier may be anywhere


def place_errors(
    survey: Path, sensors: Path, tracks: list[Path], window: int
) -> tuple[list[Floats], dict[str, list[Floats]]]:
    """Errors in metres of each track's scans, by the locator and by each plain method over `window` scans."""
    anchors = read_anchors(sensors)
    surveyed = read_scans(survey, anchors, surveyed=True)
    walks = [read_scans(path, anchors, surveyed=False) for path in tracks]
    radio_map, fingerprints = fit(surveyed, anchors)
    located = [walk.errors(follow(walk, radio_map, fingerprints)) for walk in walks]
    assert surveyed.places is not None
    plain = scan_baselines(surveyed.places, surveyed.rssi_dbm, anchors)
    guessed = {
        name: [walk.errors(np.array([guess(levels) for levels in averaged(walk.rssi_dbm, window)])) for walk in walks]
        for name, guess in plain.items()
    }
    return located, guessed


def fit(survey: Scans, anchors: Sensors) -> tuple[RadioMap, Fingerprints]:
    """The law's map over spots of the survey, and the densities of its scans, on one grid."""
    assert survey.places is not None
    corners = np.concatenate([survey.places, anchors.positions[:, :2]])
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    grid = Grid.covering((x0, y0), (x1, y1), CELL_M)
    _, spot = np.unique(np.round(survey.places / SPOT_M), axis=0, return_inverse=True)
    spots = int(spot.max()) + 1
    points = np.stack([np.bincount(spot, axis) / np.bincount(spot) for axis in survey.places.T], axis=1)
    shape = (spots, len(anchors.names))
    mean, sd, packets = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for k in range(spots):
        here = survey.rssi_dbm[spot == k]
        packets[k] = np.isfinite(here).sum(axis=0)
        with warnings.catch_warnings():  # of an anchor that was not heard here the mean is nan, as it should be
            warnings.simplefilter("ignore", RuntimeWarning)
            mean[k], sd[k] = np.nanmean(here, axis=0), np.nanstd(here, axis=0)
    law = RadioMap.from_survey(grid, anchors.positions, points, mean, sd, packets, device_height_m=CARRIED_M)
    return law, Fingerprints.from_scans(grid, survey.places, survey.rssi_dbm)


def follow(walk: Scans, radio_map: RadioMap, fingerprints: Fingerprints) -> Floats:
    """(R, 2) the estimate after each scan."""
    locator = GridFilter(radio_map, walkable=fingerprints.covered, motion=ROBOT, fingerprints=fingerprints)
    row = locator.add(1)
    alive = np.ones(radio_map.nodes, bool)
    estimates = np.empty((len(walk.t_s), 2))
    for k, levels in enumerate(walk.rssi_dbm):
        gap_s = float(walk.t_s[k] - walk.t_s[k - 1]) if k else 0.0
        if gap_s > LOST_AFTER_S:
            locator.drop(row)
            row = locator.add(1)
        locator.predict(gap_s)
        heard = np.flatnonzero(np.isfinite(levels))
        locator.update(np.repeat(row, len(heard)), heard, levels[heard], np.ones(len(heard), np.int64), alive=alive)
        estimates[k] = locator.estimates()[0][row[0]]
    return estimates


def averaged(levels: Floats, window: int) -> Floats:
    """(R, N) mean of each anchor over the last `window` scans."""
    heard = np.isfinite(levels)
    total = np.cumsum(np.where(heard, levels, 0.0), axis=0)
    count = np.cumsum(heard, axis=0)
    total[window:] -= total[:-window].copy()
    count[window:] -= count[:-window].copy()
    mean: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean
