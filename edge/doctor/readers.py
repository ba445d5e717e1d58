"""RFID: modules at serial ports, and readers in the network that speak LLRP."""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Device, Patient, Reader
from edge.doctor.service import holders
from edge.doctor.tools import user_name

ANSWER_S = 3.0
_HEADER = struct.Struct(">HII")
_EVENT = 63
"""READER_EVENT_NOTIFICATION, with which an LLRP reader greets (LLRP 1.1, 16.1.38)."""
_ATTEMPT = 256
"""ConnectionAttemptEvent, a parameter of it (17.2.7.5.10)."""
_CLOSE_CONNECTION = _HEADER.pack(1 << 10 | 14, 10, 0)


@dataclass(frozen=True, slots=True)
class Port:
    """A serial port as it was found."""

    there: bool
    usable: bool = False
    """Whether this user may read and write it."""
    group: str = ""
    """The group that it belongs to: `dialout` on Debian."""
    holders: tuple[str, ...] = ()
    """Other programs that hold it open, as far as may be seen."""


def serial_ports(patient: Patient) -> Iterator[Finding]:
    """Every serial port that node.toml names."""
    if not patient.hardware.serial:
        yield skipped("serial rfid", patient.unasked)
    there = available()
    for device in patient.hardware.serial:
        yield judge_port(device, probe_port(Path(device.path)), there, user_name())


def judge_port(device: Device, port: Port, there: list[str], user: str) -> Finding:
    """Judges one port; `there` are the serial ports of this machine."""
    if not port.there:
        ports = f"there is: {', '.join(there)}" if there else "there is no serial port at all"
        return failed(
            "serial rfid", f"{device.name}: no {device.path}; {ports}", "plug the module in; ls /dev/serial/by-id"
        )
    if not port.usable:
        group = port.group or "dialout"
        return failed(
            "serial rfid",
            f"{device.path}: {user} may not use it",
            f"sudo usermod -aG {group} {user}, then sign in again",
        )
    strange = [name for name in port.holders if "python" not in name]
    if strange:
        stop = "sudo systemctl disable --now ModemManager" if "ModemManager" in strange else "stop that program"
        return failed("serial rfid", f"{device.path}: held by {', '.join(strange)}", stop)
    if "/by-id/" not in device.path and device.path.startswith(("/dev/ttyUSB", "/dev/ttyACM")):
        return warned(
            "serial rfid",
            f"{device.path} is there; with a second adapter its name may change",
            "name it by /dev/serial/by-id/… in node.toml",
        )
    return passed("serial rfid", f"{device.path} is there and may be used")


def probe_port(path: Path) -> Port:
    """Looks at a serial port without opening it: opening would reset some modules and steal bytes from the node."""
    try:
        found = path.stat()
    except OSError:
        return Port(there=False)
    if not stat.S_ISCHR(found.st_mode):
        return Port(there=False)
    return Port(True, os.access(path, os.R_OK | os.W_OK), _group(found.st_gid), holders(path))


def available(root: Path = Path("/dev")) -> list[str]:
    """The serial ports of this machine, by their lasting names where they have one."""
    lasting = sorted(root.glob("serial/by-id/*"))
    covered = {path.resolve() for path in lasting}
    plain = [p for kind in ("ttyUSB*", "ttyACM*", "ttyAMA*") for p in sorted(root.glob(kind)) if p not in covered]
    return [str(path) for path in (*lasting, *plain)]


def _group(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return ""


def llrp_readers(patient: Patient) -> Iterator[Finding]:
    """Every LLRP reader that node.toml names."""
    if not patient.hardware.readers:
        yield skipped("llrp rfid", patient.unasked)
    for reader in patient.hardware.readers:
        yield judge_reader(reader, *greet(reader.host, reader.port))


def judge_reader(reader: Reader, trouble: str, greeting: int | None) -> Finding:
    """Judges one reader: why it cannot be reached, or how it greeted (0: at your service)."""
    place = f"{reader.name} at {reader.host}:{reader.port}"
    if trouble:
        return failed("llrp rfid", f"{place}: {trouble}", f"check its power and network: ping -c 3 {reader.host}")
    if greeting is None:
        return failed(
            "llrp rfid", f"{place} answers, but not by LLRP", f"look at http://{reader.host}/ whether LLRP is on"
        )
    if greeting == 0:
        return passed("llrp rfid", f"{place} is ready")
    if greeting in (1, 2, 4):  # another client has the reader: most likely our own node
        return passed("llrp rfid", f"{place} serves a client already, the node if it runs")
    return failed("llrp rfid", f"{place} refuses connections (status {greeting})", "restart the reader")


def greet(host: str, port: int) -> tuple[str, int | None]:
    """(why it cannot be reached, the status that it greets with). A reader that serves a client refuses us unharmed."""
    try:
        with socket.create_connection((host, port), ANSWER_S) as line:
            line.settimeout(ANSWER_S)
            status = _read_greeting(line)
            if status == 0:
                line.sendall(_CLOSE_CONNECTION)
            return "", status
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__, None


def _read_greeting(line: socket.socket) -> int | None:
    received = b""
    try:
        while len(received) < 4096 and (status := greeting_status(received)) is None:
            more = line.recv(4096)
            if not more:
                return None
            received += more
    except TimeoutError:
        return None
    return status


def greeting_status(data: bytes) -> int | None:
    """The connection attempt's status in a reader's first message; None if it is none, or not all there yet."""
    if len(data) < _HEADER.size:
        return None
    kind, length, _ = _HEADER.unpack_from(data)
    if kind & 0x3FF != _EVENT or length > len(data):
        return None
    at, end = _HEADER.size + 4, length  # inside ReaderEventNotificationData, which has a header of 4 bytes
    while at + 4 <= end:
        if data[at] & 0x80:  # a short parameter (TV): of those only a timestamp may stand here, 8 bytes
            at += 9
            continue
        parameter, size = struct.unpack_from(">HH", data, at)
        if size < 4 or at + size > end:
            return None
        if parameter & 0x3FF == _ATTEMPT and size >= 6:
            return int.from_bytes(data[at + 4 : at + 6], "big")
        at += size
    return None
