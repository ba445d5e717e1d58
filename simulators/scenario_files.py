"""Scenarios from files, checked.

A file may name another as its `base` and then holds only what is different: tables are merged key by key, arrays and
single values take the place of the base's.
"""

import tomllib
from pathlib import Path

import msgspec

from simulators.scenario import Scenario
from simulators.scenario_problems import problems_in

SCENARIOS = Path(__file__).parent / "scenarios"
_Table = dict[str, object]
"""TOML as it is read; what is in it is checked when it becomes a Scenario."""


class ScenarioError(ValueError):
    """A scenario file that cannot be played: file, key, what was found and what is expected."""


def load(name: str) -> Scenario:
    """The scenario of a name (`corner-store`) or of a file's path. Raises ScenarioError."""
    path = _path(name)
    return _checked(_read(path), str(path))


def parse(text: str, source: str = "scenario") -> Scenario:
    """A scenario from TOML text. Raises ScenarioError, naming the key."""
    return _checked(_with_base(_toml(text, source), source, ()), source)


def known() -> list[str]:
    """The names of the scenarios that come along."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def _path(name: str) -> Path:
    return Path(name) if name.endswith(".toml") else SCENARIOS / f"{name}.toml"


def _read(path: Path, above: tuple[Path, ...] = ()) -> _Table:
    """A file's tables over those of its base; `above` are the files that build on it."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}; scenarios that come along: {', '.join(known())}") from None
    return _with_base(_toml(text, str(path)), str(path), (*above, path))


def _toml(text: str, source: str) -> _Table:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{source}: {error}") from None


def _with_base(table: _Table, source: str, above: tuple[Path, ...]) -> _Table:
    base = table.pop("base", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise ScenarioError(f"{source}: base: expected the name or path of a scenario")
    path = _path(base) if not above or not base.endswith(".toml") else above[-1].parent / base
    if path in above:
        raise ScenarioError(f"{source}: base: {base!r} builds on this file itself")
    return _merged(_read(path, above), table)


def _merged(base: _Table, over: _Table) -> _Table:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _checked(table: _Table, source: str) -> Scenario:
    try:
        scenario = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{source}: {error}") from None
    if found := problems_in(scenario):
        raise ScenarioError("\n".join(f"{source}: {problem}" for problem in found))
    return scenario
