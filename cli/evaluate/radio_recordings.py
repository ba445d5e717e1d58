"""Read surveys, sensor positions and walks of a radio recording; name the file and column when they are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Receivers now and then report nonsense such as +62 dBm: no BLE packet is heard outside of this.
RSSI_RANGE_DBM = (-120.0, -10.0)

SURVEY_COLUMNS = {
    "sensor": pl.String,
    "x_m": pl.Float64,
    "y_m": pl.Float64,
    "z_m": pl.Float64,
    "rssi_dbm": pl.Float64,
}
TRACK_COLUMNS = {
    "t_s": pl.Float64,
    "sensor_mac": pl.String,
    "rssi_dbm": pl.Float64,
    "x_m": pl.Float64,
    "y_m": pl.Float64,
}


class RecordingError(ValueError):
    """A recording is missing or not of the expected format."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


@dataclass(frozen=True, slots=True)
class Sensors:
    """Fixed receivers of a recording: the order of these tuples is their index everywhere."""

    macs: tuple[str, ...]
    names: tuple[str, ...]
    positions: Floats  # (N, 3) metres


@dataclass(frozen=True, slots=True)
class Survey:
    """What each sensor heard of a beacon standing at each point."""

    points: Floats  # (P, 2) metres
    height_m: float  # of the beacon above the floor, median
    mean_dbm: Floats  # (P, N), nan where nothing was heard
    sd_db: Floats  # (P, N)
    packets: Floats  # (P, N)


@dataclass(frozen=True, slots=True)
class Track:
    """Packets of one walk in order of time, each with the true place."""

    name: str
    t_s: Floats  # (R,)
    sensor: Indices  # (R,), -1 for a sensor that is not in the list
    rssi_dbm: Floats  # (R,)
    truth: Floats  # (R, 2) metres


def read_sensors(path: Path) -> Sensors:
    """A JSON object: MAC -> {name, x_m, y_m, z_m}."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecordingError(path, f"is not JSON: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise RecordingError(path, "expected an object of MAC -> {name, x_m, y_m, z_m} with at least one sensor")
    positions = np.empty((len(entries), 3))
    for row, (mac, entry) in enumerate(entries.items()):
        for column in ("name", "x_m", "y_m", "z_m"):
            if not isinstance(entry, dict) or column not in entry:
                raise RecordingError(path, f"sensor {mac!r} has no {column!r}")
        try:
            positions[row] = [float(entry[axis]) for axis in ("x_m", "y_m", "z_m")]
        except (TypeError, ValueError) as error:
            raise RecordingError(path, f"sensor {mac!r}: x_m, y_m and z_m must be numbers") from error
    return Sensors(tuple(entries), tuple(str(e["name"]) for e in entries.values()), positions)


def read_survey(path: Path, sensors: Sensors) -> Survey:
    """A parquet file with a row a packet: sensor (name), x_m, y_m, z_m, rssi_dbm. Nonsense levels are left out."""
    rows = _checked(path, _read(path, pl.read_parquet), SURVEY_COLUMNS)
    packets = rows.filter(pl.col("rssi_dbm").is_between(*RSSI_RANGE_DBM) & pl.col("sensor").is_in(sensors.names))
    if packets.is_empty():
        raise RecordingError(path, "column 'sensor': no packet of any sensor in the list of sensors")
    level = pl.col("rssi_dbm")
    cells = packets.group_by(pl.col("x_m").round(2), pl.col("y_m").round(2), "sensor").agg(
        level.mean().alias("mean"), level.std().alias("sd"), pl.len().alias("n")
    )
    points, point = np.unique(cells.select("x_m", "y_m").to_numpy(), axis=0, return_inverse=True)
    index = {name: j for j, name in enumerate(sensors.names)}
    at = (point.ravel(), np.array([index[name] for name in cells["sensor"]]))
    shape = (len(points), len(sensors.names))
    tables = {"mean": np.full(shape, np.nan), "sd": np.full(shape, np.nan), "n": np.zeros(shape)}
    for name, table in tables.items():
        table[at] = cells[name].cast(pl.Float64).to_numpy()
    return Survey(points, float(np.median(packets["z_m"].to_numpy())), tables["mean"], tables["sd"], tables["n"])


def read_track(path: Path, sensors: Sensors) -> Track:
    """A CSV file with a row a packet: t_s, sensor_mac, rssi_dbm and the true x_m, y_m."""
    rows = _checked(path, _read(path, _read_csv_of_text), TRACK_COLUMNS).sort("t_s", maintain_order=True)
    index = {mac: j for j, mac in enumerate(sensors.macs)}
    heard = np.array([index.get(mac, -1) for mac in rows["sensor_mac"]], np.int64)
    if not (heard >= 0).any():
        raise RecordingError(path, "column 'sensor_mac': no packet of any sensor in the list of sensors")
    return Track(
        path.stem,
        rows["t_s"].to_numpy(),
        heard,
        rows["rssi_dbm"].to_numpy(),
        rows.select("x_m", "y_m").to_numpy(),
    )


def _read_csv_of_text(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)  # a MAC of digits only must stay text


def _read(path: Path, reader: Callable[[Path], pl.DataFrame]) -> pl.DataFrame:
    try:
        return reader(path)
    except OSError as error:
        raise RecordingError(path, f"cannot be read: {error.strerror or error}") from error
    except pl.exceptions.PolarsError as error:
        raise RecordingError(path, f"is not of the expected file type: {error}") from error


def _checked(path: Path, frame: pl.DataFrame, columns: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    """The named columns in their types, without an empty value."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise RecordingError(path, f"column {missing[0]!r} is missing; it has {', '.join(frame.columns)}")
    if frame.is_empty():
        raise RecordingError(path, "has no rows")
    for name, kind in columns.items():
        column = frame[name].cast(kind, strict=False)
        bad = column.is_null() | (column.is_nan() if kind is pl.Float64 else False)
        if bad.any():
            row = int(bad.arg_true()[0])
            raise RecordingError(path, f"column {name!r}, row {row + 1}: {frame[name][row]!r} is not a {kind.__name__}")
    return frame.select(pl.col(name).cast(kind) for name, kind in columns.items())
