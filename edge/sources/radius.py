"""RADIUS accounting as a feed: access points tell whose session began, goes on, or ended, and where."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from contract.messages import SourceHealth
from edge.clients import StationSeen
from edge.frames.names import client_token_of, mac_bytes
from edge.frames.radius import INTERIM, START, STOP, Accounting, accounting_response, parse_accounting
from edge.settings import Radius
from edge.sources.feeds import Tally, UdpPort, read_secret

REPEATS_MOST = 1_024
REPEAT_US = 30_000_000
"""So long an access point may repeat a request that it got no answer to (FreeRADIUS remembers requests as long)."""
DELAY_MOST_S = 600
"""A longer Acct-Delay-Time is a story of the past: answered, and told as this old."""

_STATES: dict[int, Literal["associated", "left"]] = {START: "associated", INTERIM: "associated", STOP: "left"}


class RadiusSource:
    """The source `radius`. `seen` gets stations on the event loop's thread."""

    name = "radius"

    def __init__(
        self, settings: Radius, folder: Path, now_us: Callable[[], int], seen: Callable[[StationSeen], object]
    ) -> None:
        """Raises ValueError if the secret cannot be read."""
        self._secret = read_secret(folder / settings.secret_file)
        self._zones = {_known_as(name): zone for name, zone in settings.nas.items()}
        self._now_us = now_us
        self._seen = seen
        self._tally = Tally()
        self._repeats: OrderedDict[tuple[tuple[str, int], bytes], int] = OrderedDict()
        self.socket = UdpPort(self.name, settings.listen, self._tally, self._received)

    async def run(self) -> None:
        """Answers until cancelled."""
        await self.socket.run()

    def health(self) -> SourceHealth:
        """Counts requests made with the secret, repeated ones once."""
        return self._tally.health()

    def _received(self, packet: bytes, sender: tuple[str, int]) -> bytes | None:
        request = parse_accounting(packet, self._secret)
        if request is None:
            self._tally.refused += 1  # RFC 2866, 3: silently discarded
            return None
        now_us = self._now_us()
        if self._is_new((sender, bytes([request.identifier]) + request.authenticator), now_us):
            self._tally.hear()
            station = self._station(request, now_us)
            if station is not None:
                self._seen(station)
        return accounting_response(request, self._secret)

    def _is_new(self, name: tuple[tuple[str, int], bytes], now_us: int) -> bool:
        while self._repeats and (
            len(self._repeats) >= REPEATS_MOST or now_us - next(iter(self._repeats.values())) > REPEAT_US
        ):
            self._repeats.popitem(last=False)
        if name in self._repeats:
            return False
        self._repeats[name] = now_us
        return True

    def _station(self, request: Accounting, now_us: int) -> StationSeen | None:
        state = _STATES.get(request.status)
        if state is None:
            return None
        token = client_token_of(request.user)
        mac = mac_bytes(request.calling) if token is None else None  # a token makes the address needless
        at_us = now_us - min(request.delay_s, DELAY_MOST_S) * 1_000_000
        return StationSeen(at_us, mac, token, self._zone(request), None, state)

    def _zone(self, request: Accounting) -> str | None:
        # Called-Station-Id is often `MAC:SSID` (RFC 3580, 3.20).
        for name in (request.called, request.called[:17], request.nas):
            zone = self._zones.get(_known_as(name))
            if zone is not None:
                return zone
        return None


def _known_as(name: str) -> str:
    """One spelling for an access point's address; other names as they are."""
    mac = mac_bytes(name)
    return name if mac is None else mac.hex()
