"""The simulator's report: a calibrated day passes, and each law notices when it is broken."""

from dataclasses import replace
from datetime import date

import msgspec
import numpy as np
import pytest

from contract.identity import TOKEN_SLOT_US
from simulators import scenario_files as scenarios
from simulators.calibration import departing
from simulators.checks import Check, figure
from simulators.events import Cut, Outage, Outages
from simulators.invariants import Lifetimes, Tally, check_adverts, check_part, check_people, check_receipts
from simulators.radio import RadioModel
from simulators.simulate import Auditor, _receipts, simulate
from simulators.trace import DayTrace
from simulators.trace_files import DayFiles, Folder
from simulators.world import World

TUESDAY = date(2026, 11, 17)


@pytest.fixture(scope="module")
def scenario():
    return scenarios.load("quiet-tuesday")


@pytest.fixture
def trace(scenario):
    """A day up to lunch, afresh for each test to spoil."""
    world = World(scenario, 4)
    return DayTrace(world, RadioModel(scenario, 4), world.day(TUESDAY, scenario.instant_us(TUESDAY, "13:00")))


@pytest.fixture
def part(scenario, trace):
    return next(trace.parts(scenario.instant_us(TUESDAY, "12:00"), scenario.instant_us(TUESDAY, "12:10")))


def failed(tally: Tally) -> set[str]:
    return {check.name for check in tally.checks() if check.verdict == "fail"}


def test_an_ordinary_day_is_calibrated_and_lawful(tmp_path):
    done = simulate("quiet-tuesday", 2, 3.0, tmp_path, report=True)
    assert [check for check in (*done.calibration, *done.invariants) if check.verdict != "pass"] == []
    assert len(done.calibration) == 20 and len(done.invariants) >= 30
    assert all(check.source for check in done.calibration)


def test_a_day_as_drawn_breaks_no_law(scenario, trace, part):
    tally = Tally()
    check_people(scenario, trace.day, tally)
    check_receipts(scenario, trace.day, _receipts(scenario, 4, trace.day, 2**62), tally)
    check_part(scenario, trace, part, tally)
    check_adverts(trace, tally)
    assert failed(tally) == set()


def test_a_wall_across_the_aisle_is_walked_through(scenario, trace):
    walled = msgspec.structs.replace(scenario, walls=(((0.0, 9.0), (24.0, 9.0)),))
    tally = Tally()
    check_people(walled, trace.day, tally)
    assert failed(tally) == {"nobody walks through walls"}


def test_somebody_who_jumps_is_too_fast_and_may_pass_through_shelves(scenario, trace):
    trace.day.x[trace.day.knots[20] - 30] += 9.0
    tally = Tally()
    check_people(scenario, trace.day, tally)
    assert "nobody walks faster than 1.6 m/s" in failed(tally)


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"at_us": 3_600_000_000}, "a receipt's buyer is in the store"),
        ({"at_us": -240_000_000}, "a receipt's buyer stands at the till"),
        ({"total": 1}, "receipts add up"),
    ],
)
def test_a_receipt_that_nobody_can_have_got_is_noticed(scenario, trace, change, law):
    receipts = _receipts(scenario, 4, trace.day, 2**62)
    buyer, receipt = receipts[30]
    key, by = next(iter(change.items()))
    receipts[30] = buyer, msgspec.structs.replace(receipt, **{key: getattr(receipt, key) + by})
    tally = Tally()
    check_receipts(scenario, trace.day, receipts, tally)
    assert law in failed(tally)


def test_two_receipts_of_one_buyer_and_a_line_from_a_shelf_not_visited_are_noticed(scenario, trace):
    receipts = _receipts(scenario, 4, trace.day, 2**62)
    buyer, receipt = receipts[10]
    line = msgspec.structs.replace(receipt.lines[0], category="snacks")
    stranger = next(p.index for p in trace.day.people if p.till_us and all(s.zone != "snacks" for s in p.stops))
    other = next(r for b, r in receipts if b == stranger)
    total = line.amount + other.total
    receipts.append((stranger, msgspec.structs.replace(other, lines=(*other.lines, line), total=total)))
    tally = Tally()
    check_receipts(scenario, trace.day, receipts, tally)
    assert failed(tally) == {"nobody gets two receipts a trip", "what was bought was picked up at its shelf"}


@pytest.mark.parametrize(
    ("column", "change", "law"),
    [
        ("true_us", 600_000_000, "records lie in their span of time"),
        ("at_us", -1_000_000, "nodes' clocks are off by no more than they may be"),
        ("sent_us", -5_000_000, "nothing is sent before it was heard"),
        ("rssi_dbm", -60, "nothing weaker than a node can hear"),
        ("device", -1, "a record's advert is its sender's"),
        ("x_m", 0.5, "the true place is on the person's path"),
        ("zone", 1, "the true zone is the place's"),
    ],
)
def test_a_record_that_is_not_what_it_says_is_noticed(scenario, trace, part, column, change, law):
    broken = replace(part, records=replace(part.records, **{column: getattr(part.records, column) + change}))
    tally = Tally()
    check_part(scenario, trace, broken, tally)
    assert law in failed(tally)


