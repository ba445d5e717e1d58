"""What hostapd says: events of its control interface, the same in a log or from an action script, and its stations.

hostapd/ctrl_iface.c, src/common/wpa_ctrl.h: an event is `<3>AP-STA-CONNECTED 02:00:00:00:01:00`, with more words
behind it in newer versions (`auth_alg=sae`, `keyid=guest`); a station is its address, then lines of `key=value`.
"""

import re
from typing import NamedTuple

from edge.frames.names import client_token_of, mac_bytes

_EVENTS = {"AP-STA-CONNECTED": True, "AP-STA-DISCONNECTED": False}
_LEVEL = re.compile(r"<\d+>")
_PROGRAM = re.compile(r"hostapd(\[\d+\])?:")
_FACILITY = re.compile(r"(daemon|user|local\d)\.\w+")
_LONGEST = 1024


class StationEvent(NamedTuple):
    """A station joined an access point or left it."""

    mac: bytes
    connected: bool
    access_point: str
    """INTERFACE, or HOST/INTERFACE where the line names the machine too; empty on a control interface."""


class Station(NamedTuple):
    """One station of an access point, as hostapd lists it."""

    mac: bytes
    rssi: int | None
    """dBm."""
    authorized: bool
    """Whether it may send data: a station that is still asking for a key may not."""
    token: int | None
    """The client token, where the member logged in by WPA Enterprise with it as user name."""


def parse_event(line: bytes) -> StationEvent | None:
    """The station event in a datagram of a control interface, a line of a log or of an action script; else None."""
    words = [_LEVEL.sub("", word) for word in line[:_LONGEST].decode(errors="replace").split()]
    at = next((index for index, word in enumerate(words) if word in _EVENTS), None)
    if at is None or at + 1 == len(words):
        return None
    mac = mac_bytes(words[at + 1])
    return None if mac is None else StationEvent(mac, _EVENTS[words[at]], _access_point(words[:at]))


def _access_point(before: list[str]) -> str:
    """What stands before an event: `wlan0:`, `IFNAME=wlan0`, `door/wlan0`, `… door hostapd: wlan0:` or nothing."""
    if not before or not before[-1]:
        return ""
    interface = before[-1].removeprefix("IFNAME=").rstrip(":")
    if len(before) >= 3 and _PROGRAM.fullmatch(before[-2]) and not _FACILITY.fullmatch(before[-3]):
        return f"{before[-3]}/{interface}"
    return interface


def parse_station(reply: bytes) -> Station | None:
    """The station in a reply to STA, STA-FIRST or STA-NEXT; None at the end of the list (empty or FAIL)."""
    first, *rest = reply.decode(errors="replace").split("\n")
    mac = mac_bytes(first.strip())
    if mac is None:
        return None
    fields = dict(line.partition("=")[::2] for line in rest)
    signal = fields.get("signal", "")
    return Station(
        mac,
        int(signal) if re.fullmatch(r"-\d{1,3}", signal, re.ASCII) else None,
        "[AUTHORIZED]" in fields.get("flags", ""),
        client_token_of(fields.get("dot1xAuthSessionUserName", "").strip()),
    )
