"""docker-compose.yml and what it mounts: no password in it, everything watched, a broker that keeps nodes apart."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from cli.stack.account import server_account
from cli.stack.broker import mosquitto_program
from cli.stack.processes import free_port, listens
from cloud.__main__ import COMMANDS
from cloud.config import ConfigError, Settings
from cloud.fleet.service import authority_and_broker
from cloud.ingest.worker import Ingest
from contract import topics
from contract.clock import clock_from
from contract.topics import NodeAddress
from edge.broker import Broker as EdgeBroker
from edge.config import parse_config
from edge.settings import Uplink

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]  # YAML: any value below a service's keys
BROKER = ROOT / "firmware_configs" / "broker"
NOT_AUTHORIZED = 135
NODE, OTHER = NodeAddress("acme", "main-street", "node-1"), NodeAddress("acme", "main-street", "node-2")


def environment(service: str) -> dict[str, str]:
    return dict(SERVICES[service].get("environment", {}))


def test_no_password_is_written_down_and_none_has_a_default():
    for name in SERVICES:
        for variable, value in environment(name).items():
            if "PASSWORD" in variable:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), f"{name}: {variable}"
            for secret in re.findall(r"://[^:@/]*:([^@]*)@", str(value)):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", secret), f"{name}: {variable}"
    assert set(re.findall(r"\$\{([A-Z_]+):-", TEXT)) == {"AISLE_VERSION"}, "only the version has a default"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_or_runs_once(name):
    service = SERVICES[name]
    assert ("healthcheck" in service) != (service["restart"] == "no")


@pytest.mark.parametrize("name", [n for n, s in SERVICES.items() if str(s["image"]).startswith("aisle-cloud:")])
def test_a_cloud_service_runs_a_command_that_there_is_with_the_settings_it_needs(name):
    (command,) = SERVICES[name]["command"]
    assert command in COMMANDS
    needs = {"migrate": "AISLE_OWNER_DSN", "api": "AISLE_APP_DSN"}.get(command, "AISLE_SERVICE_DSN")
    assert {v for v in environment(name) if v.endswith("_DSN")} == {needs}, "a process gets its own role and no other"


def test_every_command_of_the_cloud_has_its_service():
    commands = [s["command"][0] for s in SERVICES.values() if str(s["image"]).startswith("aisle-cloud:")]
    assert sorted(commands) == sorted(COMMANDS)


def test_only_the_brokers_tls_port_is_open_to_the_world():
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"broker": ["8883:8883"], "api": ["127.0.0.1:8000:8000"]}
    assert SERVICES["db"]["networks"] == ["inside"] and COMPOSE["networks"]["inside"] == {"internal": True}


def test_what_is_mounted_exists_or_is_made_by_the_recipe():
    made = {"ca.crt", "ca.key", "ca.crl", "broker.crt", "broker.key", "cloud.crt", "cloud.key"}
    for source in re.findall(r"\./((?:firmware_configs)/[^:\s}]+)", TEXT):
        assert (ROOT / source).is_file() or ("certs/" in source and Path(source).name in made), source


def test_only_the_api_holds_the_nodes_authority_and_has_all_that_a_claim_needs(tmp_path):
    holders = {name for name, service in SERVICES.items() if "ca_key" in service.get("secrets", ())}
    assert holders == {"api"} and "ca.key" not in str(SERVICES), "a secret by file, mounted into nothing else"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    make(tmp_path / "certs", ("ca",))
    given = {name: value for name, value in environment("api").items() if name.startswith(("AISLE_CA", "AISLE_NODE"))}
    for name, value in given.items():
        secret = value.removeprefix("/run/secrets/")
        if secret != value:
            assert secret in SERVICES["api"]["secrets"]
            file = Path(COMPOSE["secrets"][secret]["file"])
            assert file.parent == Path("firmware_configs/broker/certs")
            given[name] = str(tmp_path / "certs" / file.name)
    assert given.pop("AISLE_NODE_BROKER") == "${AISLE_NODE_BROKER:?set it in .env}", "no default"
    authority, broker = authority_and_broker(given | {"AISLE_NODE_BROKER": "mqtt.example.com:8883"})
    assert broker == ("mqtt.example.com", 8883)
    assert authority.certificate.subject == authority.certificate.issuer


def test_every_variable_is_in_the_operations_page():
    page = (ROOT / "docs" / "operations.md").read_text()
    asked = set(re.findall(r"\$\{([A-Z_]+)", TEXT)) | {v for name in SERVICES for v in environment(name)}
    assert {v for v in asked if f"`{v}`" not in page} == set()


def test_the_images_copy_what_there_is():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM \S+ AS (\w+)", dockerfile, re.MULTILINE)) >= {
        s["build"]["target"] for s in SERVICES.values() if "build" in s
    }
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed, f"{source} is kept out by .dockerignore"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"AISLE_BROKER_KEY": ""}, "expected both or neither"),
        ({"AISLE_BROKER_CA": "nowhere"}, "AISLE_BROKER_CA: found 'nowhere', expected a file that exists"),
        ({"AISLE_BROKER": "mqtt://b"}, "expected mqtts://"),
    ],
)
def test_the_cloud_takes_certificates_for_the_broker_and_tells_what_is_wrong_with_them(tmp_path, change, said):
    files = {part: tmp_path / part for part in ("CA", "CERT", "KEY")}
    for file in files.values():
        file.touch()
    environ = {"AISLE_BROKER": "mqtts://b"} | {f"AISLE_BROKER_{part}": str(file) for part, file in files.items()}
    settings = Settings(environ | change)
    if said:
        with pytest.raises(ConfigError, match=re.escape(said)):
            _ = settings.broker
    else:
        broker = settings.broker
        assert (broker.port, broker.ca, broker.cert, broker.key) == (8883, *(str(file) for file in files.values()))


# --- the shipped broker configuration, running


@dataclass(frozen=True, slots=True)
class Shipped:
    """A mosquitto on the shipped files: only the folder and the port are changed."""

    certs: Path
    port: int


def recipe(certs: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"AISLE_CERTS": str(certs)}
    return subprocess.run([BROKER / "certs.sh", *arguments], env=environ, capture_output=True, text=True, check=False)


def make(certs: Path, *commands: tuple[str, ...]) -> None:
    for command in commands:
        made = recipe(certs, *command)
        assert made.returncode == 0, made.stderr


@pytest.fixture(scope="module")
def shipped() -> Iterator[Shipped]:
    program = mosquitto_program()
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    folder = Path(tempfile.mkdtemp(prefix="aisle-mtls-"))
    certs = folder / "certs"
    make(certs, ("ca",), ("broker", "localhost"), ("cloud",), ("node", str(NODE)), ("node", str(OTHER)))
    make(certs, ("node", "acme/main-street/stolen"), ("revoke", "acme/main-street/stolen"))
    (folder / "config").mkdir()
    (folder / "data").mkdir()
    port = free_port()
    text = (BROKER / "mosquitto.conf").read_text().replace("/mosquitto/", f"{folder}/")
    (folder / "config" / "mosquitto.conf").write_text(text.replace("listener 8883", f"listener {port} 127.0.0.1"))
    shutil.copy(BROKER / "acl", folder / "config" / "acl")
    account = server_account()
    if account is not None:  # as root mosquitto changes its account, and then could not read what root owns
        for path in [folder, *folder.rglob("*")]:
            account.own(path)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-c", folder / "config" / "mosquitto.conf"],
            stderr=output,
            user=account.uid if account is not None else None,
            group=account.gid if account is not None else None,
        )
        try:
            deadline = time.monotonic() + 10
            while not listens(port):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield Shipped(certs, port)
        finally:
            process.terminate()
            process.wait()
    shutil.rmtree(folder)


@dataclass
class Client:
    """One connection with a certificate; what it heard and what it was answered."""

    shipped: Shipped
    cert: str
    name: str
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    answers: dict[int, ReasonCode] = field(default_factory=dict)
    said: Event = field(default_factory=Event)

    def __enter__(self) -> "Client":
        certs = self.shipped.certs
        self.line = mqtt.Client(CallbackAPIVersion.VERSION2, self.name, protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(certs / "ca.crt"))
        context.load_cert_chain(certs / f"{self.cert}.crt", certs / f"{self.cert}.key")
        self.line.tls_set_context(context)
        connected = Event()
        self.line.on_connect = lambda *_: connected.set()
        self.line.on_message = self._message
        self.line.on_publish = self._published
        self.line.on_subscribe = self._subscribed
        self.line.connect("localhost", self.shipped.port)
        self.line.loop_start()
        assert connected.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self.line.disconnect()
        self.line.loop_stop()

    def publish(self, topic: str, payload: bytes = b"x") -> int:
        """The broker's reason code."""
        info = self.line.publish(topic, payload, qos=1)
        deadline = time.monotonic() + 5
        while info.mid not in self.answers:
            assert self.said.wait(max(0.0, deadline - time.monotonic())), "the broker does not answer"
            self.said.clear()
        return int(self.answers[info.mid].value)

    def subscribe(self, topic: str) -> int:
        """The broker's reason code."""
        self.said.clear()
        mid = self.line.subscribe(topic, qos=1)[1]
        assert mid is not None
        while mid not in self.answers:
            assert self.said.wait(5)
            self.said.clear()
        return int(self.answers[mid].value)

    def wait_for(self, topic: str) -> bytes:
        deadline = time.monotonic() + 5
        while True:
            found = [payload for heard, payload in self.heard if heard == topic]
            if found:
                return found[0]
            assert self.said.wait(max(0.0, deadline - time.monotonic())), f"nothing came on {topic}"
            self.said.clear()

    def _message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))
        self.said.set()

    def _published(self, _c: mqtt.Client, _data: object, mid: int, code: ReasonCode, _p: object) -> None:
        self.answers[mid] = code
        self.said.set()

    def _subscribed(self, _c: mqtt.Client, _data: object, mid: int, codes: list[ReasonCode], _p: object) -> None:
        self.answers[mid] = codes[0]
        self.said.set()


