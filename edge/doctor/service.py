"""The service that runs the node, and other programs in its way."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import COMMAND, Hardware, Listener, Patient
from edge.doctor.tools import say

UNIT = "aisle-edge.service"
_PROPERTIES = (
    "LoadState,UnitFileState,ActiveState,SubState,NRestarts,Result,ExecMainStatus,ExecStart,DropInPaths,MainPID"
)
DROP_INS = {
    "rfid.conf": f"firmware_configs/pi/{UNIT}.d/rfid.conf",
    "wifi.conf": "firmware_configs/wifi/aisle-edge-wifi.conf",
}
"""What gives the service rights that it has not by itself, and where it lies in the product."""
RESTARTS_MOST = 5
"""Since boot: more is a crash that comes again."""


def service(patient: Patient) -> Iterator[Finding]:
    """The systemd unit: installed, enabled, running, with the files and rights that this node.toml needs."""
    told = say("systemctl", "show", UNIT, "-p", _PROPERTIES)
    if told is None:
        yield skipped("service", "systemd does not answer here")
        return
    yield from judge(unit_properties(told), patient.path, patient.hardware, patient.command)


def install(drop_in: str) -> str:
    """The command that gives the service the rights of a drop-in."""
    return (
        f"sudo install -D {DROP_INS[drop_in]} /etc/systemd/system/{UNIT}.d/{drop_in} && "
        "sudo systemctl daemon-reload && sudo systemctl restart aisle-edge"
    )


def unit_properties(text: str) -> dict[str, str]:
    """`systemctl show` as a table."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def judge(unit: dict[str, str], path: Path, hardware: Hardware, command: str = COMMAND) -> Iterator[Finding]:
    """Judges the unit."""
    if unit.get("LoadState") != "loaded":
        yield warned(
            "service",
            "not installed: the node does not start by itself",
            f"sudo cp firmware_configs/pi/{UNIT} /etc/systemd/system/ && sudo systemctl enable --now aisle-edge",
        )
        return
    state, status = unit.get("ActiveState", ""), unit.get("ExecMainStatus", "0")
    restarts = int(unit.get("NRestarts") or 0)
    if state == "active":
        yield passed("service", f"runs, {restarts} restarts since boot")
    elif status == "2":
        yield failed("service", "ended: node.toml is wrong", "mend node.toml, then: sudo systemctl restart aisle-edge")
    else:
        result = unit.get("Result", "")
        why = f" ({result}, exit code {status})" if result not in ("", "success") else ""
        yield failed(
            "service", f"does not run: {state}{why}", "sudo systemctl start aisle-edge; journalctl -u aisle-edge -n 50"
        )
    if restarts > RESTARTS_MOST and state == "active":
        yield warned("service", f"it was started again {restarts} times", "journalctl -u aisle-edge -p warning -n 50")
    if unit.get("UnitFileState") not in ("enabled", "enabled-runtime", ""):
        yield warned("service", "not enabled: it will not start at the next boot", "sudo systemctl enable aisle-edge")
    other = re.search(r"-m edge (?:run )?(\S+\.toml)", unit.get("ExecStart", ""))
    if other and Path(other[1]) != path.absolute():
        yield warned("service", f"it follows {other[1]}, not this file", f"{command} doctor {other[1]}")
    drop_ins = unit.get("DropInPaths", "")
    for needed, wanted in (("rfid.conf", bool(hardware.serial)), ("wifi.conf", hardware.wifi is not None)):
        if wanted and f"/{needed}" not in drop_ins:
            yield failed("service", f"without {needed} it may not use the device that node.toml names", install(needed))


def ports(patient: Patient) -> Iterator[Finding]:
    """Ports that the node wants to listen on: free, or held by the node itself."""
    if not patient.hardware.listeners:
        yield skipped("ports", "node.toml opens none" if patient.trouble is None else patient.unread)
    for listener in patient.hardware.listeners:
        yield judge_port(listener, taken(listener))


def judge_port(listener: Listener, trouble: str) -> Finding:
    """Judges one port; `trouble` says why it cannot be taken."""
    place = f"{listener.kind} {listener.host or '*'}:{listener.port} for [{listener.name}]"
    if not trouble:
        return passed("ports", f"{place} is free")
    if trouble == "in use":
        flag = "t" if listener.kind == "tcp" else "u"
        return warned(
            "ports", f"{place} is held, by this node if it runs", f"sudo ss -{flag}lnp 'sport = :{listener.port}'"
        )
    return failed("ports", f"{place}: {trouble}", "choose a port from 1024 on, and an address of this machine")


def taken(listener: Listener) -> str:
    """Why a port cannot be listened on; empty if it can."""
    kind = socket.SOCK_STREAM if listener.kind == "tcp" else socket.SOCK_DGRAM
    host = listener.host.strip("[]")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, listener.port))
    except OSError as error:
        import errno

        return "in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return ""


def holders(path: Path, root: Path = Path("/proc")) -> tuple[str, ...]:
    """The names of other programs that hold a device open; those of other users only for root."""
    wanted, found = path.resolve(), set()
    for process in root.glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            if any(Path(os.readlink(fd)) == wanted for fd in (process / "fd").iterdir()):
                found.add((process / "comm").read_text().strip())
        except OSError:  # it ended, or it is another user's
            continue
    return tuple(sorted(found))
