"""The body between a tag and the nodes: which way it stands is learned from what they hear, and forgotten."""

import numpy as np
import pytest

from cloud.locate.body import Bodies, directions
from cloud.locate.filter import GridFilter
from cloud.locate.radiomap import Grid, RadioMap

GRID = Grid.covering((0.0, 0.0), (16.0, 12.0), 1.0)
NODES = np.array([(2, 2, 2.5), (14, 2, 2.5), (14, 10, 2.5), (2, 10, 2.5), (8, 6, 2.5), (8, 1, 2.5)], float)
LAW = RadioMap.from_path_loss(GRID, NODES, exponent=2.8)
ROW = np.array([0])


def known_body(seconds: int) -> Bodies:
    """A body that hears 3 dB better what lies along +x, after some seconds of looking at four nodes around it."""
    bodies = Bodies(2.5)
    bodies.reset(ROW)
    towards = np.array([[[1.0, 0.0, -1.0, 0.0]], [[0.0, 1.0, 0.0, -1.0]]], np.float32)
    for _ in range(seconds):
        bodies.turn(1.0)
        bodies.learn(ROW, towards, 3.0 * towards[0], np.full((1, 4), 1 / 25))
    return bodies


def gain(bodies: Bodies, x: float, y: float) -> float:
    return float(bodies.gain_db(ROW, np.array([[[x]], [[y]]], np.float32))[0, 0])


def test_a_body_is_learned_in_its_direction_only() -> None:
    bodies = known_body(60)
    assert gain(bodies, 1, 0) > 0.8
    assert gain(bodies, -1, 0) == pytest.approx(-gain(bodies, 1, 0))
    assert gain(bodies, 0, 1) == pytest.approx(0.0, abs=1e-6)


def test_what_was_learned_fades_as_people_turn_and_a_reset_row_knows_nothing() -> None:
    bodies = known_body(60)
    before = gain(bodies, 1, 0)
    bodies.turn(30.0)
    assert 0 < gain(bodies, 1, 0) < before / 5
    bodies.reset(ROW)
    assert gain(bodies, 1, 0) == 0.0


def test_directions_are_unit_vectors_and_vanish_below_a_node() -> None:
    towards = directions(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 4.0]]))
    assert towards[:, 0, 0] == pytest.approx([0.6, 0.8])
    assert towards[:, 0, 1] == pytest.approx([0.0, 0.0])


def test_a_shopper_with_a_body_is_found_better_by_a_filter_that_knows_of_bodies() -> None:
    rng = np.random.default_rng(5)
    places = rng.uniform(2, 10, (40, 2))
    away = NODES[:, :2] - places[:, None]
    unit = away / np.linalg.norm(away, axis=-1, keepdims=True)
    turned = rng.uniform(0, 2 * np.pi, 40)
    body = 5.0 * (unit[..., 0] * np.cos(turned)[:, None] + unit[..., 1] * np.sin(turned)[:, None])
    levels = LAW.mean_dbm[:, GRID.cell_of(places)].T + body
    missed = {}
    for sd_db in (0.0, 2.5):
        locator = GridFilter(LAW, body_sd_db=sd_db)
        rows = locator.add(40)
        noise = np.random.default_rng(6)
        for _ in range(30):
            locator.predict(1.0)
            heard = (levels + noise.normal(0, 3, levels.shape)).ravel()
            locator.update(np.repeat(rows, 6), np.tile(np.arange(6), 40), heard, np.full(240, 1))
        missed[sd_db] = float(np.linalg.norm(locator.estimates()[0] - places, axis=1).mean())
    assert missed[2.5] < 0.96 * missed[0.0]


def test_a_map_of_before_without_node_positions_does_without_a_body() -> None:
    bare = RadioMap(GRID, LAW.mean_dbm, LAW.sd_db, LAW.map_sd_db, LAW.heard)
    assert bare.nodes_xy is None
    locator = GridFilter(bare, body_sd_db=2.5)
    locator.add(1)
    for _ in range(10):
        locator.predict(1.0)
        locator.update([0] * 6, np.arange(6), LAW.mean_dbm[:, 100], np.full(6, 3))
    assert np.linalg.norm(locator.estimates()[0][0] - GRID.centres[100]) < 2
