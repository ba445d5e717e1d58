"""People from counts of devices: the ratio, the forest, their intervals, and the alarm when devices mean less."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.crowd.drift import Day, addresses_moved, counts_moved, nodes_moved
from cloud.crowd.forest import Forest, grow, quantile, trimmed_mean
from cloud.crowd.model import PRIORS, Learned, Prior, Ratio, cross_validated, folds, trailing

NOTHING = np.empty(0)
PRIOR = PRIORS["wifi"]
counted = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 400)), max_size=30)


def ratio_of(rows: list[tuple[int, int, int]], prior: Prior = PRIOR) -> Ratio:
    devices, people, ages = np.array(rows, float).reshape(-1, 3).T
    return Ratio.fit(devices, people, ages, prior)


# -- the ratio


@settings(deadline=None)
@given(counted, st.floats(0, 5_000), st.floats(0, 5_000))
def test_more_devices_never_lower_the_ratios_estimate_or_either_end_of_its_interval(rows, one: float, more: float):
    found = ratio_of(rows).estimate(np.array([one, one + more]))
    for column in (found.people, found.low, found.high):
        assert column[1] >= column[0] - 1e-6 * (1 + column[0])


@settings(deadline=None)
@given(counted, st.lists(st.floats(0, 1e5), min_size=1, max_size=20), st.sampled_from(sorted(PRIORS)))
def test_an_interval_of_the_ratio_holds_its_estimate(rows, devices: list[float], source: str):
    found = ratio_of(rows, PRIORS[source]).estimate(np.array(devices))
    assert (found.low >= 0).all()
    assert (found.low <= found.people).all()
    assert (found.people <= found.high).all()


@pytest.mark.parametrize("source", sorted(PRIORS))
def test_uncounted_it_is_the_devices_themselves_within_a_wide_interval(source: str):
    ratio = Ratio.fit(NOTHING, NOTHING, NOTHING, PRIORS[source])
    found = ratio.estimate(np.array([40.0]))
    assert ratio.people_per_device == 1
    assert found.people == [40]
    assert found.low[0] < 40 / 2
    assert found.high[0] > 40 * 1.5


def test_few_counts_move_the_ratio_and_many_decide_it():
    apart = [abs(ratio_of([(20, 10, 0)] * n).people_per_device - 0.5) for n in (0, 1, 3, 30)]
    assert apart[0] == 0.5
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.01


def test_more_counts_make_the_interval_narrower():
    width = [(f := ratio_of([(20, 20, 0)] * n).estimate(np.array([50.0]))).high[0] - f.low[0] for n in (0, 2, 20)]
    assert width[0] > width[1] > width[2]


def test_counts_that_contradict_each_other_make_it_wider():
    agreeing = ratio_of([(20, 20, 0)] * 10).estimate(np.array([50.0]))
    quarrelling = ratio_of([(20, 5, 0), (20, 35, 0)] * 5).estimate(np.array([50.0]))
    assert quarrelling.high[0] - quarrelling.low[0] > 1.5 * (agreeing.high[0] - agreeing.low[0])


def test_an_old_count_weighs_less_than_a_new_one():
    old_low = ratio_of([(20, 10, 300)] * 5 + [(20, 30, 0)] * 5).people_per_device
    new_low = ratio_of([(20, 10, 0)] * 5 + [(20, 30, 300)] * 5).people_per_device
    assert new_low < 1 < old_low


@pytest.mark.parametrize("seed", range(3))
def test_the_ratios_interval_holds_the_truth_about_as_often_as_it_says(seed: int):
    random = np.random.default_rng(seed)
    held = []
    for _ in range(300):
        rate = random.gamma(PRIOR.weight, 1 / PRIOR.weight)
        devices = random.integers(5, 60, 7).astype(float)
        # Negative binomial with variance twice its mean, the dispersion believed.
        people = random.negative_binomial(np.maximum(rate * devices, 1e-6), 0.5).astype(float)
        found = Ratio.fit(devices[:6], people[:6], np.zeros(6), PRIOR).estimate(devices[6:])
        held.append(found.low[0] - 0.5 <= people[6] <= found.high[0] + 0.5)
    assert 0.76 < np.mean(held) < 0.93


# -- the forest


def a_store(days: int, seed: int = 0, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cases (strong devices, all devices, noise), people and days; a quarter of the hours are empty."""
    random = np.random.default_rng(seed)
    people = np.where(random.random((days, 40)) < 0.25, 0, random.integers(1, 60, (days, 40))).ravel().astype(float)
    strong = np.maximum(people * 0.8 + random.normal(0, spread, people.size), 0)
    others = random.poisson(15, people.size)
    return np.column_stack([strong, strong + others, others]), people, np.repeat(np.arange(days), 40)


