"""How far the locator's positions are from the truth, on recorded walks through a surveyed hall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli.evaluate.locate_baselines import Guess, baselines
from cli.evaluate.locate_scans import place_errors
from cli.evaluate.progress import working
from cli.evaluate.radio_recordings import (
    Floats,
    Indices,
    Sensors,
    Survey,
    Track,
    read_sensors,
    read_survey,
    read_track,
)
from cli.evaluate.scan_recordings import is_scans
from cloud.locate.filter import GridFilter
from cloud.locate.radiomap import Grid, RadioMap

CELL_M = 0.5
STEP_S = 0.5  # an estimate this often,
WINDOW_S = 2.0  # once the walk is this old, where at least
MIN_SENSORS = 3  # sensors were heard within WINDOW_S


@dataclass(frozen=True, slots=True)
class Figures:
    """Distances between estimate and truth in x, y."""

    mean_m: float
    p50_m: float
    p90_m: float
    n: int


@dataclass(frozen=True, slots=True)
class LocateReport:
    """Of all tracks together, of each by its file's name, and of plain methods on the same instants."""

    mean_m: float
    p50_m: float
    p90_m: float
    n: int
    per_track: dict[str, Figures]
    baselines: dict[str, Figures]


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment of a track at which an estimate is due, and what was heard up to it."""

    news: slice  # packets since the step before
    window: slice  # packets within WINDOW_S
    counted: bool  # False while the walk is too young or too few sensors were heard


@working("eval locate: fitting a map, following the walks")
def evaluate(survey: Path, sensors: Path, tracks: list[Path], window: int = 5) -> LocateReport:
    """Fit a radio map on the survey alone and follow each track by its past alone.

    The survey is a parquet file of packets, or a CSV of scans; then the tracks are CSVs of scans too, and the plain
    methods average the last `window` scans.
    Raises RecordingError with the file and the column when a file is not as expected, ValueError if no instant counts.
    """
    if is_scans(survey):
        return _of_scans(survey, sensors, tracks, window)
    receivers = read_sensors(sensors)
    surveyed = read_survey(survey, receivers)
    walks = [read_track(path, receivers) for path in tracks]
    names = [track_name(path, tracks) for path in tracks]
    radio_map = fit_map(surveyed, receivers)
    errors = {name: locator_errors(walk, radio_map) for name, walk in zip(names, walks, strict=True)}
    total = _figures(list(errors.values()))
    plain = {
        name: _figures([_guess_errors(walk, guess, len(receivers.macs)) for walk in walks])
        for name, guess in baselines(surveyed, receivers).items()
    }
    per_track = {name: _figures([found]) for name, found in errors.items() if len(found)}
    return LocateReport(total.mean_m, total.p50_m, total.p90_m, total.n, per_track, plain)


def _of_scans(survey: Path, sensors: Path, tracks: list[Path], window: int) -> LocateReport:
    located, guessed = place_errors(survey, sensors, tracks, window)
    total = _figures(located)
    names = [track_name(path, tracks) for path in tracks]
    per_track = {name: _figures([found]) for name, found in zip(names, located, strict=True)}
    plain = {name: _figures(found) for name, found in guessed.items()}
    return LocateReport(total.mean_m, total.p50_m, total.p90_m, total.n, per_track, plain)


def track_name(path: Path, tracks: list[Path]) -> str:
    """A track's name in a report: its file's, or the whole path where several files have the same name."""
    return path.stem if sum(other.stem == path.stem for other in tracks) == 1 else str(path)


def fit_map(survey: Survey, sensors: Sensors) -> RadioMap:
    """The map over the smallest rectangle that holds all sensors and survey points."""
    corners = np.concatenate([survey.points, sensors.positions[:, :2]])
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return RadioMap.from_survey(
        Grid.covering((x0, y0), (x1, y1), CELL_M),
        sensors.positions,
        survey.points,
        survey.mean_dbm,
        survey.sd_db,
        survey.packets,
        device_height_m=survey.height_m,
    )


def locator_errors(track: Track, radio_map: RadioMap) -> Floats:
    """Distance of each counted estimate from the truth, metres."""
    locator = GridFilter(radio_map)
    row = locator.add(1)
    alive = np.ones(radio_map.nodes, bool)
    errors = []
    for instant in instants(track):
        locator.predict(STEP_S)
        sensor, level, packets = _windows(track, instant.news)
        locator.update(np.repeat(row, len(sensor)), sensor, level, packets, alive=alive)
        if instant.counted:
            mean, _ = locator.estimates()
            errors.append(np.linalg.norm(mean[row[0]] - _truth(track, instant)))
    return np.array(errors)


def _guess_errors(track: Track, guess: Guess, sensors: int) -> Floats:
    errors = []
    for instant in instants(track):
        if instant.counted:
            levels = np.full(sensors, np.nan)
            sensor, level, _ = _windows(track, instant.window)
            levels[sensor] = level
            errors.append(np.linalg.norm(guess(levels) - _truth(track, instant)))
    return np.array(errors)


def instants(track: Track) -> Iterator[Instant]:
    """Every STEP_S of a track: the steps of its first WINDOW_S warm up, the ones from there on may count."""
    first, last = float(track.t_s[0]), float(track.t_s[-1])
    warm_up = first + np.arange(STEP_S, WINDOW_S, STEP_S)
    due = np.arange(first + WINDOW_S, last, STEP_S)
    seen = 0
    for now in np.concatenate([warm_up, due]):
        begin, end = np.searchsorted(track.t_s, [now - WINDOW_S, now], side="right")
        heard = np.unique(track.sensor[begin:end])
        counted = now >= first + WINDOW_S and (heard >= 0).sum() >= MIN_SENSORS
        yield Instant(slice(seen, int(end)), slice(int(begin), int(end)), bool(counted))
        seen = int(end)


def _windows(track: Track, span: slice) -> tuple[Indices, Floats, Indices]:
    """Sensors heard in a span of packets, the mean RSSI of each and its number of packets."""
    known = track.sensor[span] >= 0
    sensor, place = np.unique(track.sensor[span][known], return_inverse=True)
    packets = np.bincount(place, minlength=len(sensor))
    level = np.bincount(place, track.rssi_dbm[span][known], minlength=len(sensor)) / np.maximum(packets, 1)
    return sensor, level, packets


def _truth(track: Track, instant: Instant) -> Floats:
    """Where the last packet of a known sensor in the window was sent."""
    known = np.flatnonzero(track.sensor[instant.window] >= 0)
    place: Floats = track.truth[instant.window][known[-1]]
    return place


def _figures(errors: Sequence[Floats]) -> Figures:
    together = np.concatenate(errors) if errors else np.empty(0)
    if not len(together):
        raise ValueError(f"no instant of the tracks had {MIN_SENSORS} sensors heard within {WINDOW_S:g} s")
    p50, p90 = np.percentile(together, [50, 90])
    return Figures(float(together.mean()), float(p50), float(p90), len(together))
