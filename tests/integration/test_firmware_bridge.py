"""A store's own mosquitto on the shipped bridge.conf, the cloud's on its mosquitto.conf, and what passes between."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from cli.stack.account import server_account
from cli.stack.broker import mosquitto_program
from cli.stack.processes import free_port, listens
from contract.topics import ALL_STATUS, ALL_UP, NodeAddress
from edge.broker import properties

CONFIGS = Path(__file__).resolve().parents[2] / "firmware_configs"
NODE = NodeAddress("acme", "main-street", "door-1")
ELSEWHERE = NodeAddress("acme", "side-street", "door-1")
NOT_AUTHORIZED = 135


class Server:
    """A mosquitto on a shipped configuration: only folders, ports and the cloud's address are changed."""

    def __init__(self, folder: Path, text: str, port: int) -> None:
        self.port = port
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        self._config.write_text(text)
        self._account = server_account()
        if self._account is not None:  # as root mosquitto changes its account, and then could not read what root owns
            for path in [folder, *folder.rglob("*")]:
                self._account.own(path)

    def start(self) -> None:
        program = mosquitto_program()
        assert program is not None
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", self._config],
                stderr=log,
                user=None if self._account is None else self._account.uid,
                group=None if self._account is None else self._account.gid,
            )
        deadline = time.monotonic() + 10
        while not listens(self.port):
            assert self._process.poll() is None and time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@dataclass
class Client:
    """A session with a certificate; what it heard and was answered."""

    certs: Path
    cert: str
    port: int
    heard: list[mqtt.MQTTMessage] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)
    news: Condition = field(default_factory=Condition)

    def __enter__(self) -> "Client":
        self.line = mqtt.Client(CallbackAPIVersion.VERSION2, f"test-{self.cert}-{self.port}", protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(self.certs / "ca.crt"))
        context.load_cert_chain(self.certs / f"{self.cert}.crt", self.certs / f"{self.cert}.key")
        self.line.tls_set_context(context)
        self.line.on_connect = lambda *_: self._note(lambda: None)
        self.line.on_message = lambda _c, _d, message: self._note(lambda: self.heard.append(message))
        self.line.on_publish = lambda _c, _d, mid, code, _p: self._answered(mid, code)
        self.line.on_subscribe = lambda _c, _d, mid, codes, _p: self._answered(mid, codes[0])
        self.line.connect("localhost", self.port)
        self.line.loop_start()
        self.until(self.line.is_connected, "the broker greets")
        return self

    def __exit__(self, *_: object) -> None:
        self.line.disconnect()
        self.line.loop_stop()
        self.line.on_connect = self.line.on_message = self.line.on_publish = self.line.on_subscribe = None

    def subscribe(self, topic: str) -> None:
        mid = self.line.subscribe(topic, qos=1)[1]
        self.until(lambda: mid in self.answers, f"{topic} is granted")

    def publish(self, topic: str, payload: bytes, **user: str) -> int:
        """The broker's reason code."""
        mid = self.line.publish(topic, payload, qos=1, properties=properties("text/plain", **user)).mid
        self.until(lambda: mid in self.answers, f"{topic} is answered")
        return self.answers[mid]

    def wait_for(self, topic: str, payload: bytes) -> mqtt.MQTTMessage:
        def there() -> list[mqtt.MQTTMessage]:
            return [m for m in self.heard if m.topic == topic and bytes(m.payload) == payload]

        self.until(lambda: bool(there()), f"{payload!r} comes on {topic}")
        return there()[0]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        with self.news:
            assert self.news.wait_for(condition, 20), f"not within 20 s: {what}"

    def _answered(self, mid: int, code: ReasonCode) -> None:
        self._note(lambda: self.answers.__setitem__(mid, int(code.value)))

    def _note(self, change: Callable[[], object]) -> None:
        with self.news:
            change()
            self.news.notify_all()


