"""What a running node tells on its own machine: one JSON line a second over a UNIX socket beside the outbox.

For `watch`. The socket's mode is 0600: who may read the outbox may read this, nobody else, and nothing opens a port.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from contract.messages import Health

log = logging.getLogger(__name__)

EVERY_S = 1.0
PATH_MOST = 107
"""Bytes of a UNIX socket's name that the kernel takes (unix(7): 108 with the closing NUL)."""


class NodeStatus(msgspec.Struct, frozen=True):
    """How a node is, as `watch` shows it."""

    node: str
    """tenant/store/node."""
    connected: bool
    """Whether the broker is there at this moment."""
    subjects: int
    """Beacons, members' tokens and pseudonyms in the windows that are open now."""
    health: Health


def socket_of(outbox: Path) -> Path:
    """Where the node that uses this outbox tells its status."""
    return outbox.with_name(outbox.name + ".status")


class StatusServer:
    """Serves `snapshot()` to everyone who connects, once at once and then every second, until cancelled."""

    def __init__(self, path: Path, snapshot: Callable[[], NodeStatus], every_s: float = EVERY_S) -> None:
        self._path = path
        self._snapshot = snapshot
        self._every_s = every_s
        self._telling: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def run(self) -> None:
        """Serves until cancelled. Trouble with the socket is logged, never raised: a node works without it."""
        try:
            listening = _listen(self._path)
        except OSError as error:
            log.warning("no status for `watch`: %s: %s", self._path, error.strerror or error)
            return
        server = await asyncio.start_unix_server(self._begin, sock=listening)
        try:
            await asyncio.Event().wait()  # not serve_forever: from Python 3.12 on it waits for watchers to go away
        finally:
            server.close()
            told = dict(self._telling)
            for task, writer in told.items():
                task.cancel()
                writer.close()
            await asyncio.gather(*told, *(writer.wait_closed() for writer in told.values()), return_exceptions=True)
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._tell(reader, writer))
        self._telling[task] = writer
        task.add_done_callback(self._telling.pop)

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A reader that reads no more would otherwise fill memory: drain waits for it, and its closing ends this.
            while not reader.at_eof():
                writer.write(msgspec.json.encode(self._snapshot()) + b"\n")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), self._every_s)
        except ConnectionError:
            pass  # it hung up: there is nobody to tell
        finally:
            writer.close()


def _listen(path: Path) -> socket.socket:
    """A listening socket with mode 0600. Raises OSError if another node serves there, or the name is too long."""
    if len(os.fsencode(path)) > PATH_MOST:
        raise OSError(f"a socket's path has at most {PATH_MOST} bytes")
    if path.exists():
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(str(path)) == 0:
                raise OSError("another node runs with this outbox")
        path.unlink()  # left by a node that was killed
    listening = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(listening.fileno(), 0o600)  # before bind, so that the file never has another mode (unix(7), Linux)
        listening.bind(str(path))
        path.chmod(0o600)  # where the kernel ignores the line above
        listening.listen(4)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
