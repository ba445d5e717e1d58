"""A TCP line that can be made bad: slow, narrow, stalled, half-open, cut, reset, corrupting, slow to close.

It stands between a client and a server of ours on loopback, and runs in a thread of its own, so that commands and tests
can turn it as they go:

    with FaultProxy(broker.port) as line:
        start_node(port=line.port)
        line.become(Fault(latency_s=0.2))
        line.reset()
        line.heal()
"""

import asyncio
import random
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Self

_CHUNK = 1 << 16
_AHEAD = 64
"""Chunks under way in one direction; beyond that the sender is made to wait, as a full line does."""
_RST = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing then sends a reset."""
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What a line does with what passes; as made by default nothing."""

    latency_s: float = 0.0
    """Each way."""
    bytes_per_s: float | None = None
    """Each way and connection."""
    stalled: bool = False
    """Nothing passes, nothing is lost: packets that are dropped for a while are sent again by TCP."""
    half_open: bool = False
    """Everything is swallowed, and a connection of this time stays dead: its other end is gone without a goodbye."""
    refusing: bool = False
    """New connections are reset."""
    corrupt: float = 0.0
    """Share of the chunks in which one bit is turned over. Only TLS notices for sure: use it on TLS lines."""
    close_after_s: float = 0.0
    """How long the end of one direction is kept from the other side."""


GOOD = Fault()


@dataclass(slots=True, eq=False)
class _Connection:
    """A client's connection and ours to the server."""

    writers: list[asyncio.StreamWriter]
    dead: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def abort(self) -> None:
        """A reset to both sides."""
        for writer in self.writers:
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            writer.transport.abort()


class FaultProxy:
    """Listens on `port` of loopback while entered and forwards to `target`. Methods may be called from any thread."""

    def __init__(self, target: int, *, tls: ssl.SSLContext | None = None, seed: int = 1) -> None:
        """`tls`: clients speak TLS to us, the server behind gets the plain stream. Such a proxy stands behind the one
        that corrupts."""
        self._target = target
        self._tls = tls
        self._rng = random.Random(seed)
        self._fault = GOOD
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"line to {target}", daemon=True)
        self._server: asyncio.Server | None = None
        self.port = 0
        """Where clients connect, once entered."""
        self.accepted = 0
        """Connections ever taken."""
        self.corrupted = 0
        """Bits turned over."""

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._connections)

    def become(self, fault: Fault) -> None:
        """From now on the line is so, for connections that there are and for new ones."""
        self._call(self._become(fault))

    def heal(self) -> None:
        """Good again; what was swallowed stays lost."""
        self.become(GOOD)

    def reset(self) -> None:
        """A reset (RST) to both ends of every connection. New ones are taken."""
        self._call(self._reset())

    def cut(self) -> None:
        """Reset every connection and refuse new ones until it is healed."""
        self.become(Fault(refusing=True))
        self.reset()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *exc: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    # -- in the loop

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [task for connection in self._connections for task in connection.tasks]
        await self._reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _become(self, fault: Fault) -> None:
        self._fault = fault
        if fault.half_open:
            for connection in self._connections:
                connection.dead = True
        self._changed.set()
        self._changed = asyncio.Event()

    async def _reset(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection([writer], dead=self._fault.half_open)
        if self._fault.refusing:
            connection.abort()
            return
        try:
            upstream, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is down: so is the line to it
            connection.abort()
            return
        connection.writers.append(back)
        self._connections.add(connection)
        connection.tasks = [
            asyncio.create_task(self._forward(connection, reader, back)),
            asyncio.create_task(self._forward(connection, upstream, writer)),
        ]
        try:
            await asyncio.gather(*connection.tasks)
        except (OSError, asyncio.CancelledError):  # one side reset it, or we end: so does the other
            connection.abort()
        finally:
            self._connections.discard(connection)
            for task in connection.tasks:
                task.cancel()
            for each in connection.writers:
                each.close()

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One direction: what is read is due some time later; an empty chunk is its end."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)
        sending = asyncio.create_task(self._send(connection, under_way, writer))
        connection.tasks.append(sending)
        data = b"-"
        while data:
            data = await reader.read(_CHUNK)
            await under_way.put((self._loop.time() + self._fault.latency_s, data))
        await sending

    async def _send(
        self, connection: _Connection, under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            while self._fault.stalled:
                await self._changed.wait()
            if not data:
                break
            if not connection.dead:
                await self._write(self._bent(data), writer)
        await asyncio.sleep(self._fault.close_after_s)
        if not connection.dead and writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    def _bent(self, data: bytes) -> bytes:
        if self._rng.random() >= self._fault.corrupt:
            return data
        bent = bytearray(data)
        bent[self._rng.randrange(len(bent))] ^= 1 << self._rng.randrange(8)
        self.corrupted += 1
        return bytes(bent)

    async def _write(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        rest = memoryview(data)
        while rest:
            rate = self._fault.bytes_per_s
            part = rest[: max(1, int(rate / 20))] if rate else rest  # a twentieth of a second at a time
            writer.write(part)
            await writer.drain()
            rest = rest[len(part) :]
            if rate:
                await asyncio.sleep(len(part) / rate)
