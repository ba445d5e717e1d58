"""Names as networks write them in text: the address of a station, and the token that a member logged in with."""

import re

_MAC = re.compile(
    r"(?:[0-9a-f]{2}([:-]?)(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4})", re.IGNORECASE
)
_TOKEN = re.compile(r"[0-9a-f]{16}", re.IGNORECASE | re.ASCII)


def mac_bytes(text: str) -> bytes | None:
    """The 6 bytes of `aa:bb:cc:dd:ee:ff`, `AA-BB-…`, `aabb.ccdd.eeff` or `aabbccddeeff`; None if it is no station's.

    A group address (lowest bit of the first byte) can be nobody's own.
    """
    if not _MAC.fullmatch(text):
        return None
    mac = bytes.fromhex(text.replace(":", "").replace("-", "").replace(".", ""))
    return None if mac[0] & 1 else mac


def mac_text(mac: bytes) -> str:
    """A MAC address as configurations write it: `aa:bb:cc:dd:ee:ff`."""
    return mac.hex(":")


def client_token_of(text: str) -> int | None:
    """The client token in a user name: 16 hexadecimal digits, with or without a realm (`@guest`); None otherwise."""
    name, _, _ = text.partition("@")
    return int(name, 16) if _TOKEN.fullmatch(name) else None
