"""node.toml as one checked object. Every mistake is told at once: its line, what was found, what was expected."""

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from contract.clock import clock_from
from contract.topics import NodeAddress
from edge.settings import (
    Ble,
    Health,
    HomeAssistant,
    Hostapd,
    Http,
    Inventory,
    Llrp,
    Meraki,
    Node,
    Outbox,
    Portal,
    Presence,
    Privacy,
    Raddec,
    Radius,
    UhfSerial,
    Uplink,
    Wifi,
    Windows,
)


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All of node.toml."""

    node: Node
    uplink: Uplink
    privacy: Privacy = Privacy()
    ble: Ble = Ble()
    wifi: Wifi = Wifi()
    llrp: tuple[Llrp, ...] = ()
    uhf: tuple[UhfSerial, ...] = ()
    inventory: Inventory = Inventory()
    http: Http = Http()
    meraki: Meraki | None = None
    portal: Portal | None = None
    radius: Radius | None = None
    hostapd: Hostapd | None = None
    raddec: Raddec | None = None
    home_assistant: HomeAssistant | None = None
    windows: Windows = Windows()
    presence: Presence = Presence()
    outbox: Outbox = Outbox()
    health: Health = Health()
    digest: str = ""
    """The first 12 hexadecimal digits of the file's SHA-256: what the heartbeat tells. Not a setting."""

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.node.tenant, self.node.store, self.node.node)


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "node": Node,
    "uplink": Uplink,
    "privacy": Privacy,
    "ble": Ble,
    "wifi": Wifi,
    "inventory": Inventory,
    "http": Http,
    "meraki": Meraki,
    "portal": Portal,
    "radius": Radius,
    "hostapd": Hostapd,
    "raddec": Raddec,
    "home_assistant": HomeAssistant,
    "windows": Windows,
    "presence": Presence,
    "outbox": Outbox,
    "health": Health,
}


ONLY_WHEN_ASKED = frozenset({"meraki", "portal", "radius", "hostapd", "raddec", "home_assistant"})
"""Sections whose absence means: not at all."""

LISTS: dict[str, type[msgspec.Struct]] = {"llrp": Llrp, "uhf": UhfSerial}
"""Sections in double brackets: several of one kind."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a node.toml."""

    line: int
    text: str


