"""The local stack keeps its promises: passwords asked for, topics kept apart, kills survived, no child left behind."""

import contextlib
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from queue import Queue

import psycopg
import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from cli.stack.authority import local_authority
from cli.stack.broker import Broker, cloud_client, node_client, open_broker
from cli.stack.database import APP, OWNER, ROLES, SERVICE, DatabaseServer
from cli.stack.postgres import Postgres
from cli.stack.processes import StackError, Supervisor, free_port, listens
from cloud.fleet.ca import pem, read_authority, read_request
from contract.topics import ALL_UP, SHARED_UP
from edge.claim import claim
from edge.doctor import line
from edge.doctor.patient import read_patient
from tests.conftest import NODE, OTHER_NODE

NOBODY_LISTENS, NOT_AUTHORIZED = 16, 135  # MQTT 5, table 2-6; the first is a success


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"did not come true within {timeout_s} s"
        time.sleep(0.01)


class Mqtt:
    """A connected paho client that keeps what it heard and what the broker answered."""

    def __init__(self, broker: Broker, user: str | None, client_id: str = "") -> None:
        self.heard: Queue[tuple[str, bytes]] = Queue()
        self.answers: Queue[ReasonCode] = Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
        if user is not None:
            self._client.username_pw_set(user, broker.clients[user].password if user in broker.clients else "wrong")
        self._client.on_connect = lambda c, u, flags, reason, properties: self.answers.put(reason)
        self._client.on_publish = lambda c, u, mid, reason, properties: self.answers.put(reason)
        self._client.on_subscribe = lambda c, u, mid, reasons, properties: self.answers.put(reasons[0])
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self.connected = self.answers.get(timeout=10)

    def send(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain)

    def publish(self, topic: str, payload: bytes = b"x", retain: bool = False) -> ReasonCode:
        self.send(topic, payload, retain)
        return self.answers.get(timeout=10)

    def subscribe(self, topic: str) -> ReasonCode:
        self._client.subscribe(topic, qos=1)
        return self.answers.get(timeout=10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self.heard.put((message.topic, bytes(message.payload)))


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[[str | None], Mqtt]]:
    made: list[Mqtt] = []

    def make(user: str | None) -> Mqtt:
        made.append(Mqtt(broker, user))
        return made[-1]

    yield make
    for each in made:
        each.close()


# --- PostgreSQL


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Postgres]:
    """A cluster for the test alone, asked to be in a folder that no other account can enter."""
    server = Postgres(tmp_path / "a folder" / "postgres")
    yield server
    server.destroy()


def test_a_kill_loses_nothing_committed_and_the_port_stays(own_server: Postgres) -> None:
    own_server.start()
    own_server.bootstrap()
    port = own_server.port
    with psycopg.connect(own_server.dsn(OWNER)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 10000) AS n")
    own_server.kill()
    assert not own_server.running
    own_server.start()
    own_server.bootstrap()
    assert own_server.port == port
    with psycopg.connect(own_server.dsn(OWNER)) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (10000,)


def test_another_port_is_taken_when_the_remembered_one_is_in_use(own_server: Postgres, tmp_path: Path) -> None:
    own_server.start()
    own_server.stop()
    with Supervisor(tmp_path / "logs") as processes:
        argv = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(own_server.port))
        processes.start("squatter", *argv, cwd=tmp_path, ready=lambda: listens(own_server.port))
        squatted = own_server.port
        own_server.start()
        assert own_server.port != squatted


def test_a_second_server_on_the_same_data_is_refused_in_one_line(own_server: Postgres) -> None:
    own_server.start()
    with pytest.raises(StackError, match="already runs"):
        Postgres(own_server.root).start()
    assert own_server.running


def test_the_passwords_are_readable_by_us_alone(own_server: Postgres) -> None:
    own_server.start()
    mode = stat.S_IMODE((own_server.root / "passwords.json").stat().st_mode)
    assert mode == 0o600


def test_a_wrong_password_is_refused(postgres: DatabaseServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.admin_dsn, user=APP, password="wrong").close()


def test_no_role_of_the_product_may_pass_row_security(postgres: DatabaseServer) -> None:
    with psycopg.connect(postgres.admin_dsn) as connection:
        rows = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND NOT (rolsuper OR rolbypassrls OR rolcreaterole)",
            [list(ROLES)],
        ).fetchall()
    assert sorted(name for (name,) in rows) == sorted(ROLES)


def test_a_database_is_copied_from_a_template_and_only_its_owner_makes_tables(postgres: DatabaseServer) -> None:
    postgres.create_database("stack_one")
    try:
        with psycopg.connect(postgres.dsn(OWNER, "stack_one")) as owner:
            owner.execute("CREATE TABLE here (n int)")
        postgres.create_database("stack_two", "stack_one")
        with psycopg.connect(postgres.dsn(OWNER, "stack_two")) as owner:
            assert owner.execute("SELECT count(*) FROM here").fetchone() == (0,)
        for role in (APP, SERVICE):
            with psycopg.connect(postgres.dsn(role, "stack_two")) as other:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    other.execute("CREATE TABLE there (n int)")
    finally:
        postgres.drop_database("stack_two")
        postgres.drop_database("stack_one")


