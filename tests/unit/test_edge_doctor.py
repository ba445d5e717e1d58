"""The doctor: each check says the good and the bad of what it was given, with the command that mends it."""

import hashlib
import json
import os
import socket
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from edge import doctor, machine
from edge.config import LISTS, SECTIONS, parse_config
from edge.doctor import (
    bluetooth,
    certificate,
    clock,
    configuration,
    line,
    power,
    readers,
    report,
    secrecy,
    service,
    storage,
    vision,
    wifi,
)
from edge.doctor.finding import Finding, Level, failed, passed, warned
from edge.doctor.patient import Device, Hardware, Listener, Model, Reader, hardware_of, read_patient
from edge.outbox import Outbox
from edge.outbox_file import Totals
from edge.safe_mode import keep, load

GOOD = b"""
[node]
tenant = "acme"
store = "main"
node = "door-1"
[uplink]
host = "127.0.0.1"
port = 1
[outbox]
path = "outbox.db"
"""


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level.value for finding in findings]


def node_toml(folder: Path, text: bytes = GOOD) -> Path:
    path = folder / "node.toml"
    path.write_bytes(text)
    return path


# --- the whole


def test_on_a_machine_with_nothing_every_check_answers_in_words(tmp_path):
    findings = doctor.examine(node_toml(tmp_path))
    assert not [finding for finding in findings if "failed itself" in finding.found]
    assert {finding.check for finding in findings} >= {
        "configuration",
        "bluetooth",
        "clock",
        "disk",
        "broker",
        "machine",
    }
    assert all(finding.fix for finding in findings if finding.level in (Level.WARN, Level.FAIL))


@pytest.mark.parametrize("text", [b"", b"[node", b"\xff\xfe", b"[node]\ntenant = 1\n[rfid]\nx = 3\n"], ids=repr)
def test_a_broken_file_is_told_and_the_machine_is_still_looked_at(tmp_path, text):
    findings = doctor.examine(node_toml(tmp_path, text))
    assert not [finding for finding in findings if "failed itself" in finding.found]
    assert any(f.check == "configuration" and f.level is Level.FAIL and "node.toml:" in f.found for f in findings)
    assert any(f.check == "machine" for f in findings)


