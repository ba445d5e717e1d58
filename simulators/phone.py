"""A member's phone with the app: a session, the stream of offers, and the word that one was shown."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Literal

import httpx
import msgspec

from contract.clock import Clock
from simulators.run import Member, Sessions
from simulators.truth import Shown
from simulators.world import Day, card

logger = logging.getLogger(__name__)

RETRY_S = (0.2, 5.0)
SILENCE_S = 60.0
"""A stream without even a ping for so long is dead."""


class Offer(msgspec.Struct, frozen=True):
    """An offer as the app's API tells it."""

    push_id: int
    offer: str
    state: Literal["sent", "shown", "clicked", "dismissed", "used", "expired"]
    sent_us: int
    expires_us: int
    coupon: str | None = None


class Session(msgspec.Struct, frozen=True):
    """The answer to a log-in."""

    token: str


class LoggedOut(Exception):
    """The product does not know the phone's session (any more)."""


class App:
    """The calls that the app makes for one member."""

    def __init__(self, client: httpx.AsyncClient, member: Member, sessions: Sessions) -> None:
        self._client = client
        self._member = member
        self._sessions = sessions

    async def log_in(self, afresh: bool = False) -> None:
        """Makes sure of a session. Raises httpx.HTTPError."""
        if self._sessions.get(self._member.card) is not None and not afresh:
            return
        body = {"card": self._member.card, "code": self._member.activation_code, "bearer": True}
        answer = (await self._client.post("/app/v1/session", json=body)).raise_for_status()
        self._sessions.put(self._member.card, msgspec.json.decode(answer.content, type=Session).token)

    async def offers(self) -> list[Offer]:
        """The member's offers. Raises LoggedOut and httpx.HTTPError."""
        answer = await self._client.get("/app/v1/offers", headers=self._bearer)
        return msgspec.json.decode(_accepted(answer).content, type=list[Offer])

    async def report(self, push_id: int, state: str, at_us: int) -> None:
        """Tells that an offer was shown or clicked. Raises LoggedOut and httpx.HTTPError."""
        body = {"state": state, "at_us": at_us}
        _accepted(await self._client.post(f"/app/v1/pushes/{push_id}", json=body, headers=self._bearer))

    async def stream(self, last_id: int | None) -> AsyncIterator[Offer | None]:
        """Offers as they come, after one None that says: connected. Raises LoggedOut and httpx.HTTPError."""
        headers = self._bearer | {"Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        async with self._client.stream("GET", "/app/v1/stream", headers=headers, timeout=timeout) as answer:
            _accepted(answer)
            yield None
            event, data = "", ""
            async for line in answer.aiter_lines():
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    event = value
                elif field == "data":
                    data += value
                elif not line:
                    if event == "offer":
                        yield msgspec.json.decode(data, type=Offer)
                    event, data = "", ""

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._sessions.get(self._member.card)}"}


class Phone:
    """Holds the stream while its owner is in the store and shows each offer the moment it comes."""

    def __init__(
        self, app: App, clock: Clock, on_shown: Callable[[Offer, int], bool], on_known: Callable[[Offer], None]
    ) -> None:
        """`on_shown(offer, at_us)` says whether the person clicks; `on_known` hears of offers shown earlier."""
        self._app = app
        self._on_known = on_known
        self._clock = clock
        self._on_shown = on_shown
        self._shown: dict[int, tuple[int, bool]] = {}
        self._told: set[int] = set()
        self._last_id: int | None = None

    async def run(self) -> None:
        """Until cancelled. Connects again, with growing pauses, whatever happens to the product."""
        pause_s, afresh = RETRY_S[0], False
        while True:
            try:
                await self._app.log_in(afresh)
                afresh = False
                async for offer in self._app.stream(self._last_id):
                    pause_s = RETRY_S[0]
                    if offer is None:
                        for waiting in await self._app.offers():
                            await self._show(waiting)
                    else:
                        self._last_id = offer.push_id
                        await self._show(offer)
            except LoggedOut:
                afresh = True
            except (httpx.HTTPError, msgspec.MsgspecError) as error:
                logger.info("phone: %r, will connect again", error, extra={"action": "phone_retry"})
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, RETRY_S[1])

    async def _show(self, offer: Offer) -> None:
        now_us = self._clock.now_us()
        if offer.state in ("shown", "clicked") and offer.push_id not in self._shown:
            self._on_known(offer)
        if offer.state != "sent" or offer.push_id in self._told or offer.expires_us <= now_us:
            return
        if offer.push_id not in self._shown:
            self._shown[offer.push_id] = now_us, self._on_shown(offer, now_us)
        at_us, clicks = self._shown[offer.push_id]
        await self._app.report(offer.push_id, "shown", at_us)
        if clicks:
            await self._app.report(offer.push_id, "clicked", self._clock.now_us())
        self._told.add(offer.push_id)  # only now: a report that failed is made again after the next connect


def shown_on(day: Day, person: int, offer: Offer, at_us: int) -> Shown:
    """The record of an offer shown to a member."""
    member = day.people[person].member
    assert member is not None, "only members have phones with the app"
    return Shown(
        person=person,
        card=card(member),
        push_id=offer.push_id,
        offer=offer.offer,
        coupon=offer.coupon,
        sent_us=offer.sent_us,
        expires_us=offer.expires_us,
        at_us=at_us,
    )


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.status_code == 401:
        raise LoggedOut
    return answer.raise_for_status()