class ConfigError(Exception):
    """A node.toml that cannot be used; `str()` has one line a mistake."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(f"{name}:{problem.line}: {problem.text}" for problem in self.problems))


def read_config(path: Path) -> NodeConfig:
    """The configuration in a file; files it names are found beside it. Raises ConfigError, or OSError."""
    return parse_config(path.read_bytes(), path.name, path.parent)


def parse_config(source: bytes, name: str = "node.toml", folder: Path = Path()) -> NodeConfig:
    """The configuration in a text. Raises ConfigError with every mistake."""
    text, document = _toml(source, name)
    lines = _Lines(text)
    problems: list[Problem] = []
    sections: dict[str, msgspec.Struct] = {}
    names = [*SECTIONS, *LISTS]
    for key, value in document.items():
        if key not in names:
            what = f"{key}: found a setting in no section"
            if isinstance(value, dict | list):
                what = f"[{key}]: found a section"
            problems.append(Problem(lines.section(key), f"{what}, expected one of {_listed(names)}{_mean(key, names)}"))
    for section, shape in SECTIONS.items():
        table = document.get(section, {})
        if not isinstance(table, dict):
            problems.append(Problem(lines.section(section), f"[{section}]: found {_shown(table)}, expected a section"))
            continue
        if section not in document and section in ONLY_WHEN_ASKED:
            continue
        made = _section(section, 0, shape, table, lines, problems)
        if made is not None:
            sections[section] = made
    lists = {name: _list(name, shape, document.get(name, []), lines, problems) for name, shape in LISTS.items()}
    _across(sections, lines, problems, folder)
    if problems:
        raise ConfigError(name, problems)
    fields: dict[str, Any] = sections | lists  # of the shapes that the names stand for in SECTIONS and LISTS
    return NodeConfig(**fields, digest=hashlib.sha256(source).hexdigest()[:12])


def _toml(source: bytes, name: str) -> tuple[str, dict[str, Any]]:
    # tomllib gives a dictionary of anything: its values are typed by _section, one by one.
    try:
        text = source.decode()
    except UnicodeDecodeError as error:
        line = source[: error.start].count(b"\n") + 1
        raise ConfigError(name, [Problem(line, "found bytes that are not UTF-8, expected a TOML text")]) from None
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's own, and numbers and brackets by the thousand
        message = str(error) if isinstance(error, ValueError) else "brackets within brackets, too deep"
        place = re.search(r"\(at line (\d+), column (\d+)\)", message)
        line = int(place[1]) if place else text.count("\n") + 1
        wrong = re.sub(r" \(at [^)]*\)", "", message)
        raise ConfigError(name, [Problem(line, f"found no valid TOML ({wrong}), expected `key = value`")]) from None


def _list(
    section: str, shape: type[msgspec.Struct], tables: object, lines: "_Lines", problems: list[Problem]
) -> tuple[msgspec.Struct, ...]:
    """The sections [[section]], of which there may be several."""
    if not isinstance(tables, list):
        text = f"[{section}]: found one section, expected [[{section}]], since there may be several"
        problems.append(Problem(lines.section(section), text))
        return ()
    if not all(isinstance(table, dict) for table in tables):
        text = f"[{section}]: found {_shown(tables)}, expected [[{section}]]"
        problems.append(Problem(lines.section(section), text))
        return ()
    made = [_section(section, number, shape, table, lines, problems) for number, table in enumerate(tables)]
    return tuple(each for each in made if each is not None)


def _section(
    section: str,
    number: int,
    shape: type[msgspec.Struct],
    table: dict[str, Any],
    lines: "_Lines",
    problems: list[Problem],
) -> msgspec.Struct | None:
    types = get_type_hints(shape, include_extras=True)
    good: dict[str, Any] = {}
    clean = True
    for key, value in table.items():
        where = f"[{section}] {key}"
        if key not in types:
            text = f"{where}: found an unknown setting, expected one of {_listed(types)}{_mean(key, types)}"
            problems.append(Problem(lines.setting(section, key, number), text))
            continue
        try:
            good[key] = msgspec.convert(value, types[key])
            if isinstance(good[key], float) and not math.isfinite(good[key]):
                raise msgspec.ValidationError
        except msgspec.ValidationError:
            near = _mean(value, _choices(types[key])) if isinstance(value, str) else ""
            text = f"{where}: found {_shown(value)}, expected {_expected(types[key])}{near}"
            problems.append(Problem(lines.setting(section, key, number), text))
            clean = False
    for field in msgspec.structs.fields(shape):
        if field.required and field.name not in table:
            text = f"[{section}] {field.name}: found nothing, expected {_expected(types[field.name])}"
            problems.append(Problem(lines.section(section, number), text))
            clean = False
    return shape(**good) if clean else None


def _across(sections: dict[str, msgspec.Struct], lines: "_Lines", problems: list[Problem], folder: Path) -> None:
    """What no single setting can show: settings that contradict each other, files that are not there."""

    def wrong(section: str, key: str, text: str) -> None:
        problems.append(Problem(lines.setting(section, key), f"[{section}] {key}: {text}"))

    presence, node, windows, wifi = (sections.get(name) for name in ("presence", "node", "windows", "wifi"))
    if isinstance(presence, Presence) and presence.exit_dbm >= presence.enter_dbm:
        enter, leave = presence.enter_dbm, presence.exit_dbm
        wrong("presence", "exit_dbm", f"found {leave:g}, expected less than enter_dbm ({enter:g})")
    if isinstance(windows, Windows) and abs(windows.seconds * 1_000 - round(windows.seconds * 1_000)) > 1e-6:
        wrong("windows", "seconds", f"found {windows.seconds:g}, expected whole milliseconds")
    if isinstance(node, Node):
        try:
            clock_from(node.clock)
        except ValueError:
            wrong("node", "clock", f"found {_shown(node.clock)}, expected START_US@REAL_USxSPEED")
        if node.tz is not None and not _is_a_zone(node.tz):
            wrong("node", "tz", f"found {_shown(node.tz)}, expected a time zone such as Europe/Madrid")
    if isinstance(wifi, Wifi) and not wifi.aggregate_only:
        wrong("wifi", "aggregate_only", "found false, expected true: this build counts and does no more")
    for name, section in sections.items():
        for key in section.__struct_fields__:
            path = getattr(section, key)
            if key.endswith("_file") and path is not None and not _is_a_file(folder / path):
                wrong(name, key, f"found {_shown(path)}, expected a file that exists")
    for name, key, other in _TOGETHER:
        both = sections.get(name)
        if both is not None and getattr(both, key) is not None and getattr(both, other) is None:
            wrong(name, key, f"found it without {other}, expected both or neither")


_TOGETHER = (
    ("uplink", "cert_file", "key_file"),
    ("uplink", "key_file", "cert_file"),
    ("uplink", "password_file", "username"),
    ("http", "cert_file", "key_file"),
    ("http", "key_file", "cert_file"),
    ("home_assistant", "password_file", "username"),
    ("raddec", "mqtt_password_file", "mqtt_username"),
)
"""Section, setting, and the setting that it needs."""


def _is_a_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or one with a NUL in it
        return False


def _is_a_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # names that lead out of the database, or to a folder of it
        return False
    return True


def _annotation(kind: Any) -> Any:
    # A type as `get_type_hints` gives it: the Annotated part of `Annotated[…] | None`.
    return next((part for part in get_args(kind) if get_origin(part) is Annotated), kind)


def _expected(kind: Any) -> str:
    annotated = kind if get_origin(kind) is Annotated else _annotation(kind)
    return next(meta.description for meta in annotated.__metadata__ if isinstance(meta, Meta) and meta.description)


def _choices(kind: Any) -> tuple[str, ...]:
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_args(inner) if get_origin(inner) is Literal else ()


def _mean(found: str, known: Any) -> str:
    near = get_close_matches(found, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _listed(names: Any) -> str:
    return ", ".join(names)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return f"a table of {len(value)}"
    try:
        return str(value)
    except ValueError:  # 0xffff… may have more digits than Python writes
        return "a number of thousands of digits"


class _Lines:
    """Where sections and settings stand in the text: tomllib forgets lines. The text is known to be valid TOML."""

    _HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
    _SETTING = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*(?:\.\s*([A-Za-z0-9_-]+)\s*)?=""")

    def __init__(self, text: str) -> None:
        self._at: dict[tuple[str, str, int], int] = {}
        section, number = "", 0
        times: dict[str, int] = {}
        for row, line in enumerate(text.splitlines(), 1):
            if header := self._HEADER.match(line):
                section = header[2].split(".")[0].strip("\"' ")
                if header[1] == "[[":
                    times[section] = times.get(section, -1) + 1
                number = times.get(section, 0)
                self._at.setdefault((section, "", number), row)
            elif setting := self._SETTING.match(line):
                key = setting[1] or setting[2] or setting[3]
                if setting[4] and not section:  # `node.tenant = …`
                    self._at.setdefault((key, "", 0), row)
                    self._at.setdefault((key, setting[4], 0), row)
                else:
                    self._at.setdefault((section, key, number), row)

    def section(self, section: str, number: int = 0) -> int:
        """The line of a section's header; `number` counts those of one name from 0."""
        return self._at.get((section, "", number), self._at.get(("", section, 0), 1))

    def setting(self, section: str, key: str, number: int = 0) -> int:
        return self._at.get((section, key, number), self.section(section, number))
