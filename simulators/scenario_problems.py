"""What is wrong with a scenario though every value has its type, by its key, for whoever wrote the file."""

from dataclasses import dataclass
from datetime import date, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contract.topics import NAME
from simulators.scenario import Node, Scenario, Waypoint, Zone

COMPANY = range(6, 11)
"""Digits of a GS1 company prefix; there are longer ones, which leave no room for a store's articles."""
KINDS = ("street", "entrance", "aisle", "shelf", "till", "fitting", "staff")


@dataclass(frozen=True, slots=True)
class _Known:
    zones: set[str]
    waypoints: set[str]
    categories: set[str]


def problems_in(scenario: Scenario) -> list[str]:
    """Each as a line: the key, what was found and what is expected; empty for a scenario that can be played."""
    known = _Known(
        {zone.zone for zone in scenario.zones},
        {waypoint.name for waypoint in scenario.waypoints},
        {category.category for category in scenario.categories},
    )
    return [
        *_store_problems(scenario),
        *_share_problems(scenario),
        *(problem for zone in scenario.zones for problem in _zone_problems(scenario, zone, known)),
        *(problem for waypoint in scenario.waypoints for problem in _waypoint_problems(scenario, waypoint, known)),
        *_reference_problems(scenario, known),
        *(problem for node in scenario.nodes for problem in _hearing_problems(scenario, node, known)),
        *_event_problems(scenario),
    ]


def _store_problems(scenario: Scenario) -> list[str]:
    store, problems = scenario.store, []
    try:
        ZoneInfo(store.tz)
    except (ZoneInfoNotFoundError, ValueError):
        problems.append(f"store.tz: {store.tz!r} is no time zone here, expected a name such as Europe/Berlin")
    for key, clock in (
        ("store.opens", store.opens),
        ("store.closes", store.closes),
        *((f"people.arrivals[{i}]", at) for i, (at, _) in enumerate(scenario.people.arrivals)),
    ):
        try:
            time.fromisoformat(clock)
        except ValueError:
            problems.append(f"{key}: {clock!r} is no time of day, expected HH:MM")
    if not problems:
        if store.opens >= store.closes:
            problems.append(f"store.closes: {store.closes} is not after store.opens {store.opens}")
        clocks = [at for at, _ in scenario.people.arrivals]
        if clocks != sorted(set(clocks)) or len(clocks) < 2:
            problems.append("people.arrivals: expected at least two times of day, rising")
        elif clocks[0] < store.opens or clocks[-1] > store.closes:
            problems.append("people.arrivals: outside store.opens … store.closes")
    names = [(f"store.store {store.store!r}", store.store)]
    names += [(f"zones.zone {zone.zone!r}", zone.zone) for zone in scenario.zones]
    names += [(f"nodes.node {node.node!r}", node.node) for node in scenario.nodes]
    problems += [f"{key}: not a name (a-z, 0-9 and -)" for key, name in names if not NAME.fullmatch(name)]
    return problems


def _share_problems(scenario: Scenario) -> list[str]:
    problems = []
    sections = (("people", scenario.people), ("campaign", scenario.campaign))
    for section, values in (*sections, ("tagged", scenario.tagged), ("wifi", scenario.wifi)):
        for key in values.__struct_fields__ if values is not None else ():
            if key.endswith("_share") and not 0 <= getattr(values, key) <= 1:
                problems.append(f"{section}.{key}: {getattr(values, key)}, expected a fraction from 0 to 1")
    people = scenario.people
    if people.member_share + people.phone_share + people.wearable_share > 1:
        problems.append("people: member_share + phone_share + wearable_share is over 1")
    if scenario.campaign.buys_share + scenario.campaign.lift_share > 1:
        problems.append("campaign: buys_share + lift_share is over 1")
    tagged, wifi = scenario.tagged, scenario.wifi
    if tagged is not None and not (
        tagged.company.isascii() and tagged.company.isdigit() and len(tagged.company) in COMPANY
    ):
        problems.append(f"tagged.company: {tagged.company!r}, expected 6 to 10 digits")
    if wifi is not None and not 0 < wifi.scan_s[0] <= wifi.scan_s[1]:
        problems.append(f"wifi.scan_s: {list(wifi.scan_s)}, expected the shorter first, both above 0")
    if people.member_days_apart < 1 or max(
        people.weekdays
    ) * people.per_day * people.member_share * 1.5 > people.member_pool / max(people.member_days_apart, 1):
        problems.append("people.member_pool: too few members for so many a day, each only one day in member_days_apart")
    return problems


def _zone_problems(scenario: Scenario, zone: Zone, known: _Known) -> list[str]:
    key, store, problems = f"zones.{zone.zone}", scenario.store, []
    if zone.kind not in KINDS:
        problems.append(f"{key}.kind: {zone.kind!r}, expected one of {', '.join(KINDS)}")
    if len(zone.polygon) < 3:
        problems.append(f"{key}.polygon: {len(zone.polygon)} corners, expected at least 3")
    if any(not (0 <= x <= store.width_m and 0 <= y <= store.depth_m) for x, y in zone.polygon):
        problems.append(f"{key}.polygon: a corner lies outside {store.width_m} x {store.depth_m} m")
    if zone.weight and (zone.stand is None or zone.access is None):
        problems.append(f"{key}: weight says that people stop here, then stand and access are needed")
    if zone.access is not None and zone.access not in known.waypoints:
        problems.append(f"{key}.access: {zone.access!r} is no waypoint")
    problems += [f"{key}.categories: {c!r} is not in categories" for c in zone.categories if c not in known.categories]
    return problems


