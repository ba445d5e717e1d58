"""Frames: named captures are read right, cut ones give None, and no bytes whatever raise."""

import csv
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from hypothesis import given
from hypothesis import strategies as st

from contract.identity import SubjectKind, beacon_subject, eddystone_subject
from edge.frames.ad import advert_from_ad, structures
from edge.frames.advert import Advert, short_uuid
from edge.frames.altbeacon import AltBeacon, parse_altbeacon
from edge.frames.bleak import address_bytes, advert_from_bleak
from edge.frames.eddystone import EDDYSTONE, Eid, Etlm, Other, Tlm, Uid, Url, parse_eddystone
from edge.frames.ibeacon import APPLE, IBEACON, IBeacon, parse_ibeacon
from edge.sightings import DAY_US, RadioDigest, RawSightings, sighting_of

NORDIC_CAPTURES = Path(__file__).parents[2].parent / "shared" / "data" / "ble_pcap"
ADDRESS = bytes.fromhex("c00000000001")

# Whole advertisements as they were on the air: AD structures in hexadecimal.
AIRLOCATE = (
    "02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000000000c5"  # Apple's AirLocate sample, uuid of its guide
)
FEASYBEACON = "0201061aff4c000215fda50693a4e24fb1afcfc6eb0764782527595dfac5"  # the cloned default of cheap beacons
ESTIMOTE = "02011a1aff4c000215b9407f30f5f8466eaff925556b57fe6d00010002b6"
CONTINUITY_NEARBY = "02011a0aff4c001005031c8ba89d"  # an iPhone, unlocked
AIRPODS = "1bff4c0007190102202b990f0100002490c2d9d9f7df3d3e1b08b25c"
EDDYSTONE_UID = "0201060303aafe1716aafe00e7edd1ebeac04e5defa0170bdb87539b670000"
EDDYSTONE_TLM = "0201060303aafe1116aafe20000bb8150000000a6400000fa0"
EDDYSTONE_EID = "0201060303aafe0d16aafe30eb0123456789abcdef"
EDDYSTONE_URL = "0201060303aafe0d16aafe10ed00676f6f676c6507"  # the example of Google's specification, http://www.google
EDDYSTONE_ETLM = "0201060303aafe1516aafe2001" + "a1" * 12 + "beef" + "c0de"  # by the layout of Eddystone-TLM, version 1
ALTBEACON = "02011a1bff1801beac2f234454cf6d4a0fadf2f4911ba9ffa600010002c509"  # Radius Networks' reference transmitter


def advert(hexadecimal: str, rssi: int = -60) -> Advert:
    read = advert_from_ad(ADDRESS, True, rssi, bytes.fromhex(hexadecimal))
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("capture", "beacon"),
    [
        (AIRLOCATE, IBeacon(bytes.fromhex("e2c56db5dffb48d2b060d0f5a71096e0"), 0, 0, -59)),
        (FEASYBEACON, IBeacon(bytes.fromhex("fda50693a4e24fb1afcfc6eb07647825"), 10073, 24058, -59)),
        (ESTIMOTE, IBeacon(bytes.fromhex("b9407f30f5f8466eaff925556b57fe6d"), 1, 2, -74)),
        (CONTINUITY_NEARBY, None),
        (AIRPODS, None),
    ],
)
def test_apple_payloads_are_ibeacons_or_nothing(capture, beacon):
    assert parse_ibeacon(advert(capture).manufacturer[APPLE]) == beacon


@pytest.mark.parametrize(
    ("capture", "frame"),
    [
        (EDDYSTONE_EID, Eid(0x0123456789ABCDEF, -21)),
        (EDDYSTONE_UID, Uid(bytes.fromhex("edd1ebeac04e5defa017"), bytes.fromhex("0bdb87539b67"), -25)),
        (EDDYSTONE_TLM, Tlm(battery_mv=3000, temperature_c=21.0, adverts=2660, uptime_s=400.0)),
        (EDDYSTONE_URL, Url("http://www.google.com", -19)),
        (EDDYSTONE_ETLM, Etlm(b"\xa1" * 12, 0xBEEF, b"\xc0\xde")),
        ("0516aafe4000", Other(0x40)),
        ("0516aafe2002", Other(0x20)),
    ],
)
def test_eddystone_frames_are_what_they_are(capture, frame):
    assert parse_eddystone(advert(capture).service[EDDYSTONE]) == frame


