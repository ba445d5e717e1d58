"""The ladder: a dead radio is helped quickly, an empty store at night is left in peace, and no reboot comes unasked."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.adapter import RebootBudget
from edge.watchdog import DAY_S, REST_MOST_S, Rung, Sign, Watchdog, sign_of

SILENCE_S = 90.0
HOUR_S = 3600.0


def climb(
    sign: Sign, for_s: float, reboot_after_s: float | None = None, may_reboot: bool = True
) -> list[tuple[float, Rung]]:
    """(second, rung) of a silence that nothing ends, looked at every 10 s."""
    dog = Watchdog(SILENCE_S, 0.0, reboot_after_s)
    looks = [10.0 * n for n in range(int(for_s / 10) + 1)]
    return [(at_s, rung) for at_s in looks if (rung := dog.due(at_s, sign, may_reboot)) is not None]


@pytest.mark.parametrize(
    ("scanning", "powered", "discovering", "radios", "sign"),
    [
        (False, None, None, 0, Sign.DEAD),  # the scan cannot be started
        (False, True, True, 40, Sign.DEAD),
        (True, False, False, 40, Sign.DEAD),  # somebody switched it off
        (True, True, False, 1, Sign.DEAD),  # discovery ended unasked
        (True, True, True, 40, Sign.CUT),  # forty radios do not leave at once
        (True, None, None, 5, Sign.CUT),  # a platform that tells nothing of its adapter
        (True, True, True, 4, Sign.QUIET),  # the last customers leave
        (True, True, None, 0, Sign.QUIET),  # a passive scan, and nobody since it began
    ],
)
def test_a_silence_is_judged_by_what_is_known_beside_it(scanning, powered, discovering, radios, sign):
    assert sign_of(scanning, powered, discovering, radios) is sign


@pytest.mark.parametrize(
    ("sign", "begins"),
    [
        (Sign.DEAD, [(90, Rung.SCAN), (180, Rung.ADAPTER), (270, Rung.SCAN), (360, Rung.SERVICE)]),
        (Sign.CUT, [(90, Rung.SCAN), (180, Rung.ADAPTER), (270, Rung.SCAN), (360, Rung.ADAPTER)]),
        (Sign.QUIET, [(90, Rung.SCAN), (180, Rung.SCAN), (360, Rung.SCAN), (720, Rung.SCAN)]),
    ],
)
def test_how_a_silence_is_climbed(sign, begins):
    assert climb(sign, 800)[: len(begins)] == begins


def test_a_night_of_eleven_hours_costs_an_empty_store_scans_and_a_blink_of_the_adapter_an_hour():
    night = climb(Sign.QUIET, 11 * HOUR_S, reboot_after_s=HOUR_S)
    counts = {rung: sum(1 for _, done in night if done is rung) for rung in Rung}
    assert counts[Rung.SERVICE] == counts[Rung.REBOOT] == 0
    assert counts[Rung.ADAPTER] <= 11
    assert counts[Rung.SCAN] <= 50


def test_shelf_beacons_switched_off_with_the_light_cost_no_reboot_and_few_restarts():
    night = climb(Sign.CUT, 11 * HOUR_S, reboot_after_s=HOUR_S)
    assert Rung.REBOOT not in {rung for _, rung in night}
    assert sum(rung is Rung.SERVICE for _, rung in night) <= 14


@pytest.mark.parametrize(
    ("reboot_after_s", "may_reboot", "first"),
    [(None, True, None), (2 * HOUR_S, False, None), (2 * HOUR_S, True, 2 * HOUR_S)],
)
def test_a_reboot_is_due_only_where_it_is_allowed_and_in_the_budget(reboot_after_s, may_reboot, first):
    reboots = [at_s for at_s, rung in climb(Sign.DEAD, 3 * HOUR_S, reboot_after_s, may_reboot) if rung is Rung.REBOOT]
    assert (reboots[0] if reboots else None) == first


def test_whoever_is_heard_again_begins_at_the_lowest_rung():
    dog = Watchdog(SILENCE_S, 0.0)
    assert [dog.due(90.0 * n, Sign.DEAD) for n in (1, 2)] == [Rung.SCAN, Rung.ADAPTER]
    dog.heard(200.0)
    assert dog.silence_s(230.0) == 30.0
    assert [dog.due(200.0 + at_s, Sign.DEAD) for at_s in (10, 89, 90, 180)] == [None, None, Rung.SCAN, Rung.ADAPTER]


@given(st.lists(st.tuples(st.floats(0.1, 2_000), st.sampled_from(Sign), st.booleans()), max_size=80))
def test_no_history_makes_it_hasty(looks):
    dog, now_s, heard_s, last_s = Watchdog(SILENCE_S, 0.0, HOUR_S), 0.0, 0.0, -SILENCE_S
    for passed_s, sign, hears in looks:
        now_s += passed_s
        if hears:
            dog.heard(now_s)
            heard_s, last_s = now_s, now_s - SILENCE_S
            continue
        rung = dog.due(now_s, sign, may_reboot=True)
        if rung is None:
            continue
        assert now_s - heard_s >= SILENCE_S, "a silence must be strange first"
        assert now_s - last_s >= SILENCE_S, "what was done has the time to help"
        assert rung is not Rung.REBOOT or (sign is Sign.DEAD and now_s - heard_s >= HOUR_S)
        last_s = now_s


def test_a_rung_rests_longer_after_each_try_up_to_an_hour():
    tries = [at_s for at_s, rung in climb(Sign.DEAD, 12 * HOUR_S) if rung is Rung.SERVICE]
    rests = [after - before for before, after in zip(tries, tries[1:], strict=False)]
    assert rests == sorted(rests)
    assert rests[-1] <= REST_MOST_S + 2 * SILENCE_S


def test_one_reboot_a_day_is_remembered_on_disk(tmp_path):
    path = tmp_path / "reboot"
    budget = RebootBudget(path, HOUR_S)
    assert budget.left()
    assert budget.spend()
    assert not RebootBudget(path, HOUR_S).left()
    path.write_text(f"{float(path.read_text()) - DAY_S - 1:.0f}\n")
    assert RebootBudget(path, HOUR_S).left()


@pytest.mark.parametrize("written", ["", "yesterday", "99999999999"])
def test_a_budget_that_cannot_be_read_or_lies_ahead_of_the_clock_is_spent(tmp_path, written):
    (tmp_path / "reboot").write_text(written)
    assert not RebootBudget(tmp_path / "reboot", HOUR_S).left()


def test_a_reboot_that_cannot_be_written_down_is_not_allowed(tmp_path):
    assert not RebootBudget(tmp_path / "nowhere" / "reboot", HOUR_S).spend()
    assert os.listdir(tmp_path) == []
