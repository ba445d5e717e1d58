"""Thousands of nodes in one process, as a broker sees them: mTLS, MQTT 5, their own back-off, one batch at a time.

    python -m tests.integration.storm_nodes HOST PORT CERTS N

Reads lines from stdin, each the number of a batch that every node is to hand over from now on; prints two numbers on
stdout whenever they change: how many nodes are connected, and how many have the cloud's ack for that batch.
The packets are made by the library `mqtt5`; the pauses are those of `edge.broker` and `edge.uplink`.
"""

import asyncio
import asyncio.sslproto
import contextlib
import random
import ssl
import sys
from pathlib import Path

import mqtt5

from contract.codec import decode_small, encode_small
from contract.messages import Ack, Status
from contract.topics import NodeAddress
from edge.broker import HELD_S, RECONNECT_MOST_S
from edge.uplink import resend_after_s
from tests.integration.trust_support import sightings_payload

EPOCH = "9" * 32
KEEPALIVE_S = 20
"""A node's default; also what paho gives a TLS handshake."""
CONNECT_S = 5.0
"""What paho gives a TCP connection."""
ROWS = 10


def address(i: int) -> NodeAddress:
    """The i-th node."""
    return NodeAddress("acme", "main-street", f"node-{i}")


class Fleet:
    """What all nodes share, and the two counts."""

    def __init__(self, host: str, port: int, certs: Path, n: int) -> None:
        self.host = host
        self.port = port
        self.certs = certs
        self.batch = 0
        self.wanted = asyncio.Condition()
        self.connected = 0
        self.failures = 0
        self.nodes = [Node(self, i) for i in range(n)]

    async def run(self) -> None:
        lives = [asyncio.create_task(node.live()) for node in self.nodes]
        teller = asyncio.create_task(self._tell())
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            async with self.wanted:
                self.batch = int(line)
                self.wanted.notify_all()
        for task in [*lives, teller]:
            task.cancel()
        await asyncio.gather(*lives, teller, return_exceptions=True)

    async def _tell(self) -> None:
        told = None
        while True:
            now = self.connected, sum(node.acked >= self.batch > 0 for node in self.nodes), self.failures
            if now != told:
                print(*now, flush=True)
                told = now
            await asyncio.sleep(0.1)


class Node:
    """One node's uplink."""

    def __init__(self, fleet: Fleet, i: int) -> None:
        self._fleet = fleet
        self._address = address(i)
        self._context: ssl.SSLContext | None = None
        self.acked = 0
        self._answered = asyncio.Event()

    async def live(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        await asyncio.sleep(random.uniform(0, len(self._fleet.nodes) / 400))  # a fleet is not switched on at once
        while True:
            begun = loop.time()
            try:
                reader, writer = await self._connect()
                try:
                    await self._session(reader, writer)
                finally:
                    writer.transport.abort()
            except (OSError, TimeoutError, EOFError, ssl.SSLError):
                self._fleet.failures += 1
            failures = 1 if loop.time() - begun >= HELD_S else failures + 1
            await asyncio.sleep(random.randint(1, min(RECONNECT_MOST_S, 2 ** min(failures, 8))))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self._fleet.certs / "ca.crt"))
            self._context.load_cert_chain(
                self._fleet.certs / f"{self._address.node}.crt", self._fleet.certs / "any.key"
            )
        async with asyncio.timeout(CONNECT_S + KEEPALIVE_S):
            return await asyncio.open_connection(
                self._fleet.host, self._fleet.port, ssl=self._context, server_hostname="localhost"
            )

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = f"{self._address.tenant}.{self._address.node}"
        will = mqtt5.Will(self._address.status, payload=_status("offline"), qos=mqtt5.QoS.AT_LEAST_ONCE, retain=True)
        writer.write(mqtt5.ConnectPacket(name, clean_start=True, keep_alive=KEEPALIVE_S, will=will).write())
        buffer = bytearray()
        async with asyncio.timeout(KEEPALIVE_S):
            greeted = await _packet(reader, buffer)
        if not isinstance(greeted, mqtt5.ConnAckPacket) or int(greeted.reason_code):
            raise EOFError
        down = mqtt5.TopicFilter(self._address.all_down, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
        writer.write(mqtt5.SubscribePacket(1, [down]).write())
        online = mqtt5.PublishPacket(
            self._address.status, _status("online"), qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=2, retain=True
        )
        writer.write(online.write())
        self._fleet.connected += 1
        speaking = asyncio.create_task(self._speak(writer))
        try:
            while True:
                packet = await self._next(reader, writer, buffer)
                if isinstance(packet, mqtt5.PublishPacket):
                    if packet.packet_id is not None:
                        writer.write(mqtt5.PubAckPacket(packet.packet_id).write())
                    ack = decode_small(packet.payload, Ack)
                    self.acked = max([self.acked, *(last for _, last in ack.stored)])
                    self._answered.set()
                elif isinstance(packet, mqtt5.DisconnectPacket):
                    raise EOFError
        finally:
            self._fleet.connected -= 1
            speaking.cancel()

    async def _next(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, buffer: bytearray
    ) -> mqtt5.Packet:
        """Asks whether the broker is there when nothing comes, as paho does."""
        try:
            async with asyncio.timeout(KEEPALIVE_S):
                return await _packet(reader, buffer)
        except TimeoutError:
            writer.write(mqtt5.PingReqPacket().write())
        async with asyncio.timeout(KEEPALIVE_S):
            return await _packet(reader, buffer)

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        """The batch that is wanted, again and again until the cloud has it."""
        attempt = 0
        while True:
            async with self._fleet.wanted:
                await self._fleet.wanted.wait_for(lambda: self._fleet.batch > self.acked)
            if not attempt:
                await asyncio.sleep(random.uniform(0, 1))  # windows end when they end
            payload = sightings_payload(self._address, EPOCH, self._fleet.batch, ROWS)
            packet = mqtt5.PublishPacket(
                self._address.up("sightings"), payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=3 + attempt % 60_000
            )
            writer.write(packet.write())
            attempt += 1
            wanted = self._fleet.batch
            self._answered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(resend_after_s(attempt)):
                    await self._answered.wait()
            if self.acked >= wanted:
                attempt = 0


async def _packet(reader: asyncio.StreamReader, buffer: bytearray) -> mqtt5.Packet:
    """The next packet. Raises EOFError at the end."""
    while True:
        if buffer:
            with contextlib.suppress(IndexError):
                packet, size = mqtt5.read(memoryview(bytes(buffer)))
                del buffer[:size]
                return packet
        data = await reader.read(4_096)
        if not data:
            raise EOFError
        buffer += data


def _status(state: str) -> bytes:
    return encode_small(Status(state="online" if state == "online" else "offline", boot="boot-1", at=0))


if __name__ == "__main__":
    host, port, certs, n = sys.argv[1:]
    asyncio.sslproto.SSLProtocol.max_size = 16_384  # each connection has a buffer of 256 KiB otherwise
    asyncio.run(Fleet(host, int(port), Path(certs), int(n)).run())
