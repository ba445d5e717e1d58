"""Windows and crowds: no sighting is lost, order does not matter, and few people are nobody's business."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.codec import column_values
from contract.identity import SubjectKind
from contract.messages import SIGHTING_COLUMNS
from edge.crowd import LONGEST_US, SPAN_US, Crowd
from edge.newcomers import ABSENT_US, GATHER_US
from edge.sightings import Sighting
from edge.windows import EarlyWindows, Window, Windows, batches_of, window_columns

S = 1_000_000


def seen(at_us: int, subject: int = 1, rssi: int = -60, radio: int = 0) -> Sighting:
    return Sighting(at_us, subject, SubjectKind.TOKEN, radio, rssi)


sightings = st.builds(seen, st.integers(0, 20 * S), st.integers(1, 3), st.integers(-100, 0), st.integers(0, 2))


@given(st.lists(sightings, max_size=60), st.randoms(use_true_random=False))
def test_order_within_a_window_does_not_matter_and_counts_add_up(heard, shuffle):
    def told(order):
        grid = Windows(S)
        for sighting in order:
            grid.add(sighting)
        return grid.close(21 * S)

    mixed = list(heard)
    shuffle.shuffle(mixed)
    result = told(heard)
    assert result == told(mixed)
    counts = Counter((s.at_us // S, s.subject, s.radio) for s in heard)
    assert {(w.end_us // S - 1, w.subject, w.radio): w.count for w in result or []} == counts


@given(st.lists(st.tuples(sightings, st.integers(0, 25)), max_size=60))
def test_sightings_that_come_late_are_told_later_under_their_true_end(heard):
    grid = Windows(S)
    told = []
    for sighting, close in heard:
        grid.add(sighting)
        told += grid.close(close * S) or []
    for end_us in grid.ends():
        told += grid.close(max(end_us, 30 * S)) or []
    assert sum(window.count for window in told) == len(heard)
    assert {window.end_us for window in told} == {(s.at_us // S + 1) * S for s, _ in heard}


def test_a_window_has_the_mean_in_tenths_the_peak_and_the_count():
    grid = Windows(S)
    for rssi in (-60, -61, -63):
        grid.add(seen(S // 2, rssi=rssi))
    (window,) = grid.close(S) or []
    assert (window.mean_ddbm, window.peak_dbm, window.count, window.end_us) == (-613, -60, 3, S)


def test_a_count_that_does_not_fit_the_wire_becomes_several_rows():
    grid = Windows(S)
    for _ in range(70_000):
        grid.add(seen(0))
    assert [window.count for window in grid.close(S) or []] == [65_535, 4_465]


def told_in_order(grid: Windows, until_us: int) -> list[tuple[int, list[Window]]]:
    """(t0, windows) of all that falls due, newcomers too, as the pipeline asks for it."""
    batches: list[tuple[int, list[Window]]] = []
    door = EarlyWindows(grid)
    while True:
        dues = [due for due in (grid.due_us(), door.due_us()) if due is not None and due <= until_us]
        if not dues:
            return batches
        if grid.due_us() == min(dues):
            batches.append((min(dues), grid.close(min(dues)) or []))
        elif newcomers := door.close(min(dues)):
            batches.append(newcomers)


def test_who_newly_came_is_told_at_once_under_the_windows_true_end_and_the_rest_follows():
    grid = Windows(S)
    for at_us, rssi in ((100_000, -70), (150_000, -60), (700_000, -50)):
        early = told_in_order(grid, at_us)
        assert early == ([(0, [Window(S, 1, 1, 0, -650, -60, 2)])] if at_us == 700_000 else [])
        grid.add(seen(at_us, rssi=rssi))
    assert told_in_order(grid, S) == [(S, [Window(S, 1, 1, 0, -500, -50, 1)])]


@pytest.mark.parametrize(("gone_us", "new"), [(ABSENT_US // 2, False), (ABSENT_US + 2 * S, True)])
def test_who_was_heard_a_moment_ago_has_not_newly_come(gone_us, new):
    grid = Windows(S)
    grid.add(seen(0))
    told_in_order(grid, gone_us)
    grid.add(seen(gone_us))
    assert (EarlyWindows(grid).due_us() == gone_us + GATHER_US) is new


def test_many_newcomers_are_one_message_and_others_wait_for_their_window():
    grid = Windows(S)
    grid.add(seen(0, subject=1))
    told_in_order(grid, 10 * S)
    grid.add(seen(10 * S, subject=1))
    for subject in range(2, 100):
        grid.add(seen(10 * S + subject * 1_000, subject))
    ((t0_us, newcomers),) = told_in_order(grid, 10 * S + 999_999)
    assert t0_us == 10 * S
    assert [window.subject for window in newcomers] == list(range(2, 100))


def test_a_flood_of_made_up_names_ends_the_early_telling_and_not_the_memory():
    grid = Windows(S)
    told = 0
    for subject in range(120_000):
        at_us = subject * 100
        told += sum(window.count for _, batch in told_in_order(grid, at_us) for window in batch)
        grid.add(seen(at_us, subject))
    assert len(grid._newcomers._last) <= 50_000
    assert told + sum(window.count for _, batch in told_in_order(grid, 13 * S) for window in batch) == 120_000


@given(st.lists(sightings, max_size=60))
def test_the_parts_of_a_window_add_up_to_what_one_row_would_have_told(heard):
    def told(early: bool) -> tuple[Counter[tuple[int, int, int]], dict[tuple[int, int, int], int]]:
        grid, counts, peaks = Windows(S), Counter[tuple[int, int, int]](), dict[tuple[int, int, int], int]()
        batches: list[list[Window]] = []
        told_until_us = 0
        for sighting in sorted(heard):
            if early:
                due = told_in_order(grid, sighting.at_us)
                batches += [windows for _, windows in due]
                for t0_us, windows in due:
                    assert all(window.end_us - t0_us in (0, S) for window in windows)
                    assert t0_us >= told_until_us, "what t0 says is told stays told"
                    told_until_us = t0_us
            grid.add(sighting)
        batches.append(grid.close(30 * S) or [])
        for window in (window for windows in batches for window in windows):
            key = (window.end_us, window.subject, window.radio)
            counts[key] += window.count
            peaks[key] = max(peaks.get(key, -128), window.peak_dbm)
        return counts, peaks

    assert told(early=True) == told(early=False)


def test_silence_is_told_once_and_then_nothing():
    grid = Windows(S)
    grid.add(seen(0))
    assert grid.due_us() == S
    assert grid.close(S)
    assert grid.due_us() == 2 * S
    assert grid.close(2 * S) == []
    assert grid.due_us() is None
    assert grid.close(3 * S) is None


def test_after_a_step_back_of_the_clock_windows_close_at_their_own_time():
    grid = Windows(S)
    grid.add(seen(100 * S))
    grid.close(101 * S)
    grid.clock_went_back(10 * S)
    grid.add(seen(10 * S))
    assert grid.due_us() == 11 * S


def test_rows_of_a_clock_that_was_years_wrong_get_a_batch_of_their_own():
    grid = Windows(S)
    now = 1_790_000_000 * S
    for at in (5 * S, now):
        grid.add(seen(at))
    closed = grid.close(now + S)
    assert closed is not None
    batches = batches_of(closed, now + S, 5_000)
    assert [(t0, len(part)) for t0, part in batches] == [(6 * S, 1), (now + S, 1)]
    for t0, part in batches:
        columns = window_columns(part, t0)
        assert column_values(SIGHTING_COLUMNS[0], columns[0]) == [0]


def test_more_rows_than_a_batch_takes_become_several():
    grid = Windows(S)
    for subject in range(1, 11):
        grid.add(seen(0, subject))
    closed = grid.close(S) or []
    assert [len(part) for _, part in batches_of(closed, S, 4)] == [4, 4, 2]
    assert batches_of([], S, 4) == [(S, [])]


def crowd_of(radios: int, at_us: int = 0, rssi: int = -60) -> Crowd:
    crowd = Crowd()
    for radio in range(radios):
        crowd.add(at_us, radio, rssi)
        crowd.add(at_us, radio, rssi - 5)
    return crowd


@pytest.mark.parametrize(("radios", "told"), [(4, None), (5, 5), (12, 12)])
def test_a_crowd_is_told_from_five_radios_on(radios, told):
    span = crowd_of(radios).close(SPAN_US)
    assert (span.radios if span else None) == told


def test_too_few_radios_wait_for_the_next_span():
    crowd = crowd_of(3)
    assert crowd.close(SPAN_US) is None
    for radio in (2, 10, 11):
        crowd.add(SPAN_US + 1, radio, -80)
    span = crowd.close(2 * SPAN_US)
    assert span is not None
    assert (span.span_s, span.radios, span.end_us) == (600, 5, 2 * SPAN_US)
    assert span.strong == 0, "three strong ones are too few to be told"


def test_after_an_hour_few_radios_are_given_up():
    crowd = crowd_of(4)
    due = crowd.due_us()
    while due is not None:
        assert crowd.close(due) is None
        assert due <= LONGEST_US
        due = crowd.due_us()
    assert crowd_of(4, LONGEST_US).close(LONGEST_US + SPAN_US) is None


def test_what_leaves_of_a_crowd_names_no_radio():
    shuffled = random.Random(1).sample(range(2**32), 50)
    crowd = Crowd()
    for radio in shuffled:
        crowd.add(0, radio, -60)
    span = crowd.close(SPAN_US)
    assert span is not None
    assert not set(shuffled) & {span.end_us, span.span_s, span.radios, span.strong}
    assert crowd.due_us() is None
