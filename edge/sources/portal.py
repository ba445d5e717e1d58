"""The login page's hook: a member logged in on a device, or out. The page's own server calls it, nobody else may."""

import asyncio
import hmac
import json
from collections.abc import Callable
from pathlib import Path

from contract.messages import SourceHealth
from edge.clients import Login, StationSeen
from edge.frames.names import client_token_of, mac_bytes
from edge.settings import Portal
from edge.sources.feeds import Tally, read_secret
from edge.sources.http import Handler, Request, Response


class PortalHook:
    """The source `portal`. Give its `routes` to the HTTP receiver.

    `POST /portal/login {"mac", "token", "ap"?}` and `POST /portal/logout {"mac"}`, with `Authorization: Bearer SECRET`.
    `ap` is the access point as [hostapd.aps], [meraki.aps] or [radius.nas] name it: a feed that tells no more of a
    station that is already there then knows where it is.
    """

    name = "portal"

    def __init__(
        self,
        settings: Portal,
        folder: Path,
        now_us: Callable[[], int],
        logged: Callable[[Login], object],
        seen: Callable[[StationSeen], object],
        zones: dict[str, str],
    ) -> None:
        """`zones`: all access points by the names that the feeds give them. Raises ValueError if there is no secret."""
        self._secret = b"Bearer " + read_secret(folder / settings.secret_file)
        self._now_us = now_us
        self._logged = logged
        self._seen = seen
        self._zones = {name.lower(): zone for name, zone in zones.items()}
        self._tally = Tally()

    @property
    def routes(self) -> dict[tuple[str, str], Handler]:
        """Both calls of the hook."""
        return {("POST", "/portal/login"): self._login, ("POST", "/portal/logout"): self._logout}

    async def run(self) -> None:
        """Waits until cancelled: the HTTP receiver does the work."""
        await asyncio.Event().wait()

    def health(self) -> SourceHealth:
        """Counts logins and logouts."""
        return self._tally.health()

    def _login(self, request: Request) -> Response:
        told = self._told(request)
        if isinstance(told, Response):
            return told
        mac = mac_bytes(told.get("mac", ""))
        token = client_token_of(told.get("token", ""))
        if mac is None or token is None:
            return self._refuse(400, "expected mac and token, 16 hexadecimal digits")
        at_us = self._now_us()
        self._tally.hear()
        self._logged(Login(at_us, mac, token))
        zone = self._zones.get(told.get("ap", "").lower())
        if zone is not None:
            self._seen(StationSeen(at_us, mac, None, zone, None, "associated"))
        return Response(204)

    def _logout(self, request: Request) -> Response:
        told = self._told(request)
        if isinstance(told, Response):
            return told
        mac = mac_bytes(told.get("mac", ""))
        if mac is None:
            return self._refuse(400, "expected mac")
        self._tally.hear()
        self._logged(Login(self._now_us(), mac, None))
        return Response(204)

    def _told(self, request: Request) -> dict[str, str] | Response:
        """The texts in the body of a request that may be believed, else the answer to it."""
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(errors="replace"), self._secret):
            return self._refuse(401, "expected Authorization: Bearer and the secret")
        try:
            told = json.loads(request.body)
        except (ValueError, RecursionError):
            return self._refuse(400, "not JSON")
        if not isinstance(told, dict):
            return self._refuse(400, "not a JSON object")
        return {key: value for key, value in told.items() if isinstance(value, str)}

    def _refuse(self, status: int, reason: str) -> Response:
        self._tally.refused += 1
        return Response(status, reason)