def test_a_missing_file_is_told(tmp_path, capsys):
    assert doctor.main([str(tmp_path / "nowhere.toml"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    (said,) = [finding for finding in told["findings"] if finding["check"] == "configuration"]
    assert said["found"] == f"{tmp_path / 'nowhere.toml'}: No such file or directory"
    assert "claim CODE" in said["fix"] and f"config check --example > {tmp_path / 'nowhere.toml'}" in said["fix"]
    levels_by_check = {finding["check"]: finding["level"] for finding in told["findings"]}
    for name in ("software", "bluetooth", "clock", "disk", "disk speed", "machine"):  # they need no configuration
        assert levels_by_check[name] != "SKIP", name
    assert {f["found"] for f in told["findings"] if f["check"] in ("broker", "llrp rfid")} == {
        "there is no node.toml to read"
    }


def test_a_folder_in_place_of_a_file_is_told_with_the_file(tmp_path, capsys):
    assert doctor.main([str(tmp_path)], "./aisle edge doctor") == 1
    said = " ".join(capsys.readouterr().out.split())  # a long path is broken off
    assert f"{tmp_path}: Is a directory" in said and f"→ ./aisle edge doctor {tmp_path}/node.toml" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_of_the_service_is_told_with_sudo(tmp_path):
    path = node_toml(tmp_path)
    path.chmod(0)
    (said,) = configuration.configuration(read_patient(path))
    assert "Permission denied" in said.found and said.fix == f"sudo python -m edge doctor {path}"


def test_a_check_that_breaks_hides_no_other(tmp_path):
    def broken(patient):
        yield passed("first", "so far so good")
        raise RuntimeError("oops")

    def whole(patient):
        yield passed("second", "good")

    findings = doctor.examine(node_toml(tmp_path), (broken, whole))
    assert [finding.check for finding in findings] == ["broken", "second"]
    assert "RuntimeError: oops" in findings[0].found


def test_the_exit_code_says_whether_anything_failed(tmp_path, monkeypatch, capsys):
    for finding, code in ((warned("x", "bad", "mend it"), 0), (failed("x", "worse", "mend it"), 1)):
        monkeypatch.setattr(doctor, "examine", lambda path, command, found=finding: [found])
        assert doctor.main([str(node_toml(tmp_path))]) == code
        assert "→ mend it" in capsys.readouterr().out


def test_the_table_is_read_by_people():
    findings = [
        passed("clock", "synchronised"),
        failed("a long name", "word " * 40, "sudo something --long-enough " * 5),
    ]
    lines = report.table(findings, width=80).splitlines()
    assert lines[0] == "PASS  clock        synchronised"
    assert all(len(row) <= 80 for row in lines if "→" not in row), "wrapped"
    assert sum("→" in row for row in lines) == 1, "a command stays on one line, to be copied"
    assert lines[-1] == "1 PASS, 1 FAIL: the node, or a part of it, does not work"
    assert "\x1b[31;1mFAIL" in report.table(findings, colour=True)


# --- what a node.toml asks for


def test_the_hardware_that_a_file_names_is_found_wherever_it_stands():
    document: dict[str, object] = {
        "uplink": {"host": "broker", "port": 8883},
        "llrp": [{"name": "gate", "host": "10.0.0.7"}, {"name": "dock", "host": "10.0.0.8", "port": 5085}],
        "uhf": [{"name": "till", "port": "/dev/ttyUSB0"}],
        "wifi": {"interface": "radio1"},
        "camera": {"device": "/dev/video0"},
        "models": [{"name": "people", "file": "people.onnx", "sha256": "ab"}],
        "meraki": {"validator": "x"},
        "raddec": {"listen": "[::]:50001"},
        "radius": {"secret_file": "x"},
        "home_assistant": {"host": "homeassistant.local"},
    }
    assert hardware_of(document) == Hardware(
        serial=(Device("uhf.till", "/dev/ttyUSB0"),),
        readers=(Reader("llrp.gate", "10.0.0.7", 5084), Reader("llrp.dock", "10.0.0.8", 5085)),
        cameras=(Device("camera", "/dev/video0"),),
        wifi="radio1",
        models=(Model("models.people", "people.onnx", "ab"),),
        listeners=(
            Listener("raddec", "udp", "[::]", 50001),
            Listener("radius", "udp", "127.0.0.1", 1813),
            Listener("http", "tcp", "127.0.0.1", 8089),
        ),
    )


def test_every_port_and_device_of_the_settings_is_known_to_the_doctor():
    listening = {name for name, shape in SECTIONS.items() if "listen" in shape.__struct_fields__}
    assert listening == {"http", "radius", "hostapd", "raddec"}
    defaults = {name: SECTIONS[name].__struct_defaults__ for name in ("radius",)}
    assert "127.0.0.1:1813" in defaults["radius"], "what a section listens on without a word"
    assert {"host", "port"} <= set(LISTS["llrp"].__struct_fields__) and "port" in LISTS["uhf"].__struct_fields__


def test_a_simulated_radio_needs_no_interface():
    assert hardware_of({"wifi": {"interface": "radio1", "backend": "a.b:c"}}).wifi is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    )
)
def test_any_document_gives_hardware(document):
    for name in ("wifi", "llrp", "uhf", "radius", "http", "meraki", "listen", "node"):
        hardware_of({name: document})


def test_mistakes_and_a_good_file_are_both_told(tmp_path):
    good = read_patient(node_toml(tmp_path))
    assert [f.level for f in configuration.configuration(good)] == [Level.PASS]
    bad = read_patient(node_toml(tmp_path, GOOD.replace(b"port = 1", b"prot = 1")))
    (found,) = configuration.configuration(bad)
    assert found.level is Level.FAIL and "did you mean port?" in found.found and "sudoedit +8 " in found.fix


def test_with_a_broken_file_the_doctor_looks_at_the_last_good_one(tmp_path, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    path = node_toml(tmp_path)
    keep(load(path), path)
    path.write_bytes(GOOD.replace(b"port = 1", b"prot = 1"))
    patient = read_patient(path)
    assert levels(list(configuration.configuration(patient))) == ["FAIL", "WARN"]
    assert patient.outbox == tmp_path / "outbox.db"


@pytest.mark.parametrize(
    ("python", "found", "level"),
    [
        ((3, 11, 2), {"bleak": "3.1.0"}, Level.PASS),
        ((3, 11, 2), {"bleak": None}, Level.FAIL),
        ((3, 10, 9), {"bleak": "3.1.0"}, Level.FAIL),
    ],
)
def test_python_and_its_packages(python, found, level):
    assert configuration.judge_software(python, found, {"bleak": "Bluetooth"}).level is level


def test_a_backend_that_cannot_be_loaded_is_told(tmp_path):
    text = GOOD + b'[ble]\nbackend = "edge.no_such:Scanner"\n'
    *_, found = configuration.software(read_patient(node_toml(tmp_path, text)))
    assert found.level is Level.FAIL and "edge.no_such" in found.found
    (skipped,) = bluetooth.bluetooth(read_patient(node_toml(tmp_path, text)))
    assert skipped.level is Level.SKIP


# --- Bluetooth

HCI0 = bluetooth.Adapter("hci0", powered=True, monitors=True)
WELL = bluetooth.Probe(None, True, False, (5, 66), (HCI0,), "", True, "pi")


@pytest.mark.parametrize(
    ("change", "passive", "expected", "fix"),
    [
        ({}, False, ["PASS"], ""),
        ({}, True, ["PASS", "PASS"], ""),
        ({"bus": "[Errno 2] No such file"}, False, ["FAIL"], "apt install dbus"),
        ({"bluez": False}, False, ["FAIL"], "apt install bluez"),
        ({"refused": True}, False, ["FAIL"], "usermod -aG bluetooth pi"),
        ({"adapters": ()}, False, ["FAIL"], "plug one in"),
        ({"adapters": (replace(HCI0, powered=False),)}, False, ["FAIL"], "bluetoothctl power on"),
        ({"blocked": "soft"}, False, ["FAIL"], "rfkill unblock bluetooth"),
        ({"blocked": "hard"}, False, ["FAIL"], "switch it on"),
        ({"adapters": (replace(HCI0, monitors=False),)}, True, ["PASS", "WARN"], "bluetooth.service.d"),
        ({"adapters": (replace(HCI0, monitors=False),), "version": (5, 50)}, True, ["PASS", "WARN"], "full-upgrade"),
        ({"adapters": (replace(HCI0, monitors=False),)}, False, ["PASS"], ""),
        ({"in_group": False}, False, ["PASS", "WARN"], "usermod -aG bluetooth pi"),
    ],
)
def test_bluetooth(change, passive, expected, fix):
    found = list(bluetooth.judge(replace(WELL, **change), None, passive))
    assert levels(found) == expected
    assert fix in found[-1].fix


def test_an_adapter_that_is_not_there_is_told_with_those_that_are():
    (found,) = bluetooth.judge(WELL, "hci1", False)
    assert found.level is Level.FAIL and "hci0" in found.found


def test_rfkill_blocks_only_if_no_radio_is_free(tmp_path):
    assert bluetooth.rfkill_state(tmp_path) == ""
    for number, (kind, soft, hard) in enumerate((("wlan", 1, 1), ("bluetooth", 1, 0), ("bluetooth", 0, 1))):
        folder = tmp_path / f"sys/class/rfkill/rfkill{number}"
        folder.mkdir(parents=True)
        for name, value in (("type", kind), ("soft", soft), ("hard", hard)):
            (folder / name).write_text(f"{value}\n")
    assert bluetooth.rfkill_state(tmp_path) == "hard"
    (tmp_path / "sys/class/rfkill/rfkill1/soft").write_text("0\n")
    assert bluetooth.rfkill_state(tmp_path) == ""


@pytest.mark.parametrize(
    ("text", "version"), [("bluetoothctl: 5.66\n", (5, 66)), ("5.55", (5, 55)), ("", None), ("no", None)]
)
def test_bluez_tells_its_version(text, version):
    assert bluetooth.bluez_version(text) == version


# --- RFID

TILL = Device("uhf.till", "/dev/serial/by-id/usb-1a86_module")


@pytest.mark.parametrize(
    ("device", "port", "level", "fix"),
    [
        (TILL, readers.Port(True, True, "dialout"), Level.PASS, ""),
        (TILL, readers.Port(True, True, "dialout", ("python",)), Level.PASS, ""),
        (TILL, readers.Port(False), Level.FAIL, "plug the module in"),
        (TILL, readers.Port(True, False, "dialout"), Level.FAIL, "usermod -aG dialout pi"),
        (TILL, readers.Port(True, True, "dialout", ("ModemManager",)), Level.FAIL, "disable --now ModemManager"),
        (Device("x", "/dev/ttyUSB0"), readers.Port(True, True), Level.WARN, "/dev/serial/by-id"),
    ],
)
def test_a_serial_port(device, port, level, fix):
    found = readers.judge_port(device, port, ["/dev/ttyUSB1"], "pi")
    assert found.level is level and fix in found.fix


def test_a_pty_is_a_usable_port_and_a_file_is_none(tmp_path):
    master, slave = os.openpty()
    try:
        assert readers.probe_port(Path(os.ttyname(slave))).usable
    finally:
        os.close(master)
        os.close(slave)
    (tmp_path / "ttyUSB0").touch()
    assert not readers.probe_port(tmp_path / "ttyUSB0").there
    assert not readers.probe_port(tmp_path / "nothing").there


def test_the_ports_of_a_machine_go_by_their_lasting_names(tmp_path):
    (tmp_path / "serial" / "by-id").mkdir(parents=True)
    for name in ("ttyUSB0", "ttyUSB1", "ttyAMA0", "tty1"):
        (tmp_path / name).touch()
    (tmp_path / "serial" / "by-id" / "usb-one").symlink_to(tmp_path / "ttyUSB0")
    assert [Path(port).name for port in readers.available(tmp_path)] == ["usb-one", "ttyUSB1", "ttyAMA0"]


def greeting(status: int) -> bytes:
    """READER_EVENT_NOTIFICATION with a timestamp and a connection attempt event, as LLRP readers greet."""
    attempt = struct.pack(">HHH", 256, 6, status)
    stamp = struct.pack(">HHQ", 128, 12, 1_700_000_000_000_000)
    data = struct.pack(">HH", 246, 4 + len(stamp) + len(attempt)) + stamp + attempt
    return struct.pack(">HII", 1 << 10 | 63, 10 + len(data), 0) + data


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4])
def test_a_readers_greeting_is_read_once_it_is_whole(status):
    data = greeting(status)
    assert readers.greeting_status(data) == status
    assert {readers.greeting_status(data[:cut]) for cut in range(len(data))} == {None}


