"""Laws that a believable trace obeys whatever the seed: of people, of receipts, of every record and its truth."""

import numpy as np

from simulators.adverts import Advert
from simulators.checks import Check, law
from simulators.devices import NOBODY
from simulators.people import CLOSING_US
from simulators.scenario import Scenario
from simulators.till import Receipt
from simulators.trace import SHOPPERS, DayTrace, Part, zones_of
from simulators.world import Day
from simulators.zones import Floats, Ints, inside

SPEED_M_S = 1.6
"""Nobody in a store walks faster: some 1.4 m/s is how people walk a street."""

SAMPLE = 2_000
"""Records of a part whose place is checked against the people's paths."""
CLOCK_SDS = 6.0
"""A clock that is further off than so many standard deviations is no clock of the scenario's."""
LEAVE_US = 15 * 60 * 1_000_000
"""From the last shelf to the door, by way of a full till."""


class Tally:
    """Counts what breaks a law, and what the law is about."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}

    def add(self, name: str, broken: int, of: int, what: str) -> None:
        """So many of so many break the law of that name."""
        counts = self._counts.setdefault((name, what), [0, 0])
        counts[0] += int(broken)
        counts[1] += int(of)

    def checks(self) -> list[Check]:
        """A line a law, in the order in which they were first asked about."""
        return [law(name, broken, of, what) for (name, what), (broken, of) in self._counts.items()]


def check_people(scenario: Scenario, day: Day, tally: Tally) -> None:
    """What holds for a day's people, whatever the radio makes of them."""
    begin, end = np.array([0, *day.knots[:-1]]), day.knots
    leg = np.ones(len(day.t_us), bool)
    leg[end - 1] = False  # the last knot of each person begins no leg
    legs = np.flatnonzero(leg)
    x0, y0, x1, y1 = day.x[legs], day.y[legs], day.x[legs + 1], day.y[legs + 1]
    seconds = (day.t_us[legs + 1] - day.t_us[legs]) / 1e6
    tally.add("nobody walks through walls", _crossings(scenario, x0, y0, x1, y1), len(legs), "steps")
    store = scenario.store
    outside = (day.x < 0) | (day.x > store.width_m) | (day.y < 0) | (day.y > store.depth_m)
    tally.add("nobody leaves the floor", outside.sum(), len(outside), "places")
    too_fast = np.hypot(x1 - x0, y1 - y0) > SPEED_M_S * seconds + 0.01
    tally.add(f"nobody walks faster than {SPEED_M_S} m/s", too_fast.sum(), len(legs), "steps")
    tally.add("time runs forwards for everybody", (seconds <= 0).sum(), len(legs), "steps")
    whole = (day.t_us[begin] == day.enters_us) & (day.t_us[end - 1] == day.leaves_us)
    tally.add("paths last from the door to the door", (~whole).sum(), len(whole), "people")
    opens_us, closes_us = scenario.hours_us(day.date)
    shopper = np.array([person.kind in SHOPPERS for person in day.people])
    early, late = (
        day.enters_us < opens_us,
        (day.enters_us > closes_us) | (day.leaves_us > closes_us + CLOSING_US + LEAVE_US),
    )
    tally.add("shoppers come while it is open, and go", (shopper & (early | late)).sum(), shopper.sum(), "shoppers")
    tally.add(
        "staff is there when the doors open", (~shopper & (day.enters_us > opens_us)).sum(), (~shopper).sum(), "staff"
    )
    members = [person.member for person in day.people if person.member is not None]
    tally.add("nobody is there twice", len(members) - len(set(members)), len(members), "members")


