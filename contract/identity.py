"""How a subject is named on the air and on the wire: 8 bytes, never an address.

A member's phone or tag broadcasts a token that changes every 15 minutes and that only the cloud can resolve; the
idea is Google's Eddystone-EID (https://github.com/google/eddystone/tree/master/eddystone-eid), the derivation is ours.
"""

import hashlib
import hmac
from enum import IntEnum

TOKEN_SLOT_US = 15 * 60 * 1_000_000
"""A token's life. BLE privacy rotates addresses as often, so a token links no more than an address would."""


class SubjectKind(IntEnum):
    """What the 8 bytes of a subject are."""

    TOKEN = 1
    """A member's rotating token; resolved by the cloud only, and only with consent."""
    BEACON = 2
    """A fixed or enrolled beacon: the digest of its iBeacon uuid, major and minor."""
    PSEUDONYM = 3
    """An anonymous device under the store's key of the day."""
    TAG = 4
    """A member's RFID or NFC card: the digest of its EPC."""
    CLIENT = 5
    """A member's own device in the store's Wi-Fi: the token that the member logged in with."""


def token_slot(at_us: int) -> int:
    """The 15-minute slot that an instant lies in."""
    return at_us // TOKEN_SLOT_US


def member_token(key: bytes, slot: int) -> int:
    """The token that a holder of `key` broadcasts during `slot`: the first 8 bytes, big-endian, of an HMAC-SHA-256."""
    digest = hmac.new(key, b"aisle token v1" + slot.to_bytes(8, "big"), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")


def beacon_subject(uuid: bytes, major: int, minor: int) -> int:
    """The subject of an iBeacon: 8 bytes of SHA-256 over its 16-byte uuid, major and minor, big-endian."""
    body = uuid + major.to_bytes(2, "big") + minor.to_bytes(2, "big")
    return int.from_bytes(hashlib.sha256(body).digest()[:8], "big")


def eddystone_subject(namespace: bytes, instance: bytes) -> int:
    """The subject of an Eddystone-UID beacon: 8 bytes of SHA-256 over its 10-byte namespace and 6-byte instance."""
    return int.from_bytes(hashlib.sha256(b"eddystone uid" + namespace + instance).digest()[:8], "big")


def tag_subject(epc: bytes) -> int:
    """The subject of a member's card: 8 bytes of SHA-256 over its EPC."""
    return int.from_bytes(hashlib.sha256(b"aisle tag v1" + epc).digest()[:8], "big")


def client_token(key: bytes) -> int:
    """What a member logs in to the store's Wi-Fi with: 8 bytes of an HMAC under the member's token key.

    It does not change by itself: the network must be able to check it again. A new key makes a new one.
    """
    return int.from_bytes(hmac.new(key, b"aisle client v1", hashlib.sha256).digest()[:8], "big")


def subject_hex(subject: int) -> str:
    """A subject as 16 hexadecimal digits, its form in JSON (2⁶⁴ does not fit a JavaScript number)."""
    return f"{subject:016x}"
