"""`bench locate`: an update's cost is told for one core, in a process that numpy gives one thread."""

import pytest

from cli.bench.locate import measure


def test_an_updates_cost_and_the_updates_a_second_are_told_of_the_floor_that_was_asked_for() -> None:
    found = measure(width_m=8.0, depth_m=6.0, cell_m=1.0, steps=1)
    assert (found.cells, found.nodes) == (48, 1)
    assert found.updates_per_s == pytest.approx(1e6 / found.us_per_update)
    assert found.updates_per_s > 1000
