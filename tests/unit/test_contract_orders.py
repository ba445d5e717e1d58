"""Orders and requests: what is said comes back as it was, and any other bytes are refused with a reason."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import ContractError, NotABatch, TooLarge
from contract.messages import MAX_BYTES
from contract.orders import (
    Desired,
    KeyOffer,
    KeyRank,
    KeyWant,
    OptOutList,
    Order,
    Reported,
    Roster,
    Sibling,
    address_bytes,
    decode_keys,
    decode_order,
    encode_order,
    names_a_device,
    offer_signed,
    opt_out_prefix,
    want_signed,
)

RANK = KeyRank(1_795_168_805_000_000, "door-1", "00112233445566ff")
POINT = b"\x04" + bytes(range(64))
WANT = KeyWant("door-2", "2026-11-24", POINT, RANK, b"certificate", b"signature")
OFFER = KeyOffer("door-1", "door-2", "2026-11-24", RANK, POINT, POINT, bytes(48), b"certificate", b"signature")
ROSTER = Roster("2026-11-24", (Sibling("door-1", True), Sibling("door-2", False)))
DESIRED = Desired(7, {"ble": {"mode": "passive", "watchdog_s": 30}}, OptOutList(bytes(16), b"abcdef", 2))
REPORTED = Reported(7, "refused", 6, 1_795_168_805_000_000, ("[ble] mode: found 1",), 2)


@pytest.mark.parametrize("message", [WANT, msgspec.structs.replace(WANT, rank=None), OFFER, ROSTER])
def test_what_is_said_about_keys_comes_back_as_it_was(message: KeyWant | KeyOffer | Roster) -> None:
    assert decode_keys(encode_order(message)) == message


def test_desired_and_reported_come_back_as_they_were() -> None:
    assert decode_order(encode_order(DESIRED), Desired) == DESIRED
    assert decode_order(encode_order(REPORTED), Reported) == REPORTED


BAD: list[tuple[Order, str, Any]] = [
    (WANT, "node", "Door 2"),
    (WANT, "node", "door-2\n"),
    (WANT, "day", "today"),
    (WANT, "point", b"short"),
    (WANT, "certificate", bytes(4097)),
    (WANT, "rank", {"made": -1, "maker": "door-1", "id": "00112233445566ff"}),
    (WANT, "rank", {"made": 1, "maker": "door-1", "id": "0011"}),
    (WANT, "rank", {"made": True, "maker": "door-1", "id": "00112233445566ff"}),
    (OFFER, "to", "../door-2"),
    (OFFER, "sealed", bytes(47)),
    (OFFER, "signature", bytes(81)),
    (ROSTER, "nodes", [{"node": "door-1"}]),
    (ROSTER, "nodes", [{"node": "door-1", "online": True}] * 1_001),
    (ROSTER, "type", "gossip"),
    (DESIRED, "version", -1),
    (DESIRED, "settings", {"ble": 1}),
    (DESIRED, "opt_outs", {"salt": "", "prefixes": ""}),
    (DESIRED, "opt_outs", {"salt": "AAAAAAAAAAAAAAAAAAAAAA==", "prefixes": "AAAA" + "AA=="}),
    (REPORTED, "state", "pending"),
    (REPORTED, "problems", ["x" * 501]),
    (REPORTED, "problems", ["x"] * 51),
]


@pytest.mark.parametrize(("message", "field", "value"), BAD)
def test_a_field_that_is_wrong_is_refused(message: Order, field: str, value: Any) -> None:
    payload = msgspec.json.encode(msgspec.json.decode(encode_order(message)) | {field: value})
    with pytest.raises(NotABatch):
        match message:
            case Desired():
                decode_order(payload, Desired)
            case Reported():
                decode_order(payload, Reported)
            case _:
                decode_keys(payload)


def test_unknown_fields_are_left_aside_for_later_versions() -> None:
    payload = msgspec.json.encode(msgspec.json.decode(encode_order(ROSTER)) | {"news": 1})
    assert decode_keys(payload) == ROSTER


def test_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        decode_keys(b" " * (MAX_BYTES + 1))


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers(), st.lists).map(msgspec.json.encode))
def test_any_bytes_are_a_message_or_a_reason(data: bytes) -> None:
    for read in (decode_keys, lambda d: decode_order(d, Desired), lambda d: decode_order(d, Reported)):
        with pytest.raises(ContractError):
            read(data)


@given(st.data())
def test_what_is_signed_differs_wherever_the_message_does(data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["node", "day", "rank"]))
    values = {"node": "door-9", "day": "2026-11-25", "rank": KeyRank(RANK.made, "door-0", RANK.id)}
    other = msgspec.structs.replace(WANT, **{field: values[field]})
    assert want_signed("acme", "main", other) != want_signed("acme", "main", WANT)
    bent = msgspec.structs.replace(OFFER, **{field: values[field]})
    assert offer_signed("acme", "main", bent) != offer_signed("acme", "main", OFFER)
    assert want_signed("acme", "main", WANT) != want_signed("acmem", "ain", WANT)
    assert want_signed("acme", "main", WANT) != offer_signed("acme", "main", OFFER)


ADDRESSES = [
    ("00:11:22:aa:BB:cc", "001122aabbcc"),
    ("00-11-22-AA-BB-CC", "001122aabbcc"),
    ("0011.22aa.bbcc", "001122aabbcc"),
    (" 001122AABBCC\n", "001122aabbcc"),
    ("00:11-22:aa:bb:cc", None),
    ("00:11:22:aa:bb", None),
    ("00:11:22:aa:bb:cg", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "digits"), ADDRESSES)
def test_addresses_are_read_as_people_write_them(text: str, digits: str | None) -> None:
    assert address_bytes(text) == (None if digits is None else bytes.fromhex(digits))


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = address_bytes(text)
    assert found is None or len(found) == 6


@pytest.mark.parametrize(("first", "names"), [(0x00, True), (0x02, False), (0x01, False), (0xDA, False), (0xAC, True)])
def test_only_an_address_of_a_maker_names_a_device(first: int, names: bool) -> None:
    assert names_a_device(bytes([first]) + bytes(5)) is names


def test_a_prefix_depends_on_the_stores_salt() -> None:
    address = bytes.fromhex("001122334455")
    assert opt_out_prefix(b"a" * 16, address) != opt_out_prefix(b"b" * 16, address)
    assert len(opt_out_prefix(b"a" * 16, address)) == 3
