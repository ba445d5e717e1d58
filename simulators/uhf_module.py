"""A UHF module of the M100 family on a pty: speaks the serial protocol for whatever tags lie in its field.

The node opens `module.port` like any serial port. `python -m simulators.uhf_module` shows one with three tags.
"""

import os
import random
import select
import threading
import time
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from edge.frames.uhf_serial import NO_TAG, Command, Decoder, Frame, FrameType, encode, tag_frame

BITS_PER_BYTE = 10
"""8 data bits, start and stop."""


class FieldTag(NamedTuple):
    """A tag that answers in the present round."""

    epc: bytes
    rssi: int
    """dBm."""


Field = Callable[[], Sequence[FieldTag]]
"""Asked once a round for who answers in it."""


class UhfModule:
    """Runs while entered, in a thread of its own. What it counts is the truth that a test compares with."""

    def __init__(
        self,
        field: Field,
        *,
        rounds_per_s: float = 50.0,
        baud: int | None = None,
        noise: float = 0.0,
        damage: float = 0.0,
        link: Path | None = None,
        seed: int = 0,
    ) -> None:
        """`baud` paces what is said as a real line would; None says it as fast as it is read.

        Before a frame, with probability `noise`, come some bytes of no frame, heads and tails among them; with
        probability `damage` a bit of it is turned over. `link` is a path that leads to the port while it exists.
        """
        self._field = field
        self._round_s = 1 / rounds_per_s
        self._byte_s = BITS_PER_BYTE / baud if baud else 0.0
        self._noise, self._damage = noise, damage
        self._link = link
        self._draw = random.Random(seed)
        self._decoder = Decoder()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uhf-module", daemon=True)
        self._master = self._slave = -1
        self.port = ""
        """Where the pty is, for example /dev/pts/7."""
        self.rounds = 0
        """Rounds of polling still to be done."""
        self.mute = False
        """Set it, and the module neither hears nor speaks: without power, or at another speed."""
        self.refuse: int | None = None
        """Set it to a code of uhf_serial.ERRORS, and every command but stop fails with it."""
        self.commands: list[Frame] = []
        """What it was told, in order."""
        self.told = 0
        """Tags told of, the destroyed among them."""
        self.destroyed = 0
        """Frames of tags that were damaged on the line."""
        self.noises = 0
        """Runs of bytes of no frame."""

    def __enter__(self) -> Self:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.port)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Ends; whoever has the port open learns it from the port."""
        self._stop.set()
        self._thread.join()
        for fd in (self._slave, self._master):
            if fd >= 0:
                os.close(fd)
        self._slave = self._master = -1
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            wait_s = max(0.0, due - time.monotonic()) if self.rounds else self._round_s
            if select.select([self._master], [], [], wait_s)[0]:
                self._hear()
            elif self.rounds and not self.mute:
                self._round()
                due = max(due + self._round_s, time.monotonic() - 1.0)
            else:
                due = time.monotonic()

    def _hear(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:  # nobody has the port open
            self._stop.wait(self._round_s)
            return
        if self.mute:
            return
        for frame in self._decoder.feed(data):
            self.commands.append(frame)
            answer = self._answer(frame)
            if answer is not None:
                self._say(answer)

    def _answer(self, frame: Frame) -> Frame | None:
        """What a module says to a command; None where it begins to poll instead."""
        if self.refuse is not None and frame.command != Command.STOP_POLL:
            return Frame(FrameType.RESPONSE, Command.FAILED, bytes((self.refuse,)))
        match frame.command:
            case Command.INFO:
                return Frame(FrameType.RESPONSE, Command.INFO, b"\x00M100 26dBm V1.0")
            case Command.SET_REGION | Command.SET_POWER | Command.SET_QUERY:
                return Frame(FrameType.RESPONSE, frame.command, b"\x00")
            case Command.STOP_POLL:
                self.rounds = 0
                return Frame(FrameType.RESPONSE, frame.command, b"\x00")
            case Command.MULTIPLE_POLL if len(frame.payload) == 3:
                self.rounds = int.from_bytes(frame.payload[1:], "big")
                return None
            case Command.SINGLE_POLL:
                self.rounds = 1
                return None
            case _:
                return Frame(FrameType.RESPONSE, Command.FAILED, b"\x17")

    def _round(self) -> None:
        self.rounds -= 1
        answers = self._field()
        for tag in answers:
            self._say(tag_frame(tag.rssi, tag.epc), tag=True)
        if not answers:
            self._say(Frame(FrameType.RESPONSE, Command.FAILED, bytes((NO_TAG,))))

    def _say(self, frame: Frame, tag: bool = False) -> None:
        data = bytearray(encode(frame))
        if self._draw.random() < self._noise:
            self.noises += 1
            self._write(
                bytes(self._draw.choices((0xBB, 0x7E, 0x00, 0x02, 0x22, 0x55, 0xFF), k=self._draw.randint(1, 30)))
            )
        if self._draw.random() < self._damage:
            data[self._draw.randrange(len(data))] ^= 1 << self._draw.randrange(8)
            self.destroyed += tag
        self.told += tag
        self._write(bytes(data))

    def _write(self, data: bytes) -> None:
        """All of it, waiting for the reader as long as the module lives."""
        if self._byte_s:
            self._stop.wait(len(data) * self._byte_s)
        while data and not self._stop.is_set():
            if select.select([], [self._master], [], 0.1)[1]:
                data = data[os.write(self._master, data) :]


def main() -> None:
    """Three tags in a field that reads each in four of five rounds, until interrupted."""
    draw = random.Random(1)
    epcs = [bytes.fromhex(f"3034257bf7194e40000{n:05x}") for n in range(3)]

    def field() -> list[FieldTag]:
        return [FieldTag(epc, draw.randint(-70, -45)) for epc in epcs if draw.random() < 0.8]

    with UhfModule(field, rounds_per_s=10, baud=115_200) as module, suppress(KeyboardInterrupt):
        print(module.port, flush=True)
        threading.Event().wait()
    print(f"told of {module.told} tags")


if __name__ == "__main__":
    main()
