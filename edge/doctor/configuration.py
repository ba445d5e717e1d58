"""node.toml itself, and the Python that reads it."""

import importlib
import importlib.metadata
import sys
from collections.abc import Iterator

from edge.config import Problem
from edge.config_summary import doubts
from edge.doctor.finding import Finding, failed, passed, warned
from edge.doctor.patient import Patient

PACKAGES = {
    "msgspec": "messages",
    "paho-mqtt": "the uplink",
    "cryptography": "certificates and keys",
    "bleak": "Bluetooth",
}
"""What every node needs, by the names under which they are installed."""


def configuration(patient: Patient) -> Iterator[Finding]:
    """Every mistake in the file, with its line."""
    if patient.trouble is not None:
        yield _unread(patient, patient.trouble)
        return
    for problem in patient.problems:
        yield _mistake(patient, problem)
    if patient.config is None:
        return
    if not patient.problems:
        yield passed("configuration", f"{patient.path}: node {patient.config.address}, {patient.config.digest}")
        yield from (warned("configuration", doubt, f"sudoedit {patient.path}") for doubt in doubts(patient.config))
    else:
        yield warned(
            "configuration",
            f"safe mode: the node goes on with the last good file ({patient.config.digest}), and so does this table",
            "mend the lines above, then: sudo systemctl restart aisle-edge",
        )


def _unread(patient: Patient, trouble: OSError) -> Finding:
    path, command = patient.path, patient.command
    match trouble:
        case FileNotFoundError():
            claim = f"{command} claim CODE --api https://… --into {path.parent}"
            fix = f"{claim}, or write one: {command} config check --example > {path}"
        case IsADirectoryError():
            fix = f"{command} doctor {path}/node.toml"
        case PermissionError():
            fix = f"sudo {command} doctor {path}"
        case _:
            fix = f"ls -l {path}; is the card damaged?"
    return failed("configuration", f"{path}: {trouble.strerror or trouble}", fix)


def _mistake(patient: Patient, problem: Problem) -> Finding:
    return failed(
        "configuration",
        f"{patient.path.name}:{problem.line}: {problem.text}",
        f"sudoedit +{problem.line} {patient.path}",
    )


def software(patient: Patient) -> Iterator[Finding]:
    """Python and the packages that this node.toml needs."""
    needed = dict(PACKAGES)
    if patient.hardware.serial:
        needed["pyserial"] = "RFID modules at a serial port"
    found = {name: _version(name) for name in needed}
    yield judge_software(sys.version_info[:3], found, needed)
    if patient.config is not None and patient.config.ble.backend is not None:
        yield _backend(patient.config.ble.backend)


def judge_software(python: tuple[int, ...], found: dict[str, str | None], needed: dict[str, str]) -> Finding:
    """Judges Python's version and those of packages, None for one that is missing."""
    version = ".".join(map(str, python))
    if python < (3, 11):
        return failed("software", f"Python {version}, a node needs 3.11", "sudo apt install python3.11 python3.11-venv")
    missing = [name for name, there in found.items() if there is None]
    if missing:
        words = ", ".join(f"{name} ({needed[name]})" for name in missing)
        return failed("software", f"Python {version} without {words}", f"{sys.executable} -m pip install 'aisle[edge]'")
    return passed("software", f"Python {version}, " + ", ".join(f"{name} {there}" for name, there in found.items()))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _backend(named: str) -> Finding:
    module, _, name = named.partition(":")
    try:
        getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        return failed("software", f"[ble] backend {named} cannot be loaded: {error}", "remove `backend` from [ble]")
    return passed("software", f"Bluetooth is heard through {named}, no adapter is used")
