"""The radio model against published fits of real rooms."""

import numpy as np
import pytest

from simulators import scenario_files as scenarios
from simulators.radio import RadioModel


@pytest.fixture(scope="module")
def scenario():
    return scenarios.load("corner-store")


@pytest.mark.parametrize("seed", range(4))
def test_rssi_against_distance_lies_within_the_stations_of_danis_2022(scenario, seed):
    """12 stations in 20.7 x 17.6 m: -66.9 … -58.3 dBm at 1 m, exponent 0.89 … 2.18, residual 4.63 … 6.13 dB."""
    model, rng, n = RadioModel(scenario, seed), np.random.default_rng(seed), 20_000
    xy = rng.uniform((0, 0), (scenario.store.width_m, scenario.store.depth_m), (n, 2))
    heading = rng.uniform(-np.pi, np.pi, n)
    rssi, received = model.hear(xy, heading, np.zeros(n), rng)
    distance = model.mean(xy, heading, np.zeros(n))[1]
    fits = []
    for node in range(len(model.nodes)):
        heard = received[:, node]
        design = np.column_stack([np.ones(heard.sum()), -10 * np.log10(distance[heard, node])])
        fit, *_ = np.linalg.lstsq(design, rssi[heard, node], rcond=None)
        fits.append([*fit, (rssi[heard, node] - design @ fit).std()])
    at_1m, exponent, residual = np.mean(fits, axis=0)
    assert -66.9 <= at_1m <= -58.3
    assert 0.89 <= exponent <= 2.18
    assert 4.63 <= residual <= 6.13
    assert 1 - received.mean() == pytest.approx(0.0252 + 0.00394 * distance.mean(), abs=0.02)


def test_shadowing_is_alike_nearby_and_not_afar(scenario):
    """Gudmundson: the correlation falls to 1/e at the shadowing length."""
    rng, near, far = np.random.default_rng(3), [], []
    xy = rng.uniform((4, 4), (20, 14), (3_000, 2))
    turn = rng.uniform(-np.pi, np.pi, 3_000)
    away = np.column_stack([np.cos(turn), np.sin(turn)])
    for seed in range(5):
        model = RadioModel(scenario, seed)
        shadow = [model._shadow[model._cell(xy + away * step)].ravel() for step in (0.0, 0.5, 4.0)]
        near.append(np.corrcoef(shadow[0], shadow[1])[0, 1])
        far.append(np.corrcoef(shadow[0], shadow[2])[0, 1])
    assert np.mean(near) > 0.65
    assert np.mean(far) < 0.35


def test_a_body_between_tag_and_node_weakens_what_is_heard(scenario):
    model = RadioModel(scenario, 1)
    xy = np.array([[12.0, 10.8]])
    coffee = model.nodes.index("coffee")
    towards, away = (model.mean(xy, np.array([turn]), np.zeros(1))[0][0, coffee] for turn in (0.0, np.pi))
    assert towards - away == pytest.approx(scenario.radio.body_loss_db, abs=0.1)


def test_a_survey_tells_each_nodes_mean_where_the_technician_stood(scenario):
    model = RadioModel(scenario, 1)
    places = np.array([[2.0, 7.0], [22.0, 10.5]])
    points = model.survey(places, np.random.default_rng(1))
    turns = [model.mean(places, np.full(2, turn), np.zeros(2))[0] for turn in np.arange(4) * np.pi / 2]
    expected = np.mean(turns, axis=0)
    for point in points:
        place = 0 if point.x_m == 2.0 else 1
        assert point.mean_dbm == pytest.approx(expected[place, model.nodes.index(point.node)], abs=2.0)
    assert all(2 <= point.n <= 40 and 1 < point.sd_db < 8 for point in points)
    assert len(points) == 12
