"""One heard BLE advertisement as a value: the single representation behind every scanner, live or recorded."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

_BASE_UUID = 0x0000_0000_0000_1000_8000_00805F9B34FB
_BASE_MASK = (1 << 96) - 1

RSSI_UNKNOWN = 127
"""The value by which a controller says that it did not measure (Bluetooth Core 5.4, vol 4 part E, 7.7.65.2)."""


class Advert(NamedTuple):
    """What was sent, by which address, and how strongly it was heard."""

    address: bytes
    """Big-endian, as printed: 6 bytes. Some platforms hide addresses and give another stable name instead."""
    address_random: bool
    """Whether the address is random (it may rotate) rather than a public one of the maker."""
    rssi: int
    """dBm."""
    manufacturer: Mapping[int, bytes]
    """Payload by company identifier."""
    service: Mapping[int, bytes]
    """Payload by service UUID: short ones as 16 or 32 bits, others as all 128."""


def rssi_plausible(rssi: int) -> bool:
    """Whether a value can be a measurement: -127 is what platforms give for "none", above 20 the standard reserves."""
    return -127 < rssi <= 20


@lru_cache(maxsize=256)
def short_uuid(text: str) -> int | None:
    """The number of a UUID in text form: shortened where it lies in the Bluetooth base range, None if it is no UUID."""
    try:
        number = int(text.replace("-", ""), 16)
    except ValueError:
        return None
    return number >> 96 if number & _BASE_MASK == _BASE_UUID else number
