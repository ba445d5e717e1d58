"""Tagged goods and members' cards: what lies on which shelf, who takes it up or along, and whose card has a tag.

Drawn for a seed and date from the people's own stops and baskets, without touching their draws. What is bought leaves
with its buyer; the staff fill a shelf up when they stop at it. A shelf is full every morning, with pieces of that day.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np

from contract.epc import Epc, check_digit, encode, sgtin
from simulators.people import Person, Stop
from simulators.scenario import Scenario, Tagged
from simulators.world import Day

LIES_M = (0.3, 1.1)
"""How far from its shelf's antenna a piece lies."""
HELD_S = (4.0, 40.0)
"""How long somebody looks at a piece that they put back; their hand keeps it from answering."""
SERIALS_A_DAY = 10_000
STAFF = ("staff", "asset")
"""Kinds of those who fill a shelf up: staff, and their trolley."""
_GSRN_96 = 0x2D
"""Header of a global service relation number (TDS 1.13, chapter 14): what GS1 has for members' cards."""
_PREFIX_BYTES = 4
"""Of a card's EPC: header, filter, partition and the first bits of the company prefix, whatever its length."""


@dataclass(frozen=True, slots=True)
class Handled:
    """A piece in somebody's hand."""

    epc: bytes
    zone: str
    person: int
    taken_us: int
    back_us: int | None
    """When it is on the shelf again; None for what is bought."""


@dataclass(slots=True)
class Piece:
    """One piece of an article on a shelf with an antenna."""

    epc: bytes
    zone: str
    lies_m: float
    """From the antenna, while it is on the shelf."""
    from_us: int
    """Since when it is there."""
    handled: list[Handled] = field(default_factory=list)
    """In order of time; nothing comes after it was bought."""

    def lies(self, at_us: int) -> bool:
        """Whether it is on its shelf at an instant."""
        return self.from_us <= at_us and not any(
            each.taken_us <= at_us and (each.back_us is None or at_us < each.back_us) for each in self.handled
        )


def pieces(scenario: Scenario, seed: int, day: Day) -> list[Piece]:
    """All pieces of a day on shelves with an antenna, with what happens to each."""
    tagged = scenario.tagged
    zones = {uhf.zone for node in scenario.nodes for uhf in node.uhf}
    if tagged is None or not zones:
        return []
    rng = np.random.default_rng([seed, day.date.toordinal(), 0x5246])
    numbers = count(day.date.toordinal() * SERIALS_A_DAY)
    opens_us, _ = scenario.hours_us(day.date)
    articles = {
        sku: (category, gtin_of(tagged, number)) for number, (category, sku) in enumerate(_articles(scenario), 1)
    }
    found = []
    for zone in scenario.zones:
        if zone.zone in zones:
            here = [sku for sku, (category, _) in articles.items() if category in zone.categories]
            shelf = _Shelf(zone.zone, tagged, {sku: articles.pop(sku)[1] for sku in here}, numbers, rng)
            shelf.live(opens_us, day.people)
            found += shelf.pieces
    return found


def gtin_of(tagged: Tagged, number: int) -> str:
    """The GTIN-14 of the article with that number in the scenario."""
    digits = f"0{tagged.company}{number:0{12 - len(tagged.company)}d}"
    return f"{digits}{check_digit(int(digits))}"


def holds_card(tagged: Tagged, seed: int, member: int) -> bool:
    """Whether a member's card has a tag."""
    return bool(np.random.default_rng([seed, 0x4341, member]).random() < tagged.card_share)


def card_epc(tagged: Tagged, member: int) -> bytes:
    """The EPC of a member's card: a GSRN-96, whose bits are those of an SSCC-96 but for the header (TDS 1.13)."""
    epc = encode(Epc("sscc-96", 0, tagged.company, f"{member:0{17 - len(tagged.company)}d}"))
    return bytes((_GSRN_96,)) + epc[1:]


def card_prefix(tagged: Tagged) -> bytes:
    """How all cards' EPCs begin, and no goods'."""
    return card_epc(tagged, 0)[:_PREFIX_BYTES]


class _Wish(NamedTuple):
    """Somebody wants a piece of an article at an instant: to look at until `back_us`, or, if that is None, to buy."""

    at_us: int
    person: int
    sku: str
    back_us: int | None


class _Shelf:
    """One shelf over a day: what lies on it now, by article, and what is in a hand that will put it back."""

    def __init__(
        self, zone: str, tagged: Tagged, gtins: dict[str, str], numbers: Iterator[int], rng: np.random.Generator
    ) -> None:
        self._zone = zone
        self._tagged = tagged
        self._gtins = gtins
        self._numbers = numbers
        self._rng = rng
        self._lie: dict[str, list[Piece]] = {sku: [] for sku in gtins}
        self._held: list[tuple[int, int, str, Piece]] = []
        self._held_ever = count()
        self.pieces: list[Piece] = []

    def live(self, opens_us: int, people: Sequence[Person]) -> None:
        """All that happens in a day, in its order."""
        if not self._gtins:
            return
        visits = [(person, stop) for person in people for stop in person.stops if stop.zone == self._zone]
        fills = [opens_us, *(stop.to_us for person, stop in visits if person.kind in STAFF)]
        wishes = [wish for person, stop in visits if person.kind not in STAFF for wish in self._wishes(person, stop)]
        events: list[tuple[int, _Wish | None]] = [(at_us, None) for at_us in fills]
        events += [(wish.at_us, wish) for wish in wishes]
        for at_us, wish in sorted(events, key=lambda event: event[0]):
            self._put_back(at_us)
            if wish is None:
                self._fill(at_us)
            elif self._lie[wish.sku]:  # else it is sold out
                self._take(wish)

    def _wishes(self, person: Person, stop: Stop) -> Iterator[_Wish]:
        for line in person.lines:
            for _ in range(line.qty // 1000 if line.sku in self._lie else 0):
                yield _Wish(self._moment(stop), person.index, line.sku, None)
        if self._rng.random() < self._tagged.tries_share:
            at_us = self._moment(stop)
            back_us = min(at_us + int(self._rng.uniform(*HELD_S) * 1e6), stop.to_us)
            yield _Wish(at_us, person.index, str(self._rng.choice(list(self._lie))), back_us)

    def _take(self, wish: _Wish) -> None:
        lie = self._lie[wish.sku]
        piece = lie.pop(int(self._rng.integers(len(lie))))
        piece.handled.append(Handled(piece.epc, self._zone, wish.person, wish.at_us, wish.back_us))
        if wish.back_us is not None:
            heapq.heappush(self._held, (wish.back_us, next(self._held_ever), wish.sku, piece))

    def _put_back(self, now_us: int) -> None:
        while self._held and self._held[0][0] <= now_us:
            _, _, sku, piece = heapq.heappop(self._held)
            self._lie[sku].append(piece)

    def _fill(self, at_us: int) -> None:
        for sku, lie in self._lie.items():
            held = sum(sku == of for _, _, of, _ in self._held)
            for _ in range(self._tagged.pieces - len(lie) - held):
                epc = encode(sgtin(self._gtins[sku], len(self._tagged.company), str(next(self._numbers))))
                piece = Piece(epc, self._zone, float(self._rng.uniform(*LIES_M)), at_us)
                lie.append(piece)
                self.pieces.append(piece)

    def _moment(self, stop: Stop) -> int:
        return int(self._rng.integers(stop.from_us, stop.to_us))


def _articles(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """All articles sold by the piece, (category, sku), in the order of the scenario."""
    for category in scenario.categories:
        yield from ((category.category, sku) for sku, _, _ in category.articles if sku not in category.weighed)