def _waypoint_problems(scenario: Scenario, waypoint: Waypoint, known: _Known) -> list[str]:
    key, store = f"waypoints.{waypoint.name}", scenario.store
    problems = [f"{key}.links: {link!r} is no waypoint" for link in waypoint.links if link not in known.waypoints]
    if not (0 <= waypoint.x_m <= store.width_m and 0 <= waypoint.y_m <= store.depth_m):
        problems.append(f"{key}: lies outside {store.width_m} x {store.depth_m} m")
    return problems


def _hearing_problems(scenario: Scenario, node: Node, known: _Known) -> list[str]:
    """What is wrong with a node's RFID modules and its Wi-Fi."""
    problems = []
    if node.wifi is not None and scenario.wifi is None:
        problems.append(f"nodes.{node.node}.wifi: then [wifi] is needed")
    if node.uhf and scenario.tagged is None:
        problems.append(f"nodes.{node.node}.uhf: then [tagged] is needed")
    if len({uhf.name for uhf in node.uhf}) < len(node.uhf):
        problems.append(f"nodes.{node.node}.uhf: two modules of one name")
    for uhf in node.uhf:
        key = f"nodes.{node.node}.uhf.{uhf.name}"
        if not NAME.fullmatch(uhf.name):
            problems.append(f"{key}: not a name (a-z, 0-9 and -)")
        if uhf.zone not in known.zones:
            problems.append(f"{key}.zone: {uhf.zone!r} is no zone")
        elif scenario.campaign.category in scenario.zone(uhf.zone).categories:
            problems.append(f"{key}.zone: what the campaign is about is chosen at the till, so it cannot be tagged")
    return problems


def _event_problems(scenario: Scenario) -> list[str]:
    """What is wrong with the day, the missions and what is out of the ordinary."""
    problems = []
    try:
        date.fromisoformat(scenario.plays_on)
    except ValueError:
        problems.append(f"plays_on: {scenario.plays_on!r} is no date, expected YYYY-MM-DD")
    nodes, labels = {node.node for node in scenario.nodes}, {beacon.label for beacon in scenario.beacons}
    problems += [f"outages: {each.node!r} is no node" for each in scenario.outages if each.node not in nodes]
    problems += [f"spoofs: {each.label!r} is no beacon" for each in scenario.spoofs if each.label not in labels]
    problems += [
        f"cuts.drain_per_s: {each.drain_per_s}, expected above 0" for each in scenario.cuts if each.drain_per_s <= 0
    ]
    if any(storm.senders < 1 or storm.interval_ms < 20 or storm.address_s <= 0 for storm in scenario.storms):
        problems.append(
            "storms: expected senders from 1, interval_ms from 20 (Bluetooth's least) and address_s above 0"
        )
    for event in (*scenario.outages, *scenario.cuts, *scenario.spoofs, *scenario.storms):
        try:
            if time.fromisoformat(event.begins) < time.fromisoformat(event.ends):
                continue
        except ValueError:
            pass
        problems.append(
            f"{type(event).__name__.lower()}s: {event.begins} … {event.ends}, expected HH:MM and the earlier first"
        )
    if scenario.missions and (
        sum(m.share for m in scenario.missions) <= 0 or any(m.share < 0 for m in scenario.missions)
    ):
        problems.append("missions.share: expected shares from 0 on, not all 0")
    problems += [
        f"missions.{m.mission}: expected stops_mean from 1, lines_median and lines_sigma from 0"
        for m in scenario.missions
        if m.stops_mean < 1 or m.lines_median < 0 or m.lines_sigma < 0
    ]
    problems += [f"walls[{i}]: a wall has two ends" for i, wall in enumerate(scenario.walls) if len(wall) < 2]
    if min(scenario.people.weekdays) < 0:
        problems.append("people.weekdays: expected factors from 0 on")
    return problems


def _reference_problems(scenario: Scenario, known: _Known) -> list[str]:
    problems = [
        f"nodes.{node.node}.zone: {node.zone!r} is no zone"
        for node in scenario.nodes
        if node.zone is not None and node.zone not in known.zones
    ]
    if scenario.campaign.zone not in known.zones:
        problems.append(f"campaign.zone: {scenario.campaign.zone!r} is no zone")
    if scenario.campaign.category not in known.categories:
        problems.append(f"campaign.category: {scenario.campaign.category!r} is not in categories")
    if not {"door", "till"} <= known.waypoints:
        problems.append("waypoints: `door` and `till` are needed")
    if not any(zone.weight for zone in scenario.zones):
        problems.append("zones: none has a weight, so nobody would stop anywhere")
    if not any(zone.kind == "till" and zone.stand and zone.access for zone in scenario.zones):
        problems.append("zones: a zone of kind till with stand and access is needed")
    problems += [
        f"beacons.{beacon.label}: a fixed beacon needs x_m and y_m"
        for beacon in scenario.beacons
        if beacon.role == "fixed" and (beacon.x_m is None or beacon.y_m is None)
    ]
    return problems
