"""Wi-Fi in monitor mode: the interface, the right to read it, and a chip that can do it."""

import errno
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Patient
from edge.doctor.service import install
from edge.doctor.tools import find, say
from edge.machine import read_text

ARPHRD_RADIOTAP = 803
"""The kernel's type of an interface whose frames have a radiotap header: one in monitor mode."""
WITHOUT_MONITOR = {"brcmfmac", "brcmsmac"}
"""Drivers of the Pi's own chip: their firmware has no monitor mode."""
ADAPTERS = "a USB adapter with an AR9271 (ath9k_htc), RT5370 (rt2800usb), MT7612U (mt76x2u) or MT7921AU (mt7921u)"
"""Chips whose drivers are in the kernel and capture reliably."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found of the interface."""

    there: bool
    kind: int | None = None
    """The ARPHRD number."""
    up: bool = False
    driver: str = ""
    can_monitor: bool | None = None
    """Whether any Wi-Fi chip here has monitor mode, as `iw list` tells; None without iw."""
    raw: str = ""
    """Why frames may not be read: `right` or `family`; empty if they may."""
    interfaces: tuple[str, ...] = ()
    """Other Wi-Fi interfaces."""


def wifi_monitor(patient: Patient) -> Iterator[Finding]:
    """The interface that node.toml names, if it does."""
    name = patient.hardware.wifi
    if name is None:
        yield skipped("wifi", "no [wifi] interface in node.toml" if patient.trouble is None else patient.unread)
        return
    yield from judge(name, probe(name))


def judge(name: str, found: Probe) -> Iterator[Finding]:
    """Judges the interface, then the right to read it."""
    if not found.there:
        where = f"; there is {', '.join(found.interfaces)}" if found.interfaces else "; there is no Wi-Fi at all"
        nothing = not found.interfaces and found.can_monitor is None
        mend = f"plug in {ADAPTERS}; `ip link` lists what is there" if nothing else _make_monitor(found, name)
        yield failed("wifi", f"no interface {name}{where}", mend)
    elif found.driver in WITHOUT_MONITOR:
        yield failed(
            "wifi", f"{name} is the board's own chip ({found.driver}), which has no monitor mode", f"use {ADAPTERS}"
        )
    elif found.kind != ARPHRD_RADIOTAP:
        yield failed("wifi", f"{name} is not in monitor mode", _make_monitor(found, name))
    elif not found.up:
        yield failed("wifi", f"{name} is down", f"sudo ip link set {name} up")
    else:
        yield passed("wifi", f"{name} is in monitor mode" + (f" ({found.driver})" if found.driver else ""))
    if found.raw == "family":
        yield failed(
            "wifi", "this kernel has no packet sockets", "run the node on the machine itself, not in this sandbox"
        )
    elif found.raw:
        yield warned(
            "wifi", "this user may not read frames (CAP_NET_RAW); the service may, by wifi.conf", install("wifi.conf")
        )


def _make_monitor(found: Probe, name: str) -> str:
    if found.can_monitor is None:
        return "sudo apt install iw"
    if not found.can_monitor:
        return f"use {ADAPTERS}"
    return f"sudo systemctl restart radio-monitor@{name}; firmware_configs/wifi/README.md"


def probe(name: str, root: Path = Path("/")) -> Probe:
    """Looks at an interface in /sys, asks `iw`, and tries to open a packet socket."""
    folder = root / "sys/class/net" / name
    wireless = tuple(sorted(p.parent.name for p in root.glob("sys/class/net/*/phy80211") if p.parent.name != name))
    described = say("iw", "list") if find("iw") else None
    can_monitor = None if described is None else monitor_in(described)
    if not folder.exists():
        return Probe(False, can_monitor=can_monitor, raw=_raw(), interfaces=wireless)
    driver = folder / "device" / "driver"
    kind = read_text(folder / "type") or ""
    return Probe(
        there=True,
        kind=int(kind) if kind.isdigit() else None,
        up=bool(int(read_text(folder / "flags") or "0", 16) & 1),  # IFF_UP
        driver=driver.resolve().name if driver.exists() else "",
        can_monitor=can_monitor,
        raw=_raw(),
        interfaces=wireless,
    )


def monitor_in(described: str) -> bool:
    """Whether `iw list` names monitor among the interface modes that a chip supports."""
    modes = re.findall(r"Supported interface modes:\n((?:\s+\* .*\n?)+)", described)
    return any(re.search(r"\* monitor\b", block) for block in modes)


def _raw() -> str:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()  # protocol 0: it receives nothing
    except PermissionError:
        return "right"
    except (OSError, AttributeError) as error:
        return "right" if getattr(error, "errno", None) == errno.EPERM else "family"
    return ""
