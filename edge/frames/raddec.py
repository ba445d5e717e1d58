"""raddec, reelyActive's open format of radio decodings, as bytes and as JSON (https://github.com/reelyactive/raddec).

    0x10, length (2 bytes, all of it), transmitter type, transmitter,
    number of receivers (low 4 bits), for each: RSSI + 127, decodings, receiver type, receiver,
    0xF0 timestamp (6 bytes, ms) | 0xF1 packets (count, then length and bytes of each) | 0xF2 events (a bit each)
    | 0xF3 position (3 doubles, NaN where unknown) …, sum of all bytes before it (1 byte).

Numbers are big-endian. Written after its README; the examples of its tests are ours.
"""

import json
import math
import struct
from typing import NamedTuple, TypeGuard

from edge.frames.ad import advert_from_ad
from edge.frames.advert import Advert

UNKNOWN, EUI64, EUI48, RND48, TID96, EPC96, UUID128, EURID32 = range(8)
ID_BYTES = (0, 8, 6, 6, 12, 12, 16, 4)
"""Length of an identifier, by its type."""
APPEARANCE, DISPLACEMENT, PACKETS, KEEPALIVE, DISAPPEARANCE = range(5)

UDP_PORT = 50001
"""Where Pareto Anywhere and its readers' listeners send and expect raddecs."""
RECEIVERS_MOST = 15
PACKETS_MOST = 15

_FLAG = 0x10
_LOWEST_DBM = -127
_TIMESTAMP_MOST_MS = (1 << 48) - 1
_POSITION = struct.Struct(">3d")
_EVENTS = [tuple(event for event in range(5) if bits >> event & 1) for bits in range(32)]
"""Events by their bits."""
_ADVERTISING = (0, 2, 4, 6)
"""Bluetooth PDU types with an address and advertising data: ADV_IND, ADV_NONCONN_IND, SCAN_RSP, ADV_SCAN_IND."""


class Decoding(NamedTuple):
    """How one receiver heard the transmitter."""

    receiver: bytes
    receiver_type: int
    rssi: int
    """dBm."""
    decodings: int = 1
    """Times it was decoded, 1 to 255."""
    antenna: int | None = None
    """Port of the antenna; JSON only."""


class Raddec(NamedTuple):
    """One transmitter, heard by some receivers."""

    transmitter: bytes
    transmitter_type: int
    signature: tuple[Decoding, ...]
    """Strongest first."""
    timestamp_ms: int | None = None
    """Milliseconds since 1970 UTC."""
    packets: tuple[bytes, ...] = ()
    """As they were on the air: for Bluetooth the whole PDU, header and address before the data."""
    events: tuple[int, ...] = ()
    position: tuple[float, ...] = ()


def parse_raddec(data: bytes) -> Raddec | None:
    """The raddec in a datagram or message, in either form; None if it is none."""
    if data[:1] == b"\x10":
        return _from_bytes(data)
    return _from_json(data) if data[:1] == b"{" else None


def raddec_bytes(raddec: Raddec) -> bytes:
    """A raddec in its binary form.

    What does not fit is left out: receivers and packets past 15, antennas, identifiers not as long as their type.
    """
    body = bytearray(_typed(raddec.transmitter, raddec.transmitter_type))
    signature = raddec.signature[:RECEIVERS_MOST]
    body.append(len(signature))
    for heard in signature:
        level = min(max(heard.rssi, _LOWEST_DBM), 0) - _LOWEST_DBM
        body += bytes([level, min(max(heard.decodings, 1), 255)]) + _typed(heard.receiver, heard.receiver_type)
    if raddec.timestamp_ms is not None:
        body += b"\xf0" + min(max(raddec.timestamp_ms, 0), _TIMESTAMP_MOST_MS).to_bytes(6, "big")
    if raddec.packets:
        packets = [packet for packet in raddec.packets if len(packet) <= 255][:PACKETS_MOST]
        body += bytes([0xF1, len(packets)])
        for packet in packets:
            body += bytes([len(packet)]) + packet
    if raddec.events:
        body += bytes([0xF2, sum(1 << event for event in set(raddec.events) if 0 <= event < 8)])
    if raddec.position:
        body += b"\xf3" + _POSITION.pack(*(*raddec.position, math.nan, math.nan, math.nan)[:3])
    whole = bytes([_FLAG]) + (len(body) + 4).to_bytes(2, "big") + body
    return whole + bytes([sum(whole) & 0xFF])


def raddec_json(raddec: Raddec) -> bytes:
    """A raddec in its JSON form."""
    told: dict[str, object] = {
        "transmitterId": raddec.transmitter.hex(),
        "transmitterIdType": raddec.transmitter_type,
        "rssiSignature": [_told(heard) for heard in raddec.signature],
    }
    if raddec.packets:
        told["packets"] = [packet.hex() for packet in raddec.packets]
    if raddec.events:
        told["events"] = list(raddec.events)
    if raddec.position:
        told["position"] = list(raddec.position)
    if raddec.timestamp_ms is not None:
        told["timestamp"] = raddec.timestamp_ms
    return json.dumps(told, separators=(",", ":")).encode()


def strongest(raddec: Raddec, receivers: frozenset[bytes]) -> Decoding | None:
    """How the strongest of these receivers heard it, of all if none are named; None if none of them did."""
    heard = [entry for entry in raddec.signature if not receivers or entry.receiver in receivers]
    return max(heard, key=lambda entry: entry.rssi, default=None)


def adverts_of(raddec: Raddec, rssi: int) -> list[Advert]:
    """The Bluetooth adverts in a raddec's packets. A keep-alive without packets says nothing that could be used."""
    adverts = (_advert(packet, rssi) for packet in raddec.packets)
    return [advert for advert in adverts if advert is not None]


