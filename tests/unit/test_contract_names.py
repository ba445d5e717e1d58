"""Topics, identities and clocks: what names things on the wire, held to vectors and laws."""

import hashlib
import hmac
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.clock import SimulatedClock, SystemClock, clock_from
from contract.errors import BadTopic, ContractError
from contract.identity import (
    TOKEN_SLOT_US,
    SubjectKind,
    beacon_subject,
    member_token,
    subject_hex,
    token_slot,
)
from contract.messages import subject_kind
from contract.topics import ALL_STATUS, ALL_UP, ORDERS, SHARED_UP, STREAMS, NodeAddress, parse_status, parse_up

settings.register_profile("contract", deadline=None, database=None)
settings.load_profile("contract")

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
ADDRESSES = st.builds(NodeAddress, NAMES, NAMES, NAMES)
ADDRESS = NodeAddress("acme", "main-street", "node-1")


def matches(subscription: str, topic: str) -> bool:
    """Whether a topic is delivered to a subscription: MQTT 5 §4.7 (`+`, `#`) and §4.8.2 ($share/group/filter)."""
    if subscription.startswith("$share/"):
        subscription = subscription.split("/", 2)[2]
    wanted, levels = subscription.split("/"), topic.split("/")
    for place, want in enumerate(wanted):
        if want == "#":
            return len(levels) >= place  # "a/#" matches "a" itself too
        if place >= len(levels) or want not in ("+", levels[place]):
            return False
    return len(levels) == len(wanted)


@given(ADDRESSES, st.sampled_from(STREAMS))
def test_an_up_topic_reads_back_as_the_node_and_stream_that_made_it(address, stream):
    assert parse_up(address.up(stream)) == (address, stream)


@given(ADDRESSES)
def test_a_status_topic_reads_back_as_its_node(address):
    assert parse_status(address.status) == address


@given(st.one_of(st.text(), st.lists(st.text(max_size=5), max_size=9).map("/".join)))
def test_any_text_is_a_topic_or_a_bad_topic(text):
    for parse in (parse_up, parse_status):
        try:
            parse(text)
        except ContractError as error:
            assert error.reason == "BadTopic"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "aisle/v1/up/acme/main-street/node-1",  # no stream
        "aisle/v1/up/acme/main-street/node-1/sightings/more",
        "aisle/v1/up/acme/main-street/node-1/ack",  # an order is no stream
        "aisle/v2/up/acme/main-street/node-1/sightings",
        "aisle/v1/down/acme/main-street/node-1/ack",
        "aisle/v1/up/acme//node-1/sightings",
        "aisle/v1/up/+/main-street/node-1/sightings",
        "aisle/v1/up/Acme/main-street/node-1/sightings",
        "aisle/v1/up/-acme/main-street/node-1/sightings",
        "aisle/v1/up/acme\n/main-street/node-1/sightings",
        f"aisle/v1/up/{'a' * 64}/main-street/node-1/sightings",
        "aisle/v1/up/acmé/main-street/node-1/sightings",
        "aisle/v1/up/ac٣e/main-street/node-1/sightings",  # a digit, but not one of 0-9
    ],
)
def test_a_topic_of_another_form_is_refused(topic):
    with pytest.raises(BadTopic):
        parse_up(topic)


@given(ADDRESSES, st.sampled_from(ORDERS))
def test_the_workers_shared_subscription_never_meets_what_the_cloud_says(address, order):
    assert not matches(SHARED_UP, address.down(order))
    assert not matches(SHARED_UP, address.status)
    assert not matches(ALL_STATUS, address.down(order))


@given(ADDRESSES, st.sampled_from(STREAMS))
def test_the_workers_shared_subscription_meets_every_stream(address, stream):
    assert matches(SHARED_UP, address.up(stream))
    assert matches(ALL_UP, address.up(stream))
    assert not matches(address.all_down, address.up(stream))


@given(ADDRESSES, ADDRESSES, st.sampled_from(ORDERS))
def test_a_node_meets_its_own_orders_only(address, other, order):
    assert matches(address.all_down, address.down(order))
    assert matches(address.all_down, other.down(order)) == (address == other)