def refusal(shipped: Shipped, cert: Path | None) -> str:
    """Why a client is not let in: the TLS error, or "" if the broker greets it."""
    context = ssl.create_default_context(cafile=str(shipped.certs / "ca.crt"))
    if cert is not None:
        context.load_cert_chain(cert, cert.with_suffix(".key"))
    connect = bytes.fromhex("101000044d5154540502003c0000037465 73".replace(" ", ""))
    try:
        with socket.create_connection(("127.0.0.1", shipped.port), 5) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as line:
                line.sendall(connect)  # TLS 1.3: a refused certificate is told with the first read
                return "" if line.recv(4)[:1] == b"\x20" else "hung up"
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)


def test_the_shipped_broker_greets_a_node_with_its_certificate(shipped):
    assert refusal(shipped, shipped.certs / "acme.main-street.node-1.crt") == ""


def test_it_refuses_who_has_no_certificate(shipped):
    assert refusal(shipped, None) != ""


def test_it_refuses_a_certificate_of_another_authority(shipped, tmp_path):
    make(tmp_path / "certs", ("ca",), ("node", str(NODE)))
    assert refusal(shipped, tmp_path / "certs" / "acme.main-street.node-1.crt") != ""


def test_it_refuses_a_certificate_that_was_revoked(shipped):
    assert refusal(shipped, shipped.certs / "acme.main-street.stolen.crt") != ""