def advert_pdu(advert_type: int, address: bytes, address_random: bool, data: bytes) -> bytes:
    """A Bluetooth advertising PDU as raddecs carry it (Core 5.4, vol 6 part B, 2.3); the address is as printed."""
    header = advert_type | (0x40 if address_random else 0)
    return bytes([header, 6 + len(data)]) + address[::-1] + data


def _advert(packet: bytes, rssi: int) -> Advert | None:
    if len(packet) < 8 or packet[0] & 0x0F not in _ADVERTISING:
        return None
    end = 2 + packet[1]
    if end < 8 or end > len(packet):
        return None
    return advert_from_ad(packet[7:1:-1], bool(packet[0] & 0x40), rssi, packet[8:end])


def _from_bytes(data: bytes) -> Raddec | None:
    if len(data) < 6 or int.from_bytes(data[1:3], "big") != len(data) or sum(data[:-1]) & 0xFF != data[-1]:
        return None
    try:
        return _from_body(data[:-1])
    except (IndexError, struct.error):  # cut short
        return None


def _from_body(body: bytes) -> Raddec | None:
    """Reads all before the checksum. What is read past the end shows by `at`, which only ever grows. See the top."""
    kind = body[3]
    at = 4 + ID_BYTES[kind]
    transmitter = body[4:at]
    count, at = body[at] & 0x0F, at + 1
    signature = []
    for _ in range(count):
        receiver_kind = body[at + 2]
        end = at + 3 + ID_BYTES[receiver_kind]
        signature.append(Decoding(body[at + 3 : end], receiver_kind, body[at] + _LOWEST_DBM, body[at + 1]))
        at = end
    timestamp_ms: int | None = None
    packets: list[bytes] = []
    events: tuple[int, ...] = ()
    position: tuple[float, ...] = ()
    while at < len(body):
        flag, at = body[at], at + 1
        if flag == 0xF0:
            timestamp_ms, at = int.from_bytes(body[at : at + 6], "big"), at + 6
        elif flag == 0xF1:
            count, at = body[at], at + 1
            for _ in range(count):
                end = at + 1 + body[at]
                packets.append(body[at + 1 : end])
                at = end
        elif flag == 0xF2:
            events, at = _EVENTS[body[at] & 0x1F], at + 1
        elif flag == 0xF3:
            position, at = _finite(_POSITION.unpack_from(body, at)), at + 24
        else:  # a property of the future: what came before it counts
            break
    if at > len(body):
        return None
    return Raddec(transmitter, kind, tuple(signature), timestamp_ms, tuple(packets), events, position)


def _typed(identifier: bytes, kind: int) -> bytes:
    """An identifier after its type, whose length is not written."""
    fits = kind < len(ID_BYTES) and ID_BYTES[kind] == len(identifier)
    return bytes([kind]) + identifier if fits else bytes([UNKNOWN])


def _finite(values: tuple[float, ...]) -> tuple[float, ...]:
    known = next((index for index, value in enumerate(values) if not math.isfinite(value)), len(values))
    return values[:known]


def _told(heard: Decoding) -> dict[str, object]:
    entry: dict[str, object] = {"receiverId": heard.receiver.hex(), "receiverIdType": heard.receiver_type}
    if heard.antenna is not None:
        entry["receiverAntenna"] = heard.antenna
    return {**entry, "rssi": heard.rssi, "numberOfDecodings": heard.decodings}


def _from_json(data: bytes) -> Raddec | None:
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return None
    transmitter, kind = _identifier(told.get("transmitterId")), _whole(told.get("transmitterIdType"), 0, 255)
    if transmitter is None or kind is None:
        return None
    signature = [heard for entry in _list(told.get("rssiSignature")) if (heard := _decoding(entry)) is not None]
    packets = [packet for text in _list(told.get("packets")) if (packet := _hex(text)) is not None]
    events = [event for value in _list(told.get("events")) if (event := _whole(value, 0, 7)) is not None]
    position = [float(value) for value in _list(told.get("position")) if _is_number(value)]
    return Raddec(
        transmitter,
        kind,
        tuple(sorted(signature, key=lambda heard: -heard.rssi)),
        _whole(told.get("timestamp"), 0, _TIMESTAMP_MOST_MS),
        tuple(packets),
        tuple(events),
        tuple(position[:3]),
    )


def _decoding(entry: object) -> Decoding | None:
    if not isinstance(entry, dict):
        return None
    receiver, kind = _identifier(entry.get("receiverId")), _whole(entry.get("receiverIdType", 0), 0, 255)
    rssi = _whole(entry.get("rssi"), -200, 100)
    if receiver is None or kind is None or rssi is None:
        return None
    decodings = _whole(entry.get("numberOfDecodings", 1), 1, 255)
    return Decoding(receiver, kind, rssi, decodings or 1, _whole(entry.get("receiverAntenna"), 0, 65535))


def identifier_bytes(text: str) -> bytes | None:
    """An identifier written with or without separators (`00-1b-c5-…`, `001bc5…`); None if it is none."""
    return _hex(text.translate(_SEPARATORS))


_SEPARATORS = str.maketrans("", "", ":-. ")


def _identifier(value: object) -> bytes | None:
    return identifier_bytes(value) if isinstance(value, str) and len(value) <= 64 else None


def _hex(value: object) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        return bytes.fromhex(value)
    except ValueError:
        return None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _whole(value: object, least: int, most: int) -> int | None:
    if not _is_number(value) or not least <= value <= most:
        return None
    return round(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
