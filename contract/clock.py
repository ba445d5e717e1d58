"""Time as every process of Aisle reads it: int64 microseconds since 1970 UTC, real or simulated."""

import math
import time
from dataclasses import dataclass
from typing import Protocol

RELEASED_US = 1_790_000_000_000_000
"""2026-09-21, before this release was made: no clock that is right tells an earlier instant."""


class Clock(Protocol):
    """Where instants come from. Keepalives, resends and watchdogs use monotonic time instead (design: real time)."""

    def now_us(self) -> int:
        """The present instant, microseconds since 1970 UTC."""
        ...

    @property
    def trusted(self) -> bool:
        """Whether the instant may be believed (a Pi without network boots with a wrong clock)."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clock; trusted once it is later than this release, which an unset Pi clock is not."""

    earliest_us: int = RELEASED_US

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    @property
    def trusted(self) -> bool:
        return self.now_us() >= self.earliest_us


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """start + speed × real time: the one clock that all processes of a simulated run share."""

    start_us: int
    """The simulated instant at `real_start_us`."""
    real_start_us: int
    speed: float = 1.0

    def now_us(self) -> int:
        return self.start_us + int((time.time_ns() // 1_000 - self.real_start_us) * self.speed)

    @property
    def trusted(self) -> bool:
        return True

    def spec(self) -> str:
        """The text from which `clock_from` makes the same clock in another process."""
        return f"{self.start_us}@{self.real_start_us}x{self.speed!r}"


def clock_from(spec: str | None) -> Clock:
    """The clock named by a setting: empty for the machine's own, `START_US@REAL_USxSPEED` for a simulated one.

    Raises ValueError, naming the form that is expected.
    """
    if not spec:
        return SystemClock()
    try:
        start, rest = spec.split("@")
        real, speed = rest.split("x")
        made = SimulatedClock(int(start), int(real), float(speed))
    except ValueError:
        made = None
    if made is None or not math.isfinite(made.speed):
        raise ValueError(f"clock {spec!r}: expected START_US@REAL_USxSPEED, microseconds since 1970 UTC")
    return made
