"""The configuration that the cloud wants this node to run: checked, tried, kept, and given up if it does not last.

Desired settings are laid over the node's own file. What does not pass the file's own checks is refused with every
mistake, and nothing changes. What passes is kept beside the outbox (mode 0600) and the process ends, to be started anew
with it. Until it has run for a while it is on trial: after three starts that did not last, the node goes back to what
it ran before and says so. A desired configuration can so be wrong in any way and not take a node away.
"""

import datetime
import json
import logging
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from contract.clock import Clock
from contract.errors import ContractError
from contract.orders import MAX_PROBLEMS, Desired, OptOutList, Reported, Section, decode_order
from edge.config import ConfigError, NodeConfig, parse_config
from edge.files import make_folder, write_whole
from edge.safe_mode import Loaded

log = logging.getLogger(__name__)

CONFIRM_S = 60.0
"""Real seconds that a node must have run with new settings before they are believed in."""
STARTS_MOST = 3
LOCAL_SECTIONS = ("node", "uplink")
"""Decided where the node hangs: a mistake there could not be taken back from afar."""
_LOCAL_KEYS = re.compile(r"backend|path|\w+_file")
"""What names files or code on this machine, wherever it stands."""


class _Settings(msgspec.Struct, frozen=True):
    """One desired configuration."""

    version: int = 0
    settings: dict[str, Section] = {}


class _Kept(msgspec.Struct, frozen=True):
    """What is remembered over a restart."""

    running: _Settings = _Settings()
    before: _Settings | None = None
    """While `running` is on trial: what to go back to."""
    starts: int = 0
    """Of a configuration on trial."""
    answered: int = 0
    """The version that was answered last."""
    refused: tuple[str, ...] | None = None
    """Why that one was refused; None if it was not."""
    opt_outs: OptOutList | None = None


