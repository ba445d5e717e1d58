"""What a session makes of a broker that is not what it should be: one error that says why, never a hang."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import mqtt5
import pytest

from cloud.config import BrokerUrl
from cloud.ingest import session as sessions
from cloud.ingest.session import MOST_MESSAGES, BrokerAway, Session

GREETED = mqtt5.ConnAckPacket().write()
GRANTED = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write()


@contextmanager
def broker(serve: Callable[[socket.socket], None]) -> Iterator[BrokerUrl]:
    """A server for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):  # who has heard enough hangs up on what is still said
                connection.recv(65_536)  # CONNECT
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield BrokerUrl("127.0.0.1", server.getsockname()[1], "cloud", "secret", False, None, None, None)
        finally:
            thread.join(10)
            assert not thread.is_alive()


def until_closed(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def saying(*said: bytes, then: Callable[[socket.socket], None] = until_closed) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        for data in said:
            connection.sendall(data)
        then(connection)

    return serve


def hangs_up(_connection: socket.socket) -> None:
    return None


DENIED = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD).write()
UNGRANTED = mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode.NOT_AUTHORIZED]).write()
TAKEN_OVER = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write()


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        pytest.param(saying(then=hangs_up), "closed the connection", id="hangs up at the greeting"),
        pytest.param(saying(DENIED), "bad user name or password", id="refuses the password"),
        pytest.param(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", then=hangs_up), "closed", id="is a web server"),
        pytest.param(saying(GREETED, UNGRANTED), "refuses a subscription", id="refuses the subscription"),
        pytest.param(saying(GREETED, GRANTED, TAKEN_OVER), "session taken over", id="ends the session"),
        pytest.param(saying(GREETED, GRANTED, b"\x00\x00"), "no MQTT", id="sends garbage later"),
        pytest.param(saying(GREETED, GRANTED, then=hangs_up), "closed the connection", id="hangs up later"),
        pytest.param(
            saying(GREETED, GRANTED, b"\x30\xff\xff\xff\x7f" + b"\x00" * (3 << 20)),
            "more than",
            id="never stops sending",
        ),
    ],
)
def test_a_broker_that_says_no_ends_the_session_with_its_reason(
    serve: Callable[[socket.socket], None], why: str
) -> None:
    with broker(serve) as url, pytest.raises(BrokerAway, match=why):
        with Session.open(url, "test", ("up/#",)) as session:
            for _ in range(100):
                session.receive(0.1)


def test_a_broker_that_does_not_answer_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PATIENCE_S", 0.2)
    with broker(until_closed) as url, pytest.raises(BrokerAway, match="no answer"):
        Session.open(url, "test", ("up/#",))


def test_a_broker_that_falls_silent_is_asked_and_then_given_up() -> None:
    greeted = mqtt5.ConnAckPacket(server_keep_alive=1).write()
    heard = bytearray()

    def listen(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            heard.extend(data)

    begun = time.monotonic()
    with broker(saying(greeted, GRANTED, then=listen)) as url, pytest.raises(BrokerAway, match="nothing came"):
        with Session.open(url, "test", ("up/#",)) as session:
            while True:
                session.receive(0.1)
    assert 1.5 <= time.monotonic() - begun < 5
    assert mqtt5.PingReqPacket().write() in heard


def test_a_broker_nobody_listens_for_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(BrokerAway, match="refused"):
        Session.open(BrokerUrl("127.0.0.1", port, None, None, False, None, None, None), "test", ("up/#",))


def test_packets_that_come_in_pieces_are_whole_and_in_order_and_no_more_than_asked_for() -> None:
    payloads = [b"%d" % n * 700 for n in range(2 * MOST_MESSAGES)]
    stream = b"".join(
        mqtt5.PublishPacket("up/a", p, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=n + 1).write()
        for n, p in enumerate(payloads)
    )
    cuts = [stream[i : i + 7_919] for i in range(0, len(stream), 7_919)]
    acknowledged = bytearray()

    def count(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            acknowledged.extend(data)

    with broker(saying(GREETED, GRANTED, *cuts, then=count)) as url, Session.open(url, "test", ("up/#",)) as session:
        taken: list[bytes] = []
        while len(taken) < len(payloads):
            arrived = session.receive(5.0)
            assert 0 < len(arrived) <= MOST_MESSAGES
            taken += [packet.payload for packet in arrived]
            session.send([], arrived)
    assert taken == payloads
    pubacks = b"".join(mqtt5.PubAckPacket(n + 1).write() for n in range(len(payloads)))
    assert pubacks in acknowledged
