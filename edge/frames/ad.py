"""Advertising data as raw bytes: a row of [length, type, value] structures (Bluetooth Core, vol 3 part C, 11)."""

from edge.frames.advert import Advert, rssi_plausible

FLAGS = 0x01
COMPLETE_UUIDS_16 = 0x03
SERVICE_DATA_16 = 0x16
SERVICE_DATA_32 = 0x20
SERVICE_DATA_128 = 0x21
MANUFACTURER_DATA = 0xFF

_SERVICE_WIDTH = {SERVICE_DATA_16: 2, SERVICE_DATA_32: 4, SERVICE_DATA_128: 16}
_BASE_TAIL = bytes.fromhex("00001000800000805f9b34fb")


def structures(data: bytes) -> list[tuple[int, bytes]]:
    """(type, value) of every whole structure; reading ends at a zero length or where one overruns the data."""
    found = []
    at = 0
    while at < len(data):
        length = data[at]
        end = at + 1 + length
        if length == 0 or end > len(data):
            break
        found.append((data[at + 1], data[at + 2 : end]))
        at = end
    return found


def advert_from_ad(address: bytes, address_random: bool, rssi: int, data: bytes) -> Advert | None:
    """The advert in raw AD structures. None if the RSSI is no measurement."""
    if not rssi_plausible(rssi):
        return None
    manufacturer: dict[int, bytes] = {}
    service: dict[int, bytes] = {}
    for kind, value in structures(data):
        if kind == MANUFACTURER_DATA and len(value) >= 2:
            manufacturer[value[0] | value[1] << 8] = value[2:]
        elif width := _SERVICE_WIDTH.get(kind):
            if len(value) >= width:
                service[_uuid(value[:width])] = value[width:]
    return Advert(address, address_random, rssi, manufacturer, service)


def _uuid(little_endian: bytes) -> int:
    number = int.from_bytes(little_endian, "little")
    if len(little_endian) == 16 and number.to_bytes(16, "big")[4:] == _BASE_TAIL:
        return number >> 96
    return number