class DesiredConfig:
    """One node's. Not thread-safe: made at the start, then called by whoever takes the uplink's orders."""

    def __init__(self, loaded: Loaded, path: Path, keep: Path, clock: Clock) -> None:
        """`path` is node.toml's, `keep` where to remember (a file beside the outbox). Never raises for what is kept."""
        self._loaded = loaded
        self._path = path
        self._file = keep
        self._clock = clock
        self._kept = _read(keep)
        self.opt_outs_changed: Callable[[OptOutList | None], None] = _nothing
        """Called with each new list of devices that must not be heard. The present one: `opt_outs`."""
        self.restart = False
        """Whether the node should end in order, to be started anew with what it was sent."""
        self._begin_trial()
        self.config = self._effective()
        """What to run: node.toml's, with the desired settings laid over it."""

    @property
    def version(self) -> int:
        """Of the desired configuration that the node runs; 0 for its own file. For the heartbeat."""
        return self._kept.running.version

    @property
    def opt_outs(self) -> OptOutList | None:
        return self._kept.opt_outs

    def report(self) -> Reported:
        """What to tell the cloud on `up/…/config`: with each connection, and after each order."""
        kept = self._kept
        state: Literal["applied", "refused"] = "applied" if kept.refused is None else "refused"
        return Reported(
            version=kept.answered,
            state=state,
            running=kept.running.version,
            at=max(0, self._clock.now_us()),
            problems=tuple(problem[:500] for problem in (kept.refused or ())[:MAX_PROBLEMS]),
            opt_outs=kept.opt_outs.version if kept.opt_outs else 0,
        )

    def take(self, payload: bytes) -> Reported | None:
        """Does what an order on `down/…/config` says; what to answer, None for an order that cannot be read.

        The same order twice is as once. If `restart` is set after it, end the node; it reports when it is back.
        """
        try:
            desired = decode_order(payload, Desired)
        except ContractError as error:
            log.warning("a desired configuration that cannot be read: %s", error.reason)
            return None
        self._take_opt_outs(desired.opt_outs)
        if desired.version != self._kept.answered:
            self._take_settings(_Settings(desired.version, desired.settings))
        return self.report()

    def confirm(self) -> None:
        """The node has run for CONFIRM_S: what it runs is good."""
        if self._kept.before is not None and not self.restart:
            log.info("configuration %d has proven itself", self.version)
            self._keep(msgspec.structs.replace(self._kept, before=None, starts=0))

    # -- inside

    def _begin_trial(self) -> None:
        kept = self._kept
        if kept.before is None:
            return
        if kept.starts < STARTS_MOST:
            self._keep(msgspec.structs.replace(kept, starts=kept.starts + 1))
            return
        log.error("configuration %d did not last %d starts: back to %d", self.version, kept.starts, kept.before.version)
        problem = f"the node ended within {CONFIRM_S:g} s, {kept.starts} times one after another"
        self._keep(_Kept(kept.before, answered=kept.answered, refused=(problem,), opt_outs=kept.opt_outs))

    def _effective(self) -> NodeConfig:
        """The file with what is kept laid over it; the file alone where the two do not fit together any more."""
        try:
            return self._checked(self._kept.running.settings)
        except ConfigError as error:
            problems = tuple(problem.text for problem in error.problems)
        log.error("configuration %d does not fit this release or file, running without it: %s", self.version, problems)
        self._keep(_Kept(answered=self._kept.answered, refused=problems, opt_outs=self._kept.opt_outs))
        return self._loaded.config

    def _checked(self, settings: Mapping[str, Section]) -> NodeConfig:
        """Raises ConfigError with every mistake."""
        if not settings:
            return self._loaded.config
        merged = _laid_over(tomllib.loads(self._loaded.source.decode()), settings)
        return parse_config(to_toml(merged).encode(), self._path.name, self._path.parent)

    def _take_settings(self, wanted: _Settings) -> None:
        kept = self._kept
        config = self.config
        try:
            problems = _not_ours(wanted.settings)
            if not problems:
                config = self._checked(wanted.settings)
        except ConfigError as error:
            problems = [problem.text for problem in error.problems]
        except RecursionError:
            problems = ["it is lists within lists, too deep"]
        except ValueError as error:
            problems = [str(error) or "it holds what a node.toml cannot"]
        if problems:
            log.error("configuration %d is refused: %s", wanted.version, "; ".join(problems))
            self._keep(msgspec.structs.replace(kept, answered=wanted.version, refused=tuple(problems)))
            return
        same = msgspec.structs.replace(config, digest=self.config.digest) == self.config
        before, starts = (kept.before, kept.starts) if same else (kept.before or kept.running, 0)
        tried = _Kept(wanted, before, starts, answered=wanted.version, opt_outs=kept.opt_outs)
        if not self._keep(tried):
            self._kept = msgspec.structs.replace(
                kept, answered=wanted.version, refused=("it cannot be kept on the disk",)
            )
            return
        self.restart = self.restart or not same
        log.info("configuration %d is taken%s", wanted.version, ", starting anew" if self.restart else "")

    def _take_opt_outs(self, opt_outs: OptOutList | None) -> None:
        if opt_outs is None or opt_outs == self._kept.opt_outs:
            return
        self._keep(msgspec.structs.replace(self._kept, opt_outs=opt_outs))
        self.opt_outs_changed(opt_outs)

    def _keep(self, kept: _Kept) -> bool:
        """Remembers, whole or not at all. A disk that refuses is logged: the node runs on."""
        self._kept = kept
        try:
            make_folder(self._file.parent)
            write_whole(self._file, msgspec.json.encode(kept))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file, error.strerror)
            return False
        return True


def _read(file: Path) -> _Kept:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return _Kept()
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read, running on the node's own file: %s", file, error)
        return _Kept()


def _nothing(_: OptOutList | None) -> None:
    """What happens while nobody listens."""


def _not_ours(settings: Mapping[str, Any]) -> list[str]:
    """What of the desired settings is the node's own to decide, a sentence each."""
    found = [
        f"[{section}]: found a section of the node's own file, expected it to stay as it is"
        for section in settings
        if section in LOCAL_SECTIONS
    ]
    return found + [
        f"[{section}] {key}: found a setting that names a file or code, expected it in the node's own file only"
        for section, values in settings.items()
        for key in _keys(values)
        if _LOCAL_KEYS.fullmatch(key)
    ]


def _keys(values: Any) -> list[str]:
    match values:
        case dict():
            return [key for name, value in values.items() for key in (name, *_keys(value))]
        case list():
            return [key for value in values for key in _keys(value)]
        case _:
            return []


def _laid_over(document: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged, everything else is replaced."""
    merged = dict(document)
    for key, value in settings.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def to_toml(document: Mapping[str, Any]) -> str:
    """A document as TOML. Raises ValueError for what TOML cannot say (null)."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in document.items() if not isinstance(value, dict)]
    for section, table in document.items():
        if isinstance(table, dict):
            lines += ["", f"[{_key(section)}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
        case _:
            raise ValueError(f"found {'null' if value is None else type(value).__name__}, expected a value of TOML")


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves DEL as it is, TOML may not