@pytest.mark.parametrize(
    ("ending", "url"),
    [
        ("00020d", "http://www..edu/.gov"),
        ("03616c6507", "https://ale.com"),
        ("02", "http://"),
        ("04", None),  # no such scheme
        ("0020", None),  # a space
        ("007f", None),
        ("000e", None),  # reserved for later
        ("", None),
    ],
)
def test_web_addresses_are_expanded_and_broken_ones_are_nothing(ending, url):
    frame = parse_eddystone(bytes.fromhex("10ed" + ending))
    assert frame == (Url(url, -19) if url is not None else None)


def test_altbeacons_are_read_whatever_company_sends_them():
    ((company, payload),) = advert(ALTBEACON).manufacturer.items()
    beacon = AltBeacon(bytes.fromhex("2f234454cf6d4a0fadf2f4911ba9ffa6"), 1, 2, -59)
    assert (company, parse_altbeacon(payload)) == (0x0118, beacon)
    subject = beacon_subject(beacon.uuid, 1, 2)
    for other in (0x0118, 0x0059, 0x004C, 0xFFFF):
        sighting = sighting_of(Advert(ADDRESS, True, -60, {0x0006: b"\x01", other: payload}, {}), 0, RadioDigest())
        assert sighting is not None and (sighting.subject, sighting.kind) == (subject, SubjectKind.BEACON)


@pytest.mark.parametrize(
    ("capture", "shortest"),
    [
        (AIRLOCATE, 23),
        (ALTBEACON, 24),
        (EDDYSTONE_EID, 10),
        (EDDYSTONE_UID, 18),  # two reserved bytes follow, which some beacons leave out
        (EDDYSTONE_URL, 3),
        (EDDYSTONE_TLM, 14),
        (EDDYSTONE_ETLM, 18),
    ],
)
def test_a_frame_cut_short_is_nothing(capture, shortest):
    whole = advert(capture)
    (payload,) = [*whole.manufacturer.values(), *whole.service.values()]
    for length in range(len(payload) + 1):
        cut = payload[:length]
        read = parse_ibeacon(cut) or parse_altbeacon(cut) or (parse_eddystone(cut) if whole.service else None)
        assert (read is not None) == (length >= shortest)


@given(st.binary(max_size=64))
def test_no_bytes_make_a_parser_raise(data):
    parse_ibeacon(data)
    parse_ibeacon(IBEACON + data)
    parse_altbeacon(data)
    parse_altbeacon(b"\xbe\xac" + data)
    parse_eddystone(data)
    for frame_type in (0x00, 0x10, 0x20, 0x30):
        parse_eddystone(bytes([frame_type]) + data)
    assert sum(2 + len(value) for _, value in structures(data)) <= len(data)
    read = advert_from_ad(ADDRESS, True, -60, data)
    assert read is not None
    sighting_of(read, 0, RadioDigest())


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=6))
def test_structures_come_back_as_they_were_written(wanted):
    data = b"".join(bytes([len(value) + 1, kind]) + value for kind, value in wanted)
    assert structures(data) == wanted
    assert structures(data + b"\x00rest") == wanted


@pytest.mark.parametrize("capture", [AIRLOCATE, CONTINUITY_NEARBY, EDDYSTONE_EID, EDDYSTONE_UID, ALTBEACON])
def test_bleak_and_raw_bytes_give_the_same_advert(capture):
    raw = advert(capture, -71)
    data = AdvertisementData(
        local_name=None,
        manufacturer_data=dict(raw.manufacturer),
        service_data={f"0000{number:04x}-0000-1000-8000-00805f9b34fb": value for number, value in raw.service.items()},
        service_uuids=[],
        tx_power=None,
        rssi=-71,
        platform_data=("/org/bluez/hci0/dev_C0", {"AddressType": "random"}),
    )
    assert advert_from_bleak(BLEDevice("C0:00:00:00:00:01", None, None), data) == raw
    public = data._replace(platform_data=("/", {"AddressType": "public"}))
    heard = advert_from_bleak(BLEDevice("C0:00:00:00:00:01", None, None), public)
    assert heard is not None and not heard.address_random


