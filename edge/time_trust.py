"""What a node knows about its clock: whether it was set, when it was stepped, and by how much earlier instants are off.

A Pi has no battery for its clock: after a power cut it counts on from some past instant, and hours later NTP steps it.
So sources and pipeline count by a *steady* clock, the kernel's count since boot, which no step touches; only the header
of a batch says wall time (`stamp`). While the wall clock is not trusted, the batch keeps its instant on the boot's own
count beside it, and as long as it was never sent it is told anew once the clock is right (`Outbox.settle`).

`TimeTrust` is pure and judges readings; `NodeTime` takes them from the machine.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from contract.clock import RELEASED_US, Clock, SystemClock

State = Literal["synchronised", "plausible", "unset"]
"""`synchronised`: a time service set it in this boot. `plausible`: nobody vouches for it, yet it may be right (a
battery, a container). `unset`: it cannot be right: before this release, or before what this node already told."""

STEP_US = 500_000
"""A jump by more was a step. Time services slew smaller errors, and slewing moves the steady clock too."""
HOLDOVER_US = 24 * 3_600_000_000
"""So long a clock stays trusted after its time service fell silent: a Pi's crystal is off by 20 ppm, 1.7 s a day."""
LIFETIME_US = 15 * 366 * 86_400_000_000
"""Nobody runs this release later than this after it was made: such a clock lost its battery and came up at random."""
HOLD_UNSET_S = 300.0
"""How long a node with a connection waits for its clock to be set, before it sends flagged what it has."""
HOLD_EXPECTED_S = 60.0
"""The same for a plausible clock that a time service is about to check, and for the backlog only: that service needs
the network too, and is often some seconds behind the broker's connection."""


class Reading(NamedTuple):
    """The machine's clocks at one moment."""

    wall_us: int
    """Microseconds since 1970 UTC, as the machine believes."""
    boot_us: int
    """Microseconds since it booted, sleep included (CLOCK_BOOTTIME): never stepped."""
    synced: bool | None
    """Whether the kernel says that a time service disciplines the clock; None where it does not tell."""
    expected: bool = False
    """Whether a time service runs here, so that `synced` can be waited for."""


class Stamp(NamedTuple):
    """How a batch says when it was."""

    t0_us: int
    """The header's t0: microseconds since 1970 UTC by what is known now."""
    trusted: bool
    """The header's `clock`."""
    mono_us: int | None
    """The same instant on the boot's own count, where it may yet be corrected."""


class TimeTrust:
    """Judges a clock by its readings. Pure; not thread-safe."""

    def __init__(self, first: Reading, earliest_us: int = 0) -> None:
        """`earliest_us`: the newest instant the node told before: no clock that is right is earlier."""
        self._earliest_us = max(earliest_us, RELEASED_US)
        self._offset_us = first.wall_us - first.boot_us
        self._synced_at_us: int | None = None
        self._expected = False
        self.steps = 0
        """How often the clock was stepped."""
        self.stepped_us = 0
        """By how much the last time."""
        self.state: State = "unset"
        self.look(first)

    def look(self, reading: Reading) -> bool:
        """Takes a reading; True if the state changed or the clock was stepped."""
        before = self.state, self.steps
        offset_us = reading.wall_us - reading.boot_us
        if abs(offset_us - self._offset_us) > STEP_US:
            self.steps += 1
            self.stepped_us = offset_us - self._offset_us
            self._synced_at_us = None  # who stepped it must say so again
        self._offset_us = offset_us
        self._expected = reading.expected
        if reading.synced:
            self._synced_at_us = reading.boot_us
        self.state = self._judge(reading)
        return (self.state, self.steps) != before

    @property
    def trusted(self) -> bool:
        return self.state == "synchronised"

    @property
    def offset_us(self) -> int:
        """What to add to the boot's own count to tell the time, by the best knowledge there is now.

        A clock that cannot be right is replaced by the newest instant known before + the time since boot: too early by
        how long the node was off, yet in order, and nothing before it was made.
        """
        return self._earliest_us if self.state == "unset" else self._offset_us

    @property
    def hold_s(self) -> float:
        """Seconds with a connection during which batches that may yet be corrected are worth keeping back."""
        if self.state == "unset":
            return HOLD_UNSET_S
        return HOLD_EXPECTED_S if self._expected and not self.trusted else 0.0

    def stamp(self, mono_us: int) -> Stamp:
        """How to tell an instant of this boot."""
        return Stamp(mono_us + self.offset_us, self.trusted, None if self.trusted else mono_us)

    def _judge(self, reading: Reading) -> State:
        if not RELEASED_US <= reading.wall_us < RELEASED_US + LIFETIME_US:
            return "unset"
        synced_at_us = self._synced_at_us
        if synced_at_us is not None and reading.boot_us - synced_at_us <= HOLDOVER_US:
            return "synchronised"
        return "plausible" if reading.wall_us >= self._earliest_us else "unset"


