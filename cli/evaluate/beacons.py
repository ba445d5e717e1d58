"""How far off a phone is placed among a mall's own iBeacons, cross-validated by walk."""

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli.evaluate.progress import working
from cli.evaluate.radio_recordings import RecordingError
from cloud.locate.beaconmap import BeaconMap, HeardBeacon, Place, Surveyed

FOLDS = 5
BEFORE_S = 45.0
"""What was heard so long before an instant still counts, under the doubt of the way walked since."""
AFTER_S = 5.0
ERROR_MOST_M = 25.0
"""A place that expects to be wrong by more is not told."""
CURVE_M = (15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0)
NEIGHBOURS = 5

Beacon = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """An iBeacon heard on a walk."""

    at_s: float
    beacon: Beacon
    rssi_dbm: float
    radio: str


@dataclass(frozen=True, slots=True)
class Walk:
    """One surveyor's walk on one floor: waypoints (seconds, x, y in metres) in order, and what the phone heard."""

    name: str
    floor: str
    waypoints: tuple[tuple[float, float, float], ...]
    seen: tuple[Seen, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A waypoint that was answered: how far off, whether on the right floor, and what error was expected."""

    error_m: float
    floor_right: bool
    expected_m: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Over the waypoints answered; `coverage` is their share of all. Errors are in the plane, floor right or not."""

    mean_m: float
    p50_m: float
    floor_accuracy: float
    coverage: float


@dataclass(frozen=True, slots=True)
class BeaconsReport:
    """Ours, its curve by the error that it expects at most, and plain methods on the same folds."""

    mean_m: float
    p50_m: float
    floor_accuracy: float
    coverage: float
    cloned_ids: int
    """Ids that more than 10 radios send, over all walks."""
    ids: int
    waypoints: int
    walks: int
    curve: dict[str, Figures]
    baselines: dict[str, Figures]


def evaluate(folder: Path) -> BeaconsReport:
    """All walks (`FLOOR/*.jsonl.gz` below the folder) in five folds. Raises RecordingError, naming file and line."""
    walks = read_walks(folder)
    floors = sorted({walk.floor for walk in walks})
    ours, plain, knn = list[Answered](), list[Answered](), list[Answered]()
    with working(f"eval beacons: {len(walks)} walks in {FOLDS} folds", len(walks)) as step:
        for fold in range(FOLDS):
            learning = [walk for i, walk in enumerate(walks) if i % FOLDS != fold]
            survey = [seen for walk in learning for seen in surveyed(walk, floors.index(walk.floor))]
            beacons = BeaconMap.learn(survey)
            naive = _Means(survey)
            fingerprints = _Neighbours(survey, beacons.cloned)
            for walk in walks[fold::FOLDS]:
                floor = floors.index(walk.floor)
                ours += _answers(walk, floor, BEFORE_S, beacons.locate)
                plain += _answers(walk, floor, AFTER_S, naive.locate)
                knn += _answers(walk, floor, AFTER_S, fingerprints.locate)
                step()
    waypoints = sum(len(walk.waypoints) for walk in walks)
    told = _figures([a for a in ours if a.expected_m <= ERROR_MOST_M], waypoints)
    everything = [seen for walk in walks for seen in surveyed(walk, 0)]
    return BeaconsReport(
        mean_m=told.mean_m,
        p50_m=told.p50_m,
        floor_accuracy=told.floor_accuracy,
        coverage=told.coverage,
        cloned_ids=len(BeaconMap.learn(everything).cloned),
        ids=len({seen.id for seen in everything}),
        waypoints=waypoints,
        walks=len(walks),
        curve={f"{most:g} m": _figures([a for a in ours if a.expected_m <= most], waypoints) for most in CURVE_M},
        baselines={
            "mean place by id": _figures(plain, waypoints),
            f"{NEIGHBOURS} nearest neighbours": _figures(knn, waypoints),
        },
    )


def surveyed(walk: Walk, floor: int) -> list[Surveyed[Beacon]]:
    """What a walk teaches: each sighting between its first and last waypoint, at the place on the straight way."""
    at, x, y = (np.array(column) for column in zip(*walk.waypoints, strict=True))
    inside = [seen for seen in walk.seen if at[0] - AFTER_S <= seen.at_s <= at[-1] + AFTER_S]
    return [
        Surveyed(s.beacon, s.radio, s.rssi_dbm, float(np.interp(s.at_s, at, x)), float(np.interp(s.at_s, at, y)), floor)
        for s in inside
    ]


def _answers(
    walk: Walk, floor: int, before_s: float, locate: Callable[[Sequence[HeardBeacon[Beacon]]], Place | None]
) -> list[Answered]:
    found = []
    for at_s, x_m, y_m in walk.waypoints:
        heard = [
            HeardBeacon(seen.beacon, seen.rssi_dbm, abs(seen.at_s - at_s))
            for seen in walk.seen
            if -before_s <= seen.at_s - at_s <= AFTER_S
        ]
        place = locate(heard)
        if place is not None:
            error_m = float(np.hypot(place.x_m - x_m, place.y_m - y_m))
            found.append(Answered(error_m, place.floor == floor, place.error_m))
    return found


def _figures(answers: Sequence[Answered], waypoints: int) -> Figures:
    if not answers:
        return Figures(0.0, 0.0, 0.0, 0.0)
    errors = [answer.error_m for answer in answers]
    right = sum(answer.floor_right for answer in answers) / len(answers)
    return Figures(float(np.mean(errors)), float(np.median(errors)), right, len(answers) / waypoints)


class _Means:
    """Each id stands at the mean of where it was heard, on its commonest floor; no id is doubted."""

    def __init__(self, survey: Sequence[Surveyed[Beacon]]) -> None:
        places: dict[Beacon, list[tuple[float, float, int]]] = {}
        for seen in survey:
            places.setdefault(seen.id, []).append((seen.x_m, seen.y_m, seen.floor))
        self._stands = {
            beacon: (*np.mean([place[:2] for place in heard], axis=0), _commonest([place[2] for place in heard]))
            for beacon, heard in places.items()
        }

    def locate(self, heard: Sequence[HeardBeacon[Beacon]]) -> Place | None:
        known = [(self._stands[one.id], 10 ** (one.rssi_dbm / 20)) for one in heard if one.id in self._stands]
        if not known:
            return None
        weights = [weight for _, weight in known]
        x, y = (float(np.average([stand[axis] for stand, _ in known], weights=weights)) for axis in (0, 1))
        return Place(x, y, _commonest([stand[2] for stand, _ in known], weights), 0.0)


class _Neighbours:
    """The mean place of the learned sightings of the same ids whose levels are nearest, cloned ids left out."""

    def __init__(self, survey: Sequence[Surveyed[Beacon]], cloned: frozenset[Beacon]) -> None:
        self._by_id: dict[Beacon, list[Surveyed[Beacon]]] = {}
        for seen in survey:
            if seen.id not in cloned:
                self._by_id.setdefault(seen.id, []).append(seen)

    def locate(self, heard: Sequence[HeardBeacon[Beacon]]) -> Place | None:
        near = [
            (abs(seen.rssi_dbm - one.rssi_dbm), number, seen)
            for one in heard
            for number, seen in enumerate(self._by_id.get(one.id, ()))
        ]
        if not near:
            return None
        best = [seen for _, _, seen in sorted(near, key=lambda pair: pair[:2])[: NEIGHBOURS * len(heard)]]
        x, y = float(np.mean([seen.x_m for seen in best])), float(np.mean([seen.y_m for seen in best]))
        return Place(x, y, _commonest([seen.floor for seen in best]), 0.0)


def _commonest(floors: Sequence[int], weights: Sequence[float] | None = None) -> int:
    return int(np.bincount(floors, weights).argmax())


def read_walks(folder: Path) -> list[Walk]:
    """The walks below a folder in the order of their names, each on the floor that its own folder names."""
    files = sorted(folder.rglob("*.jsonl.gz"), key=lambda file: (file.name, str(file)))
    walks = [walk for file in files if (walk := _read(file)).waypoints]
    if len(walks) < FOLDS:
        raise RecordingError(folder, f"{len(walks)} walks with waypoints, expected at least {FOLDS} FLOOR/*.jsonl.gz")
    return walks


def _read(file: Path) -> Walk:
    try:
        lines = gzip.decompress(file.read_bytes()).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(file, f"cannot be read: {error}") from error
    waypoints, seen = [], []
    for number, line in enumerate(lines, 1):
        try:
            match json.loads(line):
                case ["W", int(ms), int() | float() as x, int() | float() as y, *_]:
                    waypoints.append((ms / 1e3, float(x), float(y)))
                case ["B", int(ms), str(uuid), int(major), int(minor), _, int() | float() as rssi, str(radio), *_]:
                    seen.append(Seen(ms / 1e3, (uuid, major, minor), float(rssi), radio))
                case ["A", *_]:
                    pass  # Wi-Fi
                case _:
                    raise ValueError("expected a W, B or A row")
        except ValueError as error:
            raise RecordingError(file, f"line {number}: {error}") from None
    return Walk(file.name.removesuffix(".jsonl.gz"), file.parent.name, tuple(sorted(waypoints)), tuple(seen))
