"""node.toml: every mistake is told with its line, what was found, what was expected and the nearest name."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from edge.__main__ import main
from edge.config import LISTS, SECTIONS, ConfigError, parse_config

ROOT = Path(__file__).resolve().parents[2]
GOOD = """[node]
tenant = "acme"
store = "main"
node = "door-1"

[uplink]
host = "localhost"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text.encode())
    return str(caught.value).splitlines()


def test_the_least_configuration_has_a_default_for_everything_else():
    config = parse_config(GOOD.encode())
    assert str(config.address) == "acme/main/door-1"
    assert config.windows.length_us == 1_000_000
    assert config.node.zone is None
    assert len(config.digest) == 12


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("port = 99999", "node.toml:8: [uplink] port: found 99999, expected a port, 1 to 65535"),
        ('port = "1883"', 'node.toml:8: [uplink] port: found "1883", expected a port, 1 to 65535'),
        ("port = true", "node.toml:8: [uplink] port: found true, expected a port, 1 to 65535"),
        (
            'user = "x"',
            "node.toml:8: [uplink] user: found an unknown setting, expected one of host, port, username, "
            "password_file, ca_file, cert_file, key_file, keepalive_s; did you mean username?",
        ),
        (
            '[ble]\nmode = "pasive"',
            'node.toml:9: [ble] mode: found "pasive", expected "active", "passive" or "off"; did you mean passive?',
        ),
        (
            "[windos]\nseconds = 1",
            "node.toml:8: [windos]: found a section, expected one of {}; did you mean windows?".format(
                ", ".join([*SECTIONS, *LISTS])
            ),
        ),
        ("[windows]\nseconds = 0", "node.toml:9: [windows] seconds: found 0, expected seconds, 0.1 to 60"),
        ("[windows]\nseconds = nan", "node.toml:9: [windows] seconds: found nan, expected seconds, 0.1 to 60"),
        ("[windows]\nseconds = 0.3333", "node.toml:9: [windows] seconds: found 0.3333, expected whole milliseconds"),
        (
            "[presence]\nexit_dbm = -60",
            "node.toml:9: [presence] exit_dbm: found -60, expected less than enter_dbm (-67)",
        ),
        (
            'password_file = "none"\nusername = "x"',
            'node.toml:8: [uplink] password_file: found "none", expected a file that exists',
        ),
        (
            '[ble]\nbackend = "simulators.ble"',
            'node.toml:9: [ble] backend: found "simulators.ble", expected "package.module:Class"',
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(more, told):
    assert problems(GOOD + more + "\n") == [told]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            'tenant = "acme"',
            'tenant = "Acme Ltd"',
            'node.toml:2: [node] tenant: found "Acme Ltd", expected a name (a-z, 0-9 and -, at most 63)',
        ),
        ('host = "localhost"', "", "node.toml:6: [uplink] host: found nothing, expected a text that is not empty"),
        ('host = "localhost"', "host =", "node.toml:7: found no valid TOML (Invalid value), expected `key = value`"),
        (
            'node = "door-1"',
            'node = "door-1"\nclock = "noon"',
            'node.toml:5: [node] clock: found "noon", expected START_US@REAL_USxSPEED',
        ),
    ],
)
def test_a_wrong_or_missing_setting_is_told_with_its_line(old, new, told):
    assert problems(GOOD.replace(old, new)) == [told]


def test_a_file_without_sections_is_told_what_is_missing():
    told = problems("verbose = 1\n")
    assert told[0].startswith("node.toml:1: verbose: found a setting in no section, expected one of node, uplink")
    assert [line.split(":")[2].strip() for line in told[1:]] == [
        "[node] tenant",
        "[node] store",
        "[node] node",
        "[uplink] host",
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines():
    told = problems(GOOD.replace("door-1", "Door") + "port = 0\n[helth]\nx = 1\n[outbox]\nmax_mb = -1\n")
    assert [int(line.split(":")[1]) for line in told] == [4, 8, 9, 12]


def test_bytes_that_are_no_text_are_told_with_their_line():
    with pytest.raises(ConfigError, match=r"^node.toml:2: found bytes that are not UTF-8"):
        parse_config(b"# fine\n\xff")


@given(st.text(max_size=80))
def test_no_text_gives_anything_but_a_configuration_or_a_named_mistake(text):
    try:
        parse_config(text.encode(errors="replace"))
    except ConfigError as error:
        assert all(re.match(r"node\.toml:\d+: ", line) for line in str(error).splitlines() if line)


def example(shown: bool) -> str:
    """The example's text; `shown` takes the # from every setting."""
    text = (ROOT / "edge" / "node.example.toml").read_text()
    return re.sub(r"(?m)^# (\w+ = |\[\[?\w+\]\]?$)", r"\1", text) if shown else text


def test_the_example_is_valid_and_shows_every_setting(tmp_path):
    assert parse_config(example(shown=False).encode()).node.node == "door-1"
    tables = {name: table[0] if name in LISTS else table for name, table in tomllib.loads(example(shown=True)).items()}
    assert {name: set(table) for name, table in tables.items()} == {
        name: {field.name for field in fields(shape)} for name, shape in (SECTIONS | LISTS).items()
    }
    for name in re.findall(r'(?m)^\w+_file = "(.+?)"', example(shown=True)):
        (tmp_path / name).touch()
    parse_config(example(shown=True).encode(), folder=tmp_path)


def test_defaults_shown_in_the_example_are_the_defaults():
    shown = tomllib.loads(example(shown=True))
    for section in ("windows", "presence", "outbox", "health"):
        assert shown[section] == {field.name: field.default for field in fields(SECTIONS[section])}
    assert (shown["ble"]["mode"], shown["ble"]["watchdog_s"]) == ("active", 90)
    assert (shown["uplink"]["port"], shown["uplink"]["keepalive_s"]) == (1883, 20)
    assert shown["llrp"][0]["port"] == 5084 and tuple(shown["wifi"]["hop"]) == (1, 6, 11)


def test_sections_in_double_brackets_may_come_several_times_and_their_mistakes_have_lines():
    readers = '[[llrp]]\nname = "door"\nhost = "10.0.0.7"\n[[llrp]]\nname = "till"\nhost = "10.0.0.8"\nport = 0\n'
    assert problems(GOOD + readers) == ["node.toml:14: [llrp] port: found 0, expected a port, 1 to 65535"]
    assert [r.name for r in parse_config((GOOD + readers.replace("port = 0", "")).encode()).llrp] == ["door", "till"]
    (told,) = problems(GOOD + '[llrp]\nname = "door"\nhost = "10.0.0.7"\n')
    assert told == "node.toml:8: [llrp]: found one section, expected [[llrp]], since there may be several"
    (told,) = problems(GOOD + '[[llrp]]\nname = "door"\nhost = "10.0.0.7"\n[[llrp]]\nname = "till"\n')
    assert told == "node.toml:11: [llrp] host: found nothing, expected a text that is not empty"


def test_a_wrong_file_ends_the_program_with_code_2(tmp_path, capsys):
    path = tmp_path / "node.toml"
    path.write_text(GOOD + "port = 0\n")
    assert main([str(path)]) == 2
    assert capsys.readouterr().err == "node.toml:8: [uplink] port: found 0, expected a port, 1 to 65535\n"
    assert main([str(tmp_path / "none.toml")]) == 2
    assert "No such file" in capsys.readouterr().err
