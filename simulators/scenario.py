"""A scenario file as one checked object: the store, its people, its radios, the demo's campaign and what goes wrong.

A file may name another as its `base` and then holds only what is different: tables are merged key by key, arrays and
single values take the place of the base's.
"""

import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from contract.topics import NAME
from simulators.events import Cut, Outage, Spoof, Storm

SCENARIOS = Path(__file__).parent / "scenarios"
_Table = dict[str, object]
"""TOML as it is read; what is in it is checked when it becomes a Scenario."""
COMPANY = range(6, 11)
"""Digits of a GS1 company prefix; there are longer ones, which leave no room for a store's articles."""
KINDS = ("street", "entrance", "aisle", "shelf", "till", "fitting", "staff")


class ScenarioError(ValueError):
    """A scenario file that cannot be played: file, key, what was found and what is expected."""


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Store(_Struct, frozen=True):
    """The store as the product knows it."""

    store: str
    name: str
    tz: str
    currency: str
    opens: str
    closes: str
    floor: str
    floor_name: str
    width_m: float
    depth_m: float
    cell_m: float
    tills: tuple[str, ...]


class People(_Struct, frozen=True):
    """Who comes, when, and with which radio. Shares are fractions."""

    per_day: int
    arrivals: tuple[tuple[str, float], ...]
    member_share: float
    phone_share: float
    wearable_share: float
    staff: int
    member_pool: int
    member_days_apart: int
    tag_share: float
    app_share: float
    card_share: float
    sensing_consent_share: float
    push_consent_share: float
    profiling_consent_share: float
    weekdays: tuple[float, float, float, float, float, float, float] = (1, 1, 1, 1, 1, 1, 1)
    """How many times `per_day` come from Monday to Sunday."""


class Mission(_Struct, frozen=True):
    """What somebody comes for: it decides how many shelves they stop at and how much they take along."""

    mission: str
    share: float
    """Of shoppers, relative to the other missions'."""
    stops_mean: float
    lines_median: float
    """Articles in the basket, log-normal; 0 for those who only look."""
    lines_sigma: float


class Walk(_Struct, frozen=True):
    """How people walk, stop and pay."""

    speed_m_s: tuple[float, float]
    stops_mean: float
    stops_max: int
    dwell_median_s: float
    dwell_sigma: float
    dwell_s: tuple[float, float]
    till_s: float
    till_line_s: float
    till_queue_mean_s: float
    staff_stay_s: tuple[float, float]


class Campaign(_Struct, frozen=True):
    """The demo's campaign and what people would do with its offer: the true lift is `lift_share`."""

    campaign: str
    name: str
    zone: str
    dwell_s: int
    offer: str
    offer_name: str
    title: str
    body: str
    category: str
    discount_bp: int
    ttl_s: int
    control_share: float
    buys_share: float
    lift_share: float
    redeems_share: float
    clicks_share: float


class Radio(_Struct, frozen=True):
    """The radio model's parameters; those of the shipped scenario follow Danis 2022 (12 stations, 20.7 x 17.6 m)."""

    rssi_at_1m_dbm: float
    rssi_at_1m_sd_db: float
    exponent: float
    exponent_sd: float
    shadow_sd_db: float
    shadow_length_m: float
    body_loss_db: float
    fading_sd_db: float
    loss: float
    loss_per_m: float
    floor_dbm: float
    carried_z_m: float
    token_interval_ms: int
    tag_tx_sd_db: float
    phone_tx_sd_db: float


class Clocks(_Struct, frozen=True):
    """How far the nodes' clocks are off, under NTP over a store's own line."""

    offset_sd_ms: float
    drift_sd_ppm: float


class Tagged(_Struct, frozen=True):
    """Goods and cards with RFID tags."""

    company: str
    """GS1 company prefix in their EPCs, 6 to 10 digits; those that begin with 952 are kept for examples."""
    pieces: int
    """Of each article on a shelf with an antenna, when it is full; whoever of the staff stops there fills it up."""
    tries_share: float
    """Shoppers at such a shelf who take a piece into the hand and put it back."""
    card_share: float
    """Members whose card has a tag."""
    departed_s: float
    """Nodes take a thing for gone when it was not read for so long."""


class Wifi(_Struct, frozen=True):
    """Phones that look for Wi-Fi."""

    on_share: float
    """Shoppers who have one along, its Wi-Fi on."""
    scan_s: tuple[float, float]
    """From one scan to the next, by phone: between these."""
    tx_db: float
    """How much stronger they send than a Bluetooth tag."""


class Uhf(_Struct, frozen=True):
    """An RFID module on a node's serial port: where its antenna is, and the zone that it reads."""

    name: str
    zone: str
    x_m: float
    y_m: float


class Zone(_Struct, frozen=True):
    """A zone: its polygon and, where people stop, the rectangle they stand in and the waypoint they step from."""

    zone: str
    name: str
    kind: str
    polygon: tuple[tuple[float, float], ...]
    categories: tuple[str, ...] = ()
    stand: tuple[float, float, float, float] | None = None
    faces: float = 0.0
    access: str | None = None
    weight: float = 0.0


class Node(_Struct, frozen=True):
    """A node's antenna for Bluetooth, and what else it hears with."""

    node: str
    x_m: float
    y_m: float
    z_m: float
    zone: str | None = None
    uhf: tuple[Uhf, ...] = ()
    wifi: str | None = None
    """A Wi-Fi interface in monitor mode."""


