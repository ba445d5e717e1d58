"""The clock: whether somebody keeps it right, and what it does after a power cut."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.clock import SystemClock
from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Patient
from edge.doctor.tools import say
from edge.machine import read_text
from edge.time_trust import kernel_synced

OFFSET_MOST_S = 2.0
"""Nodes of one store further apart than this disagree about who was where first."""
_UNITS_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_FIX_NTP = "sudo timedatectl set-ntp true; is UDP port 123 open in the store's network?"


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found of the clock."""

    plausible: bool
    """Not before this release was made."""
    synchronised: bool | None
    """Whether a time service keeps it right; None if nobody tells."""
    offset_s: float | None = None
    """From the time server, where timesyncd tells."""
    battery: bool = False
    """Whether there is a clock that runs on without power (RTC)."""
    zone: str = ""


def clock(patient: Patient) -> Iterator[Finding]:
    """The machine's clock; a simulated run has its own."""
    if patient.config is not None and patient.config.node.clock is not None:
        yield skipped("clock", "simulated, by [node] clock")
        return
    yield judge(probe())


def judge(found: Probe) -> Finding:
    """Judges the clock."""
    battery = "" if found.battery else "; no battery clock: after a power cut it waits for the network's time"
    zone = f", time zone {found.zone}" if found.zone else ""
    if not found.plausible:
        return failed("clock", f"it was never set{zone}{battery}", _FIX_NTP)
    if found.offset_s is not None and abs(found.offset_s) > OFFSET_MOST_S:
        return failed(
            "clock", f"{found.offset_s:+.1f} s off{zone}{battery}", "sudo systemctl restart systemd-timesyncd"
        )
    if found.synchronised is None:
        return warned("clock", f"nobody says whether it is right{zone}{battery}", _FIX_NTP)
    if not found.synchronised:
        return warned("clock", f"no time service keeps it right{zone}{battery}", _FIX_NTP)
    offset = "" if found.offset_s is None else f", {found.offset_s * 1e3:+.1f} ms off"
    return passed("clock", f"synchronised{offset}{zone}{battery}")


def probe(root: Path = Path("/")) -> Probe:
    """Asks the kernel and the time service."""
    return Probe(
        plausible=SystemClock().trusted,
        synchronised=kernel_synced(),
        offset_s=offset_in(say("timedatectl", "timesync-status") or ""),
        battery=any(root.glob("sys/class/rtc/rtc*")),
        zone=_zone(root),
    )


def offset_in(text: str) -> float | None:
    """Seconds in the line `Offset: +1.234ms` of `timedatectl timesync-status`."""
    line = re.search(r"^\s*Offset: *([+-]?)(.+)$", text, re.MULTILINE)
    if line is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?) *(us|µs|ms|min|h|s)\b", line[2])  # also `+1min 2.5s`
    if not parts:
        return None
    total: float = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    return -total if line[1] == "-" else total


def _zone(root: Path) -> str:
    if name := read_text(root / "etc/timezone"):
        return name.strip()
    target = str((root / "etc/localtime").resolve())
    return target.partition("zoneinfo/")[2]
