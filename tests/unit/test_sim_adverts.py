"""What is on the air: bytes as real devices send them, and nothing of the truth."""

from datetime import date
from uuid import UUID

import msgspec
import pytest
from bleak.exc import BleakError

from contract.identity import beacon_subject, member_token, token_slot
from simulators import adverts
from simulators import scenario_files as scenarios
from simulators.ble import AirFrame, air_address, properties
from simulators.devices import Devices
from simulators.run import Member
from simulators.world import World, card

KEY = bytes(range(16))
EDDYSTONE = "0000feaa-0000-1000-8000-00805f9b34fb"


def heard(advert, rssi=-70):
    return properties(AirFrame(advert.address, advert.address_type, rssi, advert.data))


def worn(address_type):
    made = map(adverts.wearable_advert, (b"a", b"b", b"c", b"d", b"e", b"f"))
    return next(advert for advert in made if advert.address_type == address_type)


def test_a_members_advert_is_an_eddystone_eid_frame_with_the_slots_token():
    advert = adverts.token_advert(KEY, 1_999)
    assert advert.data.hex().startswith("0201060303aafe0d16aafe30ec")
    props = heard(advert)
    assert props["UUIDs"] == [EDDYSTONE]
    assert props["ServiceData"][EDDYSTONE][2:] == member_token(KEY, 1_999).to_bytes(8, "big")


def test_token_and_address_turn_together():
    first, second = adverts.token_advert(KEY, 5), adverts.token_advert(KEY, 6)
    assert first.address != second.address and first.data != second.data


@pytest.mark.parametrize(
    ("advert", "kind", "top_bits"),
    [
        (adverts.token_advert(KEY, 5), "random", 0b01),
        (adverts.continuity_advert(b"phone", 5), "random", 0b01),
        (adverts.ibeacon_advert("5e1f0a52-6c0b-4b53-9d7e-2a6b1c9f0e11", 1, 2), "random", 0b11),
        (worn("random"), "random", 0b11),
        (worn("public"), "public", 0b00),
    ],
)
def test_addresses_are_of_the_type_they_say(advert, kind, top_bits):
    assert advert.address_type == kind
    assert advert.address[0] >> 6 == top_bits
    assert len(advert.data) <= 31


def test_a_phone_is_apple_continuity_and_a_beacon_is_an_ibeacon():
    assert heard(adverts.continuity_advert(b"phone", 5))["ManufacturerData"][0x4C][:2] == b"\x10\x06"
    uuid = "5e1f0a52-6c0b-4b53-9d7e-2a6b1c9f0e11"
    body = heard(adverts.ibeacon_advert(uuid, 513, 7))["ManufacturerData"][0x4C]
    assert body == b"\x02\x15" + UUID(uuid).bytes + b"\x02\x01\x00\x07\xc5"


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x05\xff", b"\x1f" * 31, b"\x01\x16", b"\x02\xff\x4c", b"\x03\x09\xff\xfe"]
)
def test_malformed_advertisement_data_is_left_aside(data):
    props = properties(AirFrame(bytes(6), "random", -80, data))
    assert props["ManufacturerData"] == {} and props["ServiceData"] == {}


def test_a_frame_has_its_length_in_front():
    data = adverts.frame(adverts.token_advert(KEY, 5), -71)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert msgspec.msgpack.decode(data[4:], type=AirFrame).rssi == -71


@pytest.mark.parametrize("value", ["", "127.0.0.1:5/", "127.0.0.1/door", "nonsense", "a:b/door"])
def test_an_air_address_of_another_form_is_refused(value):
    if value == "127.0.0.1:5/":
        assert air_address({"AISLE_AIR": value})[1] == 5
        return
    with pytest.raises(BleakError, match="HOST:PORT/NODE"):
        air_address({"AISLE_AIR": value})


def test_adverts_hold_tokens_and_nothing_of_the_truth():
    scenario = scenarios.load("corner-store")
    day = World(scenario, 3).day(date(2026, 11, 17))
    members = {
        card(i): Member(card(i), f"{i:032x}", f"code{i}", f"{i + 1:032x}") for i in range(scenario.people.member_pool)
    }
    slot = token_slot(int(day.enters_us[50]))
    for device in Devices(scenario, 3, day, members).all:
        advert = device.advert(slot)
        person = day.people[device.owner] if device.owner >= 0 else None
        if person is not None and person.member is not None:
            known = members[card(person.member)]
            token = member_token(bytes.fromhex(known.token_key_hex), slot)
            assert device.subject is not None and device.subject(slot) == token
            assert advert.data[-8:] == token.to_bytes(8, "big")
            for secret in (known.card.encode(), bytes.fromhex(known.token_key_hex), bytes.fromhex(known.member_id)):
                assert secret not in advert.data + advert.address
        elif device.subject is not None and person is not None and person.kind == "asset":
            beacon = scenario.beacons[1]
            assert device.subject(slot) == beacon_subject(UUID(beacon.uuid).bytes, beacon.major, beacon.minor)
