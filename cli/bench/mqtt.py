"""As much of MQTT 5 as a load needs: packets made once beforehand, answers split without a copy. For benchmarks only.

Publishers share the machine with what is measured, so each microsecond of theirs is missing there. A client library
spends 60 µs and more on a message (a thread, locks, four system calls); this spends about 5.
"""

import struct
from collections.abc import Iterator

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9


class Refused(Exception):
    """The broker said no."""


def connect(client_id: str, username: str, password: str, keepalive_s: int = 600) -> bytes:
    """A clean session that takes as many packets at once as the broker likes to send."""
    flags = 0x80 | 0x40 | 0x02  # user name, password, clean start
    fixed = _text("MQTT") + bytes((5, flags)) + struct.pack(">H", keepalive_s) + b"\x00"
    return _packet(0x10, fixed + _text(client_id) + _text(username) + _text(password))


def subscribe(filter_: str, qos: int = 1) -> bytes:
    """A subscription; its packet identifier is 1."""
    return _packet(0x82, b"\x00\x01\x00" + _text(filter_) + bytes((qos,)))


def publish(topic: str, packet_id: int, payload: bytes) -> bytes:
    """A message of QoS 1."""
    return _packet(0x32, _text(topic) + struct.pack(">H", packet_id) + b"\x00" + payload)


def puback(packet_id: int) -> bytes:
    """The answer to a message of QoS 1."""
    return struct.pack(">BBH", 0x40, 2, packet_id)


def packets(buffer: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """The whole packets in the buffer as type, flags and body; takes them out of it."""
    start, size = 0, len(buffer)
    while size - start >= 2:
        length, shift, at = 0, 0, start + 1
        while at < size:
            length |= (buffer[at] & 0x7F) << shift
            shift += 7
            at += 1
            if buffer[at - 1] < 0x80:
                break
        else:
            break
        if size - at < length:
            break
        yield buffer[start] >> 4, buffer[start] & 0x0F, bytes(buffer[at : at + length])
        start = at + length
    del buffer[:start]


def message(flags: int, body: bytes) -> tuple[str, int | None, bytes]:
    """Topic, packet identifier (None for QoS 0) and payload of a PUBLISH."""
    size = int.from_bytes(body[:2], "big")
    topic, at = body[2 : 2 + size].decode(), 2 + size
    packet_id = None
    if flags & 0x06:
        packet_id, at = int.from_bytes(body[at : at + 2], "big"), at + 2
    assert body[at] < 0x80, "properties of at most 127 bytes"
    return topic, packet_id, body[at + 1 + body[at] :]


def check(kind: int, body: bytes) -> None:
    """Raises Refused where a CONNACK, SUBACK or PUBACK says so."""
    reason = {CONNACK: body[1:2], SUBACK: body[-1:], PUBACK: body[2:3]}.get(kind, b"")
    if reason and reason[0] >= 0x80:
        raise Refused(f"packet {kind}: reason {reason[0]}")


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def _packet(first: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, digit = size >> 7, size & 0x7F
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes((first, *length)) + body
