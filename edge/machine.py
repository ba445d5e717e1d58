"""What the machine itself can tell: its boot, memory, warmth and power, and the service manager that watches us.

Nothing here raises: what cannot be read is None, or 0 where a number is always wanted.
"""

import contextlib
import os
import re
import socket
import uuid
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATM = Path("/proc/self/statm")
_ROOT = Path("/")
"""Below it lie /proc and /sys; tests have trees of their own."""


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


def temperature_c(root: Path = _ROOT) -> float | None:
    """The processor's temperature in °C; None where the kernel does not tell (most virtual machines)."""
    text = read_text(root / "sys/class/thermal/thermal_zone0/temp")
    try:
        return round(int(text) / 1_000, 1) if text else None
    except ValueError:
        return None


def throttled(root: Path = _ROOT) -> int | None:
    """The Raspberry Pi firmware's bits, as `vcgencmd get_throttled` shows them; None on another machine.

    Bit 0 under-voltage, 1 frequency capped, 2 throttled, 3 soft temperature limit; 16 to 19 the same since boot.
    Read from the kernel's driver: the sandbox of the service keeps vcgencmd's device away.
    """
    for path in sorted(root.glob("sys/devices/platform/soc*/soc*firmware/get_throttled")):
        with contextlib.suppress(ValueError):
            return int(read_text(path) or "", 16)
    return None


def load() -> float:
    """Runnable processes a core, mean of the last minute; 0 where the kernel does not tell."""
    try:
        return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
    except OSError:
        return 0.0


def disk_free_mb(path: Path) -> float | None:
    """Room in MiB for this user where a file lies or will lie; None if not even a folder above it can be asked."""
    for folder in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            found = os.statvfs(folder)
            return round(found.f_bavail * found.f_frsize / 2**20, 1)
    return None


def memory_free_mb(root: Path = _ROOT) -> float | None:
    """Memory in MiB that could be had without swapping; None where the kernel does not tell."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return round(int(found[1]) / 1024, 1) if found else None


def wifi_dbm(root: Path = _ROOT) -> int | None:
    """How strongly the machine's own Wi-Fi hears its access point, in dBm; None without one that is connected."""
    # /proc/net/wireless: two lines of headings, then `wlan0: 0000   54.  -56.  -256 …`: status, quality, level.
    for line in (read_text(root / "proc/net/wireless") or "").splitlines()[2:]:
        with contextlib.suppress(ValueError, IndexError):
            level = float(line.split(":", 1)[1].split()[2])
            if -120 <= level < 0:  # a monitor interface and a card that is down tell 0 or -256
                return round(level)
    return None


def model(root: Path = _ROOT) -> str | None:
    """What the board calls itself, `Raspberry Pi 4 Model B Rev 1.4`; None where there is no device tree."""
    text = read_text(root / "proc/device-tree/model")
    return text.strip("\0 \n") if text else None


def read_text(path: Path) -> str | None:
    """A kernel file's text without the line's end; None if it is not there, not ours to read, or fails to answer."""
    try:
        return path.read_text(errors="replace").strip("\n")
    except OSError:
        return None
