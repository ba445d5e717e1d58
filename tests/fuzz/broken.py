"""Parsers that are broken on purpose: what the fuzzer must find. Not in the table."""

from collections.abc import Iterator

from tests.fuzz.target import Target


def read_badly(data: bytes) -> None:
    """a length that is believed"""
    if data[:2] == b"\x10\x01":
        bytes(data[2 + data[2]])


def read_for_ever(data: bytes) -> None:
    """a length of nothing that is added up to the end"""
    at = 0
    while at < len(data):
        at += data[at]


def read_greedily(data: bytes) -> None:
    """a length that room is made for before anything is there"""
    if data[:2] == b"\x10\x01":
        bytearray(sum(data[2:3], 1) << 30)


def two_bytes() -> Iterator[bytes]:
    yield b"\x10\x02\x03\x01\x02\x03"


def ones() -> Iterator[bytes]:
    yield b"\x01\x01"


TARGETS = [
    Target("raises", read_badly, two_bytes, longest=16),
    Target("devours", read_greedily, two_bytes, longest=16),
    Target("hangs", read_for_ever, ones, longest=16),
]
