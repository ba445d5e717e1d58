"""The service desk: tells the product whose card has which tag, until it knows."""

import asyncio
import logging
import random

import httpx

logger = logging.getLogger(__name__)

RETRY_S = (0.2, 10.0)


class Desk:
    """Works through the cards in the order in which it is given them."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        """Without a key it does nothing: then nobody's card is known."""
        self._client = client
        self._headers = {"Authorization": f"Bearer {key}"}
        self._closed = not key
        self._waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.enrolled = 0
        """Cards that the product knows now."""

    def enrol(self, card: str, epc: bytes) -> None:
        """The member with this card number has this tag; returns at once."""
        if not self._closed:
            self._waiting.put_nowait((card, epc))

    async def run(self) -> None:
        """For ever; a product that is in trouble is asked again."""
        while True:
            card, epc = await self._waiting.get()
            pause_s = RETRY_S[0]
            while not await self._tell(card, epc):
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, RETRY_S[1])

    async def _tell(self, card: str, epc: bytes) -> bool:
        """Whether that is done with: taken, or refused for good."""
        path, body = f"/v1/members/{card}/tags", {"epc": epc.hex()}
        try:
            answer = await self._client.post(path, json=body, headers=self._headers)
        except httpx.TransportError as error:
            logger.info("desk: no answer (%r), will retry", error, extra={"action": "desk_retry"})
            return False
        if answer.is_success:
            self.enrolled += 1
        elif answer.is_client_error:
            logger.error("desk: a card was refused with %d", answer.status_code, extra={"action": "desk_refused"})
        return answer.is_success or answer.is_client_error
