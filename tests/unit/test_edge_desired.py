"""The configuration from afar: laid over the file, refused with every mistake, tried, kept, and given up."""

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.clock import SimulatedClock
from contract.orders import Desired, OptOutList, Reported, encode_order
from edge import safe_mode
from edge.config import parse_config
from edge.desired import STARTS_MOST, DesiredConfig, to_toml

FILE = """
[node]
tenant = "acme"
store = "main"
node = "door-1"
[uplink]
host = "localhost"
[ble]
mode = "active"
watchdog_s = 60
"""
LIST = OptOutList(bytes(16), b"abcdef", 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(FILE)
    return path


def start(path: Path) -> DesiredConfig:
    """As a process begins."""
    return DesiredConfig(safe_mode.load(path), path, path.parent / "desired.json", SimulatedClock(7, 0, 0.0))


def order(version: int, opt_outs: OptOutList | None = None, **settings: Any) -> bytes:
    return encode_order(Desired(version, settings, opt_outs))


def test_without_an_order_a_node_runs_its_file(path: Path) -> None:
    node = start(path)
    assert node.config == safe_mode.load(path).config
    assert node.report() == Reported(0, "applied", 0, 7)
    assert not (path.parent / "desired.json").exists()


def test_what_is_desired_is_laid_over_the_file_at_the_next_start(path: Path) -> None:
    node = start(path)
    node.take(order(1, ble={"mode": "passive"}, health={"every_s": 60}))
    assert node.restart and node.config.ble.mode == "active"
    again = start(path)
    assert (again.config.ble.mode, again.config.ble.watchdog_s, again.config.health.every_s) == ("passive", 60, 60)
    assert again.report() == Reported(1, "applied", 1, 7)
    assert again.config.digest != node.config.digest, "the heartbeat tells what it really runs"
    assert stat.S_IMODE((path.parent / "desired.json").stat().st_mode) == 0o600


def test_the_same_order_twice_is_as_once(path: Path) -> None:
    start(path).take(order(1, ble={"mode": "passive"}))
    node = start(path)
    assert node.take(order(1, ble={"mode": "passive"})) == Reported(1, "applied", 1, 7)
    assert not node.restart


def test_what_changes_nothing_needs_no_restart(path: Path) -> None:
    node = start(path)
    assert node.take(order(1, ble={"mode": "active"})) == Reported(1, "applied", 1, 7)
    assert not node.restart and node.version == 1


def test_no_settings_take_all_of_them_back(path: Path) -> None:
    start(path).take(order(1, ble={"mode": "passive"}))
    node = start(path)
    node.take(order(2))
    assert node.restart
    assert start(path).config.ble.mode == "active"


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "a value",
        {"ble": {"mode": "of"}},
        ['[ble] mode: found "of", expected "active", "passive" or "off"; did you mean off?'],
    ),
    ("two mistakes", {"ble": {"mod": 1}, "health": {"every_s": "x"}}, ["[ble] mod: ", "[health] every_s: "]),
    ("a section", {"bel": {"mode": "active"}}, ["[bel]: found a section, expected one of"]),
    ("settings that contradict the file's", {"presence": {"exit_dbm": -60}}, ["[presence] exit_dbm: "]),
    ("who it is", {"node": {"store": "other"}}, ["[node]: found a section of the node's own file"]),
    ("whom it speaks to", {"uplink": {"host": "rival"}}, ["[uplink]: found a section of the node's own file"]),
    ("code", {"ble": {"backend": "os:path"}}, ["[ble] backend: found a setting that names a file or code"]),
    ("another outbox", {"outbox": {"path": "/dev/null"}}, ["[outbox] path: found a setting that names a file"]),
    ("a file, deep inside", {"feeds": {"a": [{"ca_file": "/x"}]}}, ["[feeds] ca_file: found a setting that names"]),
    ("null", {"ble": {"mode": None}}, ["found null, expected a value of TOML"]),
    ("lines of its own", {"ble": {"mode": 'x"\n[node]\nnode = "y'}}, ["[ble] mode: found "]),
    ("a section of its own", {'x"]\n[node': {"node": "y"}}, ["found a section, expected one of"]),
]


