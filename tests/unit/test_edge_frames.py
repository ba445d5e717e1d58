"""Frames: named captures are read right, cut ones give None, and no bytes whatever raise."""

import pytest
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from hypothesis import given
from hypothesis import strategies as st

from contract.identity import SubjectKind, beacon_subject
from edge.frames.ad import advert_from_ad, structures
from edge.frames.advert import Advert, short_uuid
from edge.frames.bleak import address_bytes, advert_from_bleak
from edge.frames.eddystone import EDDYSTONE, Eid, Other, Tlm, Uid, parse_eddystone
from edge.frames.ibeacon import APPLE, IBeacon, parse_ibeacon
from edge.sightings import DAY_US, RadioDigest, sighting_of

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
EDDYSTONE_URL = "0201060303aafe0c16aafe10ed0363616c656e64"


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
        (EDDYSTONE_URL, Other(0x10)),
    ],
)
def test_eddystone_frames_are_what_they_are(capture, frame):
    assert parse_eddystone(advert(capture).service[EDDYSTONE]) == frame


@pytest.mark.parametrize("capture", [AIRLOCATE, EDDYSTONE_EID, EDDYSTONE_UID, EDDYSTONE_TLM])
def test_a_frame_cut_short_is_nothing(capture):
    whole = advert(capture)
    for payload in [*whole.manufacturer.values(), *whole.service.values()]:
        for length in range(min(len(payload), 10)):
            assert parse_ibeacon(payload[:length]) is None
            assert not isinstance(parse_eddystone(payload[:length]), Eid | Uid | Tlm)


@given(st.binary(max_size=64))
def test_no_bytes_make_a_parser_raise(data):
    parse_ibeacon(data)
    parse_eddystone(data)
    assert sum(2 + len(value) for _, value in structures(data)) <= len(data)
    read = advert_from_ad(ADDRESS, True, -60, data)
    assert read is not None
    sighting_of(read, 0, RadioDigest())


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=6))
def test_structures_come_back_as_they_were_written(wanted):
    data = b"".join(bytes([len(value) + 1, kind]) + value for kind, value in wanted)
    assert structures(data) == wanted
    assert structures(data + b"\x00rest") == wanted


@pytest.mark.parametrize("capture", [AIRLOCATE, CONTINUITY_NEARBY, EDDYSTONE_EID, EDDYSTONE_UID])
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
        (CONTINUITY_NEARBY, None, None),
        (AIRPODS, None, None),
        (EDDYSTONE_URL, None, None),
        ("020106", None, None),
    ],
)
def test_only_tokens_and_beacons_are_somebody(capture, subject, kind):
    sighting = sighting_of(advert(capture), 5, RadioDigest())
    assert sighting is not None
    assert (sighting.subject, sighting.kind, sighting.at_us, sighting.rssi) == (subject, kind, 5, -60)
    assert (sighting.radio == 0) == (kind is SubjectKind.TOKEN)


@pytest.mark.parametrize("capture", [EDDYSTONE_UID, EDDYSTONE_TLM])
def test_frames_of_fixed_beacons_that_name_nothing_of_ours_are_no_sighting(capture):
    assert sighting_of(advert(capture), 0, RadioDigest()) is None


def test_a_radio_has_one_digest_for_a_day_and_another_tomorrow_and_elsewhere():
    here, there = RadioDigest(), RadioDigest()
    assert here(ADDRESS, 0) == here(ADDRESS, DAY_US - 1) != there(ADDRESS, 0)
    today = here(ADDRESS, 0)
    tomorrow = here(ADDRESS, DAY_US)
    assert tomorrow != today
    assert here(ADDRESS, DAY_US - 1) == tomorrow, "yesterday's key is gone: one that comes late is told under today's"
