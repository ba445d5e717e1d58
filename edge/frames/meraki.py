"""Posts of the Cisco Meraki Scanning API, version 3 (https://developer.cisco.com/meraki/scanning-api/3-0).

The cloud posts once a minute for each network: whom its access points heard, by client. `locations` has an entry for
each time a position could be worked out, `latestRecord` the access point that heard the client last.
"""

import json
import re
from datetime import UTC, datetime
from typing import NamedTuple

from edge.frames.names import client_token_of, mac_bytes

OBSERVATIONS_MOST = 50_000
_WHOLE = re.compile(r"-?\d{1,4}", re.ASCII)


class Malformed(NamedTuple):
    """A post that cannot be read; the reason names nobody."""

    reason: str


class Post(NamedTuple):
    """A post before its secret is checked: nothing in it may be believed yet."""

    secret: str
    version: str
    kind: str
    """`WiFi` or `Bluetooth`."""
    data: dict[str, object]


class Observation(NamedTuple):
    """An access point heard a client."""

    at_us: int
    mac: bytes
    token: int | None
    """The client token, where the member signed in to the splash page with it as user name."""
    access_point: bytes | None
    rssi: int | None
    """dBm."""
    associated: bool
    """Whether it is a client of the store's network; others only passed by."""


class Scan(NamedTuple):
    """A post's observations in the order of time."""

    observations: tuple[Observation, ...]
    unreadable: int
    """Observations that made no sense."""


def parse_post(body: bytes) -> Post | Malformed:
    """A post's outer part; the secret must be compared before anything else is done with it."""
    try:
        post = json.loads(body)
    except (ValueError, RecursionError):
        return Malformed("not JSON")
    if not isinstance(post, dict):
        return Malformed("not a JSON object")
    secret, version, kind, data = (post.get(key) for key in ("secret", "version", "type", "data"))
    if not isinstance(secret, str):
        return Malformed("secret: expected a text")
    if not isinstance(version, str) or version.partition(".")[0] != "3":
        return Malformed("version: expected 3.x")
    if kind not in ("WiFi", "Bluetooth"):
        return Malformed("type: expected WiFi or Bluetooth")
    if not isinstance(data, dict):
        return Malformed("data: expected an object")
    return Post(secret, version, kind, data)


def scan_of(post: Post) -> Scan | Malformed:
    """The observations in a post."""
    entries = post.data.get("observations")
    if not isinstance(entries, list):
        return Malformed("data.observations: expected a list")
    if len(entries) > OBSERVATIONS_MOST:
        return Malformed(f"data.observations: expected at most {OBSERVATIONS_MOST}")
    found: list[Observation] = []
    unreadable = 0
    for entry in entries:
        heard = _observations(entry)
        unreadable += not heard
        found += heard
    found.sort(key=lambda observation: observation.at_us)
    return Scan(tuple(found), unreadable)


def _observations(entry: object) -> list[Observation]:
    if not isinstance(entry, dict):
        return []
    mac = mac_bytes(_text(entry.get("clientMac")))
    if mac is None:
        return []
    token = client_token_of(_text(entry.get("userId")))
    associated = bool(_text(entry.get("ssid")))
    heard: dict[int, Observation] = {}
    locations = entry.get("locations")
    for location in locations if isinstance(locations, list) else []:
        if isinstance(location, dict) and (at_us := _instant(location.get("time"))) is not None:
            access_point, rssi = _strongest(location.get("rssiRecords"))
            heard[at_us] = Observation(at_us, mac, token, access_point, rssi, associated)
    latest = entry.get("latestRecord")
    if isinstance(latest, dict) and (at_us := _instant(latest.get("time"))) is not None:
        nearest = mac_bytes(_text(latest.get("nearestApMac")))
        heard[at_us] = Observation(at_us, mac, token, nearest, _dbm(latest.get("nearestApRssi")), associated)
    return list(heard.values())


def _strongest(records: object) -> tuple[bytes | None, int | None]:
    best: tuple[bytes | None, int | None] = (None, None)
    for record in records if isinstance(records, list) else []:
        if not isinstance(record, dict):
            continue
        mac, rssi = mac_bytes(_text(record.get("apMac"))), _dbm(record.get("rssi"))
        if mac is not None and rssi is not None and (best[1] is None or rssi > best[1]):
            best = (mac, rssi)
    return best


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dbm(value: object) -> int | None:
    if isinstance(value, str):  # the documentation says text, the cloud sends numbers
        value = int(value) if _WHOLE.fullmatch(value) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not -127 <= value <= 20:
        return None
    return round(value)


def _instant(value: object) -> int | None:
    """`2021-11-23T14:01:49Z` in microseconds since 1970 UTC."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        time = datetime.fromisoformat(value)
        at = time if time.tzinfo else time.replace(tzinfo=UTC)
        return round((at - _EPOCH).total_seconds() * 1_000) * 1_000
    except (ValueError, OverflowError):
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