# --- brokers

Connect = Callable[[str | None], Mqtt]


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        (NODE.up("health"), NOBODY_LISTENS),
        (NODE.status, NOBODY_LISTENS),
        (NODE.down("ack"), NOT_AUTHORIZED),
        (OTHER_NODE.up("health"), NOT_AUTHORIZED),
        (OTHER_NODE.status, NOT_AUTHORIZED),
        ("aisle/v2/anything", NOT_AUTHORIZED),
    ],
)
def test_a_node_publishes_under_its_own_name_only(connect: Connect, topic: str, reason: int) -> None:
    assert connect(str(NODE)).publish(topic).value == reason


def test_only_the_cloud_gives_orders_and_they_reach_the_node_they_are_for(connect: Connect) -> None:
    node, other, cloud = connect(str(NODE)), connect(str(OTHER_NODE)), connect("cloud")
    node.subscribe(NODE.all_down)
    other.subscribe("aisle/v1/#")  # asking for everything gives it nothing of the others
    other.subscribe(OTHER_NODE.all_down)
    cloud.publish(NODE.down("ack"), b"for node-1")
    cloud.publish(OTHER_NODE.down("ack"), b"for node-2")
    assert node.heard.get(timeout=10) == (NODE.down("ack"), b"for node-1")
    assert other.heard.get(timeout=10) == (OTHER_NODE.down("ack"), b"for node-2")
    assert cloud.publish(NODE.up("health")).value == NOT_AUTHORIZED
    assert node.heard.empty()


@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"], indirect=True)
@pytest.mark.parametrize("user", [None, "nobody", "cloud with a wrong password"])
def test_nobody_connects_without_name_and_password(broker: Broker, user: str | None) -> None:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    answers: Queue[str] = Queue()
    client.on_connect = lambda c, u, flags, reason, properties: answers.put(str(reason))
    client.on_disconnect = lambda c, u, flags, reason, properties: answers.put(f"thrown out: {reason}")
    if user is not None:
        client.username_pw_set(user.partition(" ")[0], "wrong")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert answers.get(timeout=10) != "Success"
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"], indirect=True)
def test_two_workers_share_what_the_nodes_send(connect: Connect) -> None:
    workers = [connect("cloud"), connect("cloud")]
    for worker in workers:
        assert worker.subscribe(SHARED_UP).value <= 1
    node = connect(str(NODE))
    sent = {b"%d" % n for n in range(40)}
    for payload in sorted(sent):
        assert node.publish(NODE.up("sightings"), payload).value == 0
    wait_until(lambda: sum(worker.heard.qsize() for worker in workers) >= len(sent))
    shares = [{worker.heard.get()[1] for _ in range(worker.heard.qsize())} for worker in workers]
    assert shares[0] | shares[1] == sent
    assert shares[0].isdisjoint(shares[1])
    assert min(map(len, shares)) > 0


@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"], indirect=True)
def test_the_status_is_kept_for_those_who_come_later(connect: Connect, broker: Broker) -> None:
    node = connect(str(NODE))
    node.publish(NODE.status, b"online", retain=True)
    cloud = connect("cloud")
    cloud.subscribe("aisle/v1/status/#")
    assert cloud.heard.get(timeout=10) == (NODE.status, b"online")


