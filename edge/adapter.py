"""The Bluetooth adapter and the services it hangs on, over D-Bus: what the watchdog's upper rungs do.

dbus-fast comes with bleak on Linux and is imported when it is needed; elsewhere these calls fail with an AdapterError.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.files import write_whole
from edge.watchdog import DAY_S

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

CALL_S = 20.0
"""A controller that is stuck makes BlueZ wait for its own timeout, 10 s, before it answers."""
OFF_S = 1.0
"""How long the adapter stays off."""
START_S = 2.0
"""How long bluetoothd takes to come up; systemd answers before it has begun to restart it."""
SERVICE = "bluetooth.service"

_ADAPTER = "org.bluez.Adapter1"
_REFUSALS = ("org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired")


class AdapterError(Exception):
    """What could not be done and why, in a line."""


@dataclass(frozen=True, slots=True)
class AdapterState:
    """What BlueZ says of an adapter."""

    powered: bool
    discovering: bool
    """Whether a client's discovery runs; a passive scan is none."""


async def adapter_state(name: str | None) -> AdapterState:
    """How an adapter is, such as hci0, or the first one. Raises AdapterError."""
    async with _system_bus() as bus:
        _, state = await _find(bus, name)
        return state


async def power_cycle(name: str | None) -> None:
    """Switches an adapter off and on, or just on. Raises AdapterError."""
    async with _system_bus() as bus:
        path, state = await _find(bus, name)
        if state.powered:
            await _set_powered(bus, path, False)
            await asyncio.sleep(OFF_S)
        await _set_powered(bus, path, True)


async def restart_service() -> None:
    """Asks systemd to restart bluetoothd. Raises AdapterError, also when polkit does not allow it to this user."""
    where = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
    async with _system_bus() as bus:
        await _call(bus, f"restarting {SERVICE}", where, "RestartUnit", "ss", [SERVICE, "replace"])
    await asyncio.sleep(START_S)


async def reboot() -> None:
    """Asks logind to reboot the machine. Raises AdapterError, also when polkit does not allow it to this user."""
    where = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
    async with _system_bus() as bus:
        await _call(bus, "rebooting", where, "Reboot", "b", [False])


class RebootBudget:
    """One reboot a day, remembered in a file: a machine that reboots in circles is worse than a deaf one."""

    def __init__(self, path: Path, after_s: float) -> None:
        """`after_s`: seconds that Bluetooth must have been unusable."""
        self.path = path
        self.after_s = after_s

    def left(self) -> bool:
        """Whether there is one left. None while the clock says that the last one lies in the future."""
        try:
            last_s = float(self.path.read_text())
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False
        return time.time() - last_s >= DAY_S

    def spend(self) -> bool:
        """Writes it down, and says whether that is safely on disk: only then may the machine be rebooted."""
        try:
            write_whole(self.path, f"{time.time():.0f}\n".encode())
        except OSError:
            return False
        return True


@asynccontextmanager
async def _system_bus() -> AsyncIterator["MessageBus"]:
    try:
        from dbus_fast import BusType
        from dbus_fast.aio import MessageBus
    except ImportError:
        raise AdapterError("there is no D-Bus on this machine") from None
    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        async with asyncio.timeout(CALL_S):
            await bus.connect()
    except Exception as error:  # no socket, no permission, no daemon behind it: one thing to us
        bus.disconnect()
        raise AdapterError(f"the system's D-Bus cannot be reached: {error or type(error).__name__}") from error
    try:
        yield bus
    finally:
        bus.disconnect()


async def _find(bus: "MessageBus", name: str | None) -> tuple[str, AdapterState]:
    where = ("org.bluez", "/", "org.freedesktop.DBus.ObjectManager")
    (objects,) = await _call(bus, "asking BlueZ for its adapters", where, "GetManagedObjects")
    assert isinstance(objects, dict)
    for path, interfaces in sorted(objects.items()):
        adapter = interfaces.get(_ADAPTER)
        if adapter is not None and name in (None, path.rpartition("/")[2]):
            return path, AdapterState(adapter["Powered"].value, adapter["Discovering"].value)
    raise AdapterError(f"there is no adapter {name}" if name else "there is no adapter")


async def _set_powered(bus: "MessageBus", path: str, on: bool) -> None:
    from dbus_fast import Variant

    where = ("org.bluez", path, "org.freedesktop.DBus.Properties")
    what = f"switching the adapter {'on' if on else 'off'}"
    await _call(bus, what, where, "Set", "ssv", [_ADAPTER, "Powered", Variant("b", on)])


async def _call(
    bus: "MessageBus",
    what: str,
    where: tuple[str, str, str],
    member: str,
    signature: str = "",
    body: list[object] | None = None,
) -> list[object]:
    """The answer to a call at (destination, path, interface). Raises AdapterError that names what was tried."""
    from dbus_fast import Message, MessageType

    destination, path, interface = where
    message = Message(
        destination=destination, path=path, interface=interface, member=member, signature=signature, body=body or []
    )
    try:
        async with asyncio.timeout(CALL_S):
            reply = await bus.call(message)
    except TimeoutError:
        raise AdapterError(f"{what}: no answer within {CALL_S:g} s") from None
    except (OSError, EOFError) as error:
        raise AdapterError(f"{what}: {error or type(error).__name__}") from error
    if reply is None:
        raise AdapterError(f"{what}: no answer")
    if reply.message_type is MessageType.ERROR:
        if reply.error_name in _REFUSALS:
            raise AdapterError(f"{what}: not allowed to this user by polkit")
        raise AdapterError(f"{what}: {reply.body[0] if reply.body else reply.error_name}")
    return list(reply.body)
