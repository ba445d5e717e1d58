"""The simulated store's people: repeatable, within the calibration, consistent with themselves."""

from datetime import date, timedelta

import numpy as np
import pytest

from simulators import scenario_files as scenarios
from simulators.setup import busiest_start_us, reachable
from simulators.till import receipt_of
from simulators.truth import Shown, trigger_of, triggers
from simulators.world import World, card
from simulators.zones import inside

TUESDAY = date(2026, 11, 17)


@pytest.fixture(scope="module")
def world():
    return World(scenarios.load("corner-store"), 7)


@pytest.fixture(scope="module")
def day(world):
    return world.day(TUESDAY)


@pytest.fixture(scope="module")
def shoppers(day):
    return [person for person in day.people if person.kind in ("member", "stranger")]


def test_the_same_seed_and_date_give_the_same_day_and_others_do_not(world, day):
    again = World(scenarios.load("corner-store"), 7)
    assert again.day(TUESDAY).digest() == day.digest()
    assert again.day(TUESDAY + timedelta(days=1)).digest() != day.digest()
    assert World(scenarios.load("corner-store"), 8).day(TUESDAY).digest() != day.digest()


def test_trips_last_as_long_as_in_supermarkets(shoppers):
    """covid19-supermarket-abm, calibrated on a real store: p50 10.0, p95 19.9 minutes; 5.2 shelves a trip."""
    minutes = np.array([(person.leaves_us - person.enters_us) / 60e6 for person in shoppers])
    assert 8 <= np.median(minutes) <= 14
    assert 14 <= np.percentile(minutes, 95) <= 24
    assert 4.4 <= np.mean([len({stop.zone for stop in person.stops}) for person in shoppers]) <= 6.2


def test_the_morning_is_busy_and_the_afternoon_is_not(world, day, shoppers):
    def inside_at(clock):
        at = world.scenario.instant_us(TUESDAY, clock)
        return sum(person.enters_us <= at < person.leaves_us for person in shoppers)

    assert 14 <= np.mean([inside_at(f"{hour}:{minute:02}") for hour in (10, 11) for minute in range(0, 60, 5)]) <= 26
    assert np.mean([inside_at(f"15:{minute:02}") for minute in range(0, 60, 5)]) < 6
    assert 290 <= len(shoppers) <= 410


def test_people_walk_no_faster_than_people_do_and_stay_in_the_store(world, day):
    for person in day.people:
        t_us, x, y = day.path(person.index)
        speed = np.hypot(np.diff(x), np.diff(y)) / (np.diff(t_us) / 1e6)
        assert speed.max() < 1.5
        assert x.min() >= 0 and x.max() <= world.scenario.store.width_m
        assert y.min() >= 0 and y.max() <= world.scenario.store.depth_m


def test_who_is_present_is_where_their_path_says(day):
    at_us = int(day.enters_us[100]) + 90_000_000
    present, xy = day.positions(at_us)
    assert present[100]
    for person in np.flatnonzero(present):
        t_us, x, y = day.path(person)
        assert xy[person] == pytest.approx([np.interp(at_us, t_us, x), np.interp(at_us, t_us, y)], abs=1e-6)


def test_zone_intervals_agree_with_sampling_the_path(world, day):
    stays = day.intervals()
    for person in range(20, 26):
        t_us, x, y = day.path(person)
        grid = np.arange(t_us[0], t_us[-1], 100_000)
        for zone in world.scenario.zones:
            sampled = inside(zone.polygon, np.interp(grid, t_us, x), np.interp(grid, t_us, y)).sum() * 0.1
            told = sum((s.exit_us - s.enter_us) / 1e6 for s in stays if s.person == person and s.zone == zone.zone)
            assert told == pytest.approx(sampled, abs=0.6)


def test_no_member_comes_twice_within_a_few_days(world):
    seen: dict[int, date] = {}
    for back in range(6):
        at = TUESDAY + timedelta(days=back)
        for person in world.day(at).people:
            if person.member is not None:
                assert (at - seen.get(person.member, date.min)).days >= world.scenario.people.member_days_apart
                seen[person.member] = at


def test_the_shares_are_those_of_the_scenario(world, shoppers):
    members = [person for person in shoppers if person.kind == "member"]
    assert len(members) / len(shoppers) == pytest.approx(world.scenario.people.member_share, abs=0.08)
    assert all(person.radio in ("tag", "phone") for person in members)
    assert any(person.radio is None for person in shoppers)
    assert 0.03 < np.mean([person.till_us is None for person in shoppers]) < 0.25