class Worker:
    """A client with a lasting session: what is sent while it is away waits for it."""

    def __init__(self, broker: Broker) -> None:
        keep = Properties(PacketTypes.CONNECT)
        keep.SessionExpiryInterval = 3600
        self.heard: Queue[bytes] = Queue()
        subscribed: Queue[bool] = Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="worker", protocol=MQTTv5)
        self._client.username_pw_set("cloud", broker.clients["cloud"].password)
        self._client.on_connect = lambda c, u, flags, reason, properties: c.subscribe(ALL_UP, qos=1)
        self._client.on_subscribe = lambda c, u, mid, reasons, properties: subscribed.put(True)
        self._client.on_message = lambda c, u, message: self.heard.put(bytes(message.payload))
        self._client.connect("127.0.0.1", broker.port, clean_start=False, properties=keep)
        self._client.loop_start()
        subscribed.get(timeout=10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def test_mosquitto_keeps_what_is_queued_over_a_restart_and_more_than_its_default(broker: Broker) -> None:
    sent = [b"%d" % n for n in range(1500)]
    Worker(broker).close()
    node = Mqtt(broker, str(NODE))
    for payload in sent:
        node.send(NODE.up("sightings"), payload)
    wait_until(lambda: node.answers.qsize() >= len(sent), 30)
    node.close()
    broker.stop()
    broker.start()
    worker = Worker(broker)
    assert [worker.heard.get(timeout=10) for _ in sent] == sent
    worker.close()


def test_iotcore_stands_in_where_it_is_asked_for(tmp_path: Path) -> None:
    with open_broker(tmp_path, {"cloud": cloud_client()}, prefer="iotcore") as broker:
        assert broker.kind == "iotcore"
        assert broker.url("cloud").startswith("mqtt://cloud:")
        broker.kill()
        assert not listens(broker.port)
    broker.destroy()


# --- processes

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"


def said_ready(log: Path) -> bool:
    return "ready" in log.read_text()


def test_a_child_that_ends_is_reported_once_with_its_last_words(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as processes:
        processes.start("ingest", sys.executable, "-c", "raise SystemExit('database away')")
        wait_until(lambda: not processes.running("ingest"))
        (ended,) = processes.ended()
        assert str(ended).startswith("ingest ended with code 1: database away")
        assert processes.ended() == []


def test_waiting_for_a_child_that_fails_says_why(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as processes:
        with pytest.raises(StackError, match="api ended with code 1: ValueError: no such port"):
            processes.start("api", sys.executable, "-c", "raise ValueError('no such port')", ready=lambda: False)


def test_a_killed_child_is_not_reported_and_comes_back(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as processes:
        processes.start("edge", sys.executable, "-c", SLEEPER, ready=partial(said_ready, processes.log("edge")))
        first = processes.pid("edge")
        processes.kill("edge")
        assert not processes.running("edge")
        assert processes.ended() == []
        processes.restart("edge")
        assert processes.running("edge")
        assert processes.pid("edge") != first
    assert not processes.running("edge")


def test_children_are_stopped_in_reverse_and_the_stubborn_are_killed(tmp_path: Path) -> None:
    polite = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(print('bye', time.monotonic())))"
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN)"
    with Supervisor(tmp_path, grace_s=0.3) as processes:
        for name, code in (("first", polite), ("second", polite), ("third", stubborn)):
            ready = f"{code}\n{SLEEPER}"
            processes.start(name, sys.executable, "-c", ready, ready=partial(said_ready, processes.log(name)))
    goodbyes = [float(processes.log(name).read_text().split()[-1]) for name in ("first", "second")]
    assert goodbyes[1] < goodbyes[0]
    assert not processes.running("third")


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is told to its children on Linux only")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = f"""
import sys, time
from pathlib import Path
from cli.stack.processes import Supervisor
processes = Supervisor(Path({str(tmp_path)!r}))
processes.start("child", sys.executable, "-c", {SLEEPER!r})
print(processes.pid("child"), flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        wait_until(partial(said_ready, tmp_path / "child.log"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child))


def test_a_free_port_is_free() -> None:
    port = free_port()
    assert not listens(port)
    assert port > 1024 or os.geteuid() == 0


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_with_an_authority_of_its_own_a_claimed_node_is_who_its_certificate_says(tmp_path: Path) -> None:
    """The demo's nodes: no password, their own topics, and nobody without a certificate."""
    authority = local_authority(tmp_path / "authority")
    assert stat.S_IMODE(authority.key.stat().st_mode) == 0o600 and local_authority(tmp_path / "authority") == authority
    settings = {"AISLE_CA_CERT": str(authority.cert), "AISLE_CA_KEY": str(authority.key)}
    signer = read_authority(settings)
    assert signer is not None
    clients = {"cloud": cloud_client(), str(NODE): node_client(NODE)}
    tmp_path.chmod(0o711)
    with open_broker(tmp_path / "broker", clients, authority=authority) as broker:
        if not broker.tls_port:
            pytest.skip("mosquitto is not installed: apt-get install mosquitto")

        def post(_: str, body: dict[str, str]) -> bytes:
            made = signer.issue(read_request(body["csr"]), str(NODE), datetime.now(UTC))
            tenant, store, node = str(NODE).split("/")
            return json.dumps({
                "tenant": tenant, "store": store, "node": node, "tz": "Europe/Berlin", "certificate": pem(made),
                "authority": authority.cert.read_text(), "broker_host": "127.0.0.1", "broker_port": broker.tls_port,
            }).encode()  # fmt: skip

        claim("http://127.0.0.1:1", "CODE", tmp_path / "node", post=post)
        (spoken,) = [f for f in line.broker(read_patient(tmp_path / "node" / "node.toml")) if "greets" in f.found]
        assert spoken.level == "PASS" and str(NODE) in spoken.found
        context = ssl.create_default_context(cafile=str(authority.cert))
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", broker.tls_port), 5) as plain,
            contextlib.suppress(OSError),
            context.wrap_socket(plain, server_hostname="127.0.0.1") as stranger,
        ):
            stranger.sendall(bytes.fromhex("101000044d5154540502003c0000036162630000"))  # MQTT 5 CONNECT
            answer = stranger.recv(1)
        assert answer == b"", "nobody is greeted without a certificate"
