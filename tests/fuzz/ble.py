"""Bluetooth: advertising data from its structures to the sighting, beacons' payloads, names in text."""

from collections.abc import Iterator

from edge.frames.ad import advert_from_ad, structures
from edge.frames.advert import rssi_plausible, short_uuid
from edge.frames.altbeacon import CODE, parse_altbeacon
from edge.frames.bleak import address_bytes
from edge.frames.eddystone import Eid, Etlm, Tlm, Uid, Url, parse_eddystone
from edge.frames.ibeacon import IBEACON, parse_ibeacon
from edge.sightings import RadioDigest, RawSightings, sighting_of
from simulators.adverts import continuity_advert, ibeacon_advert, token_advert, wearable_advert
from tests.fuzz.target import Target, text_of

ADDRESS = bytes.fromhex("c00000000001")
NOW_US = 1_790_078_400_000_000
UUID = "2f234454-cf6d-4a0f-adf2-f4911ba9ffa6"

CAPTURED = [
    bytes.fromhex(told)
    for told in (
        "02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000000000c5",  # iBeacon
        "0201060303aafe1716aafe00e7edd1ebeac04e5defa0170bdb87539b670000",  # Eddystone-UID
        "0201060303aafe1116aafe20000bb8150000000a6400000fa0",  # TLM
        "0201060303aafe1516aafe2001" + "a1" * 12 + "beefc0de",  # encrypted TLM
        "0201060303aafe0d16aafe10ed00676f6f676c6507",  # URL
        "02011a1bff1801beac2f234454cf6d4a0fadf2f4911ba9ffa600010002c509",  # AltBeacon
        "1421fb349b5f80000080001000000000aafe000030eb",  # service data under a 128-bit UUID
        "0720aafe00003000",  # and a 32-bit one
    )
]


def read_advert(data: bytes) -> None:
    """RSSI and advertising data: structures, beacons, the sighting on both ways"""
    rssi, rest = int.from_bytes(data[:1], "big", signed=True), data[1:]
    found = structures(rest)
    assert (
        b"".join(bytes([len(value) + 1, kind]) + value for kind, value in found)
        == rest[: sum(2 + len(value) for _, value in found)]
    )
    advert = advert_from_ad(ADDRESS, True, rssi, rest)
    assert (advert is not None) == rssi_plausible(rssi)
    digest = RadioDigest(bytes)
    plain = sighting_of(advert, NOW_US, digest) if advert is not None else None
    fast = RawSightings(digest)
    assert fast(ADDRESS, rssi, rest, NOW_US) == plain
    assert fast(ADDRESS, rssi, rest, NOW_US) == plain, "remembered otherwise than read"


def adverts() -> Iterator[bytes]:
    device = bytes(16)
    made = [token_advert(device, 7), continuity_advert(device, 7), wearable_advert(device), ibeacon_advert(UUID, 1, 2)]
    yield from (b"\xc4" + data for data in [*CAPTURED, *(advert.data for advert in made)])


def read_beacon(data: bytes) -> None:
    """a beacon's payload: iBeacon, AltBeacon, Eddystone"""
    if (beacon := parse_ibeacon(data)) is not None:
        assert data[:23] == IBEACON + _named(beacon.uuid, beacon.major, beacon.minor, beacon.at_1m_dbm)
    if (other := parse_altbeacon(data)) is not None:
        assert data[:23] == CODE + _named(other.uuid, other.major, other.minor, other.at_1m_dbm)
    match parse_eddystone(data):
        case Eid(token, at_0m):
            assert data[:10] == b"\x30" + _byte(at_0m) + token.to_bytes(8, "big")
        case Uid(namespace, instance, at_0m):
            assert data[:18] == b"\x00" + _byte(at_0m) + namespace + instance
        case Url(url, _):
            assert url.startswith("http") and url.isascii() and url.isprintable() and " " not in url
        case Tlm(battery_mv, _, adverts, uptime_s):
            assert 0 <= battery_mv < 1 << 16 and 0 <= adverts < 1 << 32 and 0 <= uptime_s < 1 << 32
        case Etlm(sealed, salt, check):
            assert data[:18] == b"\x20\x01" + sealed + salt.to_bytes(2, "big") + check


def _named(uuid: bytes, major: int, minor: int, dbm: int) -> bytes:
    return uuid + major.to_bytes(2, "big") + minor.to_bytes(2, "big") + _byte(dbm)


def _byte(value: int) -> bytes:
    return value.to_bytes(1, "big", signed=True)


def beacons() -> Iterator[bytes]:
    for data in CAPTURED:
        for kind, value in structures(data):
            if len(value) > 3:
                yield value[{0xFF: 2, 0x16: 2, 0x20: 4, 0x21: 16}.get(kind, 0) :]


def read_name(data: bytes) -> None:
    """the text of a UUID or an address, as a platform's scanner gives it"""
    text = text_of(data)
    number = short_uuid(text)
    assert number is None or number >= 0
    assert isinstance(address_bytes(text), bytes)


def names() -> Iterator[bytes]:
    yield from (b"0000feaa-0000-1000-8000-00805f9b34fb", UUID.encode(), b"AA:BB:CC:DD:EE:FF", b"0x_1", b"\xff")


TARGETS = [
    Target("ble-advert", read_advert, adverts, longest=256),
    Target("ble-beacon", read_beacon, beacons, longest=64),
    Target("ble-name", read_name, names, longest=64),
]
