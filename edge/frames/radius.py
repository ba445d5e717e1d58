"""RADIUS accounting: a request's bytes to who is on which access point, and the answer to it.

RFC 2866 (accounting), RFC 2865 (layout, attributes), RFC 2869 5.14 and RFC 5176 3 (Message-Authenticator: HMAC-MD5 over
the packet, which in a request of this kind has 16 zero bytes in the place of its authenticator).
MD5 is what the RFC prescribes: the shared secret belongs on a network of the store's own.
"""

import hmac
from collections.abc import Iterator
from hashlib import md5
from typing import NamedTuple

PORT = 1813
ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE = 4, 5
START, STOP, INTERIM, ACCOUNTING_ON, ACCOUNTING_OFF = 1, 2, 3, 7, 8

_USER_NAME, _NAS_IP_ADDRESS, _CALLED_STATION, _CALLING_STATION, _NAS_IDENTIFIER = 1, 4, 30, 31, 32
_PROXY_STATE, _STATUS_TYPE, _DELAY_TIME, _SESSION_ID, _MESSAGE_AUTHENTICATOR = 33, 40, 41, 44, 80
_SHORTEST, _LONGEST = 20, 4096
_ZEROS = bytes(16)


class Accounting(NamedTuple):
    """What an access point or controller tells about one session."""

    identifier: int
    authenticator: bytes
    status: int
    """START, STOP, INTERIM, ACCOUNTING_ON, ACCOUNTING_OFF or a type we have no use for."""
    user: str
    calling: str
    """The station's address, as the access point writes it."""
    called: str
    """The access point's address, often with `:SSID` behind it."""
    nas: str
    """The access point's own name, else its IPv4 address."""
    session: str
    delay_s: int
    """Since when the access point has been trying to tell."""
    proxy_states: tuple[bytes, ...]
    """To be given back as they came."""


def parse_accounting(packet: bytes, secret: bytes) -> Accounting | None:
    """The accounting request in a datagram; None if it is malformed, another kind, or not made with the secret."""
    length = int.from_bytes(packet[2:4], "big")
    if (
        len(packet) < _SHORTEST
        or packet[0] != ACCOUNTING_REQUEST
        or not _SHORTEST <= length <= min(len(packet), _LONGEST)
    ):
        return None
    packet = packet[:length]  # what follows is padding (RFC 2865, 3)
    authenticator = packet[4:20]
    if not hmac.compare_digest(authenticator, _md5(packet[:4] + _ZEROS + packet[20:] + secret)):
        return None
    fields: dict[int, bytes] = {}
    proxy_states: list[bytes] = []
    at = 20
    for kind, value in _attributes(packet):
        if kind == _PROXY_STATE:
            proxy_states.append(value)
        elif kind == _MESSAGE_AUTHENTICATOR and not _genuine(packet, at, value, secret):
            return None
        fields.setdefault(kind, value)
        at += 2 + len(value)
    if at != length:
        return None
    return Accounting(
        identifier=packet[1],
        authenticator=authenticator,
        status=_number(fields.get(_STATUS_TYPE)),
        user=_text(fields.get(_USER_NAME)),
        calling=_text(fields.get(_CALLING_STATION)),
        called=_text(fields.get(_CALLED_STATION)),
        nas=_text(fields.get(_NAS_IDENTIFIER)) or _ipv4(fields.get(_NAS_IP_ADDRESS)),
        session=_text(fields.get(_SESSION_ID)),
        delay_s=_number(fields.get(_DELAY_TIME)),
        proxy_states=tuple(proxy_states),
    )


def accounting_response(request: Accounting, secret: bytes) -> bytes:
    """The answer that lets the access point stop repeating the request."""
    attributes = b"".join(_attribute(_PROXY_STATE, state) for state in request.proxy_states)
    header = bytes([ACCOUNTING_RESPONSE, request.identifier]) + (20 + len(attributes)).to_bytes(2, "big")
    return header + _md5(header + request.authenticator + attributes + secret) + attributes


def accounting_request(
    identifier: int, attributes: list[tuple[int, bytes]], secret: bytes, sign: bool = False
) -> bytes:
    """A request as an access point makes it, for simulators and tests; `sign` adds a Message-Authenticator."""
    body = b"".join(_attribute(kind, value) for kind, value in attributes)
    if sign:
        header = bytes([ACCOUNTING_REQUEST, identifier]) + (38 + len(body)).to_bytes(2, "big")
        unsigned = header + _ZEROS + body + _attribute(_MESSAGE_AUTHENTICATOR, _ZEROS)
        body += _attribute(_MESSAGE_AUTHENTICATOR, hmac.digest(secret, unsigned, "md5"))
    header = bytes([ACCOUNTING_REQUEST, identifier]) + (20 + len(body)).to_bytes(2, "big")
    return header + _md5(header + _ZEROS + body + secret) + body


def _attributes(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of every whole attribute; ends early at one that is malformed."""
    at = 20
    while at + 2 <= len(packet):
        length = packet[at + 1]
        if length < 2 or at + length > len(packet):
            return
        yield packet[at], packet[at + 2 : at + length]
        at += length


def _genuine(packet: bytes, at: int, value: bytes, secret: bytes) -> bool:
    unsigned = packet[:4] + _ZEROS + packet[20 : at + 2] + bytes(len(value)) + packet[at + 2 + len(value) :]
    return hmac.compare_digest(value, hmac.digest(secret, unsigned, "md5"))


def _attribute(kind: int, value: bytes) -> bytes:
    return bytes([kind, 2 + len(value)]) + value


def _md5(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()  # the flag lets it work where FIPS mode forbids MD5


def _number(value: bytes | None) -> int:
    return int.from_bytes(value, "big") if value is not None and len(value) == 4 else 0


def _text(value: bytes | None) -> str:
    return value.decode(errors="replace") if value is not None else ""


def _ipv4(value: bytes | None) -> str:
    return ".".join(str(byte) for byte in value) if value is not None and len(value) == 4 else ""
