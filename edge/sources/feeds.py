"""What feeds over the network share: where they listen, their secrets, how they are counted, and a UDP port."""

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from contract.messages import SourceHealth

log = logging.getLogger(__name__)

RETRY_S = 10.0
"""How soon a port that could not be opened is tried again."""
SILENT_S = 180.0
"""A feed that told nothing for so long is silent: Meraki posts every minute, interim reports come as often."""
RECEIVE_BYTES = 1 << 20
"""Asked of the kernel for what comes while the node is busy; it gives less where net.core.rmem_max says so."""
AT_ONCE = 256
"""Datagrams taken before others on the event loop have their turn."""
DATAGRAM_MOST = 65_536


def host_port(listen: str) -> tuple[str, int]:
    """The address and port in a setting of type Listen."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach a port."""
    host, _ = host_port(listen)
    return host in ("localhost", "::1") or host.startswith("127.")


def read_secret(path: Path) -> bytes:
    """The secret in a file, without the white space around it. Raises ValueError if there is none."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{path.name}: cannot be read ({error.strerror})") from error
    if not secret:
        raise ValueError(f"{path.name}: found an empty file, expected a secret")
    return secret


class Tally:
    """Counts for a source's health."""

    def __init__(self) -> None:
        self.refused = 0
        """What was malformed, or by somebody without the secret."""
        self.restarts = 0
        self.trouble = ""
        """Why it cannot be used at the moment; empty if it can."""
        self._heard = 0
        self._heard_s = -math.inf

    def hear(self, n: int = 1) -> None:
        """Counts what was understood and used."""
        self._heard += n
        self._heard_s = time.monotonic()

    def health(self, detail: str = "") -> SourceHealth:
        """How the source is; the heartbeat makes the rate from the count."""
        silent = time.monotonic() - self._heard_s > SILENT_S
        state: Literal["ok", "silent", "down"] = "down" if self.trouble else "silent" if silent else "ok"
        parts = [self.trouble or detail, f"{self.refused} refused" if self.refused else ""]
        return SourceHealth(
            state=state,
            heard=self._heard,
            restarts=self.restarts,
            detail="; ".join(part for part in parts if part),
        )


Received = Callable[[bytes, tuple[str, int]], bytes | None]
"""Takes a datagram and its sender, and may give an answer."""


class UdpPort:
    """A UDP port that is opened, held and opened again; `received` is called on the event loop's thread."""

    def __init__(self, name: str, listen: str, tally: Tally, received: Received) -> None:
        self._name = name
        self._listen = listen
        self._tally = tally
        self._received = received
        self.port: int | None = None
        """The port in use (it is the kernel's choice where port 0 was asked for); None while it is closed."""

    async def run(self) -> None:
        """Listens until cancelled; says once why it cannot."""
        while True:
            try:
                channel = _bound(self._listen)
            except OSError as error:
                if not self._tally.trouble:
                    log.warning("%s: cannot listen on %s: %s; trying again", self._name, self._listen, error)
                self._tally.trouble = f"cannot listen on {self._listen}"
                await asyncio.sleep(RETRY_S)
                continue
            self._tally.trouble = ""
            self.port = channel.getsockname()[1]
            log.info("%s: listening on %s", self._name, self._listen)
            await self._hold(channel)

    async def _hold(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        # Not asyncio's datagram transport: it goes round the loop for every single one, and the kernel drops meanwhile.
        loop.add_reader(channel, self._drain, channel)
        try:
            await asyncio.Event().wait()
        finally:
            self.port = None
            loop.remove_reader(channel)
            channel.close()

    def _drain(self, channel: socket.socket) -> None:
        with contextlib.suppress(OSError):  # nothing is left, or an answer could not be sent
            for _ in range(AT_ONCE):
                data, sender = channel.recvfrom(DATAGRAM_MOST)
                # An IPv6 sender has two more parts, and an IPv4 one on an IPv6 port a prefix.
                answer = self._received(data, (sender[0].removeprefix("::ffff:"), sender[1]))
                if answer is not None:
                    channel.sendto(answer, sender)


def _bound(listen: str) -> socket.socket:
    host, port = host_port(listen)
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)[0]
    channel = socket.socket(family, kind)
    try:
        channel.setblocking(False)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        channel.bind(address)
    except OSError:
        channel.close()
        raise
    return channel
