"""What a fuzz target is: a parser with the laws that it keeps for any bytes, and inputs to begin with."""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutate import Form

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data"
"""Real captures beside the project; without them the seeds are ours alone."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser, or several that read the same bytes."""

    name: str
    check: Callable[[bytes], None]
    """Reads the bytes and looks whether the laws hold. What a parser declares to raise is caught within; whatever comes
    out is a finding. The first line of its docstring says what it reads."""
    seeds: Callable[[], Iterable[bytes]]
    """Inputs that lead deep into the parser: well-formed ones, and a few that are made to hurt."""
    longest: int = 2048
    """Bytes of an input that the fuzzer makes up; seeds may be longer."""
    words: tuple[str, ...] = ()
    """Words of the language, which chance would not find."""
    forms: tuple[Form, ...] = ()
    """What documents its inputs are: half of the time they are changed by what they mean."""

    @property
    def reads(self) -> str:
        """What it reads, in a line."""
        return (self.check.__doc__ or "").split("\n", 1)[0]


def recorded(pattern: str) -> list[bytes]:
    """The content of real captures, none where they are not there."""
    return [path.read_bytes() for path in sorted(RECORDINGS.glob(pattern))]


def text_of(data: bytes) -> str:
    """Any text: bytes that are no UTF-8 become lone surrogates, which JSON can hold too."""
    return data.decode(errors="surrogateescape")


def pieces(data: bytes) -> list[bytes]:
    """The same bytes as they may come over a line: in pieces as long as the first byte says."""
    size = 1 + (data[0] if data else 0)
    return [data[at : at + size] for at in range(0, len(data), size)]


def memory() -> Path | None:
    """Where files are kept in memory, if the system has such a place: to sync a disk for each input takes too long."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() else None


@functools.cache
def scratch() -> Path:
    """A folder for parsers that read files; gone with the process, or with TMPDIR where somebody set it."""
    folder = Path(tempfile.mkdtemp(prefix="aisle-fuzz-", dir=None if "TMPDIR" in os.environ else memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