@pytest.mark.parametrize("rssi", [-127, 127, 21])
def test_a_strength_that_was_not_measured_is_no_advert(rssi):
    assert advert_from_ad(ADDRESS, True, rssi, b"") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0000feaa-0000-1000-8000-00805f9b34fb", 0xFEAA),
        ("e2c56db5-dffb-48d2-b060-d0f5a71096e0", 0xE2C56DB5DFFB48D2B060D0F5A71096E0),
        ("no uuid", None),
    ],
)
def test_uuids_of_the_bluetooth_range_are_short(text, number):
    assert short_uuid(text) == number


def test_an_address_of_another_platform_is_taken_as_its_text():
    assert address_bytes("AA:BB:CC:DD:EE:FF") == bytes.fromhex("aabbccddeeff")
    assert address_bytes("not-hex") == b"not-hex"


@pytest.mark.parametrize(
    ("capture", "subject", "kind"),
    [
        (EDDYSTONE_EID, 0x0123456789ABCDEF, SubjectKind.TOKEN),
        (AIRLOCATE, beacon_subject(bytes.fromhex("e2c56db5dffb48d2b060d0f5a71096e0"), 0, 0), SubjectKind.BEACON),
        (ALTBEACON, beacon_subject(bytes.fromhex("2f234454cf6d4a0fadf2f4911ba9ffa6"), 1, 2), SubjectKind.BEACON),
        (
            EDDYSTONE_UID,
            eddystone_subject(bytes.fromhex("edd1ebeac04e5defa017"), bytes.fromhex("0bdb87539b67")),
            SubjectKind.BEACON,
        ),
        (CONTINUITY_NEARBY, None, None),
        (AIRPODS, None, None),
        ("020106", None, None),
    ],
)
def test_only_tokens_and_beacons_are_somebody(capture, subject, kind):
    sighting = sighting_of(advert(capture), 5, RadioDigest())
    assert sighting is not None
    assert (sighting.subject, sighting.kind, sighting.at_us, sighting.rssi) == (subject, kind, 5, -60)
    assert (sighting.radio == 0) == (kind is SubjectKind.TOKEN)


@pytest.mark.parametrize("capture", [EDDYSTONE_URL, EDDYSTONE_TLM, EDDYSTONE_ETLM])
def test_frames_of_fixed_beacons_that_name_nothing_of_ours_are_no_sighting(capture):
    assert sighting_of(advert(capture), 0, RadioDigest()) is None


@given(st.binary(max_size=27), st.integers(0, 2**32))
def test_nothing_that_an_apple_device_says_of_itself_goes_further(said, at_us):
    if said.startswith((IBEACON, b"\xbe\xac")):
        return
    sighting = sighting_of(Advert(ADDRESS, True, -60, {APPLE: said}, {}), at_us, digest := RadioDigest())
    assert sighting == (at_us, None, None, digest(ADDRESS, at_us), -60), "the radio counts in the crowd, no more"


@pytest.mark.parametrize("capture", [AIRLOCATE, ALTBEACON, EDDYSTONE_UID, EDDYSTONE_EID])
def test_a_beacon_and_a_token_stay_who_they_are_when_their_address_rotates(capture):
    digest = RadioDigest()
    read = [sighting_of(advert(capture)._replace(address=bytes([0x40, n] * 3)), 0, digest) for n in range(3)]
    assert len({(sighting.subject, sighting.kind) for sighting in read if sighting is not None}) == 1
    radios = {sighting.radio for sighting in read if sighting is not None}
    assert radios == {0} if capture == EDDYSTONE_EID else len(radios) == 3 and 0 not in radios


CAPTURES = [AIRLOCATE, FEASYBEACON, ESTIMOTE, CONTINUITY_NEARBY, AIRPODS, ALTBEACON, EDDYSTONE_UID, EDDYSTONE_TLM]
CAPTURES += [EDDYSTONE_EID, EDDYSTONE_URL, EDDYSTONE_ETLM]
raw_adverts = st.tuples(
    st.sampled_from([ADDRESS, b"\xc0\0\0\0\0\x02"]),
    st.one_of(st.integers(-100, 0), st.sampled_from([-127, 127, 20, 21])),
    st.one_of(st.sampled_from([bytes.fromhex(capture) for capture in CAPTURES]), st.binary(max_size=31)),
    st.integers(0, 3 * DAY_US),
)


