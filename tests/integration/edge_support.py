"""What the edge's integration tests share: a real mosquitto, a small cloud that acks, a scanner fed over a socket."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from contract.codec import decode, decode_small, encode_small
from contract.messages import Ack, Batch, Health, Presence, Rejection, Sightings, Status
from contract.topics import ALL_STATUS, ALL_UP, ORDERS, parse_up

ROOT = Path(__file__).resolve().parents[2]
MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")


def eventually(condition: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    """Waits until a condition holds; fails with its name if it never does."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """A broker of one's own that can be killed and started again on the same port."""

    def __init__(self, folder: Path, *settings: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._file = folder / f"mosquitto-{self.port}.conf"
        self._file.write_text("\n".join([f"listener {self.port} 127.0.0.1", *settings, ""]))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        with self._file.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._file)], stdout=log, stderr=log)
        eventually(self._answers, "mosquitto listens")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._file.with_suffix(".log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def mosquitto(folder: Path, *settings: str, port: int | None = None) -> Iterator[Mosquitto]:
    """A running broker; open to all unless the settings say otherwise."""
    broker = Mosquitto(folder, *(settings or ("allow_anonymous true",)), port=port)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Cloud:
    """Stores batches in a dictionary, once by name, and acknowledges them, as long as `storing` is set."""

    def __init__(self, port: int) -> None:
        self.batches: dict[tuple[str, int], Batch] = {}
        self.copies = 0
        self.rejected: set[int] = set()
        self.refuse: Callable[[Batch], str | None] = lambda batch: None
        self.heartbeats: list[Health] = []
        self.said: list[tuple[str, bytes]] = []
        self.statuses: list[Status] = []
        self.order: list[int] = []
        self.properties: dict[str, str] = {}
        self.content_types: set[str] = set()
        self.storing = threading.Event()
        self.storing.set()
        self.ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda c, *_: c.subscribe(
            [(ALL_UP, SubscribeOptions(1)), (ALL_STATUS, SubscribeOptions(1))]
        )
        self._client.on_subscribe = lambda *_: self.ready.set()
        self._client.on_message = lambda _client, _data, message: self._on_message(message)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect_async("127.0.0.1", port, keepalive=10)
        self._client.loop_start()

    @property
    def sightings(self) -> list[Sightings]:
        return [batch for batch in list(self.batches.values()) if isinstance(batch, Sightings)]

    @property
    def presence(self) -> list[Presence]:
        return [batch for batch in list(self.batches.values()) if isinstance(batch, Presence)]

    @property
    def events(self) -> int:
        return sum(batch.header.n for batch in list(self.batches.values()))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes its inner sockets only when it is collected.
        self._client.on_connect = self._client.on_subscribe = self._client.on_message = None

    def _on_message(self, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        if "/status/" in message.topic:
            self.statuses.append(decode_small(payload, Status))
            return
        address, stream = parse_up(message.topic)
        if stream == "health":
            self.heartbeats.append(decode_small(payload, Health))
            return
        if stream in ORDERS:  # keys and config are talked about in both directions; none of them is a batch
            self.said.append((stream, payload))
            return
        if not self.storing.is_set():
            return
        batch = decode(payload)
        name = (batch.header.epoch, batch.header.seq)
        self.copies += 1
        self.order.append(batch.header.seq)
        if message.properties is not None:
            self.properties = dict(getattr(message.properties, "UserProperty", []))
            self.content_types.add(getattr(message.properties, "ContentType", ""))
        reason = self.refuse(batch)
        if reason is not None:
            self.rejected.add(batch.header.seq)
            ack = Ack(epoch=name[0], rejected=(Rejection(name[1], reason),))
        else:
            self.batches[name] = batch
            ack = Ack(epoch=name[0], stored=((name[1], name[1]),))
        self._client.publish(address.down("ack"), encode_small(ack), qos=1)


@contextmanager
def cloud(port: int) -> Iterator[Cloud]:
    """A cloud that listens."""
    listener = Cloud(port)
    try:
        assert listener.ready.wait(10), "the test's cloud did not connect"
        yield listener
    finally:
        listener.close()


class LineScanner(BaseBleakScanner):
    """A bleak backend that hears what a test's Air sends: `ADDRESS RSSI TOKEN` a line."""

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        *_: object,
        **__: object,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.seen_devices = {}
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _listen(self) -> None:
        reader, _ = await asyncio.open_connection("127.0.0.1", int(os.environ["TEST_AIR_PORT"]))
        while line := await reader.readline():
            address, rssi, token = line.split()
            payload = b"\x30\xeb" + int(token, 16).to_bytes(8, "big")
            data = AdvertisementData(
                local_name=None,
                manufacturer_data={},
                service_data={"0000feaa-0000-1000-8000-00805f9b34fb": payload},
                service_uuids=[],
                tx_power=None,
                rssi=int(rssi),
                platform_data=("/", {"AddressType": "random"}),
            )
            name = address.decode()
            self.call_detection_callbacks(self.create_or_update_device(name, name, None, {}, data), data)


class Air:
    """The sending side of LineScanner."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ears: list[socket.socket] = []
        self.listeners = 0
        """How many nodes ever began to listen."""
        threading.Thread(target=self._accept, daemon=True).start()

    def send(self, token: int, rssi: int = -60) -> None:
        line = f"C0:00:00:00:00:01 {rssi} {token:016x}\n".encode()
        for ear in list(self._ears):
            try:
                ear.sendall(line)
            except OSError:
                self._ears.remove(ear)
                ear.close()

    def close(self) -> None:
        self._server.close()
        for ear in self._ears:
            ear.close()

    def _accept(self) -> None:
        while True:
            try:
                ear, _ = self._server.accept()
            except OSError:
                return
            self._ears.append(ear)
            self.listeners += 1


def node_toml(folder: Path, port: int, extra: str = "") -> Path:
    """A configuration for a node process on the test's broker, hearing the test's air."""
    path = folder / "node.toml"
    path.write_text(
        f"""
[node]
tenant = "acme"
store = "main"
node = "door-1"
zone = "entrance"
[uplink]
host = "127.0.0.1"
port = {port}
[ble]
backend = "tests.integration.edge_support:LineScanner"
[windows]
seconds = 0.1
[outbox]
path = "outbox.db"
{extra}"""
    )
    return path


def start_node(config: Path, air: Air | None = None, **env: str) -> subprocess.Popen[bytes]:
    """`python -m edge` as a process of its own, its log in node.log beside the configuration."""
    more = {"TEST_AIR_PORT": str(air.port)} if air is not None else {}
    with (config.parent / "node.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "edge", str(config)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **more, **env},
            stderr=log,
        )
