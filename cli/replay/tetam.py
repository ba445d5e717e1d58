"""Fixed sensors that hear a walking beacon: `sensors.json`, `track_*.csv` and a survey in `fingerprints*.parquet`."""

import re
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from cli.evaluate.radio_recordings import Sensors, Survey, Track, read_sensors, read_survey, read_track
from cli.replay.recording import Floats, HeardAdvert, Recording, Truth, UnknownRecording, Walk
from simulators.adverts import ibeacon_advert

CELL_M = 0.5
FLOOR = "0"


def is_tetam(path: Path) -> bool:
    """Whether a folder looks like such a recording."""
    return (path / "sensors.json").is_file()


def read(path: Path, store: str | None) -> Recording:
    """The recording in a folder. Raises RecordingError or UnknownRecording, naming file and column."""
    store = store or "tetam"
    sensors = read_sensors(path / "sensors.json")
    tracks = sorted(path.glob("track_*.csv"))
    surveys = sorted(path.glob("fingerprints*.parquet"))
    if not tracks or not surveys:
        raise UnknownRecording(path, "expected track_*.csv and fingerprints*.parquet beside sensors.json")
    survey = read_survey(surveys[0], sensors)
    corners = np.concatenate([survey.points, sensors.positions[:, :2]])
    if corners.min() < 0:
        raise UnknownRecording(path, f"expected x_m and y_m from a corner of the hall on, found {corners.min():g}")
    nodes = tuple(_name(f"{store}-{name}") for name in sensors.names)
    walks = [_walk(read_track(track, sensors), nodes, store) for track in tracks]
    return Recording(
        store=store,
        plan=_plan(path, store, nodes, sensors, corners, [track.stem for track in tracks]),
        nodes=nodes,
        walks=walks,
        survey=_survey(survey, nodes),
        notes=[
            "real packets and levels; the recording holds no payload: the beacon's iBeacon bytes are made here",
            "each track is an enrolled asset of its own; heat is of people, so the heatmap stays empty",
        ],
    )


def _beacon_uuid(store: str, label: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"urn:aisle:replay:{store}:{label}"))


def _walk(track: Track, nodes: tuple[str, ...], store: str) -> Walk:
    advert = ibeacon_advert(_beacon_uuid(store, track.name), 1, 1)
    at_us = np.rint(track.t_s * 1e6).astype(np.int64)
    level = np.rint(track.rssi_dbm).astype(int)
    heard = [
        HeardAdvert(at, nodes[sensor], advert.address, rssi, advert.data)
        for at, sensor, rssi in zip(at_us.tolist(), track.sensor.tolist(), level.tolist(), strict=True)
        if sensor >= 0  # a sensor that is not in the list
    ]
    return Walk(track.name, heard, Truth(at_us, track.truth))


def _plan(
    path: Path, store: str, nodes: tuple[str, ...], sensors: Sensors, corners: Floats, labels: list[str]
) -> dict[str, object]:
    width_m, depth_m = (np.ceil(corners.max(axis=0) * 10 - 1e-6) / 10).tolist()
    return {
        "name": f"Replay of {path.name}",
        "tz": "UTC",
        "opens": "00:00",
        "closes": "23:59",
        "demo": False,
        "floors": [{"floor": FLOOR, "name": "Hall", "width_m": width_m, "depth_m": depth_m, "cell_m": CELL_M}],
        "zones": [
            {
                "zone": "hall",
                "name": "Hall",
                "kind": "aisle",
                "floor": FLOOR,
                "polygon": [[0, 0], [width_m, 0], [width_m, depth_m], [0, depth_m]],
                "categories": [],
            }
        ],
        "nodes": [
            {"node": node, "floor": FLOOR, "x_m": x, "y_m": y, "z_m": z, "zone": None}
            for node, (x, y, z) in zip(nodes, sensors.positions.tolist(), strict=True)
        ],
        "beacons": [
            {"uuid": _beacon_uuid(store, label), "major": 1, "minor": 1, "role": "asset", "label": label}
            for label in labels
        ],
    }


def _survey(survey: Survey, nodes: tuple[str, ...]) -> list[dict[str, object]]:
    """The survey as a technician's app would send it: mean, spread and number of packets by place and node."""
    return [
        {
            "x_m": float(survey.points[point, 0]),
            "y_m": float(survey.points[point, 1]),
            "node": nodes[sensor],
            "mean_dbm": float(survey.mean_dbm[point, sensor]),
            "sd_db": float(np.nan_to_num(survey.sd_db[point, sensor])),  # one packet has no spread
            "n": int(survey.packets[point, sensor]),
        }
        for point, sensor in np.argwhere(survey.packets > 0).tolist()
    ]


def _name(text: str) -> str:
    """A node's name made of a sensor's."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:63]
