"""A system D-Bus of one's own, with the part of systemd and logind that a node asks for restarts.

`DBUS_SYSTEM_BUS_ADDRESS` set to the bus's address makes bleak and the node use it in place of the machine's.
"""

import asyncio
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus

SYSTEMD = "org.freedesktop.systemd1"
LOGIND = "org.freedesktop.login1"
_MATCH_ALL = (
    '<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>'
)


@contextmanager
def private_bus(folder: Path) -> Iterator[str]:
    """A dbus-daemon that listens in a folder, and its address. Raises OSError or RuntimeError if it does not start."""
    address = f"unix:path={folder}/bus"
    config = folder / "bus.conf"
    config.write_text(
        f"<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>{_MATCH_ALL}</busconfig>"
    )
    daemon = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # in a container it complains that it may not raise its limits
    )
    assert daemon.stdout is not None
    try:
        if not daemon.stdout.readline():  # printed once it listens
            raise RuntimeError("dbus-daemon did not start")
        yield address
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()


class SystemManager:
    """systemd and logind on a bus: what is asked of them is written down, and done by `restart_unit`.

    Refuses as polkit does while `refusing` is set.
    """

    def __init__(self, address: str, restart_unit: Callable[[str], Coroutine[None, None, None]]) -> None:
        self._bus = MessageBus(bus_address=address)
        self._restart_unit = restart_unit
        self._jobs: set[asyncio.Task[None]] = set()
        self.refusing = False
        self.restarted: list[str] = []
        """Units, in the order asked for."""
        self.reboots = 0

    async def __aenter__(self) -> Self:
        await self._bus.connect()
        self._bus.add_message_handler(self._handle)
        for name in (SYSTEMD, LOGIND):
            await self._bus.request_name(name)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._bus.disconnect()

    def _handle(self, message: Message) -> Message | bool:
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        wanted = (message.interface, message.member)
        if wanted not in ((f"{SYSTEMD}.Manager", "RestartUnit"), (f"{LOGIND}.Manager", "Reboot")):
            return False
        if self.refusing:
            text = "Interactive authentication required."
            return Message.new_error(message, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", text)
        if message.member == "Reboot":
            self.reboots += 1
            return Message.new_method_return(message)
        return self._restart(message)

    def _restart(self, message: Message) -> Message:
        unit = str(message.body[0])
        self.restarted.append(unit)
        job = asyncio.create_task(self._restart_unit(unit))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return Message.new_method_return(message, "o", ["/org/freedesktop/systemd1/job/1"])
