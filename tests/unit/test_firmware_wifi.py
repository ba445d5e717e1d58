"""firmware_configs/wifi: each file is taken by its program, or does what it claims by its published grammar."""

import configparser
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import pytest

from edge.settings import Wifi

ROOT = Path(__file__).resolve().parents[2]
WIFI = ROOT / "firmware_configs" / "wifi"
RULES = WIFI / "70-monitor.rules"
UNIT = WIFI / "radio-monitor@.service"
DROP_IN = WIFI / "aisle-edge-wifi.conf"
NODE_UNIT = ROOT / "firmware_configs" / "pi" / "aisle-edge.service"

_TOKEN = re.compile(r'([A-Z]+(?:\{[^}]+\})?)\s*(==|!=|\+=|:=|=)\s*"([^"]*)"\s*(?:,\s*|$)')
_MATCHED = {"ACTION", "SUBSYSTEM", "KERNEL", "SUBSYSTEMS", "DRIVERS"}


def rules() -> list[list[tuple[str, str, str]]]:
    """The rules as (key, operator, value), by udev(7): one a line, tokens divided by commas."""
    found = []
    for line in RULES.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            tokens = _TOKEN.findall(line)
            assert _TOKEN.sub("", line) == "", f"not understood by udev: {line}"
            found.append(tokens)
    return found


def play(device: dict[str, str]) -> dict[str, str]:
    """What the rules set for a device, as udev would: in order, until a GOTO leads further down."""
    result: dict[str, str] = {}
    label = None
    for rule in rules():
        if label is not None:
            if ("LABEL", "=", label) in rule:
                label = None
            continue
        tests = [(key, sign, value) for key, sign, value in rule if sign in ("==", "!=")]
        fits = [
            any(fnmatchcase(device[key], one) for one in value.split("|")) == (sign == "==")
            for key, sign, value in tests
        ]
        if not all(fits):
            continue
        for key, sign, value in rule:
            if sign in ("=", "+="):
                if key == "GOTO":
                    label = value
                elif key != "LABEL":
                    number = re.sub(r"\D", "", device["KERNEL"])
                    result[key] = value.replace("%n", number)
    assert label is None, f"a GOTO to a label that is not there: {label}"
    return result


def device(**other: str) -> dict[str, str]:
    adapter = {"ACTION": "add", "SUBSYSTEM": "net", "KERNEL": "wlan1", "SUBSYSTEMS": "usb", "DRIVERS": "ath9k_htc"}
    return adapter | other


def test_an_adapter_that_is_plugged_in_is_named_and_put_into_monitor_mode():
    wanted = {"NAME": "radio1", "TAG": "systemd", "ENV{SYSTEMD_WANTS}": "radio-monitor@radio1.service"}
    assert play(device()) == wanted
    assert play(device(DRIVERS="mt76x2u", KERNEL="wlan0"))["NAME"] == "radio0"


@pytest.mark.parametrize(
    "other",
    [
        {"ACTION": "remove"},
        {"ACTION": "move"},  # the renaming itself
        {"KERNEL": "eth0"},
        {"SUBSYSTEM": "ieee80211"},
        {"DRIVERS": "brcmfmac", "SUBSYSTEMS": "sdio"},  # built into a Raspberry Pi: the uplink
        {"DRIVERS": "brcmfmac"},
        {"SUBSYSTEMS": "pci"},
    ],
)
def test_any_other_device_is_left_alone(other):
    assert play(device(**other)) == {}


def test_the_rules_ask_only_for_what_udev_knows():
    for rule in rules():
        for key, sign, _ in rule:
            assert key in _MATCHED if sign in ("==", "!=") else key in ("GOTO", "LABEL", "NAME", "TAG") or "ENV" in key


def _udevadm_verifies() -> bool:
    found = shutil.which("udevadm")
    if found is None:
        return False
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return version.isdecimal() and int(version) >= 254


@pytest.mark.skipif(not _udevadm_verifies(), reason="udevadm verify is not there: it came with systemd 254")
def test_udev_takes_the_rules():
    result = subprocess.run(["udevadm", "verify", str(RULES)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def unit(path: Path) -> list[tuple[str, str]]:
    """(key, value) of a unit's lines in order: systemd takes a key several times."""
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [(key.strip(), value.strip()) for key, _, value in (line.partition("=") for line in lines)]


def test_the_unit_sets_the_mode_while_the_interface_is_down_and_goes_with_its_device():
    entries = unit(UNIT)
    commands = [value for key, value in entries if key == "ExecStart"]
    assert commands == ["ip link set dev %I down", "iw dev %I set type monitor", "ip link set dev %I up"]
    assert ("BindsTo", "sys-subsystem-net-devices-%i.device") in entries
    assert ("CapabilityBoundingSet", "CAP_NET_ADMIN") in entries


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt install systemd"
)


@needs_systemd
def test_systemd_takes_the_unit(tmp_path):
    copy = tmp_path / "radio-monitor@radio1.service"
    copy.write_text(re.sub(r"=(ip|iw) ", "=/bin/true ", UNIT.read_text()))
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert "radio-monitor" not in result.stderr, result.stderr


@needs_systemd
def test_systemd_takes_the_nodes_unit_with_what_wifi_adds_to_it(tmp_path):
    copy = tmp_path / NODE_UNIT.name
    copy.write_text(NODE_UNIT.read_text().replace("/opt/aisle/.venv/bin/python", "/bin/true"))
    drop_in = tmp_path / f"{NODE_UNIT.name}.d" / "wifi.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(DROP_IN.read_text())
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert copy.name not in result.stderr and "wifi.conf" not in result.stderr, result.stderr


def test_what_wifi_adds_is_two_capabilities_and_two_families():
    added = dict(unit(DROP_IN))
    assert added["CapabilityBoundingSet"] == added["AmbientCapabilities"] == "CAP_NET_RAW CAP_NET_ADMIN"
    before = set(dict(unit(NODE_UNIT))["RestrictAddressFamilies"].split())
    assert before < set(added["RestrictAddressFamilies"].split()) == before | {"AF_PACKET", "AF_NETLINK"}


def test_network_manager_leaves_the_names_alone_that_the_rules_give():
    parser = configparser.ConfigParser()
    parser.read(WIFI / "unmanaged.conf")
    kind, _, pattern = parser["keyfile"]["unmanaged-devices"].partition(":")
    assert kind == "interface-name"
    assert fnmatchcase(play(device())["NAME"], pattern)
    assert not fnmatchcase("wlan0", pattern)


def test_the_hop_plan_is_a_section_that_the_node_takes():
    document = tomllib.loads((WIFI / "hop.toml").read_text())
    assert set(document) == {"wifi"}
    settings = msgspec.convert(document["wifi"], Wifi)
    assert settings.interface == play(device())["NAME"]
    assert settings.hop == (1, 6, 11) == Wifi().hop
    assert settings.aggregate_only
    assert set(document["wifi"]) <= set(Wifi.__struct_fields__), "no setting that is not one"


def test_every_file_is_named_in_the_readme():
    told = (WIFI / "README.md").read_text()
    assert all(path.name in told for path in WIFI.iterdir() if path.name != "README.md")
