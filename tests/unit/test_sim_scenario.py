"""Scenario files: the shipped one holds together, a wrong one says which key and why."""

import re

import pytest

from simulators import scenario_files as scenarios
from simulators.paths import Ways
from simulators.setup import members_document, store_document

TEXT = (scenarios.SCENARIOS / "corner-store.toml").read_text()


def test_the_corner_store_has_six_nodes_and_at_least_three_at_a_zone_of_their_own():
    scenario = scenarios.load("corner-store")
    assert len(scenario.nodes) == 6
    assert sum(node.zone is not None for node in scenario.nodes) >= 3
    assert 10 <= len(scenario.zones) <= 12


def test_every_place_can_be_walked_to_from_the_door():
    scenario = scenarios.load("corner-store")
    ways = Ways(scenario)
    for zone in scenario.zones:
        if zone.access is not None:
            assert ways.between("door", zone.access)[-1] == ways.at(zone.access)


@pytest.mark.parametrize(
    ("found", "instead", "told"),
    [
        ('tz = "Europe/Berlin"', 'tz = "Europe/Atlantis"', "store.tz: 'Europe/Atlantis'"),
        ('opens = "09:00"', 'opens = "9 o\'clock"', "store.opens"),
        ('closes = "21:00"', 'closes = "08:00"', "store.closes: 08:00 is not after"),
        ("member_share = 0.55", "member_share = 1.55", "people.member_share: 1.55"),
        ("member_pool = 3000", "member_pool = 300", "people.member_pool"),
        ("lift_share = 0.20", "lift_share = 0.90", "campaign: buys_share + lift_share"),
        ('zone = "coffee"\ndwell_s', 'zone = "tea"\ndwell_s', "campaign.zone: 'tea' is no zone"),
        ('category = "coffee"\ndiscount', 'category = "tea"\ndiscount', "campaign.category: 'tea'"),
        ('categories = ["wine"]', 'categories = ["beer"]', "zones.wine.categories: 'beer'"),
        ('access = "east-mid"', 'access = "roof"', "zones.coffee.access: 'roof' is no waypoint"),
        ("[24.0, 12.6]", "[25.0, 12.6]", "zones.coffee.polygon: a corner lies outside"),
        ('zone = "cosmetics"\n\n', 'zone = "nowhere"\n\n', "nodes.cosmetics.zone: 'nowhere'"),
        ('links = ["west-mid"]', 'links = ["moon"]', "waypoints.west-low.links: 'moon'"),
        ('company = "9521234"', 'company = "95-12"', "tagged.company: '95-12'"),
        ("card_share = 0.25 ", "card_share = 2.5 ", "tagged.card_share: 2.5"),
        ("scan_s = [15.0, 60.0]", "scan_s = [60.0, 15.0]", "wifi.scan_s: [60.0, 15.0]"),
        (
            'name = "shelf", zone = "cosmetics"',
            'name = "shelf", zone = "roof"',
            "nodes.cosmetics.uhf.shelf.zone: 'roof'",
        ),
        ('name = "shelf", zone = "cosmetics"', 'name = "shelf", zone = "coffee"', "what the campaign is about"),
        ('name = "counter"', 'name = "The Counter"', "nodes.tills.uhf.The Counter: not a name"),
        ("[wifi]\n", "[people.wifi]\n", "wifi"),
        ("per_day = 350", 'per_day = "many"', "per_day"),
        ("per_day = 350", "per_day = 350\nper_night = 3", "per_night"),
        ("[people]", "[people", "TOML|Expected"),
    ],
)
def test_a_wrong_scenario_names_the_key(found, instead, told):
    assert found in TEXT
    with pytest.raises(scenarios.ScenarioError, match=told if "|" in told else re.escape(told)):
        scenarios.parse(TEXT.replace(found, instead, 1))


def test_a_node_hears_tags_and_wifi_only_where_the_scenario_says_what_there_is():
    text = re.sub(r"\[tagged\].*?\n\n\[wifi\].*?\n\n", "", TEXT, flags=re.DOTALL)
    with pytest.raises(scenarios.ScenarioError) as told:
        scenarios.parse(text)
    assert str(told.value).splitlines() == [
        "scenario: nodes.cosmetics.uhf: then [tagged] is needed",
        "scenario: nodes.tills.uhf: then [tagged] is needed",
        "scenario: nodes.back.wifi: then [wifi] is needed",
    ]
    without = scenarios.parse(re.sub(r"^(uhf|wifi) = .*\n", "", text, flags=re.MULTILINE))
    assert without.tagged is None and without.wifi is None