def test_a_node_publishes_under_its_own_name_only(shipped):
    with Client(shipped, "acme.main-street.node-1", "acme.node-1") as node:
        assert node.publish(NODE.up("sightings")) in (0, 16)  # 16: nobody listens
        assert node.publish(NODE.status) in (0, 16)
        for topic in (OTHER.up("sightings"), OTHER.status, NODE.down("ack"), OTHER.down("ack")):
            assert node.publish(topic) == NOT_AUTHORIZED, topic


def test_orders_of_the_cloud_reach_the_node_they_are_for_and_no_other(shipped):
    with (
        Client(shipped, "cloud", "cloud-1") as cloud,
        Client(shipped, "acme.main-street.node-1", "acme.node-1") as node,
        Client(shipped, "acme.main-street.node-2", "acme.node-2") as other,
    ):
        node.subscribe(NODE.all_down)
        other.subscribe(NODE.all_down)  # mosquitto grants it and delivers nothing
        other.subscribe(OTHER.all_down)
        assert cloud.publish(NODE.down("ack"), b"for node-1") == 0
        assert cloud.publish(OTHER.down("ack"), b"for node-2") == 0
        assert node.wait_for(NODE.down("ack")) == b"for node-1"
        assert other.wait_for(OTHER.down("ack")) == b"for node-2"
        assert [topic for topic, _ in other.heard] == [OTHER.down("ack")]