def test_the_offer_lifts_by_what_the_scenario_says(world):
    campaign, responses = world.scenario.campaign, []
    for back in range(4):
        for person in world.day(TUESDAY - timedelta(days=back)).people:
            dwells = any(s.zone == campaign.zone and s.to_us - s.from_us >= 20_000_000 for s in person.stops)
            if dwells and person.response.line is not None:
                responses.append((person.response.buys, person.response.buys_if_offered))
    base, lifted = np.mean(responses, axis=0)
    assert base == pytest.approx(campaign.buys_share, abs=0.05)
    assert lifted - base == pytest.approx(campaign.lift_share, abs=0.05)


def test_receipts_add_up_and_a_coupon_is_used_by_who_was_shown_the_offer(world, day):
    scenario, coupons, receipts = world.scenario, 0, 0
    for person in day.people:
        if person.till_us is None or person.member is None:
            assert person.till_us is None or receipt_of(scenario, 7, day, person, None) is not None or not person.lines
            continue
        shown = Shown(person.index, card(person.member), 1, "o", "CODE", 0, person.till_us + 1, person.till_us - 1)
        without, offered = (receipt_of(scenario, 7, day, person, what) for what in (None, shown))
        for receipt in (without, offered):
            if receipt is None:
                continue
            receipts += 1
            assert receipt.total == sum(line.amount for line in receipt.lines) > 0
            for line in receipt.lines:
                assert line.amount == (line.qty * line.unit_price + 500) // 1000 - line.discount
        assert without is None or not without.coupon_codes
        if offered is not None and offered.coupon_codes:
            coupons += 1
            assert offered.card is not None and any(line.discount for line in offered.lines)
    assert coupons > 20 and receipts > 200


def test_triggers_are_dwells_that_were_long_enough(world, day):
    found = triggers(day, day.intervals(), world.scenario.campaign)
    assert len(found) > 100
    assert all(trigger.at_us - trigger.entered_us == 20_000_000 for trigger in found)
    first = found[0]
    early = Shown(first.person, "c", 1, "o", None, 0, 0, first.at_us - 6_000_000)
    late = Shown(first.person, "c", 1, "o", None, 0, 0, first.at_us + 400_000)
    assert trigger_of(early, [first]) is None
    assert trigger_of(late, [first]) == first


def test_a_short_run_starts_where_there_is_something_to_see(world):
    start_us = busiest_start_us(world, TUESDAY)
    soon = [t for t in reachable(world, TUESDAY) if start_us < t.entered_us and t.at_us < start_us + 120_000_000]
    assert len(soon) >= 3


def test_a_day_that_is_drawn_up_to_an_instant_is_the_beginning_of_the_whole_day(world, day):
    noon_us = world.scenario.instant_us(TUESDAY, "12:00")
    morning = world.day(TUESDAY, noon_us)
    assert morning.people == day.people[: len(morning.people)]
    assert all(person.enters_us >= noon_us for person in day.people[len(morning.people) :])


def test_missions_differ_in_shelves_and_baskets_and_lookers_buy_nothing():
    people = World(scenarios.load("black-friday"), 3).day(date(2026, 11, 27)).people
    of = {name: [p for p in people if p.mission == name] for name in ("top-up", "main shop", "just looking")}
    assert all(len(group) > 50 for group in of.values())
    stops = {name: np.mean([len(p.stops) for p in group]) for name, group in of.items()}
    lines = {name: np.mean([len(p.lines) for p in group]) for name, group in of.items()}
    assert stops["main shop"] > stops["top-up"] + 1
    assert lines["main shop"] > 3 * lines["top-up"] > 0 == lines["just looking"]


def test_more_come_on_a_sunday_than_on_a_wednesday():
    quiet = scenarios.load("quiet-tuesday")
    world = World(quiet, 1)
    monday = date(2026, 11, 16)
    counts = np.zeros(7)
    for week in range(4):
        for weekday in range(7):
            at = monday + timedelta(days=7 * week + weekday)
            counts[weekday] += len(world._arrivals(at, np.random.default_rng([1, at.toordinal()])))
    expected = 4 * quiet.people.per_day * np.array(quiet.people.weekdays)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()