class Beacon(_Struct, frozen=True):
    """An iBeacon of the store's own: fixed at a place, or on something that moves."""

    uuid: str
    major: int
    minor: int
    role: Literal["fixed", "asset"]
    label: str
    x_m: float | None = None
    y_m: float | None = None


class Fixture(_Struct, frozen=True):
    """A thing of the store that advertises all day and means nothing: a printer, a screen, a headset's cradle."""

    label: str
    x_m: float
    y_m: float


class Waypoint(_Struct, frozen=True):
    """A place one can walk through, and those one can walk to from it (both ways)."""

    name: str
    x_m: float
    y_m: float
    links: tuple[str, ...]


class Category(_Struct, frozen=True):
    """Articles of one kind: (sku, name, price in minor units); those in `weighed` are priced by the kilogram."""

    category: str
    buys_share: float
    articles: tuple[tuple[str, str, int], ...]
    weighed: tuple[str, ...] = ()


class Scenario(_Struct, frozen=True):
    """All of a scenario file."""

    name: str
    store: Store
    people: People
    walk: Walk
    campaign: Campaign
    radio: Radio
    zones: tuple[Zone, ...]
    nodes: tuple[Node, ...]
    waypoints: tuple[Waypoint, ...]
    categories: tuple[Category, ...]
    beacons: tuple[Beacon, ...] = ()
    tagged: Tagged | None = None
    wifi: Wifi | None = None
    about: str = ""
    """What the scenario is for, in a sentence."""
    plays_on: str = "2026-11-17"
    """The day that it shows when nobody asks for another."""
    walls: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Polylines that nobody walks through: shelving, partitions."""
    departs: tuple[str, ...] = ()
    """How the names of calibration figures begin that this store does not try to meet."""
    assortment: int = 0
    """Further articles without a name of their own in each category, priced like those with one."""
    missions: tuple[Mission, ...] = ()
    clocks: Clocks | None = None
    fixtures: tuple[Fixture, ...] = ()
    outages: tuple[Outage, ...] = ()
    cuts: tuple[Cut, ...] = ()
    spoofs: tuple[Spoof, ...] = ()
    storms: tuple[Storm, ...] = ()

    @property
    def day(self) -> date:
        """The day that the scenario shows."""
        return date.fromisoformat(self.plays_on)

    @property
    def tz(self) -> ZoneInfo:
        """The store's time zone."""
        return ZoneInfo(self.store.tz)

    def instant_us(self, day: date, clock: str) -> int:
        """The instant of a local time `HH:MM` on a day, microseconds since 1970 UTC."""
        return int(datetime.combine(day, time.fromisoformat(clock), self.tz).timestamp()) * 1_000_000

    def date_of(self, at_us: int) -> date:
        """The local date of an instant."""
        return datetime.fromtimestamp(at_us / 1e6, self.tz).date()

    def hours_us(self, day: date) -> tuple[int, int]:
        """When the store opens and closes on a day."""
        return self.instant_us(day, self.store.opens), self.instant_us(day, self.store.closes)

    def zone(self, name: str) -> Zone:
        """The zone of that name. Raises KeyError."""
        for zone in self.zones:
            if zone.zone == name:
                return zone
        raise KeyError(name)


def load(name: str) -> Scenario:
    """The scenario of a name (`corner-store`) or of a file's path. Raises ScenarioError."""
    path = _path(name)
    return _checked(_read(path), str(path))


def parse(text: str, source: str = "scenario") -> Scenario:
    """A scenario from TOML text. Raises ScenarioError, naming the key."""
    return _checked(_with_base(_toml(text, source), source, ()), source)


def known() -> list[str]:
    """The names of the scenarios that come along."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def _path(name: str) -> Path:
    return Path(name) if name.endswith(".toml") else SCENARIOS / f"{name}.toml"


def _read(path: Path, above: tuple[Path, ...] = ()) -> _Table:
    """A file's tables over those of its base; `above` are the files that build on it."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}; scenarios that come along: {', '.join(known())}") from None
    return _with_base(_toml(text, str(path)), str(path), (*above, path))


def _toml(text: str, source: str) -> _Table:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{source}: {error}") from None


def _with_base(table: _Table, source: str, above: tuple[Path, ...]) -> _Table:
    base = table.pop("base", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise ScenarioError(f"{source}: base: expected the name or path of a scenario")
    path = _path(base) if not above or not base.endswith(".toml") else above[-1].parent / base
    if path in above:
        raise ScenarioError(f"{source}: base: {base!r} builds on this file itself")
    return _merged(_read(path, above), table)


def _merged(base: _Table, over: _Table) -> _Table:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _checked(table: _Table, source: str) -> Scenario:
    try:
        scenario = msgspec.convert(table, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{source}: {error}") from None
    problems = _problems(scenario)
    if problems:
        raise ScenarioError("\n".join(f"{source}: {problem}" for problem in problems))
    return scenario


@dataclass(frozen=True, slots=True)
class _Known:
    zones: set[str]
    waypoints: set[str]
    categories: set[str]


def _problems(scenario: Scenario) -> list[str]:
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


def days_back(last: date, n: int) -> list[date]:
    """The n days before `last`, oldest first."""
    return [last - timedelta(days=back) for back in range(n, 0, -1)]
