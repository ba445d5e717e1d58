"""Tagged goods and cards: repeatable, in one place at a time, gone with who bought them, read by who stands near."""

import warnings
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

import msgspec
import numpy as np
import pytest

from contract.epc import decode
from simulators import scenario_files as scenarios
from simulators.rfid import Antenna, Carried
from simulators.scenario import Scenario, Tagged
from simulators.tagged import Piece, card_epc, card_prefix, gtin_of, holds_card, pieces
from simulators.world import Day, World

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it has regular expressions with stray backslashes
    from epcpy.utils.parsers import hex_to_tag_encodable

SEED = 7
TUESDAY = date(2026, 11, 17)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return scenarios.load("corner-store")


@pytest.fixture(scope="module")
def tagged(scenario: Scenario) -> Tagged:
    assert scenario.tagged is not None
    return scenario.tagged


@pytest.fixture(scope="module")
def day(scenario: Scenario) -> Day:
    return World(scenario, SEED).day(TUESDAY)


@pytest.fixture(scope="module")
def goods(scenario: Scenario, day: Day) -> list[Piece]:
    return pieces(scenario, SEED, day)


@dataclass
class Standing:
    """A clock that stands."""

    at_us: int = 0
    trusted: bool = True

    def now_us(self) -> int:
        return self.at_us


def test_the_same_seed_and_date_give_the_same_goods_and_other_days_have_others(scenario, day, goods):
    assert pieces(scenario, SEED, World(scenario, SEED).day(TUESDAY)) == goods
    tomorrow = pieces(scenario, SEED, World(scenario, SEED).day(TUESDAY + timedelta(days=1)))
    everything = [piece.epc for piece in goods + tomorrow]
    assert len(set(everything)) == len(everything)


def test_drawing_goods_changes_nothing_about_the_people(scenario, day, goods):
    assert World(msgspec.structs.replace(scenario, tagged=None), SEED).day(TUESDAY).digest() == day.digest()
    assert pieces(msgspec.structs.replace(scenario, tagged=None), SEED, day) == []


def test_a_piece_is_in_one_hand_at_a_time_and_in_none_after_it_was_bought(goods):
    for piece in goods:
        free_us: int | None = piece.from_us
        for each in piece.handled:
            assert free_us is not None and free_us <= each.taken_us
            assert not piece.lies(each.taken_us)
            if each.back_us is not None:
                assert each.taken_us <= each.back_us and piece.lies(each.back_us)
            free_us = each.back_us


def test_who_handles_a_piece_stands_at_its_shelf(day, goods):
    for each in (each for piece in goods for each in piece.handled):
        (stop,) = [stop for stop in day.people[each.person].stops if stop.zone == each.zone]
        assert stop.from_us <= each.taken_us < stop.to_us
        assert each.back_us is None or each.back_us <= stop.to_us


def test_what_is_bought_is_what_is_on_the_receipts(scenario, tagged, day, goods):
    skus = [sku for category in scenario.categories for sku, *_ in category.articles if sku not in category.weighed]
    gtins = {gtin_of(tagged, number): sku for number, sku in enumerate(skus, 1)}
    taken: Counter[tuple[int, str]] = Counter()
    for piece in goods:
        epc = decode(piece.epc)
        assert epc is not None and epc.scheme == "sgtin-96" and epc.gtin is not None
        taken.update((each.person, gtins[epc.gtin]) for each in piece.handled if each.back_us is None)
    wanted = Counter(
        {
            (person.index, line.sku): line.qty // 1000
            for person in day.people
            for line in person.lines
            if line.category == "cosmetics"
        }
    )
    assert taken <= wanted
    assert taken.total() >= 0.9 * wanted.total() > 50, "seldom is an article sold out"
    assert sum(each.back_us is not None for piece in goods for each in piece.handled) > 30


def test_a_shelf_never_holds_more_than_it_has_room_for(tagged, day, goods):
    for at_us in range(int(day.enters_us.min()), int(day.leaves_us.max()), 600_000_000):
        lie = Counter(piece.epc[:8] for piece in goods if piece.lies(at_us))
        assert all(count <= tagged.pieces for count in lie.values())