def check_receipts(scenario: Scenario, day: Day, receipts: list[tuple[int, Receipt]], tally: Tally) -> None:
    """Receipts (with the number of their buyer): who paid stood at the till, and had been at the shelf."""
    person = np.array([buyer for buyer, _ in receipts], np.int64)
    at_us = np.array([receipt.at_us for _, receipt in receipts], np.int64)
    tally.add("a receipt's buyer is in the store", (~_present(day, person, at_us)).sum(), len(person), "receipts")
    xy, _ = day.at(person, at_us)
    till = next(zone for zone in scenario.zones if zone.kind == "till" and zone.stand)
    tally.add(
        "a receipt's buyer stands at the till",
        (~inside(till.polygon, xy[:, 0], xy[:, 1])).sum(),
        len(person),
        "receipts",
    )
    tally.add("nobody gets two receipts a trip", len(person) - len(np.unique(person)), len(person), "receipts")
    sold_at = {category: zone.zone for zone in scenario.zones for category in zone.categories}
    astray = wrong = lines = 0
    for buyer, receipt in receipts:
        been = {stop.zone for stop in day.people[buyer].stops if stop.to_us <= receipt.at_us}
        lines += len(receipt.lines)
        astray += sum(sold_at[line.category] not in been for line in receipt.lines)
        wrong += receipt.total != sum(line.amount for line in receipt.lines) or receipt.total <= 0
        wrong += any(
            line.amount != (line.qty * line.unit_price + 500) // 1000 - line.discount for line in receipt.lines
        )
    tally.add("what was bought was picked up at its shelf", astray, lines, "lines")
    tally.add("receipts add up", wrong, len(receipts), "receipts")


