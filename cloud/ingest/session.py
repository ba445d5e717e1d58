"""A session with an MQTT 5 broker for a process that stores: takes all there is at once, acknowledges all at once.

The packets are read and written by the library `mqtt5`; here is only when. There is no thread and no queue: what was
not asked for waits in the socket and then at the broker, so a slow database bounds this process's memory by itself.
Nothing is remembered past the session: what was not acknowledged comes again, from the node if not from the broker.
"""

import select
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import mqtt5

from cloud.config import BrokerUrl

MOST_MESSAGES = 500
"""Taken at once, and so stored in one transaction: beyond some hundred the rate gains nothing, the latency loses."""
MOST_BYTES = 1_200_000
"""The same in bytes: about 50,000 windows."""
RECEIVE_MAXIMUM = 2_000
"""Messages that the broker may hand over before the first is acknowledged; the broker and the socket hold them."""
MOST_PACKET_BYTES = 2 << 20
"""Far above the contract's largest message; a broker that sends more is not ours."""
KEEPALIVE_S = 30
PATIENCE_S = 10.0
"""For a connection, an answer to it, and a write."""

_SUBSCRIPTION = 1
_REFUSED = 0x80
"""Reason codes from here on say no (MQTT 5, 2.4)."""


class BrokerAway(Exception):
    """The broker cannot be reached, said no, or went away; the message says which."""


