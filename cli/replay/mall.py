"""A phone that hears fixed iBeacons: the B rows of the walks in `*.jsonl.gz` files, real identifiers and addresses."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from cli.replay.place import plan
from cli.replay.recording import HeardAdvert, Recording, UnknownRecording, Walk
from edge.frames.ad import advert_from_ad
from edge.frames.ibeacon import APPLE, IBeacon, parse_ibeacon
from simulators.adverts import ibeacon_advert

ENDING = ".jsonl.gz"
NODE = "phone"
COLUMNS = ("kind", "ms", "uuid", "major", "minor", "tx power", "rssi", "MAC")
ANY_SIDE_M = 200.0
"""The plan's size where no floor_info.json tells it."""


def walk_files(path: Path) -> list[Path]:
    """The walks of a file, a floor's folder or a site's."""
    if path.is_file():
        return [path] if path.name.endswith(ENDING) else []
    return sorted(path.rglob(f"*{ENDING}"))


def read(path: Path, store: str | None) -> Recording:
    """The recording in a file or folder. Raises UnknownRecording, naming file, line and column."""
    store = store or "mall"
    node = f"{store}-{NODE}"
    walks, silent = [], 0
    for file in walk_files(path):
        heard = sorted(_heard(file, node), key=lambda one: one.at_us)
        if heard:
            walks.append(Walk(file.name.removesuffix(ENDING), heard))
        else:
            silent += 1
    if not walks:
        raise UnknownRecording(path, "no walk of it has a B row, so no iBeacon was heard")
    everything = [heard for walk in walks for heard in walk.heard if isinstance(heard, HeardAdvert)]
    return Recording(
        store=store,
        plan=plan(f"Replay of {path.name.removesuffix(ENDING)}", node, *_size(path if path.is_dir() else path.parent)),
        nodes=(node,),
        walks=walks,
        notes=[
            "real identifiers, levels and addresses of the beacons, heard by a phone: the phone is the node",
            "positions of a phone among fixed beacons come later: these sightings are stored, no position is made",
            *([f"{silent} walks without any iBeacon were left out"] if silent else []),
        ],
        figures={
            "walks": len(walks),
            "beacons": len({_beacon(heard) for heard in everything}),
            "radios": len({heard.address for heard in everything}),
        },
    )


def _heard(file: Path, node: str) -> Iterator[HeardAdvert]:
    try:
        lines = gzip.decompress(file.read_bytes()).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise UnknownRecording(file, f"cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UnknownRecording(file, f"line {number}: is not JSON: {error}") from None
        if isinstance(row, list) and row and row[0] == "B":
            yield _heard_in(row, node, file, number)


def _heard_in(row: list[object], node: str, file: Path, number: int) -> HeardAdvert:
    """One B row as the bytes that were on the air."""
    if len(row) != len(COLUMNS):
        raise UnknownRecording(file, f"line {number}: {len(row)} columns, expected {', '.join(COLUMNS)}")
    _, ms, uuid, major, minor, tx_dbm, rssi, mac = row
    for column, value in zip(COLUMNS, row, strict=True):
        wanted = str if column in ("kind", "uuid", "MAC") else int
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise UnknownRecording(file, f"line {number}: column {column!r}: {value!r} is not a {wanted.__name__}")
    assert isinstance(ms, int) and isinstance(major, int) and isinstance(minor, int)
    assert isinstance(tx_dbm, int) and isinstance(rssi, int) and isinstance(uuid, str) and isinstance(mac, str)
    try:
        data = ibeacon_advert(uuid, major, minor, tx_dbm).data
        address = bytes.fromhex(mac.replace(":", ""))
    except (ValueError, OverflowError) as error:
        raise UnknownRecording(file, f"line {number}: uuid, major, minor or MAC is out of range: {error}") from None
    return HeardAdvert(ms * 1_000, node, address, rssi, data)


def _beacon(heard: HeardAdvert) -> IBeacon | None:
    """The beacon as a node reads it from the bytes."""
    advert = advert_from_ad(heard.address, True, heard.rssi_dbm, heard.data)
    return parse_ibeacon(advert.manufacturer.get(APPLE, b"")) if advert else None


def _size(folder: Path) -> tuple[float, float]:
    """Width and depth of the floor, metres."""
    file = folder / "floor_info.json"
    if not file.exists():
        return ANY_SIDE_M, ANY_SIDE_M
    try:
        told = json.loads(file.read_text("utf-8"))["map_info"]
        return round(float(told["width"]), 1), round(float(told["height"]), 1)
    except (ValueError, KeyError, TypeError) as error:
        raise UnknownRecording(file, f"expected map_info with width and height: {error!r}") from None
