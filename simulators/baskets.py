"""What people put into their baskets, and what it costs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from simulators.scenario import Campaign, Category, Mission, Scenario


@dataclass(frozen=True, slots=True)
class Line:
    """An article in a basket. Money in minor units; `qty` in thousandths (1000 = one piece, or one kilogram)."""

    sku: str
    name: str
    category: str
    qty: int
    unit_price: int
    discount: int = 0

    @property
    def gross(self) -> int:
        """The price before the discount, rounded half up."""
        return (self.qty * self.unit_price + 500) // 1000

    @property
    def amount(self) -> int:
        """What is paid for the line."""
        return self.gross - self.discount


@dataclass(frozen=True, slots=True)
class Response:
    """What a person does about the campaign's offer: both outcomes exist, an offer only chooses between them."""

    buys: bool
    """Buys of the campaign's category without any offer."""
    buys_if_offered: bool
    """Buys of it when shown the offer; never less than without."""
    redeems: bool
    """Presents the coupon if they buy after being shown it."""
    clicks: bool
    """Taps the offer when it is shown."""
    line: Line | None
    """The line that the offer is about, whichever of the two outcomes puts it into the basket."""


NO_RESPONSE = Response(False, False, False, False, None)


def assortment(scenario: Scenario) -> dict[str, Category]:
    """All that is sold, by category: the articles with a name, and the scenario's further ones."""
    return {category.category: _widened(category, scenario.assortment) for category in scenario.categories}


def _widened(category: Category, further: int) -> Category:
    """The category with further articles: variants of those with a name, up to a tenth cheaper."""
    if not further:
        return category
    named = [article for article in category.articles if article[0] not in category.weighed] or category.articles
    more = tuple(
        (f"{named[i % len(named)][0]}-{i:03d}", f"{named[i % len(named)][1]}, variant {i}", _cheaper(named, i))
        for i in range(1, further + 1)
    )
    return msgspec.structs.replace(category, articles=(*category.articles, *more))


def _cheaper(named: Sequence[tuple[str, str, int]], i: int) -> int:
    return max(named[i % len(named)][2] * (100 - i % 11) // 100, 1)


def fill(
    scenario: Scenario,
    categories: Mapping[str, Category],
    stops: Iterable[tuple[str, float]],
    mission: Mission | None,
    rng: np.random.Generator,
) -> tuple[Line, ...]:
    """The lines that stops (zone, dwell in seconds) lead to; the campaign's category is left to `respond`.

    A mission tells how many lines there are in all, which are spread over what was wanted at the stops.
    """
    lines: list[Line] = []
    wanted = []
    for zone, dwell_s in stops:
        for name in scenario.zone(zone).categories:
            likes = rng.random() < categories[name].buys_share
            if name != scenario.campaign.category and likes and dwell_s >= 8:
                if mission is None:
                    lines += _pick(categories[name], 1 + int(rng.random() < 0.35), rng)
                else:
                    wanted.append(categories[name])
    if mission is None:
        return tuple(lines)
    if not wanted or mission.lines_median == 0:
        return ()
    total = max(round(rng.lognormal(math.log(mission.lines_median), mission.lines_sigma)), 1)
    counts = rng.multinomial(total, np.full(len(wanted), 1 / len(wanted)))
    return tuple(
        line for category, n in zip(wanted, counts.tolist(), strict=True) if n for line in _pick(category, n, rng)
    )


def respond(scenario: Scenario, dwell_s: float, rng: np.random.Generator) -> Response:
    """How someone who stood `dwell_s` at the campaign's shelf responds; after a shorter stay, half as often."""
    campaign = scenario.campaign
    category = next(c for c in scenario.categories if c.category == campaign.category)
    inclination, redeems, clicks = rng.random(3)
    line = _line(category, int(rng.integers(len(category.articles))), rng)
    if dwell_s < campaign.dwell_s:
        buys = bool(inclination < campaign.buys_share / 2)
        return Response(buys, buys, False, False, line)
    return Response(
        buys=bool(inclination < campaign.buys_share),
        buys_if_offered=bool(inclination < campaign.buys_share + campaign.lift_share),
        redeems=bool(redeems < campaign.redeems_share),
        clicks=bool(clicks < campaign.clicks_share),
        line=line,
    )


def discounted(line: Line, campaign: Campaign) -> Line:
    """The line with the campaign's coupon applied, rounded half up."""
    return replace(line, discount=(line.gross * campaign.discount_bp + 5_000) // 10_000)


def _pick(category: Category, n: int, rng: np.random.Generator) -> list[Line]:
    n = min(n, len(category.articles))
    return [_line(category, int(i), rng) for i in rng.choice(len(category.articles), n, replace=False)]


def _line(category: Category, i: int, rng: np.random.Generator) -> Line:
    sku, name, price = category.articles[i]
    if sku in category.weighed:
        return Line(sku, name, category.category, int(rng.integers(180, 950)), price)
    return Line(sku, name, category.category, 1000 * (1 + int(rng.random() < 0.2)), price)
