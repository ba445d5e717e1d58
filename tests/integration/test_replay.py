"""Real recordings through a node's own code into a real cloud, and what the replay says of paths that are none."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cli.evaluate.radio_recordings import RecordingError
from cli.replay.accuracy import track_error
from cli.replay.recording import HeardAdvert, Recording, Truth, UnknownRecording, Walk, laid_out
from cli.replay.run import Replay, read_recording

DATA = Path(os.environ.get("AISLE_DATA") or Path(__file__).parents[3] / "shared" / "data")
TETAM, MALL = DATA / "ble_tetam", DATA / "mall_site2" / "F6"
PCAPS, LLRP = DATA / "wifi_brno" / "pcap", DATA / "rfid_llrp"
CENTROID_M = 3.84
"""What the weighted centroid of the sensors is off on these two tracks."""
SECOND_US = 1_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the replays' cloud lies; each replay of this module goes on with what the one before left."""
    folder = tmp_path_factory.mktemp("replay")
    yield folder
    last = Replay(folder, Recording("none", {}, (), [_walk("none", 1, 1)], []), None, print)
    last.cloud.broker.destroy()
    last.cloud.postgres.destroy()


def _walk(label: str, *seconds: float, truth: Truth | None = None) -> Walk:
    return Walk(label, [HeardAdvert(int(s * SECOND_US), "node", b"\1" * 6, -60, b"") for s in seconds], truth)


@pytest.mark.skipif(not TETAM.is_dir(), reason=f"no recordings at {TETAM} (set AISLE_DATA)")
def test_walked_tracks_are_located_by_the_cloud_and_nothing_is_lost_and_again_the_second_time(root: Path) -> None:
    for _ in range(2):
        recording = read_recording(TETAM, None)
        with Replay(root, recording, None, print) as replay:
            figures = replay.play()
        assert figures["events_lost"] == 0
        assert figures["events_stored"] == figures["events_accepted"] == figures["windows"]
        assert figures["adverts"] == 2605  # all but one row of a csv file is a packet
        assert isinstance(figures["positions"], int) and figures["positions"] > 100  # one a second of 113 s
        assert isinstance(figures["track_mean_error_m"], float)
        assert figures["track_mean_error_m"] < CENTROID_M / 2.5
        assert isinstance(figures["per_track"], dict) and set(figures["per_track"]) == {
            w.label for w in recording.walks
        }


@pytest.mark.skipif(not MALL.is_dir(), reason=f"no recordings at {MALL} (set AISLE_DATA)")
def test_what_a_phone_heard_of_fixed_beacons_is_stored_without_a_loss(root: Path) -> None:
    walk = MALL / "5dd53377d48f840006f14b33.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(walk.read_bytes()).splitlines()]
    heard = [row for row in rows if row[0] == "B"]
    with Replay(root, read_recording(walk, None), None, print) as replay:
        figures = replay.play()
    assert figures["events_lost"] == 0
    assert figures["events_stored"] == figures["windows"]
    assert figures["adverts"] == len(heard)
    assert figures["beacons"] == len({tuple(row[2:5]) for row in heard})
    assert figures["radios"] == len({row[7] for row in heard})
    assert figures["positions"] == 0


@pytest.mark.skipif(not PCAPS.is_dir(), reason=f"no recordings at {PCAPS} (set AISLE_DATA)")
def test_a_wifi_capture_becomes_counts_and_nothing_else(root: Path) -> None:
    capture = PCAPS / "sc6-61_2022-11-09_anonymized.pcap"
    with Replay(root, read_recording(capture, None), None, print) as replay:
        figures = replay.play()
    assert figures["frames"] == 8563
    assert figures["events_lost"] == figures["windows"] == figures["positions"] == 0
    assert isinstance(figures["events_stored"], int) and 5 <= figures["events_stored"] <= 26, "a row for five minutes"


@pytest.mark.skipif(not LLRP.is_dir(), reason=f"no recordings at {LLRP} (set AISLE_DATA)")
def test_a_readers_payloads_become_tags_in_the_inventory(root: Path) -> None:
    with Replay(root, read_recording(LLRP, None), None, print) as replay:
        figures = replay.play()
        with replay._staff() as api:
            stock = api.get("/v1/stores/rfid/inventory").json()
    assert (figures["reports"], figures["reads"]) == (5, 5)
    assert figures["events_lost"] == 0
    assert figures["events_stored"] == figures["tags"]
    assert stock


def test_walks_keep_their_own_instants_and_long_pauses_are_cut() -> None:
    walks = [_walk("b", 1000.25, 1001.5), _walk("a", 10.5, 12.75), _walk("c", 1000.5, 1002)]
    laid = laid_out(walks, 500 * SECOND_US - 1)
    told = {walk.label: [heard.at_us / SECOND_US for heard in walk.heard] for walk in laid}
    assert told == {
        "a": [500.5, 502.75],  # begins in the first whole second
        "b": [533.25, 534.5],  # a pause of 987.5 s is cut to 30 s, up to the next whole second
        "c": [536.5, 538.0],  # walked while b was: follows it a second later
    }


def test_the_error_of_a_track_is_against_the_truth_of_the_same_instant() -> None:
    truth = Truth(np.array([0, 10 * SECOND_US]), np.array([[0.0, 0.0], [10.0, 0.0]]))
    walks = [_walk("walk", 0, 10, truth=truth), _walk("unseen", 0, 10, truth=truth)]
    points = [(2 * SECOND_US, 2.0, 1.0, 0.5), (5 * SECOND_US, 8.0, 4.0, 0.5), (9 * SECOND_US, 9.0, 0.0, 0.5)]
    error = track_error(walks, {"walk": points, "trolley": points})
    assert (error.mean_m, error.median_m, error.n) == (2.0, 1.0, 3)  # 1 m, 5 m (3-4-5), 0 m
    assert error.per_track == {"walk": 2.0}
    assert track_error(walks, {}).mean_m is None


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("nothing.txt", None, "there is nothing"),
        ("notes.txt", b"x", r"expected a folder with sensors.json and track_\*.csv, walks in"),
        ("walk.jsonl.gz", b"x", "walk.jsonl.gz: cannot be read"),
        ("walk.jsonl.gz", gzip.compress(b"{", mtime=0), "line 1: is not JSON"),
        ("walk.jsonl.gz", gzip.compress(b'["W", 1, 2.0, 3.0]', mtime=0), "no walk of it has a B row"),
        ("walk.jsonl.gz", gzip.compress(b'["B", 1]', mtime=0), "line 1: 2 columns, expected kind, ms, uuid"),
        (
            "walk.jsonl.gz",
            gzip.compress(b'["W"]\n["B", 1, "u", 1, 1, -59, "loud", "00:00:00:00:00:00"]', mtime=0),
            "line 2: column 'rssi': 'loud' is not a int",
        ),
        (
            "walk.jsonl.gz",
            gzip.compress(b'["B", 1, "u", 1, 1, -59, -60, "00:00:00:00:00:00"]', mtime=0),
            "line 1: uuid, major, minor or MAC",
        ),
    ],
)
def test_a_path_that_is_no_recording_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnknownRecording, match=told):
        read_recording(tmp_path / name, None)


def test_a_folder_with_sensors_alone_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "sensors.json").write_text("{}")
    with pytest.raises(RecordingError, match="at least one sensor"):
        read_recording(tmp_path, None)
    (tmp_path / "sensors.json").write_text('{"00": {"name": "s0", "x_m": 0, "y_m": 0, "z_m": 2}}')
    with pytest.raises(UnknownRecording, match=r"expected track_\*.csv and fingerprints"):
        read_recording(tmp_path, None)
