"""The demo as a whole: a day of history and half a minute of life, every count above zero and nothing lost."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo import run

COUNTS = (
    "events_stored",
    "positions",
    "visits",
    "receipts",
    "receipts_joined",
    "offers_decided",
    "ghosts",
    "pushes_delivered",
    "tagged_things",
)


@pytest.mark.timeout(300)
def test_a_short_demo_counts_everything_and_loses_nothing_and_its_second_start_is_quick(stack_folder: Path) -> None:
    root = stack_folder / "demo"
    said = StringIO()
    console = Console(file=said, width=120)
    first = run(root, "corner-store", 1, 1, 30, None, console, fresh=False)
    assert first is not None
    assert {name: first[name] for name in COUNTS if first[name] <= 0} == {}
    assert first["events_lost"] == 0
    assert first["startup_s"] <= 120
    assert "/v1/stores/corner-store/inventory" in said.getvalue()
    again = run(root, "corner-store", 1, 1, 10, None, console, fresh=False)
    assert again is not None
    assert again["events_lost"] == 0
    assert again["history_s"] == 0
    assert again["events_stored"] > first["events_stored"]
    assert again["startup_s"] <= 15, "3 s on an idle machine"