class SteadyClock:
    """The clock of sources and pipeline: the boot's own count, from an instant that is never changed while it runs."""

    def __init__(self, time: "NodeTime", anchor_us: int) -> None:
        self._time = time
        self._anchor_us = anchor_us

    def now_us(self) -> int:
        """Microseconds since 1970 UTC as they were believed at the start, counted on without steps."""
        return self._time.count() + self._anchor_us

    @property
    def trusted(self) -> bool:
        return self._time.trusted

    def stamp(self, at_us: int) -> Stamp:
        """How to tell an instant of this clock."""
        return self._time.stamp(at_us - self._anchor_us)


class WallClock:
    """The clock of heartbeats and calendars: the best that is known now, corrected as soon as it can be."""

    def __init__(self, time: "NodeTime") -> None:
        self._time = time

    def now_us(self) -> int:
        return self._time.count() + self._time.offset_us

    @property
    def trusted(self) -> bool:
        return self._time.trusted


class NodeTime:
    """The two clocks of a node, and what is known about them. May be used from any thread.

    A clock that is not the machine's own (a simulated one) is both, always trusted and never corrected.
    """

    def __init__(
        self,
        clock: Clock,
        earliest_us: int | None = None,
        read: Callable[[], Reading] | None = None,
        count: Callable[[], int] | None = None,
    ) -> None:
        """`earliest_us`: the newest instant told before (`Outbox.newest_us`). `read` and `count`: the machine's clocks
        (`read_machine`, `boot_us`) unless others are given."""
        self._read = read or read_machine
        self.count = count or boot_us
        """Microseconds since boot."""
        self._lock = threading.Lock()
        self._trust: TimeTrust | None = None
        self.steady: Clock = clock
        """For sources and `Pipeline.tick`: never steps."""
        self.wall: Clock = clock
        """For the heartbeat, the broker's status, days and day keys."""
        if isinstance(clock, SystemClock):
            self._trust = TimeTrust(self._read(), earliest_us or 0)
            self.steady = SteadyClock(self, self._trust.offset_us)
            self.wall = WallClock(self)

    def look(self) -> bool:
        """Reads the machine's clocks, some microseconds of work; True if the state changed or there was a step."""
        with self._lock:
            return self._trust is not None and self._trust.look(self._read())

    def stamp(self, mono_us: int) -> Stamp:
        """How to tell an instant of this boot's own count, by a fresh look."""
        with self._lock:
            if self._trust is None:
                return Stamp(mono_us, True, None)
            self._trust.look(self._read())
            return self._trust.stamp(mono_us)

    @property
    def trusted(self) -> bool:
        return self._trust is None or self._trust.trusted

    @property
    def state(self) -> State:
        return "synchronised" if self._trust is None else self._trust.state

    @property
    def offset_us(self) -> int:
        """Wall time - the boot's own count; 0 for a clock that is not the machine's."""
        return 0 if self._trust is None else self._trust.offset_us

    @property
    def hold_s(self) -> float:
        return 0.0 if self._trust is None else self._trust.hold_s

    @property
    def stepped_us(self) -> int:
        """By how much the clock was stepped the last time, 0 if never."""
        return 0 if self._trust is None else self._trust.stepped_us


def stamp(clock: Clock, at_us: int) -> Stamp:
    """How a batch tells an instant of the clock that its pipeline counts by."""
    if isinstance(clock, SteadyClock):
        return clock.stamp(at_us)
    return Stamp(at_us, clock.trusted, None)


# -- the machine

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_APART_US = 1_000
"""Readings of two clocks that were made within this are of one moment."""
_TIMESYNC = Path("/run/systemd/timesync")
_CHRONY = Path("/run/chrony")
_TIME_ERROR = 5
"""What adjtimex(2) answers while nobody disciplines the clock."""
_TIMEX_BYTES = 512
"""More than any `struct timex` has (208 on 64-bit Linux). All zero it asks and changes nothing."""


def boot_us() -> int:
    """Microseconds since boot, sleep included."""
    return time.clock_gettime_ns(_BOOTTIME) // 1_000


def read_machine() -> Reading:
    """The machine's clocks now, wall and boot of one moment."""
    for _ in range(5):
        before_us = boot_us()
        wall_us = time.time_ns() // 1_000
        after_us = boot_us()
        if after_us - before_us <= _APART_US:
            break
    synced = kernel_synced()
    if synced is None and (_TIMESYNC / "synchronized").exists():
        synced = True
    expected = not synced and (_TIMESYNC.exists() or _CHRONY.exists())
    return Reading(wall_us, (before_us + after_us) // 2, synced, expected)


def kernel_synced() -> bool | None:
    """Whether the kernel says that the clock is disciplined; None where it may not be asked."""
    if _ADJTIMEX is None:
        return None
    answer = _ADJTIMEX(bytes(_TIMEX_BYTES))
    return None if answer < 0 else answer != _TIME_ERROR


def _adjtimex() -> Callable[[bytes], int] | None:
    try:
        import ctypes

        function = ctypes.CDLL(None).adjtimex
    except (ImportError, OSError, AttributeError, MemoryError):  # no ctypes, no such call, or no leave for it
        return None

    def ask(zeros: bytes) -> int:
        return int(function(ctypes.create_string_buffer(zeros, len(zeros))))

    return ask


_ADJTIMEX = _adjtimex()
