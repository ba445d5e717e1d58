"""Radiotap and 802.11: every field where it stands, no byte misread beside scapy, and no bytes whatever raise."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.frames import radiotap as radiotap_module
from edge.frames.dot11 import (
    ACTION,
    BEACON,
    EXTENDED_CAPABILITIES,
    HT_CAPABILITIES,
    PROBE_REQUEST,
    SSID,
    capabilities,
    channel,
    elements,
    is_local,
    parse_management,
)
from edge.frames.radiotap import BAD_FCS, HAS_FCS, Radiotap, parse_radiotap
from simulators.pcap import read_radiotap
from simulators.wifi_air import MODELS, air, phones, probe_request, radiotap, tagged

PCAPS = sorted((Path(__file__).parents[2].parent / "shared" / "data" / "wifi_brno" / "pcap").glob("*.pcap"))
SAMPLE = 2_000
"""Frames a recording that are read by scapy too: it reads about 1,500 a second."""

SOURCE = bytes.fromhex("02aabbccddee")
SHORT = struct.pack("<BBHIHHbB", 0, 0, 14, 0x0828, 2437, 0xA0, -61, 0)
"""Channel, signal and antenna: the header in the recordings."""


def request(head: bytes = SHORT, body: bytes = b"\x00\x00", source: bytes = SOURCE) -> bytes:
    return head + probe_request(source, 0x123, body)


def head(words: list[int], fields: bytes, length: int | None = None) -> bytes:
    """A header of these presence words and these bytes behind them."""
    start = 4 + 4 * len(words)
    whole = len(fields) + start if length is None else length
    return struct.pack(f"<BBH{len(words)}I", 0, 0, whole, *words) + fields


def test_a_probe_request_is_read():
    frame = parse_management(request())
    assert frame is not None
    assert frame.subtype == PROBE_REQUEST
    assert (frame.source, frame.destination, frame.bssid) == (SOURCE, b"\xff" * 6, b"\xff" * 6)
    assert (frame.sequence, frame.rssi, frame.mhz) == (0x123, -61, 2437)
    assert elements(frame.tagged) == [(SSID, b"")]


@pytest.mark.parametrize(
    ("words", "fields", "expected"),
    [
        # (flags, mhz, rssi)
        ([0], b"", (0, None, None)),
        ([1 << 5], b"\xc4", (0, None, -60)),
        ([1 << 1 | 1 << 5], b"\x10\x80", (HAS_FCS, None, -128)),
        # TSFT 8 at 8; flags 16; rate 17; channel 18..22; signal 22
        ([0x2F], bytes(8) + b"\x10\x02" + struct.pack("<HH", 2412, 0) + b"\xb0", (HAS_FCS, 2412, -80)),
        # rate 8; channel is aligned to 2: one byte of padding, 10..14; signal 14
        ([0x2C], b"\x02\xee" + struct.pack("<HH", 5180, 0) + b"\xd8", (0, 5180, -40)),
        # FHSS has no alignment: rate 8, channel 10..14, FHSS 14..16, signal 16
        ([0x3C], b"\x02\xee" + struct.pack("<HH", 2462, 0) + b"\xee\xee" + b"\xd8", (0, 2462, -40)),
        # extended channel at 12 (aligned to 4) behind the signal: flags 12..16, frequency 16
        ([1 << 5 | 1 << 18], b"\xd8" + bytes(3) + struct.pack("<IHBB", 0, 5955, 1, 0), (0, 5955, -40)),
        # a second word that counts from 0 again: its signal is another antenna's
        ([0xA0000020, 0x820], b"\xd0\xc0\x01", (0, None, -48)),
        # only the second word has a signal
        ([0xA0000002, 0x820], b"\x00\xc0\x01", (0, None, -64)),
        # words without the namespace bit count on from 32: nothing of theirs is known
        ([0x80000002, 0x20], b"\x00\xc0", (0, None, None)),
        # a vendor's namespace follows: what comes before it is read
        ([0xC0000020, 0x20], b"\xd0" + bytes(10), (0, None, -48)),
        # fields whose size is not told (TLV) follow
        ([0x10000020], b"\xd0" + bytes(10), (0, None, -48)),
        # timestamp (22) is aligned to 8 behind a signal: it moves nothing before it
        ([1 << 5 | 1 << 22], b"\xd0" + bytes(7) + bytes(12), (0, None, -48)),
    ],
)
def test_fields_stand_where_their_alignment_puts_them(words, fields, expected):
    raw = head(words, fields)
    flags, mhz, rssi = expected
    assert parse_radiotap(raw) == Radiotap(len(raw), flags, mhz, rssi)
    assert parse_radiotap(raw + b"\x40\x00") == Radiotap(len(raw), flags, mhz, rssi), "once more, from what was learnt"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        SHORT[:7],
        b"\x01" + SHORT[1:],  # version 1
        head([0x2F], bytes(4)),  # too short for its own fields
        head([0x20], b"\xd0", length=200),  # longer than the packet
        head([0xA0000020], b""),  # a further presence word is announced and missing
        struct.pack("<BBHI", 0, 0, 4, 0),  # shorter than any header
    ],
)
def test_a_header_that_contradicts_itself_is_nothing(raw):
    assert parse_radiotap(raw) is None
    assert parse_management(raw) is None


def test_the_check_sequence_is_no_element_and_a_wrong_one_no_frame():
    body = probe_request(SOURCE, 1, b"\x00\x00")
    fcs = struct.pack("<I", zlib.crc32(body))
    good = parse_management(head([1 << 1], bytes([HAS_FCS])) + body + fcs)
    assert good is not None and good.tagged == b"\x00\x00"
    assert parse_management(head([1 << 1], bytes([HAS_FCS | BAD_FCS])) + body + fcs) is None
    assert parse_management(head([1 << 1], bytes([BAD_FCS])) + body) is None


@pytest.mark.parametrize("control", [0x08, 0x48, 0x88, 0xB4, 0xC4, 0x41])
def test_data_control_and_unknown_versions_are_not_management(control):
    raw = bytearray(request())
    raw[len(SHORT)] = control
    assert parse_management(bytes(raw)) is None


@pytest.mark.parametrize(
    ("subtype", "fixed", "control", "tagged_left"),
    [
        (PROBE_REQUEST, 0, 0, True),
        (0, 4, 0, True),  # association request: capabilities, interval
        (2, 10, 0, True),  # reassociation request: and the present access point
        (5, 12, 0, True),  # probe response: timestamp, interval, capabilities
        (BEACON, 12, 0, True),
        (10, 2, 0, True),  # disassociation: reason
        (BEACON, 16, 0x80, True),  # with the HT control field before the fixed ones
        (ACTION, 0, 0, False),  # its elements, if any, depend on the action
        (10, 2, 0x40, False),  # protected: what follows is encrypted
    ],
)
def test_elements_begin_behind_the_fixed_fields(subtype, fixed, control, tagged_left):
    body = b"\x2d\x02ab"
    raw = SHORT + bytes([subtype << 4, control]) + probe_request(SOURCE, 5, bytes(fixed) + body)[2:]
    frame = parse_management(raw)
    assert frame is not None and frame.subtype == subtype
    assert frame.tagged == (body if tagged_left else b"")


def test_a_frame_cut_short_is_nothing_and_its_elements_are_those_that_are_whole():
    raw = request(body=tagged(MODELS[0], 6, b"shop"))
    whole = elements(raw[len(SHORT) + 24 :])
    for length in range(len(raw)):
        frame = parse_management(raw[:length])
        if length < len(SHORT) + 24:
            assert frame is None
        else:
            assert frame is not None
            got = elements(frame.tagged)
            assert got == whole[: len(got)]


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=255)), max_size=8), st.binary(max_size=1))
def test_elements_come_back_as_they_were_written(wanted, rest):
    data = b"".join(bytes([number, len(value)]) + value for number, value in wanted)
    assert elements(data + rest) == wanted
    kept = [pair for pair in wanted if pair[0] in (HT_CAPABILITIES, EXTENDED_CAPABILITIES)]
    assert capabilities(data + rest) == b"".join(bytes([number, len(value)]) + value for number, value in kept)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=120).map(lambda rest: SHORT + rest)))
def test_no_bytes_make_a_parser_raise(data):
    tap = parse_radiotap(data)
    assert tap is None or tap.length <= len(data)
    frame = parse_management(data)
    if frame is not None:
        assert len(frame.source) == len(frame.destination) == len(frame.bssid) == 6
        assert sum(2 + len(value) for _, value in elements(frame.tagged)) <= len(frame.tagged)
        capabilities(frame.tagged)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), st.binary(max_size=120))
def test_no_presence_words_make_it_read_outside_of_the_header(words, fields):
    raw = head(words, fields)
    tap = parse_radiotap(raw)
    assert tap is None or tap.length == len(raw)


def test_what_is_learnt_of_headers_is_bounded():
    for number in range(1_000):
        parse_radiotap(head([number << 1 & 0x0FFFFFFF], bytes(150)))
    assert len(radiotap_module._layouts) <= 256


@pytest.mark.parametrize(
    ("mhz", "number"), [(2412, 1), (2437, 6), (2472, 13), (2484, 14), (5180, 36), (5955, 1), (2413, None), (0, None)]
)
def test_a_frequency_is_a_channel(mhz, number):
    assert channel(mhz) == number


def test_addresses_that_a_device_made_up_say_so():
    assert is_local(SOURCE)
    assert not is_local(bytes.fromhex("00c0ca112233"))
    assert not is_local(b"")


# scapy as the oracle: an independent reader of the same bytes. It is under the GPL and imported here only.


def disagreements(data: bytes) -> list[str]:
    """The fields on which scapy and ours differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scapy's own, about its dependencies
        from scapy.layers.dot11 import Dot11, Dot11Elt, RadioTap

        theirs = RadioTap(data)
    ours = parse_management(data)
    header = theirs[Dot11]
    assert ours is not None
    ids = []
    layer = theirs.getlayer(Dot11Elt)
    while layer is not None:
        ids.append(layer.ID)
        layer = layer.payload.getlayer(Dot11Elt)
    pairs = {
        "subtype": (ours.subtype, header.subtype),
        "source": (ours.source.hex(":"), header.addr2),
        "destination": (ours.destination.hex(":"), header.addr1),
        "sequence": (ours.sequence, header.SC >> 4),
        "rssi": (ours.rssi, theirs.dBm_AntSignal),
        "mhz": (ours.mhz, theirs.ChannelFrequency),
        "elements": ([number for number, _ in elements(ours.tagged)], ids),
    }
    return [f"{name}: ours {mine}, scapy {their}" for name, (mine, their) in pairs.items() if mine != their]


@pytest.mark.skipif(not PCAPS, reason="the recordings of wifi_brno are not there")
@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_a_sample_of_each_recording_is_read_as_scapy_reads_it(path):
    frames = [packet.data for packet in read_radiotap(path)]
    _no_disagreement(frames[:: max(1, len(frames) // SAMPLE)][:SAMPLE])


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not PCAPS, reason="the recordings of wifi_brno are not there")
@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_every_frame_of_each_recording_is_read_as_scapy_reads_it(path):
    _no_disagreement(packet.data for packet in read_radiotap(path))


def test_frames_of_two_antennas_with_a_check_sequence_are_read_as_scapy_reads_them():
    _no_disagreement(packet.data for packet in air(phones(8, 1), 0, 60.0, 1))


def test_a_beacon_is_read_as_scapy_reads_it():
    beacon = b"\x80\x00" + probe_request(SOURCE, 9, bytes(12) + tagged(MODELS[0], 11, b"shop"))[2:]
    _no_disagreement([SHORT + beacon, radiotap(beacon, 11, -50)])


def _no_disagreement(frames: "Iterator[bytes] | list[bytes]") -> None:
    read = 0
    for data in frames:
        assert disagreements(data) == [], data.hex()
        read += 1
    assert read > 0
