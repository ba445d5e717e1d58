"""Bluetooth: BlueZ on D-Bus, its version and adapter, and whether anything blocks it."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Patient
from edge.doctor.tools import in_group, say, user_name
from edge.machine import read_text

PASSIVE_FROM = (5, 56)
"""BlueZ with advertisement monitors, which a passive scan is made of."""
ANSWER_S = 5.0
_FIX_INSTALL = "sudo apt install bluez && sudo systemctl enable --now bluetooth"
_FIX_EXPERIMENTAL = (
    "sudo cp -r firmware_configs/pi/bluetooth.service.d /etc/systemd/system/ && sudo systemctl daemon-reload && "
    "sudo systemctl restart bluetooth"
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A Bluetooth adapter as BlueZ tells it; its address stays out of every report."""

    name: str
    powered: bool
    monitors: bool
    """Whether it takes advertisement monitors: a passive scan is possible."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found of Bluetooth."""

    bus: str | None
    """Why D-Bus does not answer; None if it does."""
    bluez: bool = False
    refused: bool = False
    """BlueZ is there and does not speak with this user."""
    version: tuple[int, int] | None = None
    adapters: tuple[Adapter, ...] = ()
    blocked: str = ""
    """`soft` or `hard`, as rfkill has it."""
    in_group: bool | None = None
    user: str = ""


def bluetooth(patient: Patient) -> Iterator[Finding]:
    """Whether the node can hear Bluetooth as node.toml wants it."""
    if patient.config is not None and patient.config.ble.mode == "off":
        yield skipped("bluetooth", "switched off in node.toml")
        return
    if patient.config is not None and patient.config.ble.backend is not None:
        yield skipped("bluetooth", f"heard through {patient.config.ble.backend}")
        return
    wanted = patient.config.ble.adapter if patient.config is not None else None
    passive = patient.config is not None and patient.config.ble.mode == "passive"
    yield from judge(probe(), wanted, passive)


def judge(found: Probe, wanted: str | None, passive: bool) -> Iterator[Finding]:
    """Judges what was found: the first thing that stands in the way, then what else would hurt."""
    if found.bus is not None:
        yield failed("bluetooth", f"D-Bus does not answer ({found.bus})", "sudo apt install dbus bluez && sudo reboot")
        return
    if found.refused:
        yield failed("bluetooth", f"BlueZ does not speak with {found.user}", _group_fix(found.user))
        return
    if not found.bluez:
        yield failed("bluetooth", "BlueZ (bluetoothd) does not run", _FIX_INSTALL)
        return
    chosen = next((a for a in found.adapters if wanted is None or a.name == wanted), None)
    others = ", ".join(adapter.name for adapter in found.adapters)
    version = ".".join(map(str, found.version)) if found.version else "of unknown version"
    if found.blocked == "hard":
        yield failed("bluetooth", "the adapter is switched off by a switch of the machine", "switch it on")
    elif found.blocked:
        yield failed("bluetooth", "the adapter is blocked (rfkill)", "sudo rfkill unblock bluetooth")
    elif chosen is None and wanted is not None and others:
        yield failed("bluetooth", f"there is no {wanted}, there is {others}", f"set [ble] adapter to one of: {others}")
    elif chosen is None:
        yield failed("bluetooth", "BlueZ has no adapter", "plug one in, or: sudo systemctl restart hciuart bluetooth")
    elif not chosen.powered:
        yield failed("bluetooth", f"{chosen.name} is not powered", "bluetoothctl power on")
    else:
        yield passed("bluetooth", f"{chosen.name} is powered, BlueZ {version}")
        if passive:
            yield _judge_passive(found.version, chosen)
    if found.in_group is False:
        yield warned("bluetooth", f"{found.user} is not in the group bluetooth", _group_fix(found.user))


def _judge_passive(version: tuple[int, int] | None, adapter: Adapter) -> Finding:
    if adapter.monitors:
        return passed("bluetooth", "a passive scan is possible")
    if version is not None and version < PASSIVE_FROM:
        old = ".".join(map(str, version))
        return warned(
            "bluetooth", f"BlueZ {old} cannot scan passively: the node scans actively", "sudo apt full-upgrade"
        )
    return warned(
        "bluetooth", "BlueZ runs without --experimental: no passive scan, the node scans actively", _FIX_EXPERIMENTAL
    )


def _group_fix(user: str) -> str:
    return f"sudo usermod -aG bluetooth {user}, then sign in again"


def probe(root: Path = Path("/")) -> Probe:
    """Asks D-Bus, BlueZ and rfkill. Takes ANSWER_S at most, twice."""
    user, group = user_name(), in_group("bluetooth")
    blocked = rfkill_state(root)
    try:
        there, refused, adapters = asyncio.run(_ask_bluez())
    except (OSError, EOFError, TimeoutError, ImportError, ValueError) as error:
        return Probe(bus=" ".join(str(error).split()) or type(error).__name__, blocked=blocked, user=user)
    version = bluez_version(say("bluetoothctl", "--version") or "") if there else None
    return Probe(None, there, refused, version, adapters, blocked, group, user)


def rfkill_state(root: Path = Path("/")) -> str:
    """`hard` or `soft` if all Bluetooth radios are blocked, else empty."""
    states = []
    for switch in sorted(root.glob("sys/class/rfkill/rfkill*")):
        if read_text(switch / "type") == "bluetooth":
            hard, soft = read_text(switch / "hard") == "1", read_text(switch / "soft") == "1"
            states.append("hard" if hard else "soft" if soft else "")
    return min(states, default="")  # "" < "hard" < "soft": one free radio is enough


def bluez_version(text: str) -> tuple[int, int] | None:
    """The version in what `bluetoothctl --version` prints."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


async def _ask_bluez() -> tuple[bool, bool, tuple[Adapter, ...]]:
    """(BlueZ is there, it refuses us, its adapters). Raises OSError, EOFError, TimeoutError, ImportError or ValueError
    if there is no bus to ask."""
    from dbus_fast import BusType, Message, MessageType
    from dbus_fast.aio import MessageBus
    from dbus_fast.errors import AuthError, DBusError, InvalidAddressError

    try:
        bus = await asyncio.wait_for(MessageBus(bus_type=BusType.SYSTEM).connect(), ANSWER_S)
    except (AuthError, DBusError, InvalidAddressError) as error:
        raise ValueError(str(error)) from None
    try:
        question = Message(
            destination="org.bluez",
            path="/",
            interface="org.freedesktop.DBus.ObjectManager",
            member="GetManagedObjects",
        )
        answer = await asyncio.wait_for(bus.call(question), ANSWER_S)
    finally:
        bus.disconnect()
    if answer is None or answer.message_type is MessageType.ERROR:
        name = str(answer.error_name) if answer is not None else ""
        return False, name.endswith("AccessDenied"), ()
    return True, False, adapters_of(answer.body[0])


def adapters_of(objects: dict[str, dict[str, dict[str, object]]]) -> tuple[Adapter, ...]:
    """The adapters among BlueZ's objects, by name."""
    found = []
    for path, interfaces in objects.items():
        properties = interfaces.get("org.bluez.Adapter1")
        if properties is None:
            continue
        powered = getattr(properties.get("Powered"), "value", False)  # a D-Bus variant
        monitors = "org.bluez.AdvertisementMonitorManager1" in interfaces
        found.append(Adapter(path.rsplit("/", 1)[-1], bool(powered), monitors))
    return tuple(sorted(found, key=lambda adapter: adapter.name))
