"""bleak's view of an advertisement, turned into ours. It names bleak's values by shape only, so nothing is imported."""

from collections.abc import Mapping
from typing import Protocol

from edge.frames.advert import Advert, rssi_plausible, short_uuid


class HeardDevice(Protocol):
    """The part of bleak's BLEDevice that matters here."""

    address: str


class HeardData(Protocol):
    """The part of bleak's AdvertisementData that matters here."""

    @property
    def manufacturer_data(self) -> Mapping[int, bytes]: ...
    @property
    def service_data(self) -> Mapping[str, bytes]: ...
    @property
    def rssi(self) -> int: ...
    @property
    def platform_data(self) -> tuple[object, ...]: ...


def advert_from_bleak(device: HeardDevice, data: HeardData) -> Advert | None:
    """The advert that bleak tells of. None if it carries no RSSI (BlueZ also reports changes of devices long gone)."""
    if not rssi_plausible(data.rssi):
        return None
    service = {}
    for text, payload in data.service_data.items():
        number = short_uuid(text)
        if number is not None:
            service[number] = payload
    random = _is_random(data.platform_data)
    return Advert(address_bytes(device.address), random, data.rssi, data.manufacturer_data, service)


def address_bytes(text: str) -> bytes:
    """`AA:BB:CC:DD:EE:FF` as 6 bytes; another platform's name for a device as its text in bytes."""
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return text.encode(errors="replace")


def _is_random(platform_data: tuple[object, ...]) -> bool:
    # BlueZ gives (path, properties); where the type is not told, random is the safe belief: it may rotate.
    properties = platform_data[1] if len(platform_data) > 1 else None
    return not (isinstance(properties, dict) and properties.get("AddressType") == "public")