@pytest.mark.parametrize("digits", range(6, 13))
def test_a_members_card_is_a_gsrn_as_epcpy_reads_it(tagged, digits):
    company = "952123456789"[:digits]
    member = 10 ** (17 - digits) - 1
    epc = card_epc(msgspec.structs.replace(tagged, company=company), member)
    read = hex_to_tag_encodable(epc.hex())
    assert getattr(read, "epc_uri") == f"urn:epc:id:gsrn:{company}.{member}"  # noqa: B009  # it has no common typed base


def test_a_quarter_of_the_members_hold_cards_that_are_no_goods(scenario, tagged, goods):
    pool = range(scenario.people.member_pool)
    holders = [member for member in pool if holds_card(tagged, SEED, member)]
    assert len(holders) / len(pool) == pytest.approx(tagged.card_share, abs=0.03)
    cards = {card_epc(tagged, member) for member in holders}
    assert len(cards) == len(holders)
    assert all(epc.startswith(card_prefix(tagged)) for epc in cards)
    assert not any(piece.epc.startswith(card_prefix(tagged)) for piece in goods)


def test_an_antenna_reads_its_shelf_and_nothing_before_it_knows_the_day(scenario, day, goods):
    (uhf,) = next(node.uhf for node in scenario.nodes if node.node == "cosmetics")
    clock = Standing(scenario.instant_us(TUESDAY, "08:50"))
    antenna = Antenna(uhf, clock, SEED)
    assert antenna() == []
    antenna.open(day, goods, [])
    assert antenna() == [], "the shelf is filled when the store opens"
    clock.at_us = scenario.instant_us(TUESDAY, "09:01")
    lie = {piece.epc for piece in goods if piece.lies(clock.at_us)}
    rounds = [{tag.epc for tag in antenna()} for _ in range(20)]
    assert set.union(*rounds) == lie
    assert 0.8 < np.mean([len(read) for read in rounds]) / len(lie) < 1.0


def test_a_card_is_read_by_the_antenna_that_its_holder_stands_at(scenario, tagged, day):
    (uhf,) = next(node.uhf for node in scenario.nodes if node.node == "tills")
    clock = Standing()
    antenna = Antenna(uhf, clock, SEED)
    people = [person for person in day.people if person.member is not None and person.till_us is not None]
    cards = {person.index: card_epc(tagged, person.member or 0) for person in people}
    antenna.open(day, [], [Carried(epc, index, day.people[index].enters_us) for index, epc in cards.items()])
    near, far = Counter[bool](), Counter[bool]()
    for person in people:
        assert person.till_us is not None
        for clock.at_us in (person.till_us, (person.stops[0].from_us + person.stops[0].to_us) // 2):
            ((x, y),), _ = day.at(np.array([person.index]), np.array([clock.at_us]))
            away_m = np.hypot(x - uhf.x_m, y - uhf.y_m)
            read = cards[person.index] in {tag.epc for tag in antenna()}
            if away_m < 1.2:
                near[read] += 1
            elif away_m > 4:
                far[read] += 1
    assert near.total() > 20 and near[True] / near.total() > 0.8
    assert far.total() > 100 and far[True] == 0


def test_what_was_bought_is_read_at_the_till_and_not_once_its_buyer_has_left(scenario, day, goods):
    (uhf,) = next(node.uhf for node in scenario.nodes if node.node == "tills")
    clock = Standing()
    antenna = Antenna(uhf, clock, SEED)
    antenna.open(day, goods, [])
    passed = 0
    for piece in goods:
        for each in piece.handled:
            buyer = day.people[each.person]
            if each.back_us is None and buyer.till_us is not None:
                clock.at_us = buyer.till_us
                passed += piece.epc in {tag.epc for _ in range(5) for tag in antenna()}
                clock.at_us = buyer.leaves_us
                assert piece.epc not in {tag.epc for tag in antenna()}
    assert passed > 20
