"""The parts of a pipeline, each with its own due instants, driven alike: what falls due is closed and told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Told = TypeVar("Told")
Told_co = TypeVar("Told_co", covariant=True)


class Part(Protocol[Told_co]):
    """A pure collector of what was heard. All instants are those of what it was given; it reads no clock."""

    def due_us(self) -> int | None:
        """When there is something to tell or to forget; None while there is nothing. Never too late."""
        ...

    def close(self, now_us: int) -> Told_co | None:
        """What is to be told at a due instant; None for nothing."""
        ...

    def clock_went_back(self, now_us: int) -> Told_co | None:
        """Starts afresh at an earlier time; what has to be told of it."""
        ...


class Lane(Protocol):
    """A part with its way out."""

    def due_us(self) -> int | None: ...
    def settle(self, due_us: int) -> None: ...
    def clock_went_back(self, now_us: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Telling(Generic[Told]):
    """A part, and what is done with what it tells: `tell(instant, told)`."""

    part: Part[Told]
    tell: Callable[[int, Told], None]

    def due_us(self) -> int | None:
        return self.part.due_us()

    def settle(self, due_us: int) -> None:
        told = self.part.close(due_us)
        if told is not None:
            self.tell(due_us, told)

    def clock_went_back(self, now_us: int) -> None:
        told = self.part.clock_went_back(now_us)
        if told is not None:
            self.tell(now_us, told)