def test_the_same_seed_grows_the_same_forest_and_another_another():
    cases, people, _ = a_store(3)
    one, same, other = (grow(cases, people, trees=5, leaf=3, features=0.5, seed=s) for s in (1, 1, 2))
    assert one.to_bytes() == same.to_bytes()
    assert one.to_bytes() != other.to_bytes()


def test_a_stored_forest_answers_as_the_one_that_was_grown():
    cases, people, _ = a_store(3)
    forest = grow(cases, people, trees=5, leaf=3, features=0.5)
    read = Forest.from_bytes(forest.to_bytes())
    assert np.array_equal(read.distribution(cases), forest.distribution(cases))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 100), st.integers(0, 50)), min_size=1, max_size=60),
    st.integers(1, 8),
)
def test_a_forest_never_answers_what_nobody_said(rows, leaf: int):
    table = np.array(rows, float)
    forest = grow(table[:, :2], table[:, 2], trees=3, leaf=leaf, features=1.0)
    shares = forest.distribution(table[:, :2] * 2)
    assert np.allclose(shares.sum(1), 1, atol=1e-5)
    assert (shares >= 0).all()
    means = trimmed_mean(forest.levels, shares, 0.2)
    assert (means >= table[:, 2].min() - 1e-6).all()
    assert (means <= table[:, 2].max() + 1e-6).all()


def test_a_leaf_holds_at_least_so_many_cases():
    cases, people, _ = a_store(4)
    tree = grow(cases, people, trees=1, leaf=7, features=1.0).trees[0]
    at = np.zeros(len(cases), int)
    while (tree.feature[at] >= 0).any():
        inner = tree.feature[at] >= 0
        right = cases.astype(np.float32)[np.arange(len(cases)), tree.feature[at]] > tree.threshold[at]
        at = np.where(inner, tree.child[at] + right, at)
    assert np.unique(at, return_counts=True)[1].min() >= 7


def test_a_forest_finds_a_step():
    x = np.arange(200.0)[:, None]
    y = np.where(x[:, 0] < 120, 3.0, 30.0)
    forest = grow(x, y, trees=20, leaf=3, features=1.0)
    answers = trimmed_mean(forest.levels, forest.distribution(np.array([[20.0], [100.0], [150.0]])), 0.2)
    assert answers == pytest.approx([3, 3, 30], abs=0.5)


def test_without_a_case_there_is_no_forest():
    with pytest.raises(ValueError, match="at least one case"):
        grow(np.empty((0, 2)), NOTHING, trees=1, leaf=1, features=1.0)


@pytest.mark.parametrize(
    ("share", "level"),
    [(0.05, 0), (0.5, 0), (0.51, 4), (0.8, 4), (0.9, 10), (1.0, 10)],  # half are 0, three tenths 4, two tenths 10
)
def test_a_quantile_is_the_first_level_that_reaches_the_share(share: float, level: float):
    assert quantile(np.array([0.0, 4, 10]), np.array([[0.5, 0.3, 0.2]]), share) == [level]


@pytest.mark.parametrize(
    ("trim", "mean"),
    [
        (0.0, 3.2),  # .3 × 4 + .2 × 10
        (0.2, 2.0),  # of .2 … .8: .3 of 0, .3 of 4
        (0.5 - 1e-9, 2.0),  # the very middle, between 0 and 4
    ],
)
def test_a_trimmed_mean_leaves_out_that_share_at_either_end(trim: float, mean: float):
    assert trimmed_mean(np.array([0.0, 4, 10]), np.array([[0.5, 0.3, 0.2]]), trim) == pytest.approx([mean], abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 50))
def test_what_is_learned_gives_intervals_that_hold_their_estimates(seed: int):
    cases, people, days = a_store(3, seed)
    found = Learned.fit(cases, people, days, trees=10).estimate(cases * 1.5)
    assert (found.low >= 0).all()
    assert (found.low <= found.people).all()
    assert (found.people <= found.high).all()


def test_intervals_hold_on_days_that_were_not_seen():
    held = []
    for seed in range(6):
        cases, people, days = a_store(20, seed, spread=6.0)
        model = Learned.fit(cases[days < 14], people[days < 14], days[days < 14])
        found, truth = model.estimate(cases[days >= 14]), people[days >= 14]
        held.append(np.mean((truth >= found.low) & (truth <= found.high)))
        assert np.abs(found.people - truth).mean() < np.abs(truth - people.mean()).mean() / 2
    assert 0.75 < np.mean(held) < 0.88


