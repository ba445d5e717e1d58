"""A scenario as one object: the store, its people, its radios, the demo's campaign and what goes wrong."""

from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from simulators.events import Cut, Outage, Spoof, Storm


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


def days_back(last: date, n: int) -> list[date]:
    """The n days before `last`, oldest first."""
    return [last - timedelta(days=back) for back in range(n, 0, -1)]
