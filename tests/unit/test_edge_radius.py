"""RADIUS accounting: only what was made with the secret is read, and the answer is the one the RFC prescribes."""

import hmac
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.frames.radius import (
    INTERIM,
    START,
    STOP,
    Accounting,
    accounting_request,
    accounting_response,
    parse_accounting,
)

SECRET = b"a secret of some length"
ATTRIBUTES = [
    (40, START.to_bytes(4, "big")),
    (44, b"5E2F0001"),
    (1, b"0123456789abcdef@guest"),
    (31, b"02-00-00-00-01-00"),
    (30, b"00-18-0A-13-DD-B0:guest"),
    (32, b"ap-door"),
    (4, bytes([192, 168, 1, 2])),
    (41, (3).to_bytes(4, "big")),
    (33, b"through"),
    (33, b"two proxies"),
]


def read(packet: bytes) -> Accounting:
    request = parse_accounting(packet, SECRET)
    assert request is not None
    return request


def test_a_start_is_read_field_by_field():
    request = read(accounting_request(7, ATTRIBUTES, SECRET))
    assert request._replace(authenticator=b"") == Accounting(
        identifier=7,
        authenticator=b"",
        status=START,
        user="0123456789abcdef@guest",
        calling="02-00-00-00-01-00",
        called="00-18-0A-13-DD-B0:guest",
        nas="ap-door",
        session="5E2F0001",
        delay_s=3,
        proxy_states=(b"through", b"two proxies"),
    )


def test_the_authenticators_are_those_of_the_rfc():
    packet = accounting_request(7, ATTRIBUTES, SECRET)
    assert packet[4:20] == md5(packet[:4] + bytes(16) + packet[20:] + SECRET).digest()  # RFC 2866, 3
    answer = accounting_response(read(packet), SECRET)
    assert answer[:4] == bytes([5, 7, 0, len(answer)])
    assert answer[20:] == b"\x21\x09through\x21\x0dtwo proxies", "Proxy-State comes back as it was (RFC 2865, 5.33)"
    assert answer[4:20] == md5(answer[:4] + packet[4:20] + answer[20:] + SECRET).digest()


def test_a_message_authenticator_is_checked_wherever_it_stands():
    signed = accounting_request(7, ATTRIBUTES, SECRET, sign=True)
    assert read(signed).user == "0123456789abcdef@guest"
    unsigned = signed[:4] + bytes(16) + signed[20:-16] + bytes(16)
    assert signed[-16:] == hmac.digest(SECRET, unsigned, "md5")
    for wrong in (bytes(16), b"short", b""):
        forged = accounting_request(7, [*ATTRIBUTES, (80, wrong)], SECRET)
        assert parse_accounting(forged, SECRET) is None
    # In front of the others, as some access points send it.
    header = signed[:4] + bytes(16)
    mark = hmac.digest(SECRET, header + b"\x50\x12" + bytes(16) + signed[20:-18], "md5")
    first = accounting_request(7, [(80, mark), *ATTRIBUTES], SECRET)
    assert read(first).nas == "ap-door"


def test_without_the_secret_nothing_is_believed():
    packet = accounting_request(7, ATTRIBUTES, SECRET)
    assert parse_accounting(packet, b"another") is None
    for at in range(len(packet)):
        changed = bytearray(packet)
        changed[at] ^= 1
        assert parse_accounting(bytes(changed), SECRET) is None, at


def test_padding_behind_a_packet_is_no_part_of_it():
    packet = accounting_request(7, ATTRIBUTES, SECRET)
    assert read(packet + b"\x00\x00") == read(packet)
    assert parse_accounting(packet[:-1], SECRET) is None


@pytest.mark.parametrize("status", [START, STOP, INTERIM, 7, 8, 15])
def test_every_status_is_answered_whether_we_use_it_or_not(status):
    request = read(accounting_request(1, [(40, status.to_bytes(4, "big"))], SECRET))
    assert request.status == status and accounting_response(request, SECRET)


def test_a_nas_without_a_name_goes_by_its_address():
    assert read(accounting_request(1, [(4, bytes([10, 0, 0, 9]))], SECRET)).nas == "10.0.0.9"


@pytest.mark.parametrize("body", [b"\x01", b"\x01\x01", b"\x01\x00", b"\x01\x09short", b"\x01\x03a\x02"])
def test_attributes_that_do_not_fill_the_packet_are_refused(body):
    header = b"\x04\x01" + (20 + len(body)).to_bytes(2, "big")
    packet = header + md5(header + bytes(16) + body + SECRET).digest() + body
    assert parse_accounting(packet, SECRET) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_raise(data):
    assert parse_accounting(data, SECRET) is None  # 128 bits are not guessed
    header = b"\x04\x01" + (20 + len(data)).to_bytes(2, "big")
    parse_accounting(header + md5(header + bytes(16) + data + SECRET).digest() + data, SECRET)


@given(st.lists(st.tuples(st.integers(1, 79), st.binary(max_size=60)), max_size=20), st.booleans())
def test_whatever_is_made_with_the_secret_is_read(attributes, sign):
    request = parse_accounting(accounting_request(1, attributes, SECRET, sign), SECRET)
    assert request is not None
    assert request.proxy_states == tuple(value for kind, value in attributes if kind == 33)