@given(st.binary(max_size=80), st.integers(0, 60), st.binary(max_size=20))
def test_any_greeting_gives_a_status_or_none(noise, at, middle):
    readers.greeting_status(noise)
    data = greeting(0)
    readers.greeting_status(data[:at] + middle + data[at + len(middle) :])


@pytest.mark.parametrize(
    ("trouble", "status", "level"),
    [
        ("", 0, Level.PASS),
        ("", 2, Level.PASS),
        ("", 3, Level.FAIL),
        ("", None, Level.FAIL),
        ("No route to host", None, Level.FAIL),
    ],
)
def test_a_reader(trouble, status, level):
    assert readers.judge_reader(Reader("llrp.gate", "10.0.0.7", 5084), trouble, status).level is level


# --- Wi-Fi

MONITOR = wifi.Probe(True, 803, True, "rt2800usb", True, "", ())


@pytest.mark.parametrize(
    ("change", "expected", "fix"),
    [
        ({}, ["PASS"], ""),
        ({"kind": 1}, ["FAIL"], "radio-monitor@radio1"),
        ({"kind": 1, "can_monitor": None}, ["FAIL"], "apt install iw"),
        ({"kind": 1, "can_monitor": False}, ["FAIL"], "AR9271"),
        ({"kind": 1, "driver": "brcmfmac"}, ["FAIL"], "use a USB adapter with"),
        ({"up": False}, ["FAIL"], "ip link set radio1 up"),
        ({"there": False}, ["FAIL"], "radio-monitor@radio1"),
        ({"raw": "right"}, ["PASS", "WARN"], "aisle-edge-wifi.conf"),
        ({"raw": "family"}, ["PASS", "FAIL"], "sandbox"),
    ],
)
def test_an_interface_in_monitor_mode(change, expected, fix):
    found = list(wifi.judge("radio1", replace(MONITOR, **change)))
    assert levels(found) == expected
    assert fix in found[-1].fix


