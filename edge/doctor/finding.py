"""What a check says: good or not, what was found, and the command that mends it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    PASS = "PASS"
    WARN = "WARN"
    """The node works, and something will hurt later or is not as it should be."""
    FAIL = "FAIL"
    """The node, or a part of it that node.toml asks for, does not work."""
    SKIP = "SKIP"
    """Not asked for, or it cannot be looked at here; `found` says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table."""

    check: str
    level: Level
    found: str
    fix: str = ""
    """A command to type or a thing to do; empty where nothing is to be mended."""


def passed(check: str, found: str) -> Finding:
    return Finding(check, Level.PASS, found)


def warned(check: str, found: str, fix: str) -> Finding:
    return Finding(check, Level.WARN, found, fix)


def failed(check: str, found: str, fix: str) -> Finding:
    return Finding(check, Level.FAIL, found, fix)


def skipped(check: str, why: str) -> Finding:
    return Finding(check, Level.SKIP, why)
