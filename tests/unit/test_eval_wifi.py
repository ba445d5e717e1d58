"""`eval wifi`: what it counts, the capture files it takes, and what it says about others."""

import struct
from dataclasses import asdict
from pathlib import Path

import pytest

from cli.bench.edge.wifi import measure
from cli.evaluate.wifi import evaluate
from simulators.pcap import Packet, PcapError, read_radiotap, write_radiotap
from simulators.wifi_air import MODELS, air, main, phones, probe_request, radiotap, tagged

PCAPS = sorted((Path(__file__).parents[2].parent / "shared" / "data" / "wifi_brno" / "pcap").glob("*.pcap"))
AT_US = 1_790_000_100_123_456

PACKETS = list(air(phones(len(MODELS), 1), AT_US, 120.0, 1))
SHORT = struct.pack("<BBHIHHbB", 0, 0, 14, 0x0828, 2437, 0xA0, -61, 0)


def pcap(order: str, magic: int, unit: int, packets: list[Packet], link: int = 127) -> bytes:
    """A classic capture file."""
    rows = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)]
    for at_us, data in packets:
        seconds, rest = divmod(at_us, 1_000_000)
        rows.append(struct.pack(f"{order}IIII", seconds, rest * (unit // 1_000_000), len(data), len(data)) + data)
    return b"".join(rows)


def pcapng(order: str, packets: list[Packet], resolution: bytes = b"", link: int = 127, unit: int = 1_000_000) -> bytes:
    """A capture file of blocks: section, interface, a name-resolution block to pass over, enhanced packets."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = struct.pack(f"{order}I", len(body) + 12)
        return struct.pack(f"{order}I", kind) + length + body + length

    option = struct.pack(f"{order}HH", 9, 1) + resolution + bytes(3) if resolution else b""
    blocks = [
        block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack(f"{order}HHI", link, 0, 65535) + option + (bytes(4) if option else b"")),
        block(4, bytes(4)),
    ]
    for at_us, data in packets:
        stamp = at_us * unit // 1_000_000
        head = struct.pack(f"{order}IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data))
        blocks.append(block(6, head + data))
    return b"".join(blocks)


@pytest.mark.parametrize(
    "content",
    [
        pcap("<", 0xA1B2C3D4, 1_000_000, PACKETS),
        pcap(">", 0xA1B2C3D4, 1_000_000, PACKETS),
        pcap("<", 0xA1B23C4D, 1_000_000_000, PACKETS),
        pcap(">", 0xA1B23C4D, 1_000_000_000, PACKETS),
        pcapng("<", PACKETS),
        pcapng(">", PACKETS),
        pcapng("<", PACKETS, b"\x09", unit=1_000_000_000),
        pcapng("<", PACKETS) + pcapng(">", [])[:0],
    ],
    ids=["little", "big", "little ns", "big ns", "ng little", "ng big", "ng ns", "ng alone"],
)
def test_each_form_of_capture_file_gives_the_same_packets(content, tmp_path):
    path = tmp_path / "some.pcap"
    path.write_bytes(content)
    assert list(read_radiotap(path)) == PACKETS
    path.write_bytes(content[:-7])
    assert list(read_radiotap(path)) == PACKETS[:-1], "the capture was killed in the middle of its last packet"


def test_sections_of_both_byte_orders_may_follow_each_other(tmp_path):
    path = tmp_path / "some.pcapng"
    path.write_bytes(pcapng("<", PACKETS[:2]) + pcapng(">", PACKETS[2:4], b"\x09", unit=1_000_000_000))
    assert list(read_radiotap(path)) == PACKETS[:4]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"", "fewer than 24 bytes"),
        (b"PAR1" + bytes(60), "found 50415231 at its begin, expected the magic number"),
        (pcap("<", 0xA1B2C3D4, 1_000_000, PACKETS, link=105), "found link type 105 (802.11 without radiotap)"),
        (pcapng("<", PACKETS, link=1), "found link type 1 (Ethernet), expected 127"),
        (pcapng("<", []) + struct.pack("<II", 6, 7) + bytes(8), "found a block of 7 bytes"),
        (pcapng("<", []) + struct.pack("<II", 6, 16) + bytes(8), "found a block too short for its kind (6)"),
        (pcapng("<", []) + struct.pack("<II", 3, 16) + bytes(8), "packets without time"),
    ],
)
def test_another_file_is_refused_with_its_name_and_the_reason(content, told, tmp_path):
    path = tmp_path / "some.pcap"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PcapError, match="some.pcap: ") as refused:
        evaluate([path])
    assert told in str(refused.value)


def test_what_is_written_is_read(tmp_path):
    assert write_radiotap(tmp_path / "a.pcap", PACKETS) == len(PACKETS)
    assert list(read_radiotap(tmp_path / "a.pcap")) == PACKETS


def test_a_known_air_is_counted(tmp_path):
    write_radiotap(tmp_path / "a.pcap", PACKETS)
    report = evaluate([tmp_path / "a.pcap"])
    fixed = sum(not model.randomises for model in MODELS)
    assert report.frames == report.probe_requests == len(PACKETS)
    assert (report.parse_errors, report.device_estimate) == (0, len(MODELS))
    assert report.macs == report.randomized + fixed
    assert report.frames_per_s > 0
    assert set(asdict(report)) == set(
        "frames probe_requests parse_errors macs randomized device_estimate frames_per_s".split()
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", True),
        (SHORT[:9], True),
        (SHORT, True),  # a header and nothing behind it
        (SHORT + probe_request(bytes(6), 1, b"")[:20], True),
        (SHORT + probe_request(bytes(6), 1, b"\x00\x05ab"), True),  # an element that overruns the frame
        (SHORT + b"\x88\x00" + bytes(30), False),  # data
        (SHORT + b"\xd4\x00" + bytes(8), False),  # acknowledgement
        (radiotap(probe_request(bytes(6), 1, tagged(MODELS[0], 1)), 1, -50), False),
        (struct.pack("<BBHIB", 0, 0, 9, 2, 0x50) + b"\x40", False),  # the receiver says that it is damaged
    ],
)
def test_only_what_cannot_be_read_is_an_error(data, error, tmp_path):
    write_radiotap(tmp_path / "a.pcap", [Packet(AT_US, data)])
    assert evaluate([tmp_path / "a.pcap"]).parse_errors == error


def test_an_empty_recording_counts_nothing(tmp_path):
    write_radiotap(tmp_path / "a.pcap", [])
    assert evaluate([tmp_path / "a.pcap"]).frames_per_s == 0


@pytest.mark.skipif(not PCAPS, reason="the recordings of wifi_brno are not there")
def test_the_recordings_are_read_without_an_error():
    report = evaluate(PCAPS)
    assert (report.frames, report.probe_requests, report.parse_errors) == (92_318, 92_318, 0)
    assert report.randomized < report.macs
    assert 0 < report.device_estimate < report.macs / 20


def test_the_simulator_writes_a_capture_that_is_the_same_for_the_same_seed(tmp_path, capsys):
    for name in ("a", "b"):
        assert main(["--pcap", str(tmp_path / name), "--phones", "3", "--for", "30", "--seed", "5"]) == 0
    a, b = ([packet.data for packet in read_radiotap(tmp_path / name)] for name in ("a", "b"))
    assert a == b and a
    assert capsys.readouterr().out.endswith(" frames\n")


def test_the_bench_tells_its_peers_beside_it(tmp_path):
    write_radiotap(tmp_path / "a.pcap", PACKETS[:100])
    found = measure([tmp_path / "a.pcap"], runs=1)
    assert found.frames == 100
    assert found.dot11_per_s > (found.dpkt_per_s or 0)
    assert found.dot11_per_s > (found.scapy_per_s or 0)
