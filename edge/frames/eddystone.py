"""Eddystone frames (service UUID 0xFEAA), by https://github.com/google/eddystone/blob/master/protocol-specification.md."""

from dataclasses import dataclass

EDDYSTONE = 0xFEAA


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
class Tlm:
    """A beacon's telemetry, unencrypted version 0. It names no beacon."""

    battery_mv: int
    """0 where the beacon has none to measure."""
    temperature_c: float | None
    adverts: int
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Other:
    """A frame of Eddystone that Aisle has no use for: a URL, encrypted telemetry, or a type of the future."""

    frame_type: int


def parse_eddystone(payload: bytes) -> Eid | Uid | Tlm | Other | None:
    """The frame in Eddystone's service data, None if it is empty or cut short."""
    if not payload:
        return None
    match payload[0]:
        case 0x30:
            return Eid(int.from_bytes(payload[2:10], "big"), _signed(payload[1])) if len(payload) >= 10 else None
        case 0x00:
            return Uid(payload[2:12], payload[12:18], _signed(payload[1])) if len(payload) >= 18 else None
        case 0x20 if len(payload) < 2:
            return None
        case 0x20 if payload[1] == 0:
            return _telemetry(payload) if len(payload) >= 14 else None
        case frame_type:
            return Other(frame_type)


def _telemetry(payload: bytes) -> Tlm:
    raw = int.from_bytes(payload[4:6], "big", signed=True)
    return Tlm(
        battery_mv=int.from_bytes(payload[2:4], "big"),
        temperature_c=None if raw == -0x8000 else raw / 256,  # 8.8 fixed point; 0x8000 means "no sensor"
        adverts=int.from_bytes(payload[6:10], "big"),
        uptime_s=int.from_bytes(payload[10:14], "big") / 10,
    )


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte
