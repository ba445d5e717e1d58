"""What the doctor looks at: a node.toml, read as far as it can be read, and the hardware that it asks for."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edge.config import ConfigError, NodeConfig, Problem, parse_config
from edge.safe_mode import last_good
from edge.settings import Http

COMMAND = "python -m edge"
"""How a node's commands are called where nobody says otherwise."""
LLRP_PORT = 5084
"""The port that IANA gives to LLRP without TLS."""


class Reader(NamedTuple):
    """An RFID reader in the network."""

    name: str
    host: str
    port: int


class Device(NamedTuple):
    """Something below /dev."""

    name: str
    path: str


class Model(NamedTuple):
    """A model file and the SHA-256 that it must have."""

    name: str
    path: str
    sha256: str


class Listener(NamedTuple):
    """A port that the node itself listens on."""

    name: str
    kind: str
    """`tcp` or `udp`."""
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a node.toml asks for beside Bluetooth."""

    serial: tuple[Device, ...] = ()
    readers: tuple[Reader, ...] = ()
    cameras: tuple[Device, ...] = ()
    wifi: str | None = None
    models: tuple[Model, ...] = ()
    listeners: tuple[Listener, ...] = ()


@dataclass(frozen=True, slots=True)
class Patient:
    """A configuration file and what could be read of it."""

    path: Path
    config: NodeConfig | None
    """If the file has mistakes, the last good one, on which a node runs in safe mode; None if there is none: then most
    checks look at the machine alone."""
    problems: tuple[Problem, ...]
    hardware: Hardware
    command: str = COMMAND
    """How the node's commands are called here."""
    trouble: OSError | None = None
    """Why there is no text to read; None if there is one, however wrong."""

    @property
    def unread(self) -> str:
        """Why a check that needs the configuration is left out."""
        return "node.toml cannot be read" if self.trouble is None else "there is no node.toml to read"

    @property
    def unasked(self) -> str:
        """Why a part that no setting names is left out."""
        return "none in node.toml" if self.trouble is None else self.unread

    @property
    def folder(self) -> Path:
        return self.path.resolve().parent

    @property
    def outbox(self) -> Path | None:
        return None if self.config is None else self.folder / self.config.outbox.path


def read_patient(path: Path, command: str = COMMAND) -> Patient:
    """Reads the file. A file that is missing or broken gives problems, never an exception."""
    try:
        source = path.read_bytes()
    except OSError as error:
        return Patient(path, None, (), Hardware(), command, error)
    hardware = hardware_of(_document(source))
    try:
        return Patient(path, parse_config(source, path.name, path.parent), (), hardware, command)
    except ConfigError as error:
        last = last_good(path, source)
        return Patient(path, None if last is None else last[0], tuple(error.problems), hardware, command)


def _document(source: bytes) -> dict[str, object]:
    try:
        return tomllib.loads(source.decode())
    except (ValueError, RecursionError):  # as in edge.config
        return {}


_LISTENS = {"radius": "127.0.0.1:1813"}
"""Sections that open a port even where they do not name it."""


def hardware_of(document: dict[str, object]) -> Hardware:
    """The hardware that a node.toml names. Total: it also reads files that `edge.config` refuses."""
    # By what a setting is, not by where it stands, so that a file with a slip elsewhere is still examined.
    serial: list[Device] = []
    readers: list[Reader] = []
    cameras: list[Device] = []
    models: list[Model] = []
    listeners: list[Listener] = []
    wifi: str | None = None
    for name, table in _tables(document):
        if name == "uplink":
            continue
        for value in table.values():
            if isinstance(value, str) and value.startswith("/dev/"):
                (cameras if value.startswith("/dev/video") else serial).append(Device(name, value))
        host, port = table.get("host"), table.get("port")
        if isinstance(host, str) and name.startswith("llrp."):
            readers.append(Reader(name, host, port if isinstance(port, int) else LLRP_PORT))
        if name == "wifi" and "backend" not in table and isinstance(interface := table.get("interface"), str):
            wifi = interface
        if isinstance(digest := table.get("sha256"), str) and isinstance(file := table.get("file"), str):
            models.append(Model(name, file, digest))
        listen = table.get("listen", _LISTENS.get(name))
        if isinstance(listen, str) and name != "http" and (found := _listener(name, listen)):
            listeners.append(found)
    if "meraki" in document or "portal" in document:  # what comes over HTTP shares one receiver
        http = document.get("http")
        listen = http.get("listen") if isinstance(http, dict) else None
        if found := _listener("http", listen if isinstance(listen, str) else Http().listen):
            listeners.append(found)
    return Hardware(tuple(serial), tuple(readers), tuple(cameras), wifi, tuple(models), tuple(listeners))


def _tables(document: dict[str, object], inside: str = "") -> Iterator[tuple[str, dict[str, object]]]:
    """Every table of a document with its name: `wifi`, `rfid.door`; one of several is named by its `name`."""
    for key, value in document.items():
        name = f"{inside}.{key}" if inside else key
        if isinstance(value, dict):
            yield name, value
            yield from _tables(value, name)
        elif isinstance(value, list):
            for number, each in enumerate(value):
                if isinstance(each, dict):
                    known = each.get("name")
                    yield f"{name}.{known if isinstance(known, str) else number}", each


def _listener(name: str, listen: str) -> Listener | None:
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        return None
    return Listener(name, "tcp" if name == "http" else "udp", host, int(port))
