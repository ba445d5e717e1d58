"""A replay from start to figures: a cloud of its own, the place told to it, walks played, positions compared."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from cli.replay import capture, llrp, mall, tetam
from cli.replay.accuracy import track_error
from cli.replay.feed import PACED_SLICE_S, SLICE_US, feed, paced_by, wait_until_none
from cli.replay.node import ReplayNode
from cli.replay.recording import Recording, UnknownRecording, Walk, duration_us, laid_out
from cli.stack.cloud import LocalCloud
from cli.stack.processes import StackError
from contract.clock import SimulatedClock, clock_from
from contract.topics import NodeAddress

TENANT = "replay"
AGE_US = 120_000_000
"""How old the newest instant is when it is played as fast as possible: a backlog, which nobody takes for live."""
APART_US = 330_000_000
"""Least time between two replays in one store: by then the visits of the one before are over (300 s)."""

EXPECTED = (
    "expected a folder with sensors.json and track_*.csv, walks in *.jsonl.gz, "
    "Wi-Fi captures in *.pcap or *.pcapng, or an RFID reader's payloads in ROAccessReport-*.bytes"
)

Say = Callable[[str], None]


def read_recording(path: Path, store: str | None) -> Recording:
    """The recording at a path. Raises UnknownRecording or RecordingError."""
    if not path.exists():
        raise UnknownRecording(path, "there is nothing")
    if tetam.is_tetam(path):
        return tetam.read(path, store)
    if mall.walk_files(path):
        return mall.read(path, store)
    if capture.files(path):
        return capture.read(path, store)
    if llrp.reports(path):
        return llrp.read(path, store)
    raise UnknownRecording(path, EXPECTED)


class Replay:
    """One replay into the cloud below `root`; `speed` None plays as fast as possible."""

    def __init__(
        self, root: Path, recording: Recording, speed: float | None, say: Say, port: int | None = None
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.recording = recording
        self._root = root
        self._speed = speed
        self._say = say
        self._state = root / "nodes" / recording.store / "replayed.json"
        self._open = ExitStack()
        spec = self._begin_clock()
        self._clock = clock_from(spec)
        self._addresses = [NodeAddress(TENANT, recording.store, node) for node in recording.nodes]
        self.cloud = LocalCloud(root, TENANT, self._addresses, clock=spec, port=port)
        self.span_us = (0, 0)
        """The first and the last instant of what was played."""

    def play(self) -> dict[str, object]:
        """Start the cloud, play, compare. All stays up until the replay is left. Raises StackError."""
        self.cloud.start(self._say)
        with self._staff() as api:
            self._tell_the_place(api)
            return self._play(api)

    def _begin_clock(self) -> str:
        """The cloud's clock: the machine's, unless an earlier replay's instants reach too near to this one's."""
        real_us = time.time_ns() // 1_000
        ended_us = json.loads(self._state.read_text())["ended_us"] if self._state.exists() else 0
        before_us = duration_us(self.recording.walks) + AGE_US if self._speed is None else 0
        start_us = max(real_us, ended_us + APART_US + before_us)
        if start_us == real_us and self._speed in (None, 1.0):
            return ""
        return SimulatedClock(start_us, real_us, self._speed or 1.0).spec()

    @contextmanager
    def _staff(self) -> Iterator[httpx.Client]:
        login = self.cloud.logins["admin"]
        with httpx.Client(base_url=self.cloud.url, headers={"X-Aisle": "1"}, timeout=120, trust_env=False) as api:
            _ok(api.post("/v1/session", json={"login": login.login, "password": login.password}))
            yield api

    def _tell_the_place(self, api: httpx.Client) -> None:
        store = f"/v1/stores/{self.recording.store}"
        self._say("drawing the place")
        _ok(api.put(store, json=self.recording.plan))
        if self.recording.survey:
            self._say(f"fitting the radio map on {len(self.recording.survey)} means of the survey")
            _ok(api.put(f"{store}/floors/0/survey", json={"points": self.recording.survey}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with self.cloud:
            self._open.close()

    def _play(self, api: httpx.Client) -> dict[str, object]:
        nodes = self._start_nodes()
        self._wait_for_acks(nodes)  # what an interrupted replay left
        before = _stored(api)
        begun = time.monotonic()
        walks = self._laid_out()
        self._say(f"playing {len(walks)} walks, {sum(len(walk.heard) for walk in walks)} events")
        if self._speed is None:
            ended_us = feed(nodes, walks, SLICE_US, lambda _until_us: self._wait_for_acks(nodes))
        else:
            slice_us = max(1, int(PACED_SLICE_S * self._speed * 1e6))
            ended_us = feed(nodes, walks, slice_us, paced_by(self._clock))
        self._state.write_text(json.dumps({"ended_us": ended_us}))
        self.span_us = walks[0].heard[0].at_us, ended_us
        self._wait_for_acks(nodes)
        wait_until_none(lambda: _queue(api), "batches are not located", self._check)
        seconds = time.monotonic() - begun
        figures = self._counts(list(nodes.values()), _stored(api) - before) | self._positions(api, walks)
        return figures | self.recording.figures | {"seconds": round(seconds, 2)}

    def _start_nodes(self) -> dict[str, ReplayNode]:
        nodes = {}
        for address in self._addresses:
            nodes[address.node] = node = self._node(address)
            self._open.callback(node.close)
            node.start()
        return nodes

    def _wait_for_acks(self, nodes: dict[str, ReplayNode]) -> None:
        """Returns once every outbox is empty: the cloud's database has it all."""

        def waiting() -> int:
            return sum(node.outbox.rows() for node in nodes.values())

        wait_until_none(waiting, "batches are not acknowledged", self._check)

    def _check(self) -> None:
        for ended in self.cloud.processes.ended():
            raise StackError(str(ended))

    def _laid_out(self) -> list[Walk]:
        walks = self.recording.walks
        now_us = self._clock.now_us()
        return laid_out(walks, now_us if self._speed is not None else now_us - AGE_US - duration_us(walks))

    def _node(self, address: NodeAddress) -> ReplayNode:
        folder = self._root / "nodes" / address.store / address.node
        password = self.cloud.node_password(address)
        return ReplayNode(folder, address, self.cloud.broker.port, password, self._clock, self.recording.inventory)

    def _counts(self, nodes: list[ReplayNode], stored: int) -> dict[str, object]:
        accepted = sum(node.events_accepted for node in nodes)
        return {
            "events_accepted": accepted,
            "events_stored": stored,
            "events_lost": accepted - stored,
            "adverts": sum(node.pipeline.adverts for node in nodes),
            "windows": sum(node.pipeline.windows for node in nodes),
        }

    def _positions(self, api: httpx.Client, walks: list[Walk]) -> dict[str, object]:
        """What the cloud tells of the walking beacons, beside the truth where the recording has it."""
        from_us, to_us = self.span_us
        url = f"/v1/stores/{self.recording.store}/tracks"
        told = _ok(api.get(url, params={"from_us": from_us, "to_us": to_us}))
        tracks = {track["label"]: [tuple(point) for point in track["points"]] for track in told}
        positions: dict[str, object] = {"positions": sum(len(points) for points in tracks.values())}
        if not self.recording.has_truth:
            return positions
        error = track_error(walks, tracks)
        return positions | {
            "track_mean_error_m": error.mean_m,
            "track_median_error_m": error.median_m,
            "per_track": dict(error.per_track),
        }


def _queue(api: httpx.Client) -> int:
    return int(_ok(api.get("/v1/progress/queue"))["queue"])


def _stored(api: httpx.Client) -> int:
    return int(_ok(api.get("/v1/progress"))["events_stored"])


def _ok(response: httpx.Response) -> Any:
    """The JSON of an answer. Raises StackError with what the api said."""
    if response.is_error:
        what = f"{response.request.method} {response.request.url.path}"
        raise StackError(f"{what}: {response.status_code} {response.text}")
    return response.json() if response.content else None
