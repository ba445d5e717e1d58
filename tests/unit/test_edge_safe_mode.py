"""Safe mode: a broken node.toml never ends a node that once worked, and says what is wrong with it."""

import logging
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import ConfigError, Problem
from edge.safe_mode import Loaded, copy_of, keep, load

GOOD = """
[node]
tenant = "acme"
store = "main"
node = "door-1"
[uplink]
host = "broker.example.com"
[outbox]
path = "state/outbox.db"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    made = tmp_path / "node.toml"
    made.write_text(GOOD)
    return made


def ran(path: Path) -> Loaded:
    """A good start: loaded, and kept once it runs."""
    loaded = load(path)
    keep(loaded, path)
    return loaded


def test_a_good_file_is_followed_and_kept_where_only_the_node_may_read(path):
    loaded = ran(path)
    assert (loaded.mode, loaded.problems) == ("normal", ())
    copy = copy_of(path, path.parent / "state" / "outbox.db")
    assert copy.read_text() == GOOD
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [p.name for p in copy.parent.iterdir()] == [copy.name], "nothing half-written is left"


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (GOOD.replace("[outbox]", "[windows]\nseconds = 99\n[outbox]"), "[windows] seconds: found 99"),
        (GOOD.replace('node = "door-1"', 'node = "door-1'), "no valid TOML"),
        (GOOD.replace("[outbox]", "[outbx]"), "[outbx]"),
    ],
    ids=["a wrong value", "a quotation mark short", "a section's name"],
)
def test_a_broken_file_falls_back_to_the_last_good_one(path, broken, problem, caplog, monkeypatch):
    before = ran(path)
    monkeypatch.setenv("STATE_DIRECTORY", str(path.parent / "state"))  # as systemd sets it
    path.write_text(broken)
    with caplog.at_level(logging.ERROR):
        loaded = load(path)
    assert loaded.mode == "safe"
    assert loaded.config == before.config, "the digest in the heartbeat is that of what it runs on"
    assert any(problem in each.text for each in loaded.problems)
    assert f"node.toml:{loaded.problems[0].line}: " in caplog.text and "safe mode" in caplog.text


def test_a_file_that_is_gone_falls_back_too(path, monkeypatch):
    ran(path)
    monkeypatch.setenv("STATE_DIRECTORY", str(path.parent / "state"))
    path.unlink()
    loaded = load(path)
    assert loaded.mode == "safe" and "No such file" in loaded.problems[0].text


def test_without_systemd_the_broken_file_itself_says_where_the_outbox_lies(path):
    ran(path)
    path.write_text(GOOD.replace('host = "broker.example.com"', "host = "))
    assert load(path).mode == "safe", "read from the lines, since it is no valid TOML"
    path.write_text(GOOD.replace('"broker.example.com"', "3"))
    assert load(path).mode == "safe"


def test_if_there_never_was_a_good_one_the_mistakes_are_raised(path):
    path.write_text("[node]\n")
    with pytest.raises(ConfigError):
        load(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        load(path)


def test_a_last_good_one_that_names_what_is_gone_is_good_no_more(path):
    (path.parent / "ca.crt").touch()
    path.write_text(GOOD.replace("[outbox]", 'ca_file = "ca.crt"\n[outbox]'))
    ran(path)
    (path.parent / "ca.crt").unlink()
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        load(path)


def test_a_mended_file_is_followed_again_and_kept(path):
    ran(path)
    path.write_text("[node")
    safe = load_from_state(path)
    keep(safe, path)
    mended = GOOD.replace("door-1", "door-2")
    path.write_text(mended)
    assert ran(path).mode == "normal"
    assert copy_of(path, path.parent / "state" / "outbox.db").read_text() == mended


def load_from_state(path: Path) -> Loaded:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", f"/nowhere:{path.parent / 'state'}")
        return load(path)


def test_in_safe_mode_nothing_new_is_kept(path):
    first = ran(path)
    keep(Loaded(first.config, "safe", (Problem(1, "x"),), b"other"), path)
    assert copy_of(path, path.parent / "state" / "outbox.db").read_text() == GOOD


def test_two_nodes_of_one_folder_keep_their_own(tmp_path, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    for name in ("door-1", "door-2"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "node.toml").write_text(GOOD.replace("door-1", name).replace("state/", f"{tmp_path}/"))
        ran(folder / "node.toml")
    assert len(list(tmp_path.glob("last-good-*.toml"))) == 2


def test_a_card_is_not_written_for_nothing(path):
    ran(path)
    copy = copy_of(path, path.parent / "state" / "outbox.db")
    before = copy.stat().st_mtime_ns, copy.stat().st_ino
    ran(path)
    assert (copy.stat().st_mtime_ns, copy.stat().st_ino) == before


def test_a_disk_that_refuses_is_logged_and_the_node_runs_on(path, caplog):
    loaded = load(path)
    (path.parent / "state").write_text("a file where the folder should be")
    keep(loaded, path)
    assert "could not be kept" in caplog.text


@given(st.binary(max_size=200))
def test_any_bytes_in_the_file_give_the_last_good_one(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("node")
    path = folder / "node.toml"
    path.write_text(GOOD)
    ran(path)
    path.write_bytes(b'[outbox]\npath = "state/outbox.db"\n' + noise)
    assert load(path).mode == "safe"
