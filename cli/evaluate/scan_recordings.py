"""Recordings of scans: a CSV with a row a scan, the RSSI of every anchor in a column; the survey of the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from cli.evaluate.radio_recordings import RSSI_RANGE_DBM, Floats, RecordingError, Sensors

NS = 1e9
PATH_FILE = "path_reference.csv"


@dataclass(frozen=True, slots=True)
class Scans:
    """Scans in order of time; a walk without measured places has the path that was walked instead."""

    t_s: Floats  # (R,)
    rssi_dbm: Floats  # (R, N), nan where not heard
    places: Floats | None  # (R, 2) metres
    path: Floats | None  # (K, 2, 2) legs from and to, metres

    def errors(self, estimates: Floats) -> Floats:
        """Distance of each estimate (R, 2) from the place of its scan, or from the path, metres."""
        if self.places is not None:
            result: Floats = np.linalg.norm(estimates - self.places, axis=1)
            return result
        assert self.path is not None
        begin, way = self.path[:, 0], self.path[:, 1] - self.path[:, 0]
        along = ((estimates[:, None] - begin) * way).sum(axis=-1) / np.maximum((way**2).sum(axis=-1), 1e-9)
        nearest = begin + np.clip(along, 0, 1)[..., None] * way
        closest: Floats = np.linalg.norm(estimates[:, None] - nearest, axis=-1).min(axis=1)
        return closest


def is_scans(path: Path) -> bool:
    """Whether a file is a CSV of scans, told by the columns of its first line."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            columns = file.readline(10_000).strip().split(",")
    except OSError:
        return False
    return "ts" in columns and "rssi_1" in columns


def read_anchors(path: Path) -> Sensors:
    """A CSV of id, x, y, z: anchor k is the one of the column rssi_k."""
    rows = _numbers(path, ["id", "x", "y", "z"])
    order = np.argsort(rows[:, 0])
    if not np.array_equal(rows[order, 0], np.arange(1, len(rows) + 1)):
        raise RecordingError(path, "column 'id': expected 1, 2 and so on, as in the columns rssi_1, rssi_2")
    names = tuple(f"rssi_{k}" for k in range(1, len(rows) + 1))
    return Sensors(names, names, rows[order, 1:])


def read_scans(path: Path, anchors: Sensors, *, surveyed: bool) -> Scans:
    """A CSV of ts (nanoseconds), x, y (metres) and rssi_1 …; places may be missing unless it is a survey."""
    columns = ["ts", *anchors.names]
    frame = _frame(path)
    has_places = {"x", "y"} <= set(frame.columns)
    if surveyed and not has_places:
        raise RecordingError(path, "column 'x' is missing: a survey knows its places")
    rows = _numbers(path, columns, empty_is_nan=True)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    levels = np.where((rows[:, 1:] >= RSSI_RANGE_DBM[0]) & (rows[:, 1:] <= RSSI_RANGE_DBM[1]), rows[:, 1:], np.nan)
    if not np.isfinite(levels).any():
        raise RecordingError(path, "no anchor was heard in any scan")
    places = None
    if has_places:
        timed = _numbers(path, ["ts", "x", "y"])
        places = timed[np.argsort(timed[:, 0], kind="stable"), 1:]
    path_walked = None if has_places else _read_path(path.with_name(PATH_FILE))
    return Scans(rows[:, 0] / NS, levels, places, path_walked)


def _read_path(path: Path) -> Floats:
    """A CSV of legs: x0, y0, x1, y1."""
    return _numbers(path, ["x0", "y0", "x1", "y1"]).reshape(-1, 2, 2)


def _frame(path: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise RecordingError(path, f"is not of the expected file type: {error}") from error


def _numbers(path: Path, columns: list[str], *, empty_is_nan: bool = False) -> Floats:
    """The named columns as numbers (R, K); only levels may be empty."""
    frame = _frame(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise RecordingError(path, f"column {missing[0]!r} is missing; it has {', '.join(frame.columns)}")
    if frame.is_empty():
        raise RecordingError(path, "has no rows")
    result = np.empty((len(frame), len(columns)))
    for k, name in enumerate(columns):
        text = frame[name].str.strip_chars()
        values = text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
        blank = (text.is_null() | (text == "") | (text.str.to_lowercase() == "nan")).fill_null(value=True).to_numpy()
        allowed = blank if empty_is_nan and name != "ts" else np.zeros(len(frame), bool)
        bad = ~np.isfinite(values) & ~allowed
        if bad.any():
            row = int(bad.argmax())
            raise RecordingError(path, f"column {name!r}, row {row + 1}: {frame[name][row]!r} is not a number")
        result[:, k] = np.where(np.isfinite(values), values, np.nan)
    return result
