"""raddec: the published examples are read and written byte for byte, and no bytes whatever raise."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.identity import SubjectKind
from edge.frames.eddystone import EDDYSTONE
from edge.frames.ibeacon import APPLE
from edge.frames.raddec import (
    DISPLACEMENT,
    EPC96,
    EUI48,
    EUI64,
    ID_BYTES,
    PACKETS,
    RND48,
    UNKNOWN,
    Decoding,
    Raddec,
    advert_pdu,
    adverts_of,
    parse_raddec,
    raddec_bytes,
    raddec_json,
    strongest,
)
from edge.sources.raddec import raddec_of
from edge.windows import Window

A, B = bytes.fromhex("001bc50940810000"), bytes.fromhex("001bc50940810001")
SENDER = bytes.fromhex("aabbccddeeff")
PDUS = tuple(
    bytes.fromhex(f"061bffeeddccbbaa02010611074449555520657669746341796c65{end}") for end in ("6572", "656c", "6576")
)

# What reelyactive/raddec 0.6.1 prints in its README and expects in its tests.
README = "10001702aabbccddeeff013a0101001bc509408100000b"
BARE = "10000c02aabbccddeeff0019"
TWO = "10002202aabbccddeeff02350401001bc50940810000550101001bc5094081000117"
TIMESTAMP = "10002902aabbccddeeff02550101001bc50940810001350401001bc50940810000f0014aa31759006c"
EVENTS = "10002402aabbccddeeff02550101001bc50940810001350401001bc50940810000f20611"
EVERYTHING = (
    "1000a002aabbccddeeff02550101001bc50940810001350401001bc50940810000f0014aa3175900f103"
    "1d061bffeeddccbbaa02010611074449555520657669746341796c656572"
    "1d061bffeeddccbbaa02010611074449555520657669746341796c65656c"
    "1d061bffeeddccbbaa02010611074449555520657669746341796c656576"
    "f206f3c052648ede54b48d4046c122a6f3f5307fffffffffffffff60"
)
NEAR, FAR = Decoding(B, EUI64, -42, 1), Decoding(A, EUI64, -74, 4)


@pytest.mark.parametrize(
    ("published", "raddec"),
    [
        (README, Raddec(SENDER, EUI48, (Decoding(A, EUI64, -69, 1),))),
        (BARE, Raddec(SENDER, EUI48, ())),
        (TWO, Raddec(SENDER, EUI48, (FAR, NEAR))),
        (TIMESTAMP, Raddec(SENDER, EUI48, (NEAR, FAR), 1420075424000)),
        (EVENTS, Raddec(SENDER, EUI48, (NEAR, FAR), events=(DISPLACEMENT, PACKETS))),
    ],
)
def test_published_examples_are_read_and_written_as_they_are(published, raddec):
    assert parse_raddec(bytes.fromhex(published)) == raddec
    assert raddec_bytes(raddec).hex() == published


def test_the_published_example_with_everything_is_read():
    wanted = Raddec(
        SENDER,
        EUI48,
        (NEAR, FAR),
        1420075424000,
        PDUS,
        (DISPLACEMENT, PACKETS),
        (-73.57122, 45.50887),  # the third axis is told as not a number
    )
    assert parse_raddec(bytes.fromhex(EVERYTHING)) == wanted


def test_the_readmes_json_is_read():
    told = {
        "transmitterId": "aabbccddeeff",
        "transmitterIdType": 2,
        "rssiSignature": [
            {"receiverId": "001bc50940810000", "receiverIdType": 1, "rssi": -69, "numberOfDecodings": 3},
            {"receiverId": "00:1b:c5:09:40:81:00:01", "receiverIdType": 1, "rssi": -50.4, "receiverAntenna": 2},
        ],
        "packets": [],
        "timestamp": 1343392496789,
    }
    read = parse_raddec(json.dumps(told).encode())
    assert read == Raddec(SENDER, EUI48, (Decoding(B, EUI64, -50, 1, 2), Decoding(A, EUI64, -69, 3)), 1343392496789), (
        "strongest first, whatever the sender's order"
    )


def test_the_pdu_of_advlibs_readme_is_an_advert_of_its_address():
    pdu = bytes.fromhex("c21d04acbe55daba16096164766c6962206279207265656c79416374697665")
    (advert,) = adverts_of(Raddec(bytes.fromhex("bada55beac04"), RND48, (), packets=(pdu,)), -60)
    assert (advert.address.hex(), advert.address_random, advert.rssi) == ("bada55beac04", True, -60)


def test_beacons_in_packets_are_beacons():
    ibeacon = bytes.fromhex("02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000000000c5")
    uid = bytes.fromhex("0201060303aafe1716aafe00e7edd1ebeac04e5defa0170bdb87539b670000")
    packets = tuple(advert_pdu(0, SENDER, False, data) for data in (ibeacon, uid))
    first, second = adverts_of(Raddec(SENDER, EUI48, (), packets=packets), -70)
    assert set(first.manufacturer) == {APPLE} and not first.address_random and first.address == SENDER
    assert set(second.service) == {EDDYSTONE}


@pytest.mark.parametrize("kind", [1, 3, 5, 7])
def test_pdus_without_advertising_data_are_no_adverts(kind):
    assert adverts_of(Raddec(SENDER, EUI48, (), packets=(advert_pdu(kind, SENDER, False, bytes(6)),)), -70) == []


def test_a_node_takes_the_strongest_of_its_own_readers():
    raddec = Raddec(SENDER, EUI48, (NEAR, FAR))
    assert strongest(raddec, frozenset()) == NEAR
    assert strongest(raddec, frozenset({A})) == FAR
    assert strongest(raddec, frozenset({SENDER})) is None


def test_only_windows_of_fixed_beacons_are_exported_and_without_an_address():
    window = Window(5_000_000, 7, SubjectKind.BEACON, 0x01020304, -655, -60, 300)
    raddec = raddec_of(window, A)
    assert raddec == Raddec(bytes.fromhex("c00001020304"), RND48, (Decoding(A, EUI64, -66, 255),), timestamp_ms=5_000)
    people = set(SubjectKind) - {SubjectKind.BEACON}
    assert [raddec_of(Window(5_000_000, 7, kind, 1, -655, -60, 3), A) for kind in people] == [None] * len(people)


@pytest.mark.parametrize("example", [README, BARE, TWO, TIMESTAMP, EVENTS, EVERYTHING])
def test_a_datagram_cut_short_or_changed_in_any_byte_is_none(example):
    whole = bytes.fromhex(example)
    for length in range(len(whole)):
        assert parse_raddec(whole[:length]) is None
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x10
        assert parse_raddec(bytes(changed)) is None


def test_lengths_inside_that_lie_are_found_out():
    body = bytes.fromhex("02aabbccddeeff013a0101001bc50940810000f101ff")  # a packet of 255 bytes, and no more bytes
    lying = b"\x10" + (len(body) + 4).to_bytes(2, "big") + body
    assert parse_raddec(lying + bytes([sum(lying) & 0xFF])) is None


@given(st.binary(max_size=120))
def test_no_bytes_make_the_parser_raise(data):
    parse_raddec(data)
    parse_raddec(b"{" + data)
    framed = b"\x10" + (len(data) + 4).to_bytes(2, "big") + data
    read = parse_raddec(framed + bytes([sum(framed) & 0xFF]))
    if read is not None:
        adverts_of(read, -60)
        strongest(read, frozenset())
        assert parse_raddec(raddec_bytes(read)) is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=20), inner),
)
KEYS = ("transmitterId", "transmitterIdType", "rssiSignature", "packets", "events", "position", "timestamp")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, json_values | st.just("aabbccddeeff") | st.just(2))))
def test_no_json_makes_the_parser_raise(told):
    parse_raddec(json.dumps(told).encode())


identifiers = st.integers(1, 7).flatmap(
    lambda kind: st.tuples(st.binary(min_size=ID_BYTES[kind], max_size=ID_BYTES[kind]), st.just(kind))
)


@st.composite
def raddecs(draw: st.DrawFn) -> Raddec:
    transmitter, kind = draw(identifiers)
    signature = [
        Decoding(*receiver, rssi=draw(st.integers(-127, 0)), decodings=draw(st.integers(1, 255)))
        for receiver in draw(st.lists(identifiers, max_size=15))
    ]
    return Raddec(
        transmitter,
        kind,
        tuple(sorted(signature, key=lambda heard: -heard.rssi)),
        timestamp_ms=draw(st.none() | st.integers(0, (1 << 48) - 1)),
        packets=tuple(draw(st.lists(st.binary(max_size=60), max_size=15))),
        events=tuple(sorted(draw(st.sets(st.integers(0, 4))))),
        position=tuple(draw(st.lists(st.floats(-1e6, 1e6), max_size=3))),
    )


@given(raddecs())
def test_a_raddec_comes_back_from_both_forms_as_it_was(raddec):
    assert parse_raddec(raddec_bytes(raddec)) == raddec
    assert parse_raddec(raddec_json(raddec)) == raddec


def test_what_the_binary_form_cannot_hold_is_left_out():
    heard = tuple(Decoding(A, EUI64, -40 - n, 999, 3) for n in range(20))
    read = parse_raddec(raddec_bytes(Raddec(SENDER, EPC96, heard, packets=(bytes(300),), position=(math.nan,))))
    assert read is not None and (read.transmitter, read.transmitter_type) == (b"", UNKNOWN)
    read = parse_raddec(raddec_bytes(Raddec(bytes(12), EPC96, heard, packets=(bytes(300), b"\x01"))))
    assert read is not None
    assert len(read.signature) == 15 and {entry.decodings for entry in read.signature} == {255}
    assert read.packets == (b"\x01",) and {entry.antenna for entry in read.signature} == {None}
