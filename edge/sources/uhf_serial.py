"""A UHF module on a serial port (M100, R200 and their kin) as a source of tag reads: polled without end, watched."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from contract.clock import Clock
from contract.messages import SourceHealth
from edge.frames import uhf_serial as uhf
from edge.frames.uhf_serial import Command, Decoder, Frame, FrameType
from edge.settings import UhfSerial
from edge.tags import TagRead

if TYPE_CHECKING:
    from serial import Serial

log = logging.getLogger(__name__)

ANSWER_S = 1.0
"""Modules answer a command within some 10 ms; longer than one slow round of polling, which it may have to end."""
TRIES = 3
IDLE_S = 0.1
"""A line quiet for so long will not finish the frame it began: a byte takes 0.1 ms, USB adapters hold back 16 ms."""
SILENT_S = 2.0
"""A polling module says something every round, tag or not; after 65,535 rounds it stops and says nothing more."""
RETRY_FIRST_S, RETRY_MOST_S = 1.0, 60.0
READ_BYTES = 4096


class ModuleError(OSError):
    """The module cannot be worked with; the text says why."""


class NoAnswer(ModuleError):
    """A command was not answered."""


class UhfSerialSource:
    """Runs until cancelled. `heard` gets reads on the event loop's thread and must return at once."""

    def __init__(self, settings: UhfSerial, heard: Callable[[Sequence[TagRead]], None], clock: Clock) -> None:
        self._settings = settings
        self._heard = heard
        self._clock = clock
        self._antenna = f"{settings.name}/1"
        self._serial: Serial | None = None
        self._decoder = Decoder()
        self._answers: asyncio.Queue[Frame | OSError] = asyncio.Queue()
        self._idle: asyncio.TimerHandle | None = None
        self._module = ""
        self._trouble = "not opened yet"
        self._told: tuple[float, int] = (time.monotonic(), 0)
        self.reads = 0
        """Tags read since start."""
        self.frames = 0
        """Frames since start, those of empty rounds too."""
        self.bad_crc = 0
        """Notifications whose tag's own CRC was wrong."""
        self.restarts = 0
        """Times that the port was opened again after it had worked."""

    @property
    def name(self) -> str:
        return f"rfid.{self._settings.name}"

    @property
    def resyncs(self) -> int:
        """Times that bytes of no frame were skipped."""
        return self._decoder.resyncs

    async def run(self) -> None:
        """Polls; without a module says so in one line and tries again, up to once a minute."""
        wait_s, said = RETRY_FIRST_S, ""
        while True:
            try:
                await self._poll()
            except OSError as error:
                worked = not self._trouble
                self._trouble = str(error) or type(error).__name__
                if worked:
                    self.restarts += 1
                    wait_s, said = RETRY_FIRST_S, ""
                if self._trouble != said:
                    log.warning("%s cannot be used: %s; trying again", self.name, self._trouble)
                    said = self._trouble
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    def health(self) -> SourceHealth:
        now, (then, before) = time.monotonic(), self._told
        self._told = (now, self.reads)
        fresh = self.reads - before
        counts = f"{self.resyncs} resyncs, {self.bad_crc} bad CRC"
        return SourceHealth(
            state="down" if self._trouble else "ok" if fresh else "silent",
            heard=self.reads,
            per_s=round(fresh / max(now - then, 0.001), 1),
            restarts=self.restarts,
            detail=self._trouble or f"{self._module or 'module'} on {self._settings.port}, {counts}",
        )

    async def _poll(self) -> None:
        """Opens the port, sets the module up and reads until something breaks, which raises OSError."""
        self._serial = self._open()
        self._answers = asyncio.Queue()
        self._decoder.idle()  # of what the port said before it was closed, nothing more will come
        loop, fd = asyncio.get_running_loop(), self._serial.fileno()
        loop.add_reader(fd, self._readable, fd)
        try:
            await self._set_up()
            self._trouble = ""
            log.info("%s reads: %s", self.name, self._module)
            await self._watch()
        finally:
            loop.remove_reader(fd)
            self._cancel_idle()
            with suppress(OSError):
                self._write(uhf.stop_poll())  # or it goes on sending, and transmitting, with nobody there
            self._serial.close()
            self._serial = None

    def _open(self) -> "Serial":
        import termios

        from serial import Serial

        try:
            return Serial(self._settings.port, self._settings.baud, timeout=0, exclusive=True)
        except (ValueError, termios.error) as error:
            raise ModuleError(str(error)) from None

    async def _set_up(self) -> None:
        """Gives the module its settings, which it forgets without power, and lets it poll."""
        settings = self._settings
        with suppress(NoAnswer):  # it may be polling from an earlier run, or not, and then answer with an error
            await self._ask(uhf.stop_poll(), tries=1)
        answer = await self._ask(uhf.info())
        self._module = answer.payload[1:].decode("ascii", "replace").strip("\0 ")[:40]
        await self._ask(uhf.set_region(settings.region))
        await self._ask(uhf.set_power(settings.power_dbm))
        await self._ask(uhf.set_query(settings.session, settings.q))
        self._write(uhf.multiple_poll())

    async def _watch(self) -> None:
        """Keeps a module polling that fell silent: first by asking again, then by setting it up anew."""
        asked = False
        while True:
            before = self.frames
            with suppress(TimeoutError):
                async with asyncio.timeout(SILENT_S):
                    while True:
                        self._raise_if_gone(await self._answers.get())
            if self.frames != before:
                asked = False
            elif asked:
                await self._set_up()
                asked = False
            else:
                self._write(uhf.multiple_poll())
                asked = True

    async def _ask(self, request: Frame, tries: int = TRIES) -> Frame:
        """The module's answer to a command. Raises NoAnswer, or ModuleError if it refuses."""
        for _ in range(tries):
            self._write(request)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    return await self._answer(request.command)
        port, baud = self._settings.port, self._settings.baud
        raise NoAnswer(f"no module answers on {port} at {baud} baud")

    async def _answer(self, command: int) -> Frame:
        while True:
            frame = self._raise_if_gone(await self._answers.get())
            code = uhf.error_of(frame)
            if code is not None and command != Command.STOP_POLL:
                raise ModuleError(f"the module refused {Command(command).name}: {uhf.ERRORS.get(code, hex(code))}")
            if frame.type == FrameType.RESPONSE and (frame.command == command or code is not None):
                return frame

    @staticmethod
    def _raise_if_gone(answer: Frame | OSError) -> Frame:
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _readable(self, fd: int) -> None:
        """What the port has, to frames. Called by the loop."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(error)
            return
        if not data:
            self._gone(ModuleError(f"{self._settings.port} was unplugged"))
            return
        self._take(self._decoder.feed(data))
        self._cancel_idle()
        if self._decoder.waiting:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._line_idle)

    def _line_idle(self) -> None:
        self._idle = None
        self._take(self._decoder.idle())

    def _take(self, frames: list[Frame]) -> None:
        self.frames += len(frames)
        reads, at_us = [], self._clock.now_us()
        for frame in frames:
            tag = uhf.tag_of(frame)
            if tag is not None:
                reads.append(TagRead(at_us, tag.epc, self._antenna, float(tag.rssi)))
            elif frame.command == Command.SINGLE_POLL:
                self.bad_crc += 1
            elif uhf.error_of(frame) != uhf.NO_TAG:  # an empty round is no answer to anything
                self._answers.put_nowait(frame)
        if reads:
            self.reads += len(reads)
            self._heard(reads)

    def _gone(self, error: OSError) -> None:
        if self._serial is not None:
            asyncio.get_running_loop().remove_reader(self._serial.fileno())
        self._answers.put_nowait(error)

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _write(self, frame: Frame) -> None:
        assert self._serial is not None
        os.write(self._serial.fileno(), uhf.encode(frame))