IW_LIST = """Wiphy phy1
\tmax # scan SSIDs: 4
\tSupported interface modes:
\t\t * managed
\t\t * monitor
\tBand 1:
"""


def test_iw_tells_whether_a_chip_can_monitor():
    assert wifi.monitor_in(IW_LIST)
    assert not wifi.monitor_in(IW_LIST.replace("\t\t * monitor\n", ""))
    assert not wifi.monitor_in("")


def test_an_interface_is_looked_up_in_sys(tmp_path):
    assert not wifi.probe("radio1", tmp_path).there
    folder = tmp_path / "sys/class/net/radio1"
    (folder / "device").mkdir(parents=True)
    (tmp_path / "drivers/rt2800usb").mkdir(parents=True)
    (folder / "device/driver").symlink_to(tmp_path / "drivers/rt2800usb")
    (folder / "type").write_text("803\n")
    (folder / "flags").write_text("0x1003\n")
    found = wifi.probe("radio1", tmp_path)
    assert (found.kind, found.up, found.driver) == (803, True, "rt2800usb")


# --- clock, card, outbox

RIGHT = clock.Probe(True, True, 0.0012, True, "Europe/Berlin")


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, Level.PASS, "+1.2 ms"),
        ({"battery": False}, Level.PASS, "no battery clock"),
        ({"plausible": False}, Level.FAIL, "never set"),
        ({"offset_s": -3.0}, Level.FAIL, "-3.0 s off"),
        ({"synchronised": False}, Level.WARN, "no time service"),
        ({"synchronised": None}, Level.WARN, "nobody says"),
    ],
)
def test_the_clock(change, level, words):
    found = clock.judge(replace(RIGHT, **change))
    assert found.level is level and words in found.found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("  Offset: +1.234ms\n", 0.001234),
        ("  Offset: -567us\n", -0.000567),
        ("  Offset: +1min 2.5s\n", 62.5),
        ("  Offset: n/a\n", None),
        ("", None),
    ],
)
def test_timesyncd_tells_the_offset(text, seconds):
    assert clock.offset_in(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("free", "most", "has", "level"),
    [(1000, 256, 0, Level.PASS), (100, 256, 0, Level.WARN), (100, 256, 200, Level.PASS), (20, 256, 0, Level.FAIL)],
)
def test_room_is_judged_by_what_the_outbox_may_yet_want(free, most, has, level):
    assert storage.judge_room(Path("/var/lib/aisle"), free, most, has).level is level


