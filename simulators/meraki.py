"""The Meraki cloud, as a Scanning API receiver sees it: a GET for the validator, then a post a minute.

`python -m simulators.meraki URL --validator V --secret-file FILE` posts a made-up store until interrupted.
"""

import argparse
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

POST_S = 60.0
"""The cloud posts about once a minute for each network."""


@dataclass(frozen=True, slots=True)
class Client:
    """A device that the network's access points hear."""

    mac: str
    ssid: str | None
    """The network it is in; None for one that only passes by."""
    user_id: str | None = None
    """What its owner signed in to the splash page with."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An access point heard a client at an instant."""

    client: Client
    at_us: int
    rssi_by_ap: Mapping[str, int]
    """dBm, by the access point's address."""


def wifi_post(secret: str, network: str, heard: Sequence[Heard]) -> bytes:
    """A post of type WiFi, version 3.0. As in reality there is a location only where three access points heard it."""
    observations: dict[str, dict[str, object]] = {}
    located: dict[str, list[object]] = {}
    for entry in heard:
        mac, at = entry.client.mac, _iso(entry.at_us)
        nearest = max(entry.rssi_by_ap, key=lambda ap: entry.rssi_by_ap[ap])
        locations = located.setdefault(mac, [])
        if len(entry.rssi_by_ap) >= 3:
            records = [{"apMac": ap, "rssi": rssi} for ap, rssi in entry.rssi_by_ap.items()]
            locations.append({**_NOWHERE, "time": at, "rssiRecords": records})
        observations[mac] = {
            "locations": locations,
            "ipv4": None,
            "ipv6": None,
            "ssid": entry.client.ssid,
            "os": None,
            "clientMac": mac,
            "userId": entry.client.user_id,
            "latestRecord": {"time": at, "nearestApMac": nearest, "nearestApRssi": entry.rssi_by_ap[nearest]},
            "manufacturer": None,
        }
    data = {"networkId": network, "observations": list(observations.values())}
    return json.dumps({"version": "3.0", "secret": secret, "type": "WiFi", "data": data}).encode()


_NOWHERE = {"lat": 0.0, "lng": 0.0, "x": 0.0, "y": 0.0, "variance": 2.0, "floorPlanId": "f_1", "nearestApTags": []}


class NotOurReceiver(Exception):
    """The receiver's GET did not give the validator: the dashboard would refuse to save its address."""


class MerakiCloud:
    """One network's posts to one receiver."""

    def __init__(self, url: str, validator: str, secret: str, network: str = "N_1") -> None:
        self._url, self._validator, self._secret, self._network = url, validator, secret, network
        self._http = httpx.Client(timeout=10.0)

    def validate(self) -> None:
        """Asks the receiver whose it is. Raises NotOurReceiver, or httpx.HTTPError."""
        answer = self._http.get(self._url)
        if answer.status_code != 200 or answer.text.strip() != self._validator:
            raise NotOurReceiver(NotOurReceiver.__doc__)

    def post(self, heard: Sequence[Heard]) -> int:
        """Posts what was heard and gives the status of the answer. Raises httpx.HTTPError."""
        body = wifi_post(self._secret, self._network, heard)
        answer = self._http.post(self._url, content=body, headers={"Content-Type": "application/json"})
        return answer.status_code

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()


class Shop:
    """A made-up store: clients who now and then walk to another access point. It knows where everybody is."""

    def __init__(self, aps: Sequence[str], clients: Sequence[Client], seed: int) -> None:
        self._aps, self._clients = list(aps), list(clients)
        self._random = random.Random(seed)
        self.truth: dict[str, str] = {client.mac: self._random.choice(self._aps) for client in clients}
        """The access point that each client is nearest to, by its address."""

    def minute(self, end_us: int) -> list[Heard]:
        """What was heard in the minute before an instant, in the order of time."""
        heard = []
        for client in self._clients:
            if self._random.random() < 0.2:
                self.truth[client.mac] = self._random.choice(self._aps)
            near = self.truth[client.mac]
            levels = {ap: round(self._random.gauss(-50 if ap == near else -75, 4)) for ap in self._aps}
            at_us = end_us - self._random.randrange(60) * 1_000_000
            heard.append(Heard(client, at_us, levels))
        return sorted(heard, key=lambda entry: entry.at_us)


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Posts until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--validator", required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--ap", action="append", help="an access point's MAC address; may be given again")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--every", type=float, default=POST_S, help="seconds between posts")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    aps = arguments.ap or ["00:18:0a:00:00:01", "00:18:0a:00:00:02", "00:18:0a:00:00:03"]
    clients = [Client(f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", "guests") for n in range(arguments.clients)]
    shop = Shop(aps, clients, arguments.seed)
    cloud = MerakiCloud(arguments.url, arguments.validator, arguments.secret_file.read_text().strip())
    cloud.validate()
    while True:
        status = cloud.post(shop.minute(time.time_ns() // 1_000))
        print(f"posted {len(clients)} clients: {status}", flush=True)
        time.sleep(arguments.every)


if __name__ == "__main__":
    main()
