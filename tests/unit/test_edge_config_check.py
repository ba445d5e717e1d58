"""`edge config check`: every mistake in its parts, what a good file would do, and all settings there are."""

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from edge import __main__ as command
from edge import config_check
from edge.config import SECTIONS, Problem, parse_config

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
    said = "\n".join(config_check.summary(parse_config(text.encode())))
    for words in ("does not hear Bluetooth", "radio1", "10.0.0.7:5084 (gate)", "/dev/ttyUSB0 (till)", "[hostapd]"):
        assert words in said
    assert "[meraki]" not in said


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


def test_a_tool_gets_the_words_after_it(tmp_path, capsys):
    assert command.main(["config", "check", str(tmp_path / "nowhere.toml")]) == 2
    assert "No such file" in capsys.readouterr().out


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
    monkeypatch.setattr("sys.stdin", io.StringIO("00:1B:44:11:3A:B7\n"))
    assert command.main(["opt-out", str(path)]) == 0
    assert "opt-outs.txt has 1 entries" in capsys.readouterr().out
    kept = (tmp_path / "opt-outs.txt").read_text().lower()
    assert "1b:44" not in kept and "001b44113ab7" not in kept
    monkeypatch.setattr("sys.stdin", io.StringIO("02:1B:44:11:3A:B7\n"))
    assert command.main(["opt-out", str(path)]) == 1
    assert "made this address up" in capsys.readouterr().err


def test_a_tool_that_is_not_there_ends_with_3(monkeypatch, capsys):
    monkeypatch.setitem(command.TOOLS, "claim", command.Tool("edge.no_such_module", "later"))
    assert command.main(["claim", "x"]) == command.NOT_BUILT_YET
    assert "not built yet" in capsys.readouterr().err
