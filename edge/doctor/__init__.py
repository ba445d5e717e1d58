"""`python -m edge doctor node.toml`: what is wrong with this node, and the command that mends it.

Each check is a function of the `Patient` that gives findings: a thin probe, which looks at the machine, and a judge,
which is pure. It runs without root and without the hardware: what is not there is said in words. Nothing is changed, a
running node is not disturbed, and no report names a device that was heard, nor an address of a radio.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge.doctor import (
    bluetooth,
    certificate,
    clock,
    configuration,
    line,
    power,
    readers,
    report,
    secrecy,
    service,
    storage,
    vision,
    wifi,
)
from edge.doctor.finding import Finding, failed
from edge.doctor.patient import COMMAND, Patient, read_patient

Check = Callable[[Patient], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    configuration.configuration,
    configuration.software,
    bluetooth.bluetooth,
    readers.serial_ports,
    readers.llrp_readers,
    wifi.wifi_monitor,
    vision.camera,
    vision.models,
    clock.clock,
    storage.disk,
    storage.outbox,
    certificate.certificate,
    secrecy.secrecy,
    line.broker,
    service.service,
    service.ports,
    power.power,
)
"""What is looked at, in the order of the table."""


def examine(path: Path, checks: tuple[Check, ...] = CHECKS, command: str = COMMAND) -> list[Finding]:
    """All findings about a node, in the order of the checks. Takes some seconds; checks that wait, wait together.

    `command` is how the node's commands are called here, for those that a finding names.
    """
    patient = read_patient(path, command)
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        return [finding for found in pool.map(lambda check: _run(check, patient), checks) for finding in found]


def _run(check: Check, patient: Patient) -> list[Finding]:
    try:
        return list(check(patient))
    except Exception as error:  # a check that fails must not hide the others
        name = check.__name__.replace("_", " ")
        return [failed(name, f"this check failed itself: {type(error).__name__}: {error}", "tell us, with this line")]


def main(arguments: list[str], prog: str = f"{COMMAND} doctor") -> int:
    """The command. Exit code 0 if nothing failed, else 1."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Looks at everything that a node needs. Exit code 0: nothing failed; 1: something did."
    )
    parser.add_argument("config", type=Path, help="the node.toml to follow; without one, the machine is looked at")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(arguments)
    findings = examine(options.config, command=prog.removesuffix(" doctor"))
    if options.json:
        print(report.as_json(findings, options.config))
    else:
        print(report.table(findings, colour=sys.stdout.isatty()))
    return 0 if report.healthy(findings) else 1