class Session:
    """Made by `open`. All calls come from one thread; each may raise BrokerAway, and the session is over then."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray(MOST_PACKET_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        """What was received and not read yet."""
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._keepalive_s = float(KEEPALIVE_S)
        self._sent_at = self._heard_at = time.monotonic()

    @classmethod
    def open(cls, broker: BrokerUrl, name: str, filters: Sequence[str]) -> Self:
        """Connect and subscribe, at QoS 1 and with nothing left from an earlier session. Raises BrokerAway."""
        session = cls(_connection(broker))
        try:
            session._begin(broker, name, filters)
        except BaseException:
            session._socket.close()
            raise
        return session

    def receive(self, wait_s: float) -> list[mqtt5.PublishPacket]:
        """What has arrived, in its order, up to MOST_MESSAGES and about MOST_BYTES; waits so long for the first."""
        arrived: list[mqtt5.PublishPacket] = []
        size = 0
        while True:
            while len(arrived) < MOST_MESSAGES and size < MOST_BYTES:
                packet = self._next()
                if packet is None:
                    break
                if isinstance(packet, mqtt5.PublishPacket):
                    arrived.append(packet)
                    size += len(packet.payload)
            else:
                return arrived
            if not self._fill(0.0 if arrived else wait_s):
                return arrived

    def send(self, messages: Iterable[tuple[str, bytes]], stored: Iterable[mqtt5.PublishPacket]) -> None:
        """Publish the messages, then acknowledge to the broker what is stored; one write for all.

        The messages have QoS 0. Both ends of each are an open TCP connection, and what is lost with a connection is
        asked for again: a node sends a batch until its ack comes, and its heartbeat tells which orders it has.
        """
        packets = [mqtt5.PublishPacket(topic, payload).write() for topic, payload in messages]
        packets += [mqtt5.PubAckPacket(one.packet_id).write() for one in stored if one.packet_id is not None]
        self._write(b"".join(packets))

    def keep_alive(self) -> None:
        """Tell the broker now and then that we are here; to be called where nothing is received for long."""
        if time.monotonic() - self._sent_at > self._keepalive_s / 2:
            self._write(mqtt5.PingReqPacket().write())

    def close(self) -> None:
        """Say goodbye, if anybody listens, and hang up."""
        try:
            self._write(mqtt5.DisconnectPacket().write())
        except BrokerAway:
            pass
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, broker: BrokerUrl, name: str, filters: Sequence[str]) -> None:
        connect = mqtt5.ConnectPacket(
            name,
            username=broker.username,
            password=broker.password.encode() if broker.password is not None else None,
            clean_start=True,
            keep_alive=KEEPALIVE_S,
            receive_max=RECEIVE_MAXIMUM,
            max_packet_size=MOST_PACKET_BYTES,
        )
        self._write(connect.write())
        answer = self._next()
        while answer is None and self._fill(PATIENCE_S):
            answer = self._next()
        if not isinstance(answer, mqtt5.ConnAckPacket):
            raise BrokerAway("no answer to our greeting")
        if int(answer.reason_code) >= _REFUSED:
            raise BrokerAway(f"it refuses us: {_words(answer.reason_code.name)}")
        self._keepalive_s = float(answer.server_keep_alive or KEEPALIVE_S)
        topics = [mqtt5.TopicFilter(pattern, max_qos=mqtt5.QoS.AT_LEAST_ONCE) for pattern in filters]
        self._write(mqtt5.SubscribePacket(_SUBSCRIPTION, topics).write())

    def _next(self) -> mqtt5.Packet | None:
        """The next whole packet in the buffer; the broker's refusals and goodbye are raised."""
        try:
            packet, size = mqtt5.read(self._view[self._start : self._end])
        except IndexError:
            return None
        except ValueError as error:
            raise BrokerAway(f"it sent what is no MQTT: {error}") from None
        self._start += size
        if isinstance(packet, mqtt5.DisconnectPacket):
            raise BrokerAway(f"it ended the session: {_words(packet.reason_code.name)}")
        if isinstance(packet, mqtt5.SubAckPacket) and any(int(code) >= _REFUSED for code in packet.reason_codes):
            raise BrokerAway("it refuses a subscription: may this user read up/# and status/#?")
        return packet

    def _fill(self, wait_s: float) -> bool:
        """Receive what is there, after `wait_s` at most; False if nothing came."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            if self._start == 0:
                raise BrokerAway(f"it sends a packet of more than {MOST_PACKET_BYTES} bytes")
            rest = self._view[self._start : self._end].tobytes()
            self._start, self._end = 0, len(rest)
            self._view[: self._end] = rest
        until = time.monotonic() + wait_s
        size = self._receive_into(self._view[self._end :])
        # What wakes us may be TLS's own, a ticket or half a record, and no data yet.
        while size is None and (left_s := until - time.monotonic()) > 0 and self._poll.poll(left_s * 1_000):
            size = self._receive_into(self._view[self._end :])
        if size is None:
            self._mind_silence()
            return False
        if size == 0:
            raise BrokerAway("it closed the connection")
        self._end += size
        self._heard_at = time.monotonic()
        return True

    def _receive_into(self, free: memoryview) -> int | None:
        """Bytes received, 0 at the end of the connection, None if there are none yet."""
        try:
            return self._socket.recv_into(free)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            raise BrokerAway(str(error)) from None

    def _mind_silence(self) -> None:
        """Ask whether the broker is there; it has as long as we would have to answer."""
        self.keep_alive()
        if self._sent_at - self._heard_at > self._keepalive_s * 1.5:
            raise BrokerAway(f"nothing came for {self._sent_at - self._heard_at:.0f} s")

    def _write(self, data: bytes) -> None:
        try:
            self._socket.settimeout(PATIENCE_S)
            self._socket.sendall(data)
            self._socket.settimeout(0.0)
        except OSError as error:
            raise BrokerAway(str(error)) from None
        self._sent_at = time.monotonic()


def _connection(broker: BrokerUrl) -> socket.socket:
    """A TCP connection, inside TLS where the settings say so. Raises BrokerAway."""
    try:
        connection = socket.create_connection((broker.host, broker.port), timeout=PATIENCE_S)
    except OSError as error:
        raise BrokerAway(str(error)) from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not broker.tls:
        return connection
    try:
        context = ssl.create_default_context(cafile=broker.ca)
        if broker.cert is not None and broker.key is not None:
            context.load_cert_chain(broker.cert, broker.key)
        return context.wrap_socket(connection, server_hostname=broker.host)
    except OSError as error:
        connection.close()
        raise BrokerAway(f"TLS: {error}") from None


def _words(code: str) -> str:
    return code.replace("_", " ").lower()