def test_the_cloud_hears_the_nodes_through_its_shared_subscription(shipped):
    with (
        Client(shipped, "cloud", "cloud-1") as cloud,
        Client(shipped, "acme.main-street.node-1", "acme.node-1") as node,
    ):
        assert cloud.subscribe(topics.SHARED_UP) == 1
        assert node.publish(NODE.up("crowd"), b"hello") == 0
        assert cloud.wait_for(NODE.up("crowd")) == b"hello"


def test_the_products_own_two_ends_speak_through_it(shipped):
    name = "acme.main-street.node-1"
    uplink = Uplink(
        host="localhost", port=shipped.port, ca_file="ca.crt", cert_file=f"{name}.crt", key_file=f"{name}.key"
    )
    node = EdgeBroker(uplink, shipped.certs, NODE, clock_from(None), "boot")
    environ = {"AISLE_BROKER": f"mqtts://localhost:{shipped.port}", "AISLE_SERVICE_DSN": "never used"}
    files = {"CA": "ca.crt", "CERT": "cloud.crt", "KEY": "cloud.key"}
    settings = Settings(environ | {f"AISLE_BROKER_{part}": str(shipped.certs / file) for part, file in files.items()})
    node.start()
    try:
        with Ingest(settings).open_session() as session:
            deadline = time.monotonic() + 10
            while not (batch := session.receive(0.5)):
                assert time.monotonic() < deadline
            assert batch[0].topic == NODE.status
    finally:
        node.stop(1.0)


def test_the_recipe_refuses_what_the_product_does_not_take_as_a_name(tmp_path):
    make(tmp_path, ("ca",))
    for name in ("acme/main-street", "acme/Main/node", "acme/+/node", "a/b/c/d", f"{'a' * 30}/{'b' * 30}/{'c' * 30}"):
        assert recipe(tmp_path, "node", name).returncode == 1, name


def test_a_second_authority_is_never_made_over_the_first(tmp_path):
    make(tmp_path, ("ca",))
    assert "holds an authority already" in recipe(tmp_path, "ca").stderr


def test_the_nodes_settings_take_what_the_recipe_makes(tmp_path):
    make(tmp_path, ("ca",), ("node", str(NODE)))
    name = "acme.main-street.node-1"
    text = f"""
        [node]
        tenant = "acme"
        store = "main-street"
        node = "node-1"
        [uplink]
        host = "broker.example.com"
        port = 8883
        ca_file = "ca.crt"
        cert_file = "{name}.crt"
        key_file = "{name}.key"
    """
    assert parse_config(text.encode(), folder=tmp_path).uplink.cert_file == f"{name}.crt"