class Cable:
    """The line between the two: TCP to the cloud's broker, until it is pulled."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._plugged = threading.Event()
        self._plugged.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        self._plugged.clear()
        while self._ends:
            _hang_up(self._ends.pop())

    def plug(self) -> None:
        self._plugged.set()

    def close(self) -> None:
        self.pull()
        _hang_up(self._server)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self._plugged.is_set():
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _hang_up(sink)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads it, which close alone does not
    end.close()


@dataclass(frozen=True, slots=True)
class Pair:
    """The cloud's broker and the store's."""

    certs: Path
    cloud: Server
    store: Server
    cable: Cable


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    if mosquitto_program() is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    folder = Path(tempfile.mkdtemp(prefix="aisle-bridge-"))
    folder.chmod(0o711)
    certs = folder / "made"
    environ = os.environ | {"AISLE_CERTS": str(certs)}
    for words in (
        ["ca"],
        ["broker", "localhost"],
        ["cloud"],
        ["node", str(NODE)],
        ["node", str(ELSEWHERE)],
        ["store", "acme/main-street", "localhost"],
    ):
        done = subprocess.run([CONFIGS / "broker" / "certs.sh", *words], env=environ, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    cloud_folder, store_folder = folder / "cloud", folder / "store"
    for part in (cloud_folder / "data", cloud_folder / "config", store_folder / "data"):
        part.mkdir(parents=True)
    shutil.copytree(certs, cloud_folder / "certs")
    shutil.copytree(certs, store_folder / "aisle")
    shutil.copy(CONFIGS / "broker" / "acl", cloud_folder / "config" / "acl")
    shutil.copy(CONFIGS / "mosquitto" / "acl", store_folder / "aisle" / "acl")
    cloud_port, store_port = free_port(), free_port()
    cable = Cable(cloud_port)
    cloud_text = (CONFIGS / "broker" / "mosquitto.conf").read_text().replace("/mosquitto/", f"{cloud_folder}/")
    store_text = (
        (CONFIGS / "mosquitto" / "bridge.conf").read_text().replace("/etc/mosquitto/aisle/", f"{store_folder}/aisle/")
    )
    store_text = store_text.replace("/var/lib/mosquitto/", f"{store_folder}/data/")
    store_text = store_text.replace("address mqtt.example.com:8883", f"address localhost:{cable.port}")
    cloud = Server(cloud_folder, cloud_text.replace("listener 8883", f"listener {cloud_port}"), cloud_port)
    store = Server(store_folder, store_text.replace("listener 8883", f"listener {store_port}"), store_port)
    cloud.start()
    store.start()
    yield Pair(certs, cloud, store, cable)
    cable.close()
    store.stop()
    cloud.stop()
    shutil.rmtree(folder)


def node_at(pair: Pair, server: Server, address: NodeAddress = NODE) -> Client:
    return Client(pair.certs, str(address).replace("/", "."), server.port)


def test_what_a_node_tells_its_stores_broker_reaches_the_cloud_and_its_ack_comes_back(pair):
    with Client(pair.certs, "cloud", pair.cloud.port) as cloud, node_at(pair, pair.store) as node:
        cloud.subscribe(ALL_UP)
        cloud.subscribe(ALL_STATUS)
        node.subscribe(NODE.all_down)
        assert node.publish(NODE.up("presence"), b"somebody came", id="epoch/1") == 0
        message = cloud.wait_for(NODE.up("presence"), b"somebody came")
        assert message.properties is not None
        assert dict(getattr(message.properties, "UserProperty", []))["id"] == "epoch/1", (
            "MQTT 5 properties pass the bridge"
        )
        assert node.publish(NODE.status, b"online") == 0
        cloud.wait_for(NODE.status, b"online")
        assert cloud.publish(NODE.down("ack"), b"stored") == 0
        node.wait_for(NODE.down("ack"), b"stored")


def test_what_is_told_while_the_line_is_cut_is_handed_over_afterwards(pair):
    with Client(pair.certs, "cloud", pair.cloud.port) as cloud, node_at(pair, pair.store) as node:
        cloud.subscribe(ALL_UP)
        pair.cable.pull()
        for number in range(20):
            assert node.publish(NODE.up("presence"), b"during the cut %d" % number) in (0, 16)
        assert not cloud.heard, "the cable is out"
        pair.cable.plug()
        for number in range(20):
            cloud.wait_for(NODE.up("presence"), b"during the cut %d" % number)


def test_at_the_stores_broker_a_node_speaks_for_itself_only(pair):
    with node_at(pair, pair.store) as node:
        sibling = NodeAddress(NODE.tenant, NODE.store, "door-2")
        for topic in (sibling.up("presence"), sibling.status, NODE.down("ack"), ELSEWHERE.up("presence")):
            assert node.publish(topic, b"x") == NOT_AUTHORIZED, topic


def test_the_bridges_certificate_speaks_for_the_nodes_of_its_store_and_no_other(pair):
    with Client(pair.certs, "acme.main-street", pair.cloud.port) as bridge:
        assert bridge.publish(NODE.up("presence"), b"x") in (0, 16)
        assert bridge.publish(NODE.status, b"x") in (0, 16)
        for topic in (ELSEWHERE.up("presence"), ELSEWHERE.status, NODE.down("ack")):
            assert bridge.publish(topic, b"x") == NOT_AUTHORIZED, topic


def test_the_recipe_refuses_a_stores_certificate_under_a_nodes_name_and_the_other_way_round(tmp_path):
    environ = os.environ | {"AISLE_CERTS": str(tmp_path)}
    for words in (["store", str(NODE), "localhost"], ["store", "acme/main-street"], ["node", "acme/main-street"]):
        done = subprocess.run([CONFIGS / "broker" / "certs.sh", *words], env=environ, capture_output=True, check=False)
        assert done.returncode in (1, 2), words