def check_part(scenario: Scenario, trace: DayTrace, part: Part, tally: Tally) -> None:
    """Every record of a part beside its truth."""
    records, day, devices = part.records, trace.day, trace.devices
    n = len(records.node)
    lengths = {
        len(getattr(records, name)) for name in ("at_us", "advert", "rssi_dbm", "sent_us", "true_us", "person", "zone")
    }
    tally.add("each record has its truth", lengths != {n}, n, "records")
    if lengths != {n}:
        return  # nothing else can be asked of rows that do not belong together
    tally.add("what was received is told once", abs(int(part.sent.received.sum()) - n), n, "records")
    out = (records.true_us < part.from_us) | (records.true_us >= part.to_us)
    tally.add("records lie in their span of time", out.sum(), n, "records")
    carried = records.person != NOBODY
    absent = ~_present(day, records.person[carried], records.true_us[carried])
    tally.add("who is heard is in the store", absent.sum(), carried.sum(), "records")
    mute = np.array([person.radio is None for person in day.people])
    tally.add("who carries no sender is not heard", mute[records.person[carried]].sum(), carried.sum(), "records")
    dumb = (records.true_us < devices.from_us[records.device]) | (records.true_us >= devices.to_us[records.device])
    tally.add("what is switched off does not send", dumb.sum(), n, "records")
    sender = np.array(trace.book.device, np.int64)
    tally.add("a record's advert is its sender's", (sender[records.advert] != records.device).sum(), n, "records")
    weak = records.rssi_dbm < np.floor(scenario.radio.floor_dbm)
    tally.add("nothing weaker than a node can hear", weak.sum(), n, "records")
    off = trace.outages.off(records.true_us)[np.arange(n), records.node]
    tally.add("a node that is off records nothing", off.sum(), n, "records")
    clocks = scenario.clocks
    most_us = 1.0
    if clocks is not None:
        most_us += CLOCK_SDS * (clocks.offset_sd_ms * 1e3 + clocks.drift_sd_ppm * 1e-6 * 86_400e6)
    astray = np.abs(records.at_us - records.true_us) > most_us
    tally.add("nodes' clocks are off by no more than they may be", astray.sum(), n, "records")
    tally.add("nothing is sent before it was heard", (records.sent_us < records.at_us).sum(), n, "records")
    for cut in scenario.cuts:
        begins_us, ends_us = cut.span_us(scenario, day.date)
        during = (begins_us <= records.sent_us) & (records.sent_us < ends_us)
        tally.add("nothing reaches the broker while the line is cut", during.sum(), n, "records")
    rows = np.flatnonzero(carried)[:: max(int(carried.sum()) // SAMPLE, 1)]
    xy, _ = day.at(records.person[rows], records.true_us[rows])
    moved = np.hypot(xy[:, 0] - records.x_m[rows], xy[:, 1] - records.y_m[rows]) > 1e-6
    tally.add("the true place is on the person's path", moved.sum(), len(rows), "records sampled")
    tally.add(
        "the true zone is the place's",
        (zones_of(scenario, xy) != records.zone[rows]).sum(),
        len(rows),
        "records sampled",
    )


def check_adverts(trace: DayTrace, tally: Tally) -> None:
    """What is on the air on a day: an address is one device's, and those that turn do so in time."""
    owners: dict[bytes, int] = {}
    shared = 0
    for advert, device in zip(trace.book.adverts, trace.book.device, strict=True):
        shared += owners.setdefault(advert.address, device) != device
    tally.add("an address is one sender's", shared, len(trace.book.adverts), "adverts")
    named = [a for a, device in zip(trace.book.adverts, trace.book.device, strict=True) if _turns(trace, device)]
    tally.add(
        "addresses that turn are private ones", sum(not _private(advert) for advert in named), len(named), "adverts"
    )


class Lifetimes:
    """How long each advert is on the air: an address that ought to turn after 15 minutes must not be seen longer."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def see(self, part: Part) -> None:
        """Notes when each advert of a part was received first and last."""
        numbers, first = np.unique(part.records.advert, return_index=True)
        _, last = np.unique(part.records.advert[::-1], return_index=True)
        from_us = part.records.true_us[first].tolist()
        to_us = part.records.true_us[::-1][last].tolist()
        for number, begins_us, ends_us in zip(numbers.tolist(), from_us, to_us, strict=True):
            self._first.setdefault(number, begins_us)
            self._last[number] = ends_us

    def check(self, trace: DayTrace, tally: Tally) -> None:
        """Adds the law, for the adverts of devices that turn."""
        devices, book = trace.devices.all, trace.book
        turning = [number for number in self._first if _turns(trace, book.device[number])]
        old = sum(self._last[n] - self._first[n] > devices[book.device[n]].slot_us for n in turning)
        tally.add("a private address lives no longer than its slot", old, len(turning), "adverts")


def _turns(trace: DayTrace, device: int) -> bool:
    sender = trace.devices.all[device]
    return sender.advert(0).address != sender.advert(1).address


def _private(advert: Advert) -> bool:
    """A resolvable private address: its top bits are 01 (Core 6.0, vol. 6 part B, 1.3.2)."""
    return advert.address_type == "random" and advert.address[0] >> 6 == 0b01


def _present(day: Day, person: Ints, at_us: Ints) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    result: np.ndarray[tuple[int], np.dtype[np.bool_]] = (day.enters_us[person] <= at_us) & (
        at_us < day.leaves_us[person]
    )
    return result


def _crossings(scenario: Scenario, x0: Floats, y0: Floats, x1: Floats, y1: Floats) -> int:
    """How many steps cross a wall."""
    hit = np.zeros(len(x0), bool)
    dx, dy = x1 - x0, y1 - y0
    for wall in scenario.walls:
        for (ax, ay), (bx, by) in zip(wall, wall[1:], strict=False):
            ex, ey = bx - ax, by - ay
            cross = dx * ey - dy * ex
            safe = np.where(np.abs(cross) > 1e-12, cross, np.inf)
            along_step = ((ax - x0) * ey - (ay - y0) * ex) / safe
            along_wall = ((ax - x0) * dy - (ay - y0) * dx) / safe
            meets = np.isfinite(safe) & (along_step >= 0) & (along_step <= 1) & (along_wall >= 0) & (along_wall <= 1)
            hit |= meets
    return int(hit.sum())
