"""Traces: the same seed gives the same bytes, and what goes wrong on a day goes wrong in its records."""

from datetime import date
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from contract.identity import TOKEN_SLOT_US
from simulators import scenario_files as scenarios
from simulators.devices import NOBODY
from simulators.radio import RadioModel
from simulators.scenario import Scenario
from simulators.simulate import simulate
from simulators.trace import DayTrace, Part, shopper_hours, spans
from simulators.trace_files import TraceError
from simulators.world import World

TUESDAY = date(2026, 11, 17)


def play(scenario: Scenario, begins: str, ends: str, seed: int = 3) -> tuple[DayTrace, list[Part]]:
    world = World(scenario, seed)
    from_us, to_us = (scenario.instant_us(TUESDAY, clock) for clock in (begins, ends))
    trace = DayTrace(world, RadioModel(scenario, seed), world.day(TUESDAY, to_us))
    return trace, list(trace.parts(from_us, to_us))


def column(parts: list[Part], name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.concatenate([getattr(part.records, name) for part in parts])


@pytest.fixture(scope="module")
def quiet() -> tuple[DayTrace, list[Part]]:
    return play(scenarios.load("quiet-tuesday"), "11:50", "14:10")


def test_the_same_seed_gives_the_same_files_to_the_byte_and_another_does_not(tmp_path):
    first, again, other = (
        simulate("quiet-tuesday", seed, 0.5, tmp_path / name, report=False).manifest
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again and len(first.sha256) >= 6
    assert all(other.sha256[name] != digest for name, digest in first.sha256.items() if "heard" in name)
    assert (tmp_path / "first" / "trace.json").read_bytes() == (tmp_path / "again" / "trace.json").read_bytes()


def test_files_hold_every_record_beside_its_truth_and_receipts_beside_their_buyers(tmp_path):
    done = simulate("quiet-tuesday", 1, 1.0, tmp_path, report=False)
    folder = tmp_path / "2026-11-17"
    heard = pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("??.heard.parquet"))])
    truth = pl.concat([pl.read_parquet(file) for file in sorted(folder.glob("??.truth.parquet"))])
    adverts, senders = (pl.read_parquet(folder / f"adverts{what}.parquet") for what in ("", ".truth"))
    assert heard.height == truth.height == done.manifest.records
    assert adverts.height == senders.height == done.manifest.adverts
    both = pl.concat([heard, truth], how="horizontal").join(senders, on="advert")
    assert (both["device"] == both["device_right"]).all()
    assert (both["person"].is_null() == both["person_right"].is_null()).all()
    assert (heard["sent_us"] >= heard["at_us"]).all()
    assert set(adverts.columns) & {"person", "device"} == set() == set(heard.columns) & set(truth.columns)
    lines = [msgspec.json.decode(line) for line in (folder / "truth.jsonl").read_bytes().splitlines()]
    receipts = [msgspec.json.decode(line) for line in (folder / "receipts.jsonl").read_bytes().splitlines()]
    buyers = {line["receipt_uid"]: line["person"] for line in lines if line["what"] == "receipt"}
    assert [receipt["receipt_uid"] for receipt in receipts] == list(buyers) and receipts
    assert {line["what"] for line in lines} == {"person", "zone", "trigger", "receipt"}


def test_an_older_trace_gives_way_and_anything_else_stays(tmp_path):
    simulate("new-shop", 1, 0.1, tmp_path / "trace", report=False)
    stale = tmp_path / "trace" / "2026-11-17" / "stale.parquet"
    stale.touch()
    simulate("new-shop", 1, 0.1, tmp_path / "trace", report=False)
    assert not stale.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(TraceError, match="no trace"):
        simulate("new-shop", 1, 0.1, tmp_path / "mine", report=False)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep me"


def test_hours_go_on_over_days_and_end_in_the_middle_of_one():
    scenario = scenarios.load("quiet-tuesday")  # open for twelve hours
    first, second, third = spans(scenario, 25.5)
    assert [span.day.day for span in (first, second, third)] == [17, 18, 19]
    assert first.to_us is None and second.to_us is None
    assert third.to_us == scenario.instant_us(third.day, "10:30")
    (whole,) = spans(scenario, None)
    assert whole == first


def test_shopper_hours_leave_out_staff_and_what_lies_outside_the_span(quiet):
    day = quiet[0].day
    shoppers = [person for person in day.people if person.kind in ("member", "stranger")]
    whole = shopper_hours(day, int(day.enters_us.min()), int(day.leaves_us.max()))
    assert whole == pytest.approx(sum(person.leaves_us - person.enters_us for person in shoppers) / 3.6e9)
    assert shopper_hours(day, 0, int(day.enters_us.min())) == 0


def test_a_clock_is_off_by_its_own_offset_and_drifts_with_the_day(quiet):
    trace, parts = quiet
    node, error = column(parts, "node"), column(parts, "at_us") - column(parts, "true_us")
    for each in range(len(trace.radio.nodes)):
        assert np.ptp(error[node == each]) < 60_000  # 2.3 hours at a few ppm
        assert error[node == each].mean() == pytest.approx(trace.clocks.offset_us[each], abs=300_000)
    assert len({int(error[node == each][0]) for each in range(len(trace.radio.nodes))}) == len(trace.radio.nodes)


def test_addresses_of_strangers_turn_when_they_like_and_tokens_all_at_once(quiet):
    trace, _ = quiet
    day = trace.day
    turns = [trace.devices.all[i].turns_us for i in range(len(trace.devices.all))]
    kinds = [day.people[device.owner].radio if device.owner != NOBODY else None for device in trace.devices.all]
    strangers = {turn for turn, kind in zip(turns, kinds, strict=True) if kind == "stranger"}
    assert len(strangers) > 20 and all(0 <= turn < TOKEN_SLOT_US for turn in strangers)
    assert {turn for turn, kind in zip(turns, kinds, strict=True) if kind in ("tag", "phone")} == {0}


def test_a_node_that_is_off_hears_nothing_and_the_others_as_much_as_ever():
    scenario = scenarios.load("node-outage")
    trace, parts = play(scenario, "10:30", "11:30")
    coffee = trace.radio.nodes.index("coffee")
    eleven = scenario.instant_us(TUESDAY, "11:00")
    node, true_us = column(parts, "node"), column(parts, "true_us")
    assert ((node == coffee) & (true_us < eleven)).sum() > 1000
    assert ((node == coffee) & (true_us >= eleven)).sum() == 0
    _, undisturbed = play(scenarios.load("quiet-tuesday"), "10:30", "11:30")
    assert (node != coffee).sum() == (column(undisturbed, "node") != coffee).sum()


def test_a_cut_line_delays_records_and_loses_none(quiet):
    scenario = scenarios.load("broker-cut-2h")
    _, parts = play(scenario, "11:50", "14:10")
    begins, ends = (scenario.instant_us(TUESDAY, clock) for clock in ("12:00", "14:00"))
    sent_us, at_us, node = (column(parts, name) for name in ("sent_us", "at_us", "node"))
    assert len(at_us) == len(column(quiet[1], "at_us"))
    assert not ((begins <= sent_us) & (sent_us < ends)).any()
    late = np.flatnonzero((sent_us - at_us > 1_000_000) & (node == 0))
    assert len(late) > 10_000 and (np.diff(sent_us[late]) == 500).all()  # 2,000 a second, oldest first
    assert (sent_us[(at_us >= ends) & (node == 0)] - at_us[(at_us >= ends) & (node == 0)] <= 1_000_000).all()


def test_a_spoofed_beacon_says_what_the_real_one_says_from_elsewhere():
    trace, parts = play(scenarios.load("spoofed-beacon"), "10:20", "10:50")
    number = column(parts, "advert")
    beacons = {
        i for i in set(number.tolist()) if trace.book.adverts[i].data[3:].startswith(b"\x1a\xff\x4c\x00\x02\x15")
    }
    by_data: dict[bytes, set[bytes]] = {}
    for i in beacons:
        by_data.setdefault(trace.book.adverts[i].data, set()).add(trace.book.adverts[i].address)
    (clone,) = [addresses for addresses in by_data.values() if len(addresses) == 2]
    fake = max(beacons, key=lambda i: trace.devices.all[trace.book.device[i]].on_us[0])
    assert trace.book.adverts[fake].address in clone
    heard = column(parts, "true_us")[number == fake]
    assert heard.min() >= trace.devices.all[trace.book.device[fake]].on_us[0] > parts[0].from_us


def test_a_storm_is_hundreds_of_short_lived_addresses_and_nobody():
    trace, parts = play(scenarios.load("mac-storm"), "14:50", "15:05")
    person, number, true_us = (column(parts, name) for name in ("person", "advert", "true_us"))
    flood = np.array([trace.devices.all[device].slot_us == 1_000_000 for device in trace.book.device])[number]
    assert (person[flood] == NOBODY).all()
    assert len({trace.book.adverts[i].address for i in set(number[flood].tolist())}) > 5_000  # 20 a second, 5 minutes
    for i in number[flood][:50].tolist():
        assert np.ptp(true_us[number == i]) <= 1_000_000


def test_who_carries_no_sender_is_there_and_buys_but_is_never_heard(quiet):
    trace, parts = quiet
    day, heard = trace.day, set(column(parts, "person").tolist())
    silent = [person.index for person in day.people if person.radio is None and person.enters_us < parts[-1].to_us]
    assert len(silent) > 10 and not heard & set(silent)
    assert any(day.people[index].till_us for index in silent)


def test_every_scenario_can_be_played(tmp_path: Path):
    for name in scenarios.known():
        done = simulate(name, 5, 0.05, tmp_path / name, report=False)
        assert done.manifest.records > 0 and done.manifest.scenario == name
