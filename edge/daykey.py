"""The store's key of the day: asked for, made by one node, handed to each sibling, destroyed at local midnight.

Nodes need one key so that a stranger's device has the same pseudonym at all of them, and nobody else may have it. So:

* A node without today's key asks (`KeyWant`). The cloud passes that on to the siblings that are online, and answers
  with their names (`Roster`). Each sibling that holds the key, and finds the asker's certificate in order, seals it to
  the one-time key in the want (`KeyOffer`). The cloud carries only ciphertext, for nodes that our authority named.
* If nobody has it, the lowest-named node online makes it; if that one does not, after a while the next.
* Two nodes may make one each: over a lost message, or while the line is cut. The key made first is the store's
  (`KeyRank`; at one instant the lower name). Holders keep telling what they hold, now and then and when it changed, so
  all come to it. First made, not lowest name: a newcomer must not change the pseudonyms that the others use since dawn.
* The key lies in this process's memory only. A node that restarts asks again; one without a line has none, and tells
  aggregates only.

`DayKey` is pure: instants and messages in, messages out. It is not thread-safe.
"""

import datetime
import hashlib
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import msgspec

from contract.orders import KeyMessage, KeyOffer, KeyRank, KeyWant, Roster, offer_bound, offer_signed, want_signed
from contract.topics import NodeAddress
from edge import seal
from edge.seal import Identity

WANT_FIRST_S, WANT_MOST_S = 1.0, 60.0
"""Between two wants of a node without a key: doubles from the one to the other."""
REMIND_S = 300.0
"""Between two wants of a node that holds a key: heals what a lost message or a cut line parted."""
HURRY_S = 1.0
"""The least time between two wants, however urgent."""
MAKE_AFTER_S = 8.0
"""How long nobody answers before the lowest node online makes a key; four wants fall into it. Twice that for the next
node, and so on: a roster may still name a node that died."""
ANSWER_EVERY_S = 0.5
"""The least time between two answers to one sibling."""
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Day:
    """A local day of the store."""

    name: str
    """YYYY-MM-DD."""
    start_us: int
    end_us: int
    """The next local midnight; 23 or 25 hours later where clocks change."""


@dataclass(frozen=True, slots=True)
class Held:
    """A key that is in force."""

    day: Day
    rank: KeyRank
    key: bytearray = field(repr=False)