@pytest.mark.parametrize(("settings", "told"), [pytest.param(*r[1:], id=r[0]) for r in REFUSED])
def test_what_is_wrong_is_refused_with_every_mistake_and_changes_nothing(
    path: Path, settings: dict[str, Any], told: list[str]
) -> None:
    node = start(path)
    report = node.take(order(3, **settings))
    assert report is not None and (report.version, report.state, report.running) == (3, "refused", 0)
    assert [text in problem for text, problem in zip(told, report.problems, strict=True)] == [True] * len(told)
    assert not node.restart
    again = start(path)
    assert again.config == node.config
    assert again.report() == report, "it says so after a restart too"


def test_a_refused_order_leaves_the_one_before_it_running(path: Path) -> None:
    start(path).take(order(1, ble={"mode": "passive"}))
    node = start(path)
    node.take(order(2, ble={"mode": "of"}))
    assert node.report().running == 1
    assert start(path).config.ble.mode == "passive"


def test_a_configuration_that_a_node_does_not_survive_is_given_up(path: Path) -> None:
    start(path).take(order(1, ble={"mode": "passive"}))
    start(path).confirm()
    start(path).take(order(2, ble={"adapter": "hci9"}))
    for _ in range(STARTS_MOST):
        assert start(path).config.ble.adapter == "hci9", "each of these dies"
    node = start(path)
    assert node.config.ble.mode == "passive" and node.config.ble.adapter is None
    report = node.report()
    assert (report.version, report.state, report.running) == (2, "refused", 1)
    assert "ended within 60 s, 3 times" in report.problems[0]
    assert start(path).report() == report


def test_a_configuration_that_lasted_stays_however_often_the_power_goes(path: Path) -> None:
    start(path).take(order(1, ble={"mode": "passive"}))
    start(path)
    start(path).confirm()
    for _ in range(5):
        assert start(path).config.ble.mode == "passive"


def test_a_node_is_not_confirmed_in_what_it_does_not_run_yet(path: Path) -> None:
    node = start(path)
    node.take(order(1, ble={"mode": "passive"}))
    node.confirm()
    for _ in range(STARTS_MOST):
        start(path)
    assert start(path).config.ble.mode == "active"


def test_a_file_that_changed_since_wins_over_what_no_longer_fits(path: Path) -> None:
    start(path).take(order(1, presence={"exit_dbm": -70}))
    assert start(path).config.presence.exit_dbm == -70
    path.write_text(FILE + "[presence]\nenter_dbm = -72\nexit_dbm = -80\n")
    node = start(path)
    assert node.config.presence.exit_dbm == -80
    assert node.report().state == "refused" and node.report().running == 0


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"running": 1}', b"\xff" * 50])
def test_what_is_kept_may_be_broken(path: Path, kept: bytes) -> None:
    (path.parent / "desired.json").write_bytes(kept)
    assert start(path).config == safe_mode.load(path).config


def test_a_disk_that_keeps_nothing_is_no_reason_to_start_anew(path: Path) -> None:
    (path.parent / ".desired.json.new").mkdir()  # where it would be written
    node = start(path)
    report = node.take(order(1, ble={"mode": "passive"}))
    assert report is not None and report.problems == ("it cannot be kept on the disk",)
    assert not node.restart


@given(st.binary(max_size=200))
def test_bytes_that_are_no_order_change_nothing(payload: bytes) -> None:
    loaded = safe_mode.Loaded(parse_config(FILE.encode()), "normal", (), FILE.encode())
    node = DesiredConfig(loaded, Path("node.toml"), Path("/nonexistent/desired.json"), SimulatedClock(7, 0, 0.0))
    assert node.take(payload) is None
    assert node.report() == Reported(0, "applied", 0, 7)


def test_opt_outs_are_followed_at_once_and_remembered(path: Path) -> None:
    node = start(path)
    told: list[OptOutList | None] = []
    node.opt_outs_changed = told.append
    for _ in range(2):
        report = node.take(order(0, LIST))
        assert report is not None and report.opt_outs == 2
    assert told == [LIST] and not node.restart
    assert start(path).opt_outs == LIST
    node.take(order(1, ble={"mode": "of"}))
    assert start(path).opt_outs == LIST, "whatever else is refused"


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_toml_that_is_written_is_read_as_it_was(document: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(document)) == document
