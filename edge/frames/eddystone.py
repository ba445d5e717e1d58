"""Eddystone frames (service UUID 0xFEAA), by https://github.com/google/eddystone/blob/master/protocol-specification.md."""

from dataclasses import dataclass

EDDYSTONE = 0xFEAA

# https://github.com/google/eddystone/tree/master/eddystone-url: the first byte, and bytes that stand for an ending.
_SCHEMES = ("http://www.", "https://www.", "http://", "https://")
_ENDINGS = (".com", ".org", ".edu", ".net", ".info", ".biz", ".gov")
_EXPANSIONS = tuple(ending + slash for slash in ("/", "") for ending in _ENDINGS)


@dataclass(frozen=True, slots=True)
class Eid:
    """An ephemeral identifier: 8 bytes that only their issuer can resolve."""

    token: int
    at_0m_dbm: int


@dataclass(frozen=True, slots=True)
class Uid:
    """A fixed beacon's name: 10-byte namespace and 6-byte instance."""

    namespace: bytes
    instance: bytes
    at_0m_dbm: int


@dataclass(frozen=True, slots=True)
class Url:
    """A fixed beacon's web address."""

    url: str
    at_0m_dbm: int


@dataclass(frozen=True, slots=True)
class Tlm:
    """A beacon's telemetry, unencrypted version 0. It names no beacon."""

    battery_mv: int
    """0 where the beacon has none to measure."""
    temperature_c: float | None
    adverts: int
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Etlm:
    """The telemetry of an EID beacon, version 1: readable only to who holds the beacon's identity key."""

    sealed: bytes
    """12 bytes under AES-EAX."""
    salt: int
    check: bytes
    """2 bytes, the message integrity check."""


@dataclass(frozen=True, slots=True)
class Other:
    """A frame of Eddystone that this release does not know."""

    frame_type: int


Frame = Eid | Uid | Url | Tlm | Etlm | Other


def parse_eddystone(payload: bytes) -> Frame | None:
    """The frame in Eddystone's service data, None if it is empty, cut short or breaks its own rules."""
    if not payload:
        return None
    match payload[0]:
        case 0x30:
            return Eid(int.from_bytes(payload[2:10], "big"), _signed(payload[1])) if len(payload) >= 10 else None
        case 0x00:
            return Uid(payload[2:12], payload[12:18], _signed(payload[1])) if len(payload) >= 18 else None
        case 0x10:
            return _url(payload)
        case 0x20:
            return _telemetry(payload)
        case frame_type:
            return Other(frame_type)


def _url(payload: bytes) -> Url | None:
    if len(payload) < 3 or payload[2] >= len(_SCHEMES):
        return None
    text = _SCHEMES[payload[2]]
    for byte in payload[3:]:
        if byte < len(_EXPANSIONS):
            text += _EXPANSIONS[byte]
        elif 0x20 < byte < 0x7F:
            text += chr(byte)
        else:
            return None
    return Url(text, _signed(payload[1]))


def _telemetry(payload: bytes) -> Tlm | Etlm | Other | None:
    if len(payload) < 2:
        return None
    match payload[1]:
        case 0x00:
            return _plain_telemetry(payload) if len(payload) >= 14 else None
        case 0x01 if len(payload) < 18:
            return None
        case 0x01:
            return Etlm(payload[2:14], int.from_bytes(payload[14:16], "big"), payload[16:18])
        case _:
            return Other(0x20)


def _plain_telemetry(payload: bytes) -> Tlm:
    raw = int.from_bytes(payload[4:6], "big", signed=True)
    return Tlm(
        battery_mv=int.from_bytes(payload[2:4], "big"),
        temperature_c=None if raw == -0x8000 else raw / 256,  # 8.8 fixed point; 0x8000 means "no sensor"
        adverts=int.from_bytes(payload[6:10], "big"),
        uptime_s=int.from_bytes(payload[10:14], "big") / 10,
    )


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte
