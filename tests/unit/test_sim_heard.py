"""History's windows: what the nodes would have told, in the contract's columns."""

from datetime import date

import numpy as np
import pytest

from contract.codec import decode, encode
from contract.identity import SubjectKind
from contract.messages import SIGHTING_COLUMNS, Header, Sightings
from simulators import scenario_files as scenarios
from simulators.devices import Devices
from simulators.events import Outages
from simulators.heard import Listener
from simulators.history import WINDOW_US, steps
from simulators.radio import RadioModel
from simulators.world import World

TUESDAY = date(2026, 11, 17)


@pytest.fixture(scope="module")
def scenario():
    return scenarios.load("corner-store")


@pytest.fixture(scope="module")
def listener(scenario):
    day, radio = World(scenario, 7).day(TUESDAY), RadioModel(scenario, 7)
    return Listener(Devices(scenario, 7, day, {}), radio, Outages(scenario, TUESDAY, radio.nodes), WINDOW_US)


@pytest.fixture(scope="module")
def heard(scenario, listener):
    from_us = scenario.instant_us(TUESDAY, "10:00")
    return from_us, listener.hear(from_us, from_us + 1_500_000_000, np.random.default_rng(1))


def test_windows_lie_in_the_span_and_are_told_in_order_once(heard):
    from_us, nodes = heard
    for windows in nodes.values():
        assert windows.end_us.min() > from_us and windows.end_us.max() <= from_us + 1_500_000_000
        assert (np.diff(windows.end_us) >= 0).all() and (windows.end_us % WINDOW_US == 0).all()
        names = {(int(end), int(subject)) for end, subject in zip(windows.end_us, windows.subject, strict=True)}
        assert len(names) == len(windows.end_us)


def test_counts_and_strengths_are_those_of_five_adverts_a_second(heard):
    _, nodes = heard
    for windows in nodes.values():
        tokens = windows.kind == SubjectKind.TOKEN
        seconds = WINDOW_US / 1e6
        assert windows.count[tokens].max() <= 5.2 * seconds
        assert 3.8 * seconds < np.median(windows.count[tokens]) <= 5 * seconds
        assert (windows.peak_dbm * 10 >= windows.rssi_ddbm - 5).all()
        assert (windows.radio[tokens] == 0).all() and (windows.radio[~tokens] > 0).all()


def test_batches_decode_promise_no_more_than_they_tell_and_end_with_silence(heard):
    from_us, nodes = heard
    end_us = from_us + 1_500_000_000
    told: list[tuple[int, int, np.ndarray[tuple[int], np.dtype[np.int64]]]] = []
    for t0_us, columns in nodes["coffee"].batches(end_us):
        n = len(columns[0]) // 4
        header = Header("sightings", "t", "s", "coffee", "0" * 32, len(told) + 1, "boot", "trusted", t0_us, n)
        batch = decode(encode(Sightings(header, columns)))
        assert isinstance(batch, Sightings) and len(batch.columns) == len(SIGHTING_COLUMNS)
        dt = np.frombuffer(batch.columns[0], "<i4")
        told.append((t0_us, n, t0_us + dt.astype(np.int64) * 1000))
    assert told[-1][:2] == (end_us, 0)
    for (t0_us, n, _), (_, _, later) in zip(told, told[1:], strict=False):
        assert 0 < n <= 5_000
        assert not len(later) or later.min() > t0_us
    assert np.array_equal(np.concatenate([ends for _, _, ends in told]), nodes["coffee"].end_us)


def test_the_same_span_is_heard_alike_again(scenario, listener, heard):
    from_us, nodes = heard
    again = listener.hear(from_us, from_us + 1_500_000_000, np.random.default_rng(1))
    for node, windows in nodes.items():
        assert list(again[node].batches(0)) == list(windows.batches(0))


def test_an_empty_span_gives_only_the_word_that_nothing_was_heard(scenario, listener):
    night_us = scenario.instant_us(TUESDAY, "03:00")
    nodes = listener.hear(night_us, night_us + WINDOW_US * 12, np.random.default_rng(1))
    fixed_only = {int(subject) for windows in nodes.values() for subject in windows.subject}
    assert len(fixed_only) == 1  # the entrance beacon never sleeps


def test_steps_cover_the_days_without_gaps_and_end_at_the_instant(scenario):
    until_us = scenario.instant_us(TUESDAY, "10:06") + 1_234_567
    plan = steps(scenario, until_us, 2, 30)
    assert len({step.day for step in plan}) == 3
    assert plan[-1].to_us == until_us // WINDOW_US * WINDOW_US
    for step, following in zip(plan, plan[1:], strict=False):
        assert step.from_us < step.to_us <= following.from_us
        assert step.day != following.day or step.to_us == following.from_us
