"""The figures that `./aisle bench` is to reach, on a machine that has time for it."""

import pytest

from cli.bench.heatmap import measure as measure_heatmap
from cli.bench.ingest import measure as measure_ingest

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]


def test_windows_are_stored_at_a_tenth_of_copy_alone_or_faster() -> None:
    figures = measure_ingest(events=300_000, paced_s=3, publishers=20, runs=3)
    assert figures.ratio >= 0.1
    assert figures.ingest_rows_per_s >= 50_000
    assert figures.p50_ms <= 200


def test_a_day_of_a_million_positions_is_answered_and_painted_within_50_ms() -> None:
    figures = measure_heatmap(positions=1_000_000, asks=30)
    assert figures.grid_ms <= 50
    assert figures.grid_ms < figures.peer_ms
    assert figures.paint_ms is None or figures.paint_ms <= 50