def test_a_folder_that_is_not_there_takes_no_outbox(tmp_path):
    assert storage.judge_room(tmp_path, None, 256, 0).level is Level.FAIL
    assert storage.judge_sync(tmp_path, *storage.sync_ms(tmp_path / "nowhere")).level is Level.FAIL
    assert storage.judge_sync(tmp_path, *storage.sync_ms(tmp_path)).level in (Level.PASS, Level.WARN)
    assert storage.judge_sync(tmp_path, 250.0, "").level is Level.WARN
    assert storage.judge_sync(tmp_path, None, "Permission denied").level is Level.SKIP


@pytest.mark.parametrize(
    ("life", "gb_day", "level"),
    [
        (None, 1.0, Level.PASS),
        (None, None, Level.PASS),
        ("0x01 0x02", 1.0, Level.PASS),
        ("0x02 0x09", 1.0, Level.WARN),
        ("0x0b 0x01", 1.0, Level.FAIL),
        (None, 50.0, Level.WARN),
    ],
)
def test_a_cards_wear(life, gb_day, level):
    assert storage.judge_card("mmcblk0", life, gb_day).level is level


def test_what_is_written_to_a_card_is_told_a_day():
    stats = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n 179       0 mmcblk0 90 1 80 70 600 5 4194304 9 0 8 7\n"
    assert storage.written_gb_day(stats, "mmcblk0", "43200.0 1.0") == pytest.approx(4194304 * 512 / 1e9 * 2)
    assert storage.written_gb_day(stats, "mmcblk0", "60.0 1.0") is None, "too early to say"
    assert storage.written_gb_day("", "mmcblk0", "") is None


def test_an_outbox_is_read_beside_the_node_that_has_it_open(tmp_path):
    path = tmp_path / "outbox.db"
    box = Outbox(path)
    box.put("presence", 1_790_000_000_000_000, 3, lambda epoch, seq: b"{}")
    box.flush()
    found = storage.read_box(path)
    assert found.totals is not None and (found.totals.rows, found.oldest_us) == (1, 1_790_000_000_000_000)
    assert storage.judge_box(path, found, 1_790_000_000_000_000).level is Level.PASS
    late = storage.judge_box(path, found, 1_790_000_000_000_000 + 7_200_000_000)
    assert late.level is Level.WARN and "2 h" in late.found
    box.close()


def test_a_damaged_outbox_is_told(tmp_path):
    path = tmp_path / "outbox.db"
    box = Outbox(path)
    for _ in range(200):
        box.put("presence", 1, 1, lambda epoch, seq: bytes(200))
    box.close()
    content = bytearray(path.read_bytes())
    content[4096:20000] = b"\x55" * (20000 - 4096)
    path.write_bytes(content)
    found = storage.judge_box(path, storage.read_box(path), 0)
    assert found.level is Level.FAIL and "damaged" in found.found
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    assert storage.judge_box(path, storage.read_box(path), 0).level is Level.FAIL


@pytest.mark.parametrize(
    ("dropped", "rejected", "words"), [(0, 0, None), (7, 0, "7 events were given up"), (0, 9, "refused 9 events")]
)
def test_what_was_lost_is_told(dropped, rejected, words):
    found = storage.judge_lost(Totals("e", 100, 10, dropped, rejected, 0))
    assert found is None if words is None else found is not None and words in found.found


def test_before_the_first_start_there_is_no_outbox(tmp_path):
    (found,) = storage.outbox(read_patient(node_toml(tmp_path)))
    assert found.level is Level.SKIP


