"""`edge config check`: every mistake in its parts, what a good file would do, and all settings there are."""

import io
import json
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from edge import __main__ as command
from edge import config_check
from edge.config import SECTIONS, Problem, parse_config
from edge.config_summary import doubts, summary

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
[node]
tenant = "acme"
store = "main"
node = "door-1"
zone = "entrance"
[uplink]
host = "broker.example.com"
"""


def test_a_mistake_is_told_with_line_key_found_expected_and_what_was_meant(tmp_path, capsys):
    path = tmp_path / "node.toml"
    path.write_text(GOOD + 'prot = 1\n[ble]\nmode = "pasive"\n')
    assert config_check.main(["check", str(path), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    unknown, wrong = told["problems"]
    assert (unknown["line"], unknown["key"], unknown["nearest"]) == (9, "[uplink] prot", "port")
    assert wrong == {
        "line": 11,
        "key": "[ble] mode",
        "found": '"pasive"',
        "expected": '"active", "passive" or "off"',
        "nearest": "passive",
    }
    assert config_check.main(["check", str(path)]) == 2
    assert "node.toml:9: [uplink] prot: found an unknown setting" in capsys.readouterr().out


def test_a_problem_without_parts_is_told_whole():
    assert config_check.problem_fields(Problem(3, "cannot be"))["found"] == "cannot be"


def test_a_good_file_says_what_the_node_would_do(tmp_path, capsys):
    path = tmp_path / "node.toml"
    path.write_text(GOOD)
    assert config_check.main(["check", str(path)]) == 0
    said = capsys.readouterr().out
    for words in ("acme/main/door-1", "on the first adapter", "enters and leaves entrance", "NOT ENCRYPTED", "256 MiB"):
        assert words in said
    assert config_check.main(["check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_what_else_a_node_hears_is_said():
    text = (
        GOOD
        + """
[ble]
mode = "off"
[wifi]
interface = "radio1"
[[llrp]]
name = "gate"
host = "10.0.0.7"
[[uhf]]
name = "till"
port = "/dev/ttyUSB0"
[hostapd]
control = ["/run/hostapd/wlan0"]
"""
    )
    said = "\n".join(summary(parse_config(text.encode())))
    for words in ("does not hear Bluetooth", "radio1", "10.0.0.7:5084 (gate)", "/dev/ttyUSB0 (till)", "[hostapd]"):
        assert words in said
    assert "[meraki]" not in said


RFID = """
[[llrp]]
name = "gate"
host = "10.0.0.7"
antennas = [1, 2]
[[llrp]]
name = "shelf"
host = "10.0.0.8"
[[uhf]]
name = "till"
port = "/dev/ttyUSB0"
[inventory]
cards = ["E28011"]
[inventory.zones]
"gate/1" = "entrance"
"shelf/4" = "jeans"
"till/1" = "checkout"
"""


def test_rfid_is_told_by_zone_with_cards_and_when_a_thing_is_gone():
    said = "\n".join(summary(parse_config((GOOD + RFID).encode())))
    for words in ("entrance (gate/1), jeans (shelf/4)", "after 600 s unread", "begin with E28011", "members' cards"):
        assert words in said
    assert "knows no members' cards" in "\n".join(summary(parse_config((GOOD + RFID).replace('"E28011"', "").encode())))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ["antenna gate/2 has no zone"]),
        ({'"gate/1"': '"gate/2"'}, ["antenna gate/1 has no zone"]),
        ({'"gate/1"': '"gate/3"'}, ['"gate/3" = "entrance": no reader', "did you mean gate/", "gate/1", "gate/2"]),
        ({'"till/1"': '"til/1"'}, ["did you mean till/1?", "antenna gate/2", "antenna till/1 has no zone"]),
        ({'"till/1"': '"till/2"'}, ['"till/2" = "checkout": no reader', "antenna gate/2", "antenna till/1"]),
        ({'"till/1"': '"till"'}, ['"till" = "checkout": no reader', "antenna gate/2", "antenna till/1"]),
        ({'"shelf/4"': '"gate/2"'}, ["antenna shelf/1 has no zone"]),  # all its ports are read, none has a zone
        ({'name = "till"': 'name = "gate"', '"till/1"': '"gate/2"'}, ["2 readers are named gate"]),
    ],
)
def test_an_antenna_that_no_reader_has_and_one_without_a_zone_are_warned_of(change, words):
    text = RFID
    for old, new in change.items():
        text = text.replace(old, new)
    told = list(doubts(parse_config((GOOD + text).encode())))
    assert len(told) <= len(words)
    for each in words:
        assert any(each in doubt for doubt in told), (each, told)


@pytest.mark.parametrize(
    ("receivers", "antenna", "good"),
    [
        ("[]", "001bc50940810000/1", True),
        ('["00:1b:c5:09:40:81:00:00"]', "001bc50940810000/1", True),
        ('["001bc50940810001"]', "001bc50940810000/1", False),
        ("[]", "gate/1", False),
    ],
)
def test_readers_of_other_vendors_are_known_by_their_identifiers(receivers, antenna, good):
    raddec = f'[raddec]\nlisten = "127.0.0.1:50001"\nreceivers = {receivers}\n'
    text = f'{GOOD}{raddec}[inventory.zones]\n"{antenna}" = "jeans"\n'
    config = parse_config(text.encode())
    assert (not list(doubts(config))) is good
    assert any("jeans" in line for line in summary(config))


def test_what_is_off_is_said_with_what_it_would_need():
    said = "\n".join(summary(parse_config(GOOD.encode())))
    for words in ("[wifi] interface", "[[uhf]]", "[meraki]", "pseudonyms = true and [node] tz and a certificate"):
        assert words in said
    assert "off: Bluetooth" not in said and "off: Bluetooth" in "\n".join(
        summary(parse_config((GOOD + '[ble]\nmode = "off"\n').encode()))
    )


def test_feeds_say_where_they_listen_and_an_empty_list_of_access_points_is_warned_of(tmp_path, capsys):
    (tmp_path / "secret").write_text("x" * 16)
    path = tmp_path / "node.toml"
    path.write_text(
        GOOD
        + """
