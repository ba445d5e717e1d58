"""Safe mode: a node whose node.toml is broken goes on with the last one that worked, and says so.

A shop's node is edited once, far from a technician, and then runs for years. A slip in the file must not end the
sensing: after a good start the text is kept beside the outbox (mode 0600), and a broken file falls back to it.
"""

import contextlib
import hashlib
import logging
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.config import ConfigError, NodeConfig, Problem, parse_config
from edge.files import make_folder, write_whole
from edge.settings import Outbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The configuration to run on, and what is wrong with the file if it is not the file's."""

    config: NodeConfig
    mode: Literal["normal", "safe"]
    problems: tuple[Problem, ...]
    """The file's mistakes; none in normal mode."""
    source: bytes
    """The text that `config` was read from: what `keep` keeps."""


def load(path: Path) -> Loaded:
    """The file's configuration; if that is broken, the last good one with mode "safe", every mistake logged.

    Raises ConfigError with the file's own mistakes, or OSError if it cannot be read, when there never was a good one.
    """
    source = b""
    try:
        source = path.read_bytes()
        return Loaded(parse_config(source, path.name, path.parent), "normal", (), source)
    except ConfigError as error:
        problems = tuple(error.problems)
        last = last_good(path, source)
        if last is None:
            raise
    except OSError as error:
        problems = (Problem(1, f"cannot be read ({error.strerror}), expected a configuration file"),)
        last = last_good(path, source)
        if last is None:
            raise
    for problem in problems:
        log.error("%s:%d: %s", path.name, problem.line, problem.text)
    config, good = last
    log.error(
        "safe mode: %s is broken (above), running on the last good one (%s); mend it, check it with "
        "`config check %s`, restart",
        path.name,
        config.digest,
        path,
    )
    return Loaded(config, "safe", problems, good)


def keep(loaded: Loaded, path: Path) -> None:
    """Keeps the text as the last good one; call it once the node runs. A disk that refuses is logged, not raised.

    In safe mode there is nothing new to keep.
    """
    if loaded.mode == "safe":
        return
    copy = copy_of(path, path.parent / loaded.config.outbox.path)
    try:
        if copy.exists() and copy.read_bytes() == loaded.source:
            return  # a card is not written for nothing
        make_folder(copy.parent)
        write_whole(copy, loaded.source)
    except OSError as error:
        log.warning("the configuration could not be kept for safe mode in %s: %s", copy.parent, error.strerror)


def copy_of(path: Path, outbox: Path) -> Path:
    """Where the last good text of a configuration file lies: beside its outbox, under a name of its own."""
    # Two nodes may share a folder for their outboxes; the digest of the file's path tells their copies apart.
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    return outbox.parent / f"last-good-{name}.toml"


def last_good(path: Path, broken: bytes) -> tuple[NodeConfig, bytes] | None:
    """The configuration that was kept of a file which now reads `broken`, with its text; None if there is none."""
    for outbox in _outboxes(path, broken):
        try:
            source = copy_of(path, outbox).read_bytes()
            return parse_config(source, path.name, path.parent), source
        except (OSError, ConfigError):  # a certificate that it names may be gone: then it is not good any more
            continue
    return None


def _outboxes(path: Path, broken: bytes) -> list[Path]:
    """Where the outbox may lie: as the broken file says, if that can be told, else where it usually does."""
    found = [path.parent / named for named in _named_outbox(broken)]
    if state := os.environ.get("STATE_DIRECTORY"):  # systemd's StateDirectory=, several parted by colons
        found += [Path(folder) / "outbox.db" for folder in state.split(":")]
    return [*found, path.parent / "outbox.db", path.parent / Outbox().path]  # beside the file, where nobody said


def _named_outbox(broken: bytes) -> list[str]:
    text = broken.decode(errors="replace")
    with contextlib.suppress(ValueError, RecursionError):  # as in edge.config
        section = tomllib.loads(text).get("outbox")
        named = section.get("path") if isinstance(section, dict) else None
        return [named] if isinstance(named, str) and _is_a_path(named) else []
    # No valid TOML: the lines after the section's heading are still there to be looked at.
    match = re.search(r"""^\s*\[outbox\][^\[]*?^\s*path\s*=\s*["']([^"'\n]+)["']""", text, re.MULTILINE)
    return [match[1]] if match and _is_a_path(match[1]) else []


def _is_a_path(text: str) -> bool:
    return "\0" not in text
