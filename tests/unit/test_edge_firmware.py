"""firmware_configs: the unit that starts a node, and the registry of beacons, are what they claim to be."""

import configparser
import shutil
import subprocess
import tomllib
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "firmware_configs" / "pi" / "aisle-edge.service"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names keep their case
    parser.read(UNIT)
    return parser


def test_the_service_is_watched_and_shut_in():
    service = unit()["Service"]
    assert service["Type"] == "notify"
    assert service["WatchdogSec"] == "30s"
    assert service["Restart"] == "always"
    assert "-m edge /var/lib/aisle/node.toml" in service["ExecStart"]
    for fence in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "ProtectKernelModules", "MemoryDenyWriteExecute"):
        assert service[fence] == "yes", fence
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectory"] == "aisle", "the outbox's folder is the only one it may write to"
    assert "AF_UNIX" in service["RestrictAddressFamilies"], "D-Bus and sd_notify speak over unix sockets"
    assert service["RestartPreventExitStatus"] == "2", "a wrong node.toml is not mended by starting again"


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt install systemd"
)
def test_systemd_takes_the_service(tmp_path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/aisle/.venv/bin/python", "/bin/true"))
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert UNIT.name not in result.stderr, result.stderr


def test_the_sample_registry_holds_beacons_as_the_store_document_takes_them():
    registry = tomllib.loads((ROOT / "firmware_configs" / "beacons" / "sample.toml").read_text())
    names = set()
    for beacon in registry["beacon"]:
        assert beacon["role"] in ("fixed", "asset")
        assert 0 <= beacon["major"] <= 0xFFFF and 0 <= beacon["minor"] <= 0xFFFF
        assert set(beacon) <= {"uuid", "major", "minor", "role", "label", "floor", "x_m", "y_m"}
        assert (beacon["role"] == "fixed") == ("x_m" in beacon), "a fixed beacon has a place, an asset has none"
        names.add((uuid.UUID(beacon["uuid"]), beacon["major"], beacon["minor"]))
    assert len(names) == len(registry["beacon"]), "no id twice: a cloned id places people at two spots at once"
