"""Wi-Fi in monitor mode as a source of management frames: opened again when it breaks or falls silent."""

import asyncio
import importlib
import logging
import socket
import time
from collections.abc import Callable

from contract.clock import Clock
from contract.messages import SourceHealth
from edge.frames.dot11 import Frame, parse_management
from edge.settings import Wifi
from edge.sources.hopping import Hopper
from edge.sources.packets import FRAME_MOST, CannotListen, drops, open_monitor

log = logging.getLogger(__name__)

RETRY_MOST_S = 60.0
SILENCE_MOST_S = 900.0
"""Far from access points the air may be silent all night: the wait before the next restart doubles up to this."""
BATCH = 256
"""Frames read for one wake-up of the loop, about 1 ms of work: then others have their turn."""


Open = Callable[[str], socket.socket]
"""From an interface's name to a non-blocking socket that gives a radiotap frame for each `recv`."""


def wifi_backend(path: str) -> Open:
    """The function named `package.module:function`. Raises ValueError with the reason if there is none."""
    module_name, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"[wifi] backend: found {path!r}, expected a function to import ({error})") from error
    if not callable(found):
        raise ValueError(f"[wifi] backend: found {path!r}, expected a function")
    opens: Open = found
    return opens


class WifiSource:
    """Runs until cancelled. `heard` gets each frame and its instant on the loop's thread and must return at once."""

    def __init__(self, settings: Wifi, clock: Clock, heard: Callable[[Frame, int], None]) -> None:
        """Raises ValueError if no interface is named, the backend is not there, or more than counts is asked for."""
        if settings.interface is None:
            raise ValueError("[wifi] interface: found nothing, expected the name of an interface in monitor mode")
        if not settings.aggregate_only:
            raise ValueError("[wifi] aggregate_only: found false, expected true: this build counts and does no more")
        self._interface = settings.interface
        self._settings = settings
        self._clock = clock
        self._heard = heard
        self._open = wifi_backend(settings.backend) if settings.backend else open_monitor
        self._socket: socket.socket | None = None
        self._count = 0
        self._told = (0, time.monotonic())
        self._trouble = "not started yet"
        self._hopper = Hopper(self._interface, settings.hop, settings.dwell_s)
        self._silent = True
        self.dropped = 0
        """Frames that the kernel had no room for, since start."""
        self.tries = 0
        """Times it was opened or could not be."""
        self.restarts = 0
        """Times it was opened again because it fell silent or broke."""

    @property
    def name(self) -> str:
        return "wifi"

    async def run(self) -> None:
        """Listens; what hinders it is said once, with what to do about it, and tried again up to once a minute."""
        wait_s, silence_s, said = 1.0, self._settings.watchdog_s, ""
        while True:
            before = self._count
            self.tries += 1
            try:
                await self._listen(silence_s)
            except Exception as error:  # whatever a driver or a backend throws: the node goes on without it
                self._trouble = str(error) or type(error).__name__
            if self._count > before:
                wait_s, silence_s, said = 1.0, self._settings.watchdog_s, ""
            elif not self._trouble:
                silence_s = min(silence_s * 2, SILENCE_MOST_S)
            if not self._trouble:
                continue
            if self._trouble != said:
                log.warning("Wi-Fi cannot be used: %s; trying again", self._trouble)
                said = self._trouble
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    def health(self) -> SourceHealth:
        """State, rate and drops; the detail says what hinders it, or what it listens to."""
        self._count_drops()
        now_s, (count, then_s) = time.monotonic(), self._told
        self._told = (self._count, now_s)
        return SourceHealth(
            state="down" if self._trouble else "silent" if self._silent else "ok",
            heard=self._count,
            per_s=round((self._count - count) / max(now_s - then_s, 1e-3), 1),
            restarts=self.restarts,
            detail=self._trouble or self._mode(),
        )

    def _mode(self) -> str:
        hopper = self._hopper
        channel = f"on channel {hopper.channel}" if hopper.channel else ""
        dropped = f"{self.dropped} frames dropped" if self.dropped else ""
        return ", ".join(word for word in (self._interface, channel, hopper.trouble, dropped) if word)

    async def _listen(self, silence_s: float) -> None:
        """Returns when nothing was heard for so long; raises CannotListen when the interface breaks."""
        opened = self._open(self._interface)
        loop = asyncio.get_running_loop()
        broken: asyncio.Future[str] = loop.create_future()
        hopping = asyncio.create_task(self._hopper.run(), name="wifi hop")
        self._socket, self._trouble = opened, ""
        log.info("listening to Wi-Fi on %s", self._interface)
        try:
            loop.add_reader(opened, self._read, opened, broken)
            while True:
                before = self._count
                await asyncio.wait({broken}, timeout=silence_s)
                if broken.done():
                    self.restarts += 1
                    raise CannotListen(broken.result())
                if self._count == before:
                    self.restarts += 1
                    log.warning("Wi-Fi fell silent: opened it again (%d since start)", self.restarts)
                    return
        finally:
            loop.remove_reader(opened)
            self._count_drops()
            self._socket, self._silent = None, True
            opened.close()  # before anything is waited for: a second cancellation would end the wait
            hopping.cancel()
            await asyncio.gather(hopping, return_exceptions=True)

    def _read(self, opened: socket.socket, broken: "asyncio.Future[str]") -> None:
        at_us = self._clock.now_us()
        receive, heard = opened.recv, self._heard
        for _ in range(BATCH):
            try:
                packet = receive(FRAME_MOST)
            except BlockingIOError:
                return
            except OSError as error:
                asyncio.get_running_loop().remove_reader(opened)
                if not broken.done():
                    broken.set_result(f"{self._interface} went away: {error.strerror}")
                return
            frame = parse_management(packet)
            if frame is not None:
                self._silent = False
                self._count += 1
                heard(frame, at_us)

    def _count_drops(self) -> None:
        if self._socket is not None:
            self.dropped += drops(self._socket)