def day_of(at_us: int, tz: ZoneInfo) -> Day:
    """The local day of an instant (microseconds since 1970 UTC)."""
    date = datetime.datetime.fromtimestamp(at_us // 1_000_000, tz).date()
    return Day(date.isoformat(), _midnight_us(date, tz), _midnight_us(date + datetime.timedelta(days=1), tz))


def _midnight_us(date: datetime.date, tz: ZoneInfo) -> int:
    # Where clocks change at midnight: the first of two midnights, and the instant of the change if there is none.
    midnight = datetime.datetime(date.year, date.month, date.day, tzinfo=tz)
    return int(midnight.timestamp()) * 1_000_000


def key_id(key: bytes | bytearray) -> str:
    """What tells two keys apart without telling anything about them."""
    return hashlib.sha256(b"aisle day key id v1" + key).hexdigest()[:16]


class DayKey:
    """One node's part in it. Call `tick` often; give it every message about keys; send what they return."""

    def __init__(
        self,
        address: NodeAddress,
        tz: ZoneInfo,
        identity: Identity,
        draw: Callable[[int], bytes] = os.urandom,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._address = address
        self._tz = tz
        self._identity = identity
        self._draw = draw
        self._jitter = jitter
        self._day: Day | None = None
        self._now_us = 0
        self._at_s = 0.0
        self._online = False
        self._own = seal.new_key()
        self._roster: frozenset[str] | None = None
        self._waiting_s = math.inf
        self._wanted_s = -math.inf
        self._want_due_s = -math.inf
        self._wants = 0
        self._answered_s: dict[str, float] = {}
        self.held: Held | None = None
        """Today's key, once there is one."""
        self.changed: Callable[[Held | None], None] = _nothing
        """Called with each key that comes into force, and with None when it is destroyed."""
        self.refused = 0
        """Wants and offers that were not what they said: a foreign certificate, a wrong signature, another's key."""
        self.replaced = 0
        """How often a key gave way to an earlier one: pseudonyms changed within the day."""

    def tick(self, now_us: int, at_s: float, online: bool, trusted: bool = True) -> list[KeyMessage]:
        """Does what is due. `now_us` is wall time, for the day; `at_s` monotonic seconds, for waiting.

        A clock that cannot be trusted knows no day: then there is no key.
        """
        self._now_us, self._at_s = now_us, at_s
        if not trusted:
            self._turn_to(None)
        elif self._day is None or not self._day.start_us <= now_us < self._day.end_us:
            self._turn_to(day_of(now_us, self._tz))
        if online != self._online:
            self._online = online
            self._ask_anew()
        if self._day is None or not online:
            return []
        if self.held is None and at_s >= self._make_due_s():
            self._make(self._day)
        return [self._want(self._day)] if at_s >= self._want_due_s else []

    def on_message(self, message: KeyMessage) -> list[KeyMessage]:
        """What to answer to a message about keys. Nothing happens before the first `tick`."""
        day = self._day
        if day is None or message.day != day.name:
            return []
        match message:
            case Roster():
                self._take_roster(message)
                return []
            case KeyWant():
                return self._answer(day, message)
            case KeyOffer():
                self._take_offer(day, message)
                return []

    def close(self) -> None:
        """Destroys the key: the node ends."""
        self._turn_to(None)

    # -- the day

    def _turn_to(self, day: Day | None) -> None:
        if day == self._day:
            return
        self._day = day
        self._own = seal.new_key()  # what was sealed to the last one can be opened no more
        self._replace(None)
        self._answered_s.clear()
        self._ask_anew()

    def _replace(self, held: Held | None) -> None:
        before, self.held = self.held, held
        if before is not held:
            self.changed(held)
        if before is not None:
            before.key[:] = bytes(
                len(before.key)
            )  # as far as Python lets one: copies in libraries are freed, not wiped

    def _ask_anew(self) -> None:
        self._roster = None
        self._waiting_s = math.inf
        self._wants = 0
        self._want_due_s = self._at_s + self._jitter(0.0, WANT_FIRST_S / 2)

    # -- asking and making

    def _want(self, day: Day) -> KeyWant:
        self._wants += 1
        self._wanted_s = self._at_s
        if self.held is None:
            wait_s = min(WANT_MOST_S, WANT_FIRST_S * 2.0 ** min(self._wants - 1, 16))
        else:
            wait_s = REMIND_S
        self._want_due_s = self._at_s + self._jitter(wait_s * 0.75, wait_s * 1.25)
        unsigned = KeyWant(
            node=self._address.node,
            day=day.name,
            point=seal.point_of(self._own),
            rank=self.held.rank if self.held else None,
            certificate=self._identity.certificate,
            signature=b"",
        )
        signature = self._identity.sign(want_signed(self._address.tenant, self._address.store, unsigned))
        return msgspec.structs.replace(unsigned, signature=signature)

    def _want_soon(self) -> None:
        self._want_due_s = min(self._want_due_s, max(self._at_s, self._wanted_s + HURRY_S))

    def _take_roster(self, roster: Roster) -> None:
        if not self._online:
            return
        self._roster = frozenset(sibling.node for sibling in roster.nodes if sibling.online)
        self._waiting_s = min(self._waiting_s, self._at_s)

    def _make_due_s(self) -> float:
        """When it is this node's turn to make the key: never before a roster came."""
        if self._roster is None:
            return math.inf
        before = sum(name < self._address.node for name in self._roster)
        return self._waiting_s + MAKE_AFTER_S * (before + 1)

    def _make(self, day: Day) -> None:
        key = bytearray(self._draw(KEY_BYTES))
        self._replace(Held(day, KeyRank(self._now_us, self._address.node, key_id(key)), key))
        self._want_due_s = self._at_s  # tells the others that there is one

    # -- answering and taking

    def _answer(self, day: Day, want: KeyWant) -> list[KeyMessage]:
        held = self.held
        if want.node == self._address.node:
            return []
        if want.rank is not None and (held is None or want.rank < held.rank):
            self._want_soon()
            return []
        if held is None or want.rank == held.rank:
            return []
        if self._at_s - self._answered_s.get(want.node, -math.inf) < ANSWER_EVERY_S:
            return []
        if not self._is_from(want.node, want, want_signed(self._address.tenant, self._address.store, want)):
            return []
        self._answered_s[want.node] = self._at_s
        return self._offer(day, want, held)

    def _offer(self, day: Day, want: KeyWant, held: Held) -> list[KeyMessage]:
        tenant, store = self._address.tenant, self._address.store
        own = seal.new_key()
        unsealed = KeyOffer(
            node=self._address.node,
            to=want.node,
            day=day.name,
            rank=held.rank,
            asked=want.point,
            point=seal.point_of(own),
            sealed=b"",
            certificate=self._identity.certificate,
            signature=b"",
        )
        sealed = seal.seal(bytes(held.key), own, want.point, offer_bound(tenant, store, unsealed))
        if sealed is None:
            return []
        unsigned = msgspec.structs.replace(unsealed, sealed=sealed)
        signature = self._identity.sign(offer_signed(tenant, store, unsigned))
        return [msgspec.structs.replace(unsigned, signature=signature)]

    def _take_offer(self, day: Day, offer: KeyOffer) -> None:
        if offer.to != self._address.node or offer.asked != seal.point_of(self._own):
            return
        if self.held is not None and offer.rank >= self.held.rank:
            return
        tenant, store = self._address.tenant, self._address.store
        if not day.start_us <= offer.rank.made < day.end_us:
            self.refused += 1
            return
        if not self._is_from(offer.node, offer, offer_signed(tenant, store, offer)):
            return
        key = seal.unseal(offer.sealed, self._own, offer.point, offer_bound(tenant, store, offer))
        if key is None or len(key) != KEY_BYTES or key_id(key) != offer.rank.id:
            self.refused += 1
            return
        if self.held is not None:
            self.replaced += 1
            self._want_soon()  # tells those who hold what this node held that there is an earlier one
        else:
            self._want_due_s = self._at_s + self._jitter(REMIND_S * 0.75, REMIND_S * 1.25)
        self._replace(Held(day, offer.rank, bytearray(key)))

    def _is_from(self, node: str, message: KeyWant | KeyOffer, signed: bytes) -> bool:
        name = str(NodeAddress(self._address.tenant, self._address.store, node))
        if self._identity.signed_by(message.certificate, name, signed, message.signature):
            return True
        self.refused += 1
        return False


def _nothing(_: Held | None) -> None:
    """What happens while nobody listens."""