def test_a_scenario_holds_only_what_is_different_from_its_base(tmp_path):
    (tmp_path / "mine.toml").write_text('base = "corner-store"\nname = "mine"\nbeacons = []\n[people]\nper_day = 12\n')
    (tmp_path / "yours.toml").write_text('base = "mine.toml"\nname = "yours"\n[walk]\nstops_max = 3\n')
    corner, yours = scenarios.load("corner-store"), scenarios.load(str(tmp_path / "yours.toml"))
    assert (yours.name, yours.people.per_day, yours.walk.stops_max, yours.beacons) == ("yours", 12, 3, ())
    assert yours.people.staff == corner.people.staff and yours.zones == corner.zones


def test_a_scenario_that_builds_on_itself_is_refused(tmp_path):
    (tmp_path / "a.toml").write_text('base = "b.toml"\nname = "a"\n')
    (tmp_path / "b.toml").write_text('base = "a.toml"\nname = "b"\n')
    with pytest.raises(scenarios.ScenarioError, match="builds on this file itself"):
        scenarios.load(str(tmp_path / "a.toml"))
    with pytest.raises(scenarios.ScenarioError, match="scenarios that come along"):
        scenarios.parse('base = "moon-base"')
    with pytest.raises(scenarios.ScenarioError, match="base: expected the name"):
        scenarios.parse("base = 7")


@pytest.mark.parametrize("name", scenarios.known())
def test_every_scenario_says_what_it_is_for_and_shows_the_day_of_its_name(name):
    scenario = scenarios.load(name)
    assert scenario.name == name and scenario.about
    assert scenario.day.strftime("%A").lower() == ("friday" if name == "black-friday" else "tuesday")
    assert Ways(scenario).between("door", "till")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("plays_on", '"Tuesday"', "plays_on: 'Tuesday' is no date"),
        ("outages", '[{ node = "roof", begins = "10:00", ends = "11:00" }]', "outages: 'roof' is no node"),
        ("outages", '[{ node = "coffee", begins = "12:00", ends = "11:00" }]', "outages: 12:00 … 11:00"),
        ("cuts", '[{ begins = "noon", ends = "13:00", drain_per_s = 10 }]', "cuts: noon … 13:00"),
        ("cuts", '[{ begins = "12:00", ends = "13:00", drain_per_s = 0 }]', "cuts.drain_per_s: 0"),
        ("spoofs", '[{ label = "x", x_m = 1, y_m = 1, begins = "10:00", ends = "11:00" }]', "spoofs: 'x' is no beacon"),
        (
            "storms",
            '[{ x_m = 1, y_m = 1, senders = 0, interval_ms = 100, address_s = 1, begins = "10:00", ends = "11:00" }]',
            "storms: expected senders from 1",
        ),
        ("walls", "[[[1, 1]]]", "walls[0]: a wall has two ends"),
        (
            "missions",
            '[{ mission = "m", share = 0, stops_mean = 2, lines_median = 2, lines_sigma = 1 }]',
            "missions.share",
        ),
        (
            "missions",
            '[{ mission = "m", share = 1, stops_mean = 0, lines_median = 2, lines_sigma = 1 }]',
            "missions.m:",
        ),
        ("people", "{ weekdays = [1, 1, 1, 1, 1, 1, -1] }", "people.weekdays"),
        ("people", "{ weekdays = [1, 1] }", "people.weekdays"),
    ],
)
def test_what_goes_wrong_must_be_possible(key, value, told):
    with pytest.raises(scenarios.ScenarioError, match=re.escape(told)):
        scenarios.parse(f'base = "corner-store"\nname = "x"\n{key} = {value}\n')


def test_an_unknown_scenario_names_those_that_come_along():
    with pytest.raises(scenarios.ScenarioError, match="corner-store"):
        scenarios.load("moon-base")


def test_the_documents_hold_what_the_product_asks_for():
    scenario = scenarios.load("corner-store")
    store = store_document(scenario)
    assert store["demo"] is True
    assert {node["node"] for node in store["nodes"]} == {node.node for node in scenario.nodes}
    members = members_document(scenario, 1)["members"]
    assert len({member["card"] for member in members}) == len(members) == 3003
    assert 0.9 < sum(member["consents"]["in_store_sensing"] for member in members) / len(members) < 0.96
    assert sum(member.get("staff", False) for member in members) == 3