[privacy]
pseudonyms = true
[meraki]
validator = "v"
secret_file = "secret"
[radius]
secret_file = "secret"
nas = { "ap-1" = "coffee" }
"""
    )
    assert config_check.main(["check", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "[meraki]: posts to http://127.0.0.1:8089/meraki, 0 access points in no zone" in told["does"]
    assert "[radius]: accounting on UDP 127.0.0.1:1813, 1 access points in coffee" in told["does"]
    assert [line.split(" ")[0] for line in told["warnings"]] == ["[meraki.aps]", "[privacy]"]
    assert config_check.main(["check", str(path)]) == 0
    assert "  warning: [meraki.aps] names no access point" in capsys.readouterr().out


def test_a_missing_file_is_told(tmp_path, capsys):
    assert config_check.main(["check", str(tmp_path / "nowhere.toml"), "--json"]) == 2
    assert "No such file" in json.loads(capsys.readouterr().out)["problems"][0]["found"]


def test_the_example_is_a_good_file(capsys):
    assert config_check.main(["check", "--example"]) == 0
    parse_config(capsys.readouterr().out.encode())


def test_the_schema_has_every_setting_and_takes_what_a_node_takes(capsys):
    assert config_check.main(["check", "--print-schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    for name, shape in SECTIONS.items():
        assert name in schema["$defs"]["NodeConfig"]["properties"]
        assert set(shape.__struct_fields__) == set(schema["$defs"][shape.__name__]["properties"])
    jsonschema.validate(tomllib.loads(GOOD), schema)
    for wrong in (GOOD + "prot = 1\n", GOOD + "port = 0\n", '[node]\ntenant = "Acme"\n'):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(wrong), schema)


# --- the commands together


def test_without_words_the_commands_are_listed(capsys):
    assert command.main([]) == 2
    assert command.main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in ("run", "doctor", "watch", "survey", "config"):
        assert f"\n  {name} " in said


@pytest.mark.parametrize("words", [["{path}"], ["run", "{path}"]])
def test_a_node_is_run_with_or_without_the_word(tmp_path, capsys, words):
    path = tmp_path / "node.toml"
    path.write_text("[node]\n")
    assert command.main([word.format(path=path) for word in words]) == 2
    assert "node.toml:1: [node] tenant: found nothing" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "near"), [("dokter", "; did you mean doctor?"), ("xyz", "\n")])
def test_a_word_that_is_no_command_is_told_with_the_nearest(word, near, capsys):
    assert command.main([word, "node.toml"], "./aisle edge") == 2
    said = capsys.readouterr().err
    assert f"./aisle edge: no command '{word}'{near}" in said and "usage: ./aisle edge" in said


def test_a_tool_gets_the_words_after_it(tmp_path, capsys):
    assert command.main(["config", "check", str(tmp_path / "nowhere.toml")]) == 2
    assert "No such file" in capsys.readouterr().out


@pytest.mark.parametrize("tool", command.TOOLS)
def test_each_tool_calls_itself_as_it_was_called(tool, capsys):
    for prog in ("./aisle edge", "python -m edge"):
        with pytest.raises(SystemExit):
            command.main([tool, "--help"], prog)
        assert capsys.readouterr().out.startswith(f"usage: {prog} {tool} ")


def test_the_tools_need_no_more_than_a_node_does():
    code = (
        "import importlib, sys; from edge.__main__ import TOOLS;"
        "[importlib.import_module(tool.module) for tool in TOOLS.values()];"
        "strange = {'typer', 'rich', 'httpx', 'numpy', 'pydantic', 'cli', 'cloud', 'simulators'};"
        "print(sorted(strange & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_device_opts_out_by_the_words_of_its_owner(tmp_path, capsys, monkeypatch):
    path = tmp_path / "node.toml"
    assert command.main(["opt-out", str(path)]) == 1
    assert "node.toml is not there" in capsys.readouterr().err
    path.touch()
    monkeypatch.setattr("sys.stdin", io.StringIO("00:1B:44:11:3A:B7\n"))
    assert command.main(["opt-out", str(path)]) == 0
    assert "opt-outs.txt has 1 entries" in capsys.readouterr().out
    assert stat.S_IMODE((tmp_path / "opt-outs.txt").stat().st_mode) == 0o600
    kept = (tmp_path / "opt-outs.txt").read_text().lower()
    assert "1b:44" not in kept and "001b44113ab7" not in kept
    monkeypatch.setattr("sys.stdin", io.StringIO("02:1B:44:11:3A:B7\n"))
    assert command.main(["opt-out", str(path)]) == 1
    assert "made this address up" in capsys.readouterr().err


def test_a_tool_that_is_not_there_ends_with_3(monkeypatch, capsys):
    monkeypatch.setitem(command.TOOLS, "claim", command.Tool("edge.no_such_module", "later"))
    assert command.main(["claim", "x"]) == command.NOT_BUILT_YET
    assert "not built yet" in capsys.readouterr().err
