"""The session with real brokers: shared, acknowledged by hand, and told when they go away."""

import threading
import time
from collections.abc import Callable

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cli.stack.broker import Broker
from cloud.config import BrokerUrl, Settings
from cloud.ingest.session import RECEIVE_MAXIMUM, BrokerAway, Session
from contract.topics import SHARED_UP
from tests.conftest import NODE

BOTH = pytest.mark.parametrize("broker", ["mosquitto", "iotcore"], indirect=True)


def url(broker: Broker, user: str = "cloud") -> BrokerUrl:
    return Settings({"AISLE_BROKER": broker.url(user)}).broker


def open_session(broker: Broker, name: str, *filters: str) -> Session:
    return Session.open(url(broker), name, filters or (SHARED_UP,))


def publish(broker: Broker, payloads: list[bytes]) -> None:
    """As the node, each until the broker has it."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "node", protocol=mqtt.MQTTv5)
    client.username_pw_set(str(NODE), broker.clients[str(NODE)].password)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for info in [client.publish(NODE.up("sightings"), payload, qos=1) for payload in payloads]:
        info.wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def take(session: Session, enough: Callable[[list[bytes]], bool]) -> list[bytes]:
    """Payloads until there are enough of them, or nothing came for 2 s; each acknowledged."""
    taken: list[bytes] = []
    until = time.monotonic() + 2
    while not enough(taken) and time.monotonic() < until:
        arrived = session.receive(0.2)
        if arrived:
            until = time.monotonic() + 2
            taken += [packet.payload for packet in arrived]
        session.send([], arrived)
    return taken


@BOTH
def test_two_sessions_share_what_comes_and_none_gets_what_the_other_has(broker: Broker) -> None:
    payloads = [b"%d" % n for n in range(200)]
    with open_session(broker, "a") as a, open_session(broker, "b") as b:
        took: dict[str, list[bytes]] = {}

        def run(name: str, session: Session) -> None:
            took[name] = take(session, lambda _: False)

        threads = [threading.Thread(target=run, args=pair) for pair in (("a", a), ("b", b))]
        for thread in threads:
            thread.start()
        publish(broker, payloads)
        for thread in threads:
            thread.join(20)
    assert sorted(took["a"] + took["b"]) == sorted(payloads)
    assert took["a"] and took["b"]


def test_no_more_is_handed_over_than_may_wait_for_its_acknowledgement(broker: Broker) -> None:
    payloads = [b"%d" % n for n in range(RECEIVE_MAXIMUM + 300)]
    with open_session(broker, "a") as session:
        publish(broker, payloads)
        held = []
        while arrived := session.receive(1.0):
            held += arrived
        assert [packet.payload for packet in held] == payloads[:RECEIVE_MAXIMUM]
        session.send([], held)
        assert take(session, lambda taken: len(taken) == 300) == payloads[RECEIVE_MAXIMUM:]


@BOTH
def test_a_broker_that_is_killed_ends_the_session_and_the_next_one_works(broker: Broker) -> None:
    session = open_session(broker, "a")
    broker.kill()
    with pytest.raises(BrokerAway), session:
        while True:
            session.receive(0.2)
    broker.start()
    with open_session(broker, "a") as again:
        publish(broker, [b"two"])
        assert take(again, lambda taken: len(taken) == 1) == [b"two"]


@BOTH
def test_a_wrong_password_is_told(broker: Broker) -> None:
    good = url(broker)
    bad = BrokerUrl(good.host, good.port, good.username, "wrong", False, None, None, None)
    with pytest.raises(BrokerAway):
        Session.open(bad, "a", (SHARED_UP,))


def test_a_broker_that_ends_in_order_says_so(broker: Broker) -> None:
    with pytest.raises(BrokerAway, match="shutting down|closed"), open_session(broker, "a") as session:
        broker.stop()
        while True:
            session.receive(0.2)
