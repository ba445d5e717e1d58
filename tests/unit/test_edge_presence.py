"""Zone presence on simulated walks: who is told, and how well the instant of crossing is found."""

import math
import random

import pytest

from contract.identity import SubjectKind
from edge.crossing import crossing_us
from edge.presence import Presence, Transition
from edge.sightings import Sighting

ENTER, EXIT = -67.0, -75.0
RADIUS_M = 10 ** ((-59 - ENTER) / 20)  # where -59 dBm at 1 m has fallen to ENTER: 2.5 m


def walk(seed: int, noise_db: float, rate: float, speed: float = 1.2) -> tuple[float, float, list[tuple[float, int]]]:
    """Somebody walks up to the node, stays near it, walks away: (crossing in, crossing out, [(second, RSSI)])."""
    rng = random.Random(seed)
    aside, begin, rest = rng.uniform(0, 1.5), rng.uniform(6, 14), rng.uniform(-0.5, 1.0)
    arrive, stay = (begin - rest) / speed, rng.uniform(8, 20)
    edge_m = math.sqrt(RADIUS_M**2 - aside**2)

    def away_m(t: float) -> float:
        along = begin - speed * t if t < arrive else min(rest, rest - speed * (t - arrive - stay))
        return max(0.5, math.hypot(along, aside))

    heard, t = [], rng.random()
    while t < arrive + stay + 12:
        rssi = round(-59 - 20 * math.log10(away_m(t)) + rng.gauss(0, noise_db))
        if rssi > -96:
            heard.append((t, rssi))
        t += 1 / rate + rng.uniform(0, 0.01)  # the random advDelay of the standard
    return (begin - edge_m) / speed, arrive + stay + (rest + edge_m) / speed, heard


def transitions(heard: list[tuple[float, int]], presence: Presence | None = None) -> list[Transition]:
    presence = presence or Presence(ENTER, EXIT, enter_s=1.0, away_s=10.0)
    told = []
    for second, rssi in heard:
        transition = presence.add(Sighting(int(second * 1e6), 7, SubjectKind.TOKEN, 0, rssi))
        if transition is not None:
            told.append(transition)
    return told + presence.close(int((heard[-1][0] + 11) * 1e6))


@pytest.mark.parametrize(
    ("noise_db", "rate", "median_s", "p90_s", "bias_s"),
    [
        (5.0, 5.0, 0.35, 0.85, 0.15),  # measured: 0.25, 0.72, -0.05
        (5.0, 10.0, 0.22, 0.55, 0.15),  # 0.15, 0.42, -0.03
        (3.0, 5.0, 0.20, 0.45, 0.15),  # 0.13, 0.34, -0.02
    ],
)
def test_the_crossing_is_found_within_half_a_second(noise_db, rate, median_s, p90_s, bias_s):
    errors = []
    for seed in range(200):
        crossed, _, heard = walk(seed, noise_db, rate)
        enters = [t for t in transitions(heard) if t.state == "enter"]
        assert len(enters) == 1, "one enter a walk: no flapping, nobody missed"
        errors.append(enters[0].since_us / 1e6 - crossed)
    sizes = sorted(abs(error) for error in errors)
    assert sizes[100] <= median_s
    assert sizes[180] <= p90_s
    assert abs(sum(errors) / len(errors)) <= bias_s


def test_the_node_is_sure_within_three_seconds_and_says_so():
    for seed in range(50):
        crossed, _, heard = walk(seed, 5.0, 5.0)
        (enter,) = (t for t in transitions(heard) if t.state == "enter")
        assert enter.since_us <= enter.at_us
        assert enter.at_us / 1e6 - crossed < 4
        assert 0.5 <= enter.confidence <= 1


def test_leaving_is_told_with_the_instant_at_the_zones_edge():
    errors = []
    for seed in range(100):
        _, left, heard = walk(seed, 5.0, 5.0)
        (leave,) = (t for t in transitions(heard) if t.state == "exit")
        errors.append(leave.since_us / 1e6 - left)
    assert abs(sum(errors) / len(errors)) < 0.3
    assert sorted(abs(error) for error in errors)[90] < 1.0


def test_somebody_no_longer_heard_left_when_last_heard():
    presence = Presence(ENTER, EXIT, enter_s=1.0, away_s=10.0)
    told = transitions([(i / 5, -55) for i in range(50)], presence)
    assert [t.state for t in told] == ["enter", "exit"]
    assert told[1].since_us == int(49 / 5 * 1e6)
    assert presence.due_us() is None


@pytest.mark.parametrize(("rssi", "states"), [(-55, ["enter", "exit"]), (-71, []), (-90, [])])
def test_only_the_near_are_present(rssi, states):
    assert [t.state for t in transitions([(i / 5, rssi) for i in range(40)])] == states


def test_a_level_between_the_two_thresholds_changes_nothing():
    near = [(i / 5, -60) for i in range(25)]
    between = [(5 + i / 5, -72) for i in range(200)]
    assert [t.state for t in transitions(near + between)] == ["enter", "exit"], "the exit is the one for silence"


def test_somebody_passing_by_is_not_there():
    assert transitions([(i / 5, -80 if i != 20 else -50) for i in range(60)]) == []


def test_an_advert_that_comes_late_moves_nothing():
    presence = Presence(ENTER, EXIT, 1.0, 10.0)
    presence.add(Sighting(5_000_000, 7, SubjectKind.TOKEN, 0, -60))
    assert presence.add(Sighting(1_000_000, 7, SubjectKind.TOKEN, 0, -60)) is None
    assert presence.close(11_000_000) == []


def test_a_step_of_the_clock_ends_presence():
    presence = Presence(ENTER, EXIT, 0.0, 10.0)
    assert presence.add(Sighting(50_000_000, 7, SubjectKind.TOKEN, 0, -50)) is not None
    (gone,) = presence.clock_went_back(1_000_000)
    assert (gone.state, gone.at_us) == ("exit", 1_000_000)


def test_without_noise_the_crossing_is_exact_to_a_fifth_of_a_second():
    # 1.2 m/s towards the antenna, edge at 2.5 m after 10 s, rest 6 dB above the level.
    samples = [
        (i * 200_000, round(max(-20, min(6, -20 * math.log10(max(1 - 0.48 * (i / 5 - 10), 0.01)))))) for i in range(75)
    ]
    found = crossing_us(samples[20:], 0, True, 8_000_000, 12_000_000)
    assert abs(found - 10_000_000) < 200_000