# --- certificate


def made(folder: Path, name: str, days: float, authority: bool = True) -> certificate.Probe:
    """A certificate with key and authority in files, as `certificate.probe` reads them."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])

    def issue(subject: x509.Name, public: ec.EllipticCurvePublicKey, by: ec.EllipticCurvePrivateKey) -> bytes:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        builder = builder.serial_number(7).not_valid_before(now - timedelta(days=400))
        return builder.not_valid_after(now + timedelta(days=days)).sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)

    (folder / "ca.crt").write_bytes(issue(ca_name, ca_key.public_key(), ca_key))
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    by = ca_key if authority else ec.generate_private_key(ec.SECP256R1())
    # Certificate and key in one file, as a claimed node has them.
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "node.pem").write_bytes(issue(subject, key.public_key(), by) + private)
    return certificate.probe(folder / "node.pem", folder / "node.pem", folder / "ca.crt", now)


@pytest.mark.parametrize(
    ("name", "days", "authority", "expected", "words"),
    [
        ("acme/main/door-1", 80, True, "PASS", "80 days left"),
        ("acme/main/door-1", 13, True, "WARN", "ends in 13 days"),
        ("acme/main/door-1", -3, True, "FAIL", "ended 3 days ago"),
        ("acme/main/door-2", 80, True, "FAIL", "acme/main/door-2"),
        ("acme/main/door-1", 80, False, "FAIL", "another authority"),
    ],
)
def test_a_certificate(tmp_path, name, days, authority, expected, words):
    (found,) = certificate.judge(made(tmp_path, name, days, authority), "acme/main/door-1", tmp_path / "node.pem")
    assert found.level == expected
    assert words in found.found


def test_a_secret_that_others_may_read_fails_and_what_the_node_keeps_is_warned_of(tmp_path):
    text = GOOD.replace(b"[uplink]\n", b"[uplink]\nusername = 'door'\npassword_file = 'password'\n")
    text += b"[portal]\nsecret_file = 'portal.secret'\n"
    for name in ("password", "portal.secret", "outbox.db", "opt-outs.txt"):
        (tmp_path / name).touch(0o600)
    path = node_toml(tmp_path, text)
    (good,) = secrecy.secrecy(read_patient(path))
    assert good.level is Level.PASS and "2 secrets" in good.found
    for name in ("portal.secret", "outbox.db", "opt-outs.txt"):
        (tmp_path / name).chmod(0o640)
    secret, outbox, opt_outs = secrecy.secrecy(read_patient(path))
    assert (secret.level, outbox.level, opt_outs.level) == (Level.FAIL, Level.WARN, Level.WARN)
    assert "portal.secret has mode 0640" in secret.found and secret.fix == f"sudo chmod 600 {tmp_path}/portal.secret"


def test_every_file_of_the_settings_is_a_secret_or_known_to_be_none():
    files = {
        key
        for section in (*SECTIONS.values(), *LISTS.values())
        for key in section.__struct_fields__
        if key.endswith("_file")
    }
    public = {"ca_file", "cert_file", "rospec_file", "reader_config_file"}
    assert {key for key in files if not key.endswith(secrecy._SECRETS)} == public


def test_the_key_of_another_certificate_is_told(tmp_path):
    found = replace(made(tmp_path, "acme/main/door-1", 80), key_fits=False)
    assert "another certificate" in next(iter(certificate.judge(found, "acme/main/door-1", tmp_path / "k"))).found
    with pytest.raises(ValueError):
        certificate.probe(tmp_path / "node.pem", tmp_path / "ca.crt", None)


def test_a_line_without_certificates_is_a_warning_unless_it_stays_on_the_machine(tmp_path):
    (here,) = certificate.certificate(read_patient(node_toml(tmp_path)))
    assert here.level is Level.SKIP
    (far,) = certificate.certificate(read_patient(node_toml(tmp_path, GOOD.replace(b"127.0.0.1", b"broker.example"))))
    assert far.level is Level.WARN


# --- the line

CONFIG = parse_config(GOOD)


@pytest.mark.parametrize(
    ("spoken", "expected", "words"),
    [
        (line.Spoken(135), ["PASS", "PASS"], "nothing waits"),
        (line.Spoken(0), ["PASS", "WARN", "PASS"], ""),
        (line.Spoken(135, own=135), ["PASS", "FAIL"], "own name"),
        (line.Spoken(135, own=16), ["PASS", "FAIL"], "nobody listens"),
        (line.Spoken(135, own=151), ["PASS", "FAIL"], "151"),
        (line.Spoken(135, own=0), ["PASS", "WARN"], "no acknowledgement"),
        (line.Spoken(135, own=0, acknowledged_ms=41.0), ["PASS", "PASS"], "41 ms"),
        (line.Spoken(135, own=0, acknowledged_ms=41.0, refused="UnknownNode: no"), ["PASS", "FAIL"], "UnknownNode"),
    ],
)
def test_the_broker_and_the_cloud(spoken, expected, words):
    found = list(line.judge(spoken, CONFIG, ran=True))
    assert levels(found) == expected
    assert words in found[-1].found


def test_a_name_that_nobody_knows_and_a_port_that_nobody_has(tmp_path):
    with pytest.raises(line.LineError, match="is not known"):
        line.reach(parse_config(GOOD.replace(b"127.0.0.1", b"no-such-host.invalid")).uplink, tmp_path)
    with pytest.raises(line.LineError, match="refused"):
        line.reach(CONFIG.uplink, tmp_path)


@pytest.mark.parametrize(("sent_meanwhile", "level"), [(True, Level.PASS), (False, Level.WARN)])
def test_a_batch_that_the_running_node_sent_meanwhile_is_no_trouble(tmp_path, monkeypatch, sent_meanwhile, level):
    box = Outbox(tmp_path / "outbox.db")
    box.put("sightings", 1, 1, lambda epoch, seq: batch("trusted"))
    box.flush()

    def unheard(*_: object) -> line.Spoken:
        if sent_meanwhile:
            box.delete([(1, 1)])
        return line.Spoken(line.NOT_AUTHORIZED, own=0)

    monkeypatch.setattr(line, "reach", lambda *_: "it answers")
    monkeypatch.setattr(line, "speak", unheard)
    *_, cloud = line.broker(read_patient(node_toml(tmp_path)))
    box.close()
    assert (cloud.check, cloud.level) == ("cloud", level)


def batch(clock_word: str) -> bytes:
    header = {"v": 1, "kind": "crowd", "tenant": "acme", "store": "main", "node": "door-1", "epoch": "0" * 32, "seq": 1}
    return json.dumps(header | {"boot": "b", "clock": clock_word, "t0": 1, "n": 1, "rows": []}).encode()


def test_only_a_batch_that_will_never_be_told_anew_is_sent_twice(tmp_path):
    path = tmp_path / "outbox.db"
    assert line.oldest_waiting(path) is None
    box = Outbox(path)
    box.put("crowd", 1, 1, lambda epoch, seq: batch("untrusted"))
    box.put("crowd", 1, 1, lambda epoch, seq: batch("trusted"))
    box.flush()
    found = line.oldest_waiting(path)
    assert found is not None and found.payload == batch("trusted")
    box.close()


# --- service, ports, machine, models

RUNS = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}


@pytest.mark.parametrize(
    ("change", "hardware", "expected", "fix"),
    [
        ({}, Hardware(), ["PASS"], ""),
        ({"LoadState": "not-found"}, Hardware(), ["WARN"], "enable --now aisle-edge"),
        ({"ActiveState": "failed", "ExecMainStatus": "2"}, Hardware(), ["FAIL"], "mend node.toml"),
        ({"ActiveState": "failed", "Result": "oom-kill"}, Hardware(), ["FAIL"], "journalctl"),
        ({"NRestarts": "12"}, Hardware(), ["PASS", "WARN"], "journalctl"),
        ({"UnitFileState": "disabled"}, Hardware(), ["PASS", "WARN"], "systemctl enable"),
        ({}, Hardware(serial=(TILL,)), ["PASS", "FAIL"], "rfid.conf"),
        ({"DropInPaths": "/etc/systemd/system/aisle-edge.service.d/rfid.conf"}, Hardware(serial=(TILL,)), ["PASS"], ""),
        ({}, Hardware(wifi="radio1"), ["PASS", "FAIL"], "aisle-edge-wifi.conf"),
        ({"ExecStart": "{ argv[]=python -m edge /srv/other.toml ; }"}, Hardware(), ["PASS", "WARN"], "/srv/other.toml"),
        ({"ExecStart": "{ argv[]=python -m edge /var/lib/aisle/node.toml ; }"}, Hardware(), ["PASS"], ""),
    ],
)
def test_the_service(change, hardware, expected, fix):
    found = list(service.judge(RUNS | change, Path("/var/lib/aisle/node.toml"), hardware))
    assert levels(found) == expected
    assert fix in found[-1].fix


def test_systemctls_answer_is_a_table():
    assert service.unit_properties("A=1\nB=x=y\n\nC=\n") == {"A": "1", "B": "x=y", "C": ""}


def test_a_port_that_is_held_is_told_and_a_free_one_too():
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = Listener("meraki", "tcp", "127.0.0.1", held.getsockname()[1])
        assert service.judge_port(taken, service.taken(taken)).level is Level.WARN
    assert service.judge_port(taken, service.taken(taken)).level is Level.PASS
    nowhere = Listener("meraki", "tcp", "203.0.113.1", 8089)
    assert service.judge_port(nowhere, service.taken(nowhere)).level is Level.FAIL


def test_who_holds_a_device_is_found_in_proc(tmp_path):
    device = tmp_path / "ttyUSB0"
    device.touch()
    for number, (name, target) in enumerate((("ModemManager", device), ("cat", tmp_path / "other"))):
        (tmp_path / "proc" / str(number + 1) / "fd").mkdir(parents=True)
        (tmp_path / "proc" / str(number + 1) / "fd" / "3").symlink_to(target)
        (tmp_path / "proc" / str(number + 1) / "comm").write_text(name + "\n")
    assert service.holders(device, tmp_path / "proc") == ("ModemManager",)


@pytest.mark.parametrize(
    ("bits", "level", "words"),
    [
        (None, Level.SKIP, "Raspberry Pi"),
        (0, Level.PASS, ""),
        (0x1, Level.WARN, "under-voltage now"),
        (0x10000, Level.WARN, "under-voltage since boot"),
        (0x4, Level.WARN, "heat now"),
        (0x40000, Level.WARN, "heat since boot"),
        (0x50005, Level.WARN, "under-voltage now"),
    ],
)
def test_power(bits, level, words):
    found = next(iter(power.judge(power.Probe(throttled=bits))))
    assert found.level is level and words in found.found
    assert ("official power supply" in found.fix) == ("under-voltage" in words)


def test_heat_memory_and_a_weak_line_are_told():
    found = list(power.judge(power.Probe("Raspberry Pi 4", 84.0, 0, 60.0, 0.5, -80)))
    assert levels(found) == ["PASS", "WARN", "WARN", "WARN", "PASS"]


def test_a_model_file_is_known_by_its_digest(tmp_path):
    (tmp_path / "people.onnx").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    model = Model("models", "people.onnx", digest.upper())
    assert vision.judge_model(model, vision.digest_of(tmp_path / "people.onnx")).level is Level.PASS
    (tmp_path / "people.onnx").write_bytes(b"other weights")
    assert vision.judge_model(model, vision.digest_of(tmp_path / "people.onnx")).level is Level.FAIL
    assert vision.judge_model(model, vision.digest_of(tmp_path / "nothing")).level is Level.FAIL


# --- what the machine tells


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_raspberry_pi_tells_of_itself(tmp_path):
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    write(tmp_path, "proc/meminfo", "MemTotal: 948304 kB\nMemAvailable:    512000 kB\n")
    write(
        tmp_path,
        "proc/net/wireless",
        "Inter-| sta-|   Quality        |   Discarded packets\n face | tus | link level noise |\n"
        " radio1: 0000    0.  -256.  -256.       0\n wlan0: 0000   54.  -56.  -256.        0      0\n",
    )
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    assert machine.temperature_c(tmp_path) == 48.3
    assert machine.throttled(tmp_path) == 0x50005
    assert machine.memory_free_mb(tmp_path) == 500.0
    assert machine.wifi_dbm(tmp_path) == -56
    assert machine.model(tmp_path) == "Raspberry Pi 4 Model B Rev 1.4"


def test_a_machine_that_tells_nothing_gives_nothing(tmp_path):
    probes = (machine.temperature_c, machine.throttled, machine.memory_free_mb, machine.wifi_dbm, machine.model)
    assert [probe(tmp_path) for probe in probes] == [None] * 5
    assert machine.load() >= 0


@pytest.mark.parametrize("text", ["", "nonsense", "\n\n\n", "a\nb\nwlan0:\n", "a\nb\nwlan0: 0 0 x\n"])
def test_a_kernel_file_with_something_else_is_nothing(tmp_path, text):
    for path in ("sys/class/thermal/thermal_zone0/temp", "proc/net/wireless", "proc/meminfo"):
        write(tmp_path, path, text)
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", text)
    assert machine.temperature_c(tmp_path) is machine.wifi_dbm(tmp_path) is machine.throttled(tmp_path) is None


def test_room_is_told_for_a_folder_that_will_be_made(tmp_path):
    assert machine.disk_free_mb(tmp_path / "later" / "outbox.db") == pytest.approx(
        machine.disk_free_mb(tmp_path), rel=0.1
    )
