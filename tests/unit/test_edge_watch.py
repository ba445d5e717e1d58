"""Watching a node: rates between two moments, one page a second, and what is said while it does not run."""

import io
import json

import pytest

from contract.messages import Health, SourceHealth
from edge import watch
from edge.outbox import Outbox
from edge.outbox_file import Totals
from edge.status import NodeStatus, socket_of


def status(uptime_s: float, heard: int = 0, windows: int = 0, boot: str = "b1", **parts: object) -> NodeStatus:
    health: dict[str, object] = {
        "at": 0, "boot": boot, "version": "0.1.0", "config": "abc", "uptime_s": uptime_s, "clock": "trusted",
        "adverts": heard, "adverts_per_s": 0.0, "windows": windows, "outbox_rows": 0, "outbox_oldest_s": 0.0,
        "dropped": 0, "reconnects": 0, "rss_mb": 40.0, "restarts": 0, "sources": {"ble": SourceHealth("ok", heard)},
    }  # fmt: skip
    return NodeStatus("acme/main/door-1", True, 7, Health(**(health | parts)))  # type: ignore[arg-type]


def test_rates_are_of_the_time_between_two_moments():
    now = status(12.0, heard=150, windows=30)
    assert watch.rates(status(10.0, heard=50, windows=10), now) == watch.Rates({"ble": 50.0}, 10.0)


@pytest.mark.parametrize(
    "before", [None, status(100.0, heard=9_000), status(10.0, heard=50, boot="b0"), status(12.0, heard=150)]
)
def test_the_first_moment_of_a_run_has_no_rates(before):
    assert watch.rates(before, status(12.0, heard=150)) == watch.Rates({"ble": 0.0}, 0.0)


def test_a_source_that_came_later_counts_from_nothing():
    sources = {"ble": SourceHealth("ok", 60), "wifi": SourceHealth("ok", 20)}
    assert watch.rates(status(10.0, heard=50), status(11.0, sources=sources)).heard == {"ble": 10.0, "wifi": 20.0}


def test_the_page_shows_what_a_technician_looks_for():
    sources = {"ble": SourceHealth("ok", 150), "rfid.gate": SourceHealth("down", 0, 0, 2, "No route to host")}
    now = status(12.0, sources=sources, outbox_rows=420, outbox_oldest_s=75.0, dropped=3, mode="safe")
    now = NodeStatus(now.node, False, 7, now.health)
    page = watch.screen(watch.View(0, now), watch.rates(status(10.0, heard=50), now))
    for words in (
        "acme/main/door-1",
        "SAFE MODE",
        "ble                 50.0         150  ok",
        "down No route to host",
        "subjects now   7",
        "420 batches wait, the oldest 75 s old   3 EVENTS GIVEN UP",
        "NO CONNECTION, all is kept",
    ):
        assert words in page, page


def test_without_a_node_the_page_shows_the_outbox():
    view = watch.View(0, None, Totals("e", 1000, 50, 3, 0, 12), "the node is not running")
    page = watch.screen(view, None)
    assert page.startswith("THE NODE IS NOT RUNNING")
    assert "12 batches wait" in page and "1000 events in 50 batches" in page and "3 events for want of room" in page
    assert "12 batches wait in its outbox" in watch.one_line(view, None)
    assert json.loads(watch.json_line(view, None))["outbox"]["rows"] == 12


def test_a_line_of_json_holds_the_same():
    now = status(12.0, heard=150, windows=30)
    told = json.loads(watch.json_line(watch.View(5.0, now), watch.rates(status(10.0, heard=50), now)))
    assert told["running"] is True and told["heard_per_s"] == {"ble": 50.0} and told["windows_per_s"] == 15.0
    assert told["subjects"] == 7 and told["outbox_rows"] == 0


def test_a_node_that_does_not_run_is_said_with_what_its_outbox_holds(tmp_path):
    path = tmp_path / "outbox.db"
    out = io.StringIO()
    watch.show(path, as_json=True, for_s=0, out=out)
    told = json.loads(out.getvalue())
    assert told["running"] is False and "has never run" in told["why"] and told["outbox"] is None
    box = Outbox(path)
    box.put("presence", 1, 3, lambda epoch, seq: b"{}")
    box.close()
    out = io.StringIO()
    watch.show(path, as_json=True, for_s=0, out=out)
    assert json.loads(out.getvalue())["outbox"] == {
        "rows": 1,
        "events_accepted": 3,
        "batches_accepted": 1,
        "events_dropped": 0,
        "events_rejected": 0,
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_a_node_that_never_ran_is_said_once_with_how_to_start_it(tmp_path, monkeypatch, as_json):
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    out = io.StringIO()
    watch.show(tmp_path / "outbox.db", as_json=as_json, for_s=0.2, out=out, start="./aisle edge run node.toml")
    (line,) = out.getvalue().splitlines()
    assert "never run" in line and "start it: ./aisle edge run node.toml" in line


def test_a_path_that_is_no_configuration_ends_with_2(tmp_path, capsys):
    assert watch.main([str(tmp_path / "node.toml")]) == 2
    assert "expected a configuration file" in capsys.readouterr().err
    (tmp_path / "node.toml").write_text("[node\n")
    assert watch.main([str(tmp_path / "node.toml")]) == 2
    assert "node.toml:1:" in capsys.readouterr().err


def test_the_socket_lies_beside_the_outbox(tmp_path):
    assert socket_of(tmp_path / "outbox.db") == tmp_path / "outbox.db.status"
