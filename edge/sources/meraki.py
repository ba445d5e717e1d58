"""Cisco Meraki's Scanning API as a feed: the cloud posts whom the store's access points heard (TLS stands in front)."""

import asyncio
import hmac
import logging
from collections.abc import Callable
from pathlib import Path

from contract.messages import SourceHealth
from edge.clients import StationSeen
from edge.frames.meraki import Malformed, Observation, parse_post, scan_of
from edge.frames.names import mac_bytes
from edge.settings import Meraki
from edge.sources.feeds import Tally, read_secret
from edge.sources.http import Handler, Request, Response

log = logging.getLogger(__name__)

FUTURE_MOST_US = 60_000_000
"""An observation later than this after the node's clock is the sign of a wrong clock, and is left out."""


class MerakiFeed:
    """The source `meraki`. Give its `routes` to the HTTP receiver; `seen` gets stations on the event loop's thread."""

    name = "meraki"

    def __init__(
        self, settings: Meraki, folder: Path, now_us: Callable[[], int], seen: Callable[[StationSeen], object]
    ) -> None:
        """Raises ValueError if the secret cannot be read or an access point's address is none."""
        self._settings = settings
        self._secret = read_secret(folder / settings.secret_file)
        self._zones = zones_by_mac("[meraki.aps]", settings.aps)
        self._now_us = now_us
        self._seen = seen
        self._tally = Tally()

    @property
    def routes(self) -> dict[tuple[str, str], Handler]:
        """GET answers with the validator, by which Meraki learns whose receiver this is; POST takes observations."""
        return {("GET", self._settings.path): self._validate, ("POST", self._settings.path): self._take}

    async def run(self) -> None:
        """Waits until cancelled: the HTTP receiver does the work."""
        await asyncio.Event().wait()

    def health(self) -> SourceHealth:
        """Counts observations."""
        return self._tally.health()

    def _validate(self, _: Request) -> Response:
        return Response(200, self._settings.validator)

    def _take(self, request: Request) -> Response:
        post = parse_post(request.body)
        if isinstance(post, Malformed):
            return self._refuse(400, post.reason)
        if not hmac.compare_digest(post.secret.encode(errors="replace"), self._secret):
            return self._refuse(403, "secret: not ours")
        if post.kind != "WiFi":
            return Response(200)  # minutes old when it comes: the node's own Bluetooth is there for that
        scan = scan_of(post)
        if isinstance(scan, Malformed):
            return self._refuse(400, scan.reason)
        latest_us = self._now_us() + FUTURE_MOST_US
        self._tally.refused += scan.unreadable
        for observation in scan.observations:
            if observation.at_us > latest_us:
                self._tally.refused += 1
            elif observation.associated or observation.token is not None or self._settings.passers_by:
                self._tally.hear()
                self._seen(self._station(observation))
        return Response(200)

    def _station(self, observation: Observation) -> StationSeen:
        zone = self._zones.get(observation.access_point) if observation.access_point is not None else None
        mac = observation.mac if observation.token is None else None
        # Meraki never says that a client left: being heard is all there is.
        return StationSeen(observation.at_us, mac, observation.token, zone, observation.rssi, "seen")

    def _refuse(self, status: int, reason: str) -> Response:
        self._tally.refused += 1
        log.warning("meraki: refused a post: %s", reason)
        return Response(status, reason)


def zones_by_mac(where: str, zones: dict[str, str]) -> dict[bytes, str]:
    """A table of zones by access point. Raises ValueError naming the setting that is no address."""
    found: dict[bytes, str] = {}
    for text, zone in zones.items():
        mac = mac_bytes(text)
        if mac is None:
            raise ValueError(f'{where}: found "{text}", expected a MAC address, "aa:bb:cc:dd:ee:ff"')
        found[mac] = zone
    return found