def test_a_record_of_somebody_who_has_left_or_has_no_sender_is_noticed(scenario, trace, part):
    silent = next(person.index for person in trace.day.people if person.radio is None)
    person = np.full_like(part.records.person, silent)
    tally = Tally()
    check_part(scenario, trace, replace(part, records=replace(part.records, person=person)), tally)
    assert {"who is heard is in the store", "who carries no sender is not heard"} <= failed(tally)


def test_a_node_that_should_be_off_and_a_line_that_should_be_cut_are_noticed(scenario, trace, part):
    troubled = msgspec.structs.replace(
        scenario,
        outages=(Outage(node="coffee", begins="11:00", ends="13:00"),),
        cuts=(Cut(begins="11:00", ends="13:00", drain_per_s=100.0),),
    )
    trace.outages = Outages(troubled, TUESDAY, trace.radio.nodes)
    tally = Tally()
    check_part(troubled, trace, part, tally)
    assert failed(tally) == {"a node that is off records nothing", "nothing reaches the broker while the line is cut"}


def test_a_record_too_few_is_noticed(scenario, trace, part):
    shorter = {name: getattr(part.records, name)[1:] for name in part.records.__slots__}
    tally = Tally()
    check_part(scenario, trace, replace(part, records=replace(part.records, **shorter)), tally)
    assert failed(tally) == {"what was received is told once"}


def test_a_record_without_its_truth_and_a_device_that_was_off_are_noticed(scenario, trace, part):
    tally = Tally()
    check_part(scenario, trace, replace(part, records=replace(part.records, person=part.records.person[:-1])), tally)
    assert failed(tally) == {"each record has its truth"}
    trace.devices.from_us[:] = part.to_us
    tally = Tally()
    check_part(scenario, trace, part, tally)
    assert failed(tally) == {"what is switched off does not send"}


@pytest.mark.parametrize(
    ("where", "law"),
    [
        ("off the floor", "nobody leaves the floor"),
        ("before opening", "shoppers come while it is open, and go"),
        ("late for work", "staff is there when the doors open"),
        ("back in time", "time runs forwards for everybody"),
        ("through the window", "paths last from the door to the door"),
        ("twice", "nobody is there twice"),
    ],
)
def test_people_who_are_where_nobody_can_be_are_noticed(scenario, trace, where, law):
    day, opens_us = trace.day, scenario.hours_us(TUESDAY)[0]
    knot = day.knots[20] - 30
    if where == "off the floor":
        day.y[knot] = -0.1
    elif where == "before opening":
        day.enters_us[20] = opens_us - 1
    elif where == "late for work":
        day.enters_us[0] = opens_us + 1
    elif where == "back in time":
        day.t_us[knot] = day.t_us[knot - 1]
    elif where == "through the window":
        day.leaves_us[20] -= 1
    else:
        member = next(person for person in day.people if person.member is not None)
        day.people = (*day.people[:-1], replace(day.people[-1], member=member.member))
    tally = Tally()
    check_people(scenario, day, tally)
    assert law in failed(tally)


def test_an_address_of_two_senders_and_one_that_is_not_private_are_noticed(trace, part):
    book = trace.book
    turning = next(i for i, advert in enumerate(book.adverts) if advert.address[0] >> 6 == 0b01)
    book.adverts.append(replace(book.adverts[turning], address_type="public"))
    book.device.append(next(device for device in book.device if device != book.device[turning]))
    book.adverts.append(replace(book.adverts[turning], address=b"\xff" * 6))
    book.device.append(book.device[turning])
    tally = Tally()
    check_adverts(trace, tally)
    assert failed(tally) == {"an address is one sender's", "addresses that turn are private ones"}


def test_an_address_that_outlives_its_slot_is_noticed(trace, part):
    lifetimes, tally = Lifetimes(), Tally()
    lifetimes.see(part)
    lifetimes.check(trace, tally)
    assert failed(tally) == set()
    lifetimes.see(replace(part, records=replace(part.records, true_us=part.records.true_us + TOKEN_SLOT_US)))
    lifetimes.check(trace, tally)
    assert failed(tally) == {"a private address lives no longer than its slot"}


def test_files_that_lack_a_record_and_a_second_run_that_differs_are_noticed(scenario, trace, part, tmp_path):
    folder = Folder(tmp_path / "trace")
    folder.clear()
    files = DayFiles(folder, scenario, trace)
    files.add(part)
    files.finish([], part.to_us)
    auditor = Auditor(scenario, 4, trace.radio)
    auditor.see(trace, part)  # not the first of its day, as what is played again is
    checks = {check.name: check.verdict for check in auditor.invariants(folder, len(part.records.node) + 1)}
    assert checks["files hold each record and its truth"] == "fail"
    assert checks["the same seed gives the same bytes"] == "fail"
    checks = {check.name: check.verdict for check in auditor.invariants(folder, len(part.records.node))}
    assert checks["files hold each record and its truth"] == "pass"


def test_figures_pass_inside_their_limits_only_and_may_be_left_on_purpose():
    inside, outside = (figure("trip, mean", value, 10.0, (9.0, 11.0), "min", "s") for value in (9.0, 11.01))
    assert (inside.verdict, outside.verdict) == ("pass", "fail")
    other = Check("basket, mean", "fail", "1", "2")
    assert [check.verdict for check in departing([inside, outside, other], ["trip"])] == ["pass", "departs", "fail"]