@pytest.mark.parametrize(
    ("key", "slot", "token"),
    [
        (bytes(range(32)), 1_994_632, 0xDB9005F8A5798889),  # the member of contract/examples
        (bytes(32), 0, 0x56824D17E20E3D33),
        (bytes(32), 1, 0x20D5E3FB61ED21DC),
        (b"\xff" * 32, 2**63, 0x208044FD487982DF),
    ],
)
def test_a_member_token_is_what_it_always_was(key, slot, token):
    assert member_token(key, slot) == token


def hmac_by_hand(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 from its definition, RFC 2104 §2, for keys of at most a block."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


@given(st.binary(min_size=16, max_size=64), st.integers(0, 2**64 - 1))
def test_a_member_token_is_the_first_eight_bytes_of_an_hmac_of_the_slot(key, slot):
    message = b"aisle token v1" + struct.pack(">Q", slot)
    assert hmac_by_hand(key, message) == hmac.digest(key, message, "sha256")
    assert struct.pack(">Q", member_token(key, slot)) == hmac_by_hand(key, message)[:8]


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_slot_lasts_a_quarter_of_an_hour(at_us):
    assert TOKEN_SLOT_US == 900_000_000
    start = token_slot(at_us) * TOKEN_SLOT_US
    assert start <= at_us < start + TOKEN_SLOT_US
    key = b"k" * 32
    assert member_token(key, token_slot(start)) == member_token(key, token_slot(start + TOKEN_SLOT_US - 1))
    assert member_token(key, token_slot(start)) != member_token(key, token_slot(start + TOKEN_SLOT_US))


def test_a_day_of_tokens_are_ninety_six_different_ones_and_no_two_members_share_one():
    day = range(1_994_632, 1_994_632 + 96)
    assert len({member_token(key, slot) for key in (b"a" * 32, b"b" * 32) for slot in day}) == 192


UUID = bytes.fromhex("f7826da64fa24e988024bc5b71e0893e")


@pytest.mark.parametrize(
    ("uuid", "major", "minor", "subject"),
    [
        (UUID, 1, 7, 0x5335D63EB2E50913),  # the beacon of contract/examples
        (UUID, 0, 0, 0xA0402B15A88FDDCC),
        (UUID, 65535, 65535, 0x03DC3177DAF651F2),
    ],
)
def test_a_beacons_subject_is_what_it_always_was(uuid, major, minor, subject):
    assert beacon_subject(uuid, major, minor) == subject
    assert struct.pack(">Q", subject) == hashlib.sha256(struct.pack(">16sHH", uuid, major, minor)).digest()[:8]


@given(st.integers(0, 2**64 - 1))
def test_a_subject_in_hexadecimal_has_sixteen_digits_and_reads_back(subject):
    assert len(subject_hex(subject)) == 16
    assert int(subject_hex(subject), 16) == subject


@given(st.integers(0, 255))
def test_a_kind_of_subject_that_this_build_does_not_know_is_none(value):
    known = {kind.value for kind in SubjectKind}
    assert (subject_kind(value) is None) == (value not in known)


@given(
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False),
)
def test_a_simulated_clock_is_made_again_from_its_text(start_us, real_start_us, speed):
    clock = SimulatedClock(start_us, real_start_us, speed)
    assert clock_from(clock.spec()) == clock


@pytest.mark.parametrize("spec", ["x", "1@2", "1x2", "1@2x", "a@2x1", "1@bx1", "1.5@2x1", "1@2x1x1", "1@2@3x1", "now"])
def test_a_clock_of_another_form_is_refused_with_the_form_that_is_expected(spec):
    with pytest.raises(ValueError, match="expected START_US@REAL_USxSPEED"):
        clock_from(spec)


@pytest.mark.parametrize("spec", [None, ""])
def test_without_a_clock_in_the_settings_it_is_the_machines(spec):
    assert clock_from(spec) == SystemClock()


def test_a_simulated_clock_starts_at_its_start_and_runs_at_its_speed():
    import time

    real_us = time.time_ns() // 1_000
    before, clock = real_us, SimulatedClock(1_000_000, real_us, 60.0)
    told_us = clock.now_us()
    after = time.time_ns() // 1_000
    assert 1_000_000 <= told_us <= 1_000_000 + (after - before) * 60
    assert clock.trusted


def test_a_machine_that_believes_it_is_1970_is_not_trusted():
    assert not SystemClock(earliest_us=2**62).trusted
    assert SystemClock(earliest_us=0).trusted
