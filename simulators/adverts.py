"""The bytes that devices put on the air: advertisement data (AD structures) and the address they send from."""

import hashlib
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import msgspec

from contract.identity import member_token

AddressType = Literal["public", "random"]

EDDYSTONE = 0xFEAA
EID_FRAME = 0x30
TX_AT_0M_DBM = -20
"""What an Eddystone-EID frame says it sends with, at 0 m."""
_PUBLIC_OUI = bytes.fromhex("00025b")
_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Advert:
    """What is on the air: the sender's address, big-endian as printed, and the AD structures."""

    address: bytes
    address_type: AddressType
    data: bytes


def token_advert(token_key: bytes, slot: int) -> Advert:
    """A member's tag or phone: an Eddystone-EID frame with the 15-minute slot's token; the address turns too."""
    token = member_token(token_key, slot).to_bytes(8, "big")
    body = EDDYSTONE.to_bytes(2, "little") + bytes([EID_FRAME, TX_AT_0M_DBM & 0xFF]) + token
    uuids = _ad(0x03, EDDYSTONE.to_bytes(2, "little"))
    return Advert(resolvable_address(token_key, slot), "random", _ad(0x01, b"\x06") + uuids + _ad(0x16, body))


def continuity_advert(device: bytes, slot: int) -> Advert:
    """A stranger's phone: Apple Continuity "nearby info" (type 0x10), which names nobody."""
    noise = hashlib.sha256(b"nearby" + device + slot.to_bytes(8, "big")).digest()
    nearby = b"\x4c\x00\x10\x06" + bytes([0x10 | noise[0] & 0x0F, 0x1E]) + noise[1:5]
    data = _ad(0x01, b"\x1a") + _ad(0x0A, b"\x0c") + _ad(0xFF, nearby)
    return Advert(resolvable_address(device, slot), "random", data)


def wearable_advert(device: bytes) -> Advert:
    """Earbuds or a watch: a Fast Pair account filter under a static random or a public address."""
    noise = hashlib.sha256(b"wearable" + device).digest()
    data = _ad(0x01, b"\x06") + _ad(0x16, b"\x2c\xfe\x00\x40" + noise[6:10]) + _ad(0x0A, b"\xf4")
    if noise[10] % 2:
        return Advert(_PUBLIC_OUI + noise[:3], "public", data)
    return Advert(bytes([noise[0] | 0xC0]) + noise[1:6], "random", data)


def ibeacon_advert(uuid: str, major: int, minor: int, tx_dbm: int = -59) -> Advert:
    """An iBeacon of the store's own, under a static random address."""
    body = UUID(uuid).bytes + major.to_bytes(2, "big") + minor.to_bytes(2, "big") + bytes([tx_dbm & 0xFF])
    noise = hashlib.sha256(b"beacon" + body).digest()
    address = bytes([noise[0] | 0xC0]) + noise[1:6]
    return Advert(address, "random", _ad(0x01, b"\x06") + _ad(0xFF, b"\x4c\x00\x02\x15" + body))


def resolvable_address(device: bytes, slot: int) -> bytes:
    """A resolvable private address: top bits 01, another one in each slot (Core 6.0, vol. 6 part B, 1.3.2)."""
    noise = hashlib.sha256(b"address" + device + slot.to_bytes(8, "big")).digest()
    return bytes([noise[0] & 0x3F | 0x40]) + noise[1:6]


def frame(advert: Advert, rssi_dbm: int) -> bytes:
    """An advert as it travels to a node's scanner: 4-byte big-endian length and a msgpack array."""
    body = _encoder.encode([advert.address, advert.address_type, rssi_dbm, advert.data])
    return len(body).to_bytes(4, "big") + body


def _ad(kind: int, value: bytes) -> bytes:
    return bytes([len(value) + 1, kind]) + value
