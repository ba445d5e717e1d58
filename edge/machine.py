"""What the machine itself can tell: its boot, its memory, and the service manager that watches the process."""

import contextlib
import os
import socket
import uuid
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATM = Path("/proc/self/statm")


def boot_id() -> str:
    """The kernel's name for this boot; a random one where there is none to read."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return str(uuid.uuid4())


def rss_mb() -> float:
    """Resident memory of this process in MiB, 0 where the kernel does not tell."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def tell_systemd(message: str) -> bool:
    """Sends `READY=1`, `WATCHDOG=1`, `STOPPING=1` or a status to systemd, by sd_notify(3). False if nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address[0] == "@":  # an abstract socket
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(message.encode(), address)
        return True
    return False


def watchdog_s() -> float | None:
    """How often systemd wants to hear from this process (half of WatchdogSec, as sd_watchdog_enabled(3) advises)."""
    text = os.environ.get("WATCHDOG_USEC", "")
    meant_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(text) / 2e6 if text.isdigit() and meant_for_us else None