def test_the_forest_is_worth_it_where_the_ratio_bends_and_not_where_it_is_straight():
    random = np.random.default_rng(0)
    devices = random.integers(5, 80, 200).astype(float)
    days, ages = np.arange(200) // 20, np.zeros(200)
    bent = np.where(devices > 40, 60.0, 5.0)
    ratio, forest = cross_validated(devices[:, None], devices, bent, days, ages, PRIOR)
    assert forest is not None
    assert forest < ratio / 2
    straight, forest = cross_validated(devices[:, None], devices, devices * 1.3, days, ages, PRIOR)
    assert forest is not None
    assert straight < forest
    assert cross_validated(None, devices, bent, days, ages, PRIOR) == (ratio, None)


# -- days and half hours


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_every_day_is_left_out_once_and_whole(days: list[int]):
    known = np.array(days)
    masks = folds(known)
    if len(set(days)) == 1:
        assert masks == []
    else:
        assert (np.sum([~mask for mask in masks], axis=0) == 1).all()
        assert all(not set(known[mask]) & set(known[~mask]) for mask in masks)
        assert all(mask.any() for mask in masks)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 100)), min_size=1, max_size=40, unique_by=lambda r: r[0]),
    st.integers(1, 8),
)
def test_a_trailing_mean_is_of_what_is_there_of_the_last_slots(rows, length: int):
    slots, values = map(np.array, zip(*sorted(rows), strict=True))
    wanted = [np.mean([v for t, v in rows if s - length < t <= s]) for s in slots]
    assert trailing(values[:, None], slots, length)[:, 0] == pytest.approx(wanted, abs=1e-6)


# -- drift


def some_days(first: int, n: int, seed: int, *, people: float = 1.0, addresses: float = 5.0) -> list[Day]:
    """What nodes count of a store whose people come and go; addresses for each device differ a little each day."""
    random = np.random.default_rng(seed)
    found = []
    for day in range(first, first + n):
        devices = random.poisson(4_000 * people * random.uniform(0.5, 1.5))
        found.append(Day(day, 120, devices * addresses * random.lognormal(0, 0.1), devices))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_phones_that_change_their_addresses_twice_as_often_raise_the_alarm(seed: int):
    moved = addresses_moved(some_days(0, 28, seed), some_days(40, 7, seed + 100, addresses=10.0))
    assert moved is not None
    assert moved.reason.startswith("addresses for each device: ")
    assert moved.factor == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("people", [0.05, 1.0, 5.0])
def test_more_or_fewer_people_raise_none(people: float):
    for seed in range(100):
        assert addresses_moved(some_days(0, 28, seed), some_days(40, 7, seed + 100, people=people)) is None


def test_too_few_days_say_nothing():
    assert addresses_moved(some_days(0, 2, 0), some_days(40, 7, 1, addresses=20.0)) is None


def test_days_with_hardly_a_device_near_are_left_out():
    quiet = [Day(day, 5, 500.0, 10.0) for day in range(30, 60)]
    assert addresses_moved(some_days(0, 28, 0), some_days(60, 7, 1) + quiet) is None
    assert addresses_moved(some_days(0, 28, 0), quiet) is None


def test_new_counts_that_say_another_ratio_raise_the_alarm():
    devices, ages = np.full(12, 20.0), np.array([60.0] * 6 + [3.0] * 6)
    moved = counts_moved(devices, np.array([20.0] * 6 + [36.0] * 6), ages, dispersion=2.0)
    assert moved is not None
    assert moved.factor == pytest.approx(1.8)
    assert moved.reason == "counts of the last 14 days: 1.80 people a device, 1.00 before"
    assert counts_moved(devices, np.array([20.0] * 6 + [22.0] * 6), ages, dispersion=2.0) is None
    assert counts_moved(devices, np.full(12, 20.0), np.full(12, 3.0), dispersion=2.0) is None


def test_chance_alone_seldom_raises_the_alarm_of_counts():
    random = np.random.default_rng(0)
    ages = np.array([60.0] * 8 + [3.0] * 8)
    devices = random.integers(5, 40, (300, 16)).astype(float)
    people = random.negative_binomial(devices, 0.5).astype(float)
    alarms = [counts_moved(d, p, ages, dispersion=2.0) is not None for d, p in zip(devices, people, strict=True)]
    assert float(np.mean(alarms)) < 0.02


def test_nodes_that_fell_silent_or_joined_are_named():
    assert nodes_moved({"door", "till"}, {"till", "shelf"}) == [
        "node door tells nothing any more",
        "node shelf has joined since",
    ]
    assert nodes_moved(set(), {"till"}) == []
