"""What the cloud orders and what siblings say, from the uplink to whom it concerns, on the node's own thread."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

from contract.clock import Clock
from contract.errors import ContractError
from contract.orders import KeyMessage, Reported, decode_keys, encode_order
from edge.desired import CONFIRM_S, DesiredConfig

if TYPE_CHECKING:
    from edge.daykey import DayKey  # it needs `cryptography`, 12 MB that a node without a key of the day can do without

log = logging.getLogger(__name__)


class Line(Protocol):
    """The uplink, as far as it matters here."""

    orders: dict[str, Callable[[bytes], None]]
    greetings: list[Callable[[], None]]

    @property
    def connected(self) -> bool: ...

    def say(self, stream: Literal["keys", "config"], payload: bytes, qos: int = 0) -> bool: ...


class Orders:
    """Register with `begin` before the uplink starts; then `tick` some times a second on the same thread."""

    def __init__(
        self,
        line: Line,
        wall: Clock,
        desired: DesiredConfig,
        daykey: "DayKey | None",
        knows_day: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`daykey`: None for a node without a certificate. `knows_day`: whether `wall` is right to some minutes."""
        self._line = line
        self._wall = wall
        self._desired = desired
        self._daykey = daykey
        self._knows_day = knows_day
        self._monotonic = monotonic
        self._started_s = monotonic()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The uplink calls from a thread of its own: what it brings is handed over to the loop's."""
        self._line.orders["config"] = lambda payload: _hand_over(loop, self._take_config, payload)
        self._line.greetings.append(lambda: _hand_over(loop, self._report, b""))
        if self._daykey is not None:
            self._line.orders["keys"] = lambda payload: _hand_over(loop, self._take_keys, payload)

    def tick(self) -> None:
        """Does what is due."""
        now_s = self._monotonic()
        if now_s - self._started_s >= CONFIRM_S:
            self._desired.confirm()
        if self._daykey is not None:
            self._say_keys(
                self._daykey.tick(self._wall.now_us(), now_s, self._line.connected, trusted=self._knows_day())
            )

    @property
    def restart(self) -> bool:
        """Whether the node should end in order, to be started anew with the configuration that it was sent."""
        return self._desired.restart

    def close(self) -> None:
        """Destroys the key of the day."""
        if self._daykey is not None:
            self._daykey.close()

    def _take_config(self, payload: bytes) -> None:
        report = self._desired.take(payload)
        if report is not None and not self._desired.restart:
            self._say_report(report)

    def _report(self, _: bytes) -> None:
        self._say_report(self._desired.report())

    def _say_report(self, report: Reported) -> None:
        self._line.say("config", encode_order(report), qos=1)  # without a line: said again at the next greeting

    def _take_keys(self, payload: bytes) -> None:
        assert self._daykey is not None
        try:
            message = decode_keys(payload)
        except ContractError as error:
            log.warning("a message about keys that cannot be read: %s", error.reason)
            return
        self._say_keys(self._daykey.on_message(message))

    def _say_keys(self, messages: list[KeyMessage]) -> None:
        for message in messages:
            self._line.say("keys", encode_order(message), qos=1)


def _hand_over(loop: asyncio.AbstractEventLoop, take: Callable[[bytes], None], payload: bytes) -> None:
    if not loop.is_closed():  # the uplink's last words as the node ends
        loop.call_soon_threadsafe(take, payload)