@given(st.lists(raw_adverts, max_size=40))
def test_the_fast_way_from_raw_bytes_says_what_the_general_one_says(heard):
    def keys() -> RadioDigest:
        drawn = iter(range(100))
        return RadioDigest(lambda n: bytes([next(drawn)]) * n)

    fast, digest = RawSightings(keys()), keys()
    for address, rssi, data, at_us in heard:
        read = advert_from_ad(address, True, rssi, data)
        general = sighting_of(read, at_us, digest) if read is not None else None
        assert fast(address, rssi, data, at_us) == general


def test_a_flood_of_made_up_names_does_not_fill_the_memory():
    fast = RawSightings(RadioDigest())
    for number in range(20_000):
        data = bytes.fromhex("0201060303aafe0d16aafe30eb") + number.to_bytes(8, "big")
        assert fast(ADDRESS, -60, data, 0) == (0, number, SubjectKind.TOKEN, 0, -60)
    assert len(fast._known) <= 8_192


def nordic_adverts(pcapng: bytes) -> Iterator[tuple[int, bytes, bool, int, bytes]]:
    """(frame number, address, random, rssi, AD structures) of an nRF sniffer's legacy adverts with a right checksum.

    Layout by https://www.tcpdump.org/linktypes/LINKTYPE_NORDIC_BLE.html, protocol version 2, and Bluetooth Core 5.4,
    vol 6 part B, 2.3: access address, PDU header, advertiser's address, data, 3 bytes of CRC.
    """
    at, number = 0, 0
    while at < len(pcapng):
        kind, length = struct.unpack_from("<II", pcapng, at)
        if kind == 1:
            assert struct.unpack_from("<H", pcapng, at + 8) == (272,), "LINKTYPE_NORDIC_BLE"
        if kind == 6:
            number += 1
            (captured,) = struct.unpack_from("<I", pcapng, at + 20)
            packet = pcapng[at + 28 : at + 28 + captured]
            checked, rssi, header, size = packet[8] & 1, -packet[10], packet[21], packet[22]
            if checked and header & 0x0F in (0, 2, 4, 6):  # ADV_IND, ADV_NONCONN_IND, SCAN_RSP, ADV_SCAN_IND
                yield number, packet[28:22:-1], bool(header & 0x40), rssi, packet[29 : 23 + size]
        at += length


@pytest.mark.skipif(not NORDIC_CAPTURES.is_dir(), reason="MIT Lincoln Laboratory's captures are not beside the project")
def test_every_advert_of_a_real_capture_is_read_as_its_makers_read_it():
    raw = RawSightings(digest := RadioDigest())
    with (NORDIC_CAPTURES / "anechoic_0deg.csv").open() as table:
        rows = {int(row["Frame"]): row for row in csv.DictReader(table)}
    read = 0
    for number, address, random, rssi, data in nordic_adverts((NORDIC_CAPTURES / "anechoic_0deg.pcapng").read_bytes()):
        row, found = rows[number], advert_from_ad(address, random, rssi, data)
        assert found is not None
        assert sum(2 + len(value) for _, value in structures(data)) == len(data), "no byte is left over"
        assert (address.hex(":"), rssi) == (row["Source"], int(row["RSSI"]))
        assert {f"{company}" for company in found.manufacturer} == ({row["Company"]} - {""})
        assert raw(address, rssi, data, 0) == sighting_of(found, 0, digest)
        read += 1
    assert read > 500


def test_a_radio_has_one_digest_for_a_day_and_another_tomorrow_and_elsewhere():
    here, there = RadioDigest(), RadioDigest()
    assert here(ADDRESS, 0) == here(ADDRESS, DAY_US - 1) != there(ADDRESS, 0)
    today = here(ADDRESS, 0)
    tomorrow = here(ADDRESS, DAY_US)
    assert tomorrow != today
    assert here(ADDRESS, DAY_US - 1) == tomorrow, "yesterday's key is gone: one that comes late is told under today's"
