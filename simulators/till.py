"""The till: receipts of the same people that the radios hear, posted in order until the product has them."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable

import httpx
import msgspec

from simulators.baskets import discounted
from simulators.people import Person
from simulators.scenario import Scenario
from simulators.truth import Shown
from simulators.world import Day, card

logger = logging.getLogger(__name__)

RETRY_S = (0.2, 10.0)
POST_MOST = 100
"""Receipts in one request."""


class ReceiptLine(msgspec.Struct, frozen=True):
    """A line as the API takes it; money in minor units, qty in thousandths."""

    line_no: int
    sku: str
    name: str
    category: str
    qty: int
    unit_price: int
    discount: int
    amount: int


class Receipt(msgspec.Struct, frozen=True):
    """A receipt as the API takes it."""

    receipt_uid: str
    store: str
    till: str
    at_us: int
    kind: str
    currency: str
    total: int
    card: str | None
    coupon_codes: tuple[str, ...]
    lines: tuple[ReceiptLine, ...]


def receipt_of(scenario: Scenario, seed: int, day: Day, person: Person, shown: Shown | None) -> Receipt | None:
    """The receipt that a person gets at the till, given the offer they were shown before; None if they buy nothing."""
    if person.till_us is None:
        return None
    if shown is not None and shown.at_us > person.till_us:
        shown = None
    lines, coupons, response = list(person.lines), [], person.response
    if response.line is not None and (response.buys or (shown is not None and response.buys_if_offered)):
        line = response.line
        if shown is not None and shown.coupon and response.redeems and person.till_us < shown.expires_us:
            line, coupons = discounted(line, scenario.campaign), [shown.coupon]
        lines.append(line)
    if not lines:
        return None
    shows_card = person.shows_card or bool(coupons)  # a coupon is shown in the app, beside the card
    tills = scenario.store.tills
    return Receipt(
        receipt_uid=f"{scenario.store.store}-{day.date:%Y%m%d}-{seed}-{person.index:04d}",
        store=scenario.store.store,
        till=tills[person.index % len(tills)],
        at_us=person.till_us,
        kind="sale",
        currency=scenario.store.currency,
        total=sum(line.amount for line in lines),
        card=card(person.member) if shows_card and person.member is not None else None,
        coupon_codes=tuple(coupons),
        lines=tuple(
            ReceiptLine(no, line.sku, line.name, line.category, line.qty, line.unit_price, line.discount, line.amount)
            for no, line in enumerate(lines, 1)
        ),
    )


class Till:
    """Posts receipts to the API in the order they are given; keeps them until they are stored or refused for good."""

    def __init__(self, client: httpx.AsyncClient, key: str, on_stored: Callable[[Receipt], None]) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._on_stored = on_stored
        self._waiting: deque[Receipt] = deque()
        self._news = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.stored = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """Receipts that the product does not have yet."""
        return len(self._waiting)

    def ring_up(self, receipt: Receipt) -> None:
        """Takes a receipt; returns at once."""
        self._waiting.append(receipt)
        self._empty.clear()
        self._news.set()

    async def run(self) -> None:
        """Posts what waits, for ever; never gives up on a connection that fails or a server that is in trouble."""
        pause_s, most = RETRY_S[0], POST_MOST
        while True:
            if not self._waiting:
                self._empty.set()
                self._news.clear()
                await self._news.wait()
            batch = [self._waiting[i] for i in range(min(most, len(self._waiting)))]
            problem = await self._post(batch)
            if problem is None:
                self._done(batch, stored=True)
                pause_s, most = RETRY_S[0], POST_MOST
            elif problem == 422 and len(batch) == 1:
                self._done(batch, stored=False)
            elif problem == 422:
                most = 1  # one by one finds the bad one
            else:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, RETRY_S[1])

    async def drained(self) -> None:
        """Returns once nothing waits."""
        await self._empty.wait()

    def _done(self, batch: list[Receipt], stored: bool) -> None:
        for receipt in batch:
            self._waiting.popleft()
            if stored:
                self.stored += 1
                self._on_stored(receipt)
            else:
                self.refused += 1
                logger.error("receipt %s was refused", receipt.receipt_uid, extra={"action": "receipt_refused"})

    async def _post(self, batch: list[Receipt]) -> int | None:
        """None if stored, else the status, 0 if there was no answer."""
        body = msgspec.json.encode({"receipts": batch})
        try:
            answer = await self._client.post("/v1/receipts", content=body, headers=self._headers)
        except httpx.TransportError as error:
            logger.info("till: no answer (%r), will retry", error, extra={"action": "till_retry"})
            return 0
        if answer.is_success:
            return None
        logger.warning("till: %d %s", answer.status_code, answer.text[:300], extra={"action": "till_retry"})
        return answer.status_code
