"""The air: a TCP server to which every node's simulated scanner connects and which tells it the adverts it receives."""

import asyncio
import logging
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import msgspec

logger = logging.getLogger(__name__)

FULL_BYTES = 1 << 20
"""A scanner that lags by so much loses adverts, as a radio would; they are counted."""
HELLO_S = 5.0


class Hello(msgspec.Struct, frozen=True):
    """The first line a scanner sends: which node it stands in."""

    node: str


class Air:
    """Listens on a loopback port (0: any free one) while entered; `send` never waits."""

    def __init__(self, nodes: Iterable[str], port: int = 0, host: str = "127.0.0.1") -> None:
        self._scanners: dict[str, set[asyncio.StreamWriter]] = {node: set() for node in nodes}
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        self.dropped = 0
        """Bytes not sent because a scanner did not read."""

    @property
    def port(self) -> int:
        """The port that is listened on, once entered."""
        return self._port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        self._port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for scanners in self._scanners.values():
            for writer in list(scanners):
                writer.close()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def heard_by(self) -> set[str]:
        """The nodes that have a scanner connected now."""
        return {node for node, scanners in self._scanners.items() if scanners}

    async def wait_until_heard_by(self, nodes: set[str]) -> None:
        """Returns once exactly these nodes have a scanner connected."""
        while self.heard_by() != nodes:
            self._changed.clear()
            await self._changed.wait()

    def send(self, node: str, frames: bytes) -> None:
        """Frames (see `adverts.frame`, one after the other) to a node's scanners; nothing if there is none."""
        for writer in self._scanners[node]:
            if writer.transport.get_write_buffer_size() > FULL_BYTES:
                self.dropped += len(frames)
            else:
                writer.write(frames)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                line = await reader.readline()
            node = msgspec.json.decode(line, type=Hello).node
            scanners = self._scanners[node]
        except (TimeoutError, ValueError, KeyError, OSError) as error:
            logger.warning("a scanner was turned away: %r", error, extra={"action": "air_refused"})
            writer.close()
            return
        scanners.add(writer)
        self._changed.set()
        try:
            await reader.read()  # a scanner says nothing more: this ends when it goes away
        except OSError:
            logger.debug("node %s: its scanner broke the connection", node, extra={"action": "air_lost"})
        finally:
            scanners.discard(writer)
            self._changed.set()
            writer.close()
