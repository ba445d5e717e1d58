"""The cloud's part in the key of the day: everything stays in the sender's store, and nobody speaks for another."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.fleet.relay import relay
from contract.orders import KeyMessage, KeyOffer, KeyRank, KeyWant, Roster, Sibling
from contract.topics import NodeAddress

DOOR = NodeAddress("acme", "main", "door-1")
NODES = {"door-1": False, "door-2": True, "door-3": False, "till": True}
RANK = KeyRank(1, "door-1", "0" * 16)
WANT = KeyWant("door-1", "2026-11-24", b"\x04" + bytes(64), None, b"c", b"signature")
OFFER = KeyOffer("door-1", "till", "2026-11-24", RANK, WANT.point, WANT.point, bytes(48), b"c", b"signature")


def test_a_want_goes_to_every_sibling_online_and_its_sender_learns_who_is_there() -> None:
    (to, roster), *passed_on = relay(DOOR, WANT, NODES)
    assert to == DOOR and isinstance(roster, Roster) and roster.day == WANT.day
    assert roster.nodes == (
        Sibling("door-1", True),  # it speaks, whatever its state says yet
        Sibling("door-2", True),
        Sibling("door-3", False),
        Sibling("till", True),
    )
    assert passed_on == [(NodeAddress("acme", "main", name), WANT) for name in ("door-2", "till")]


def test_an_offer_goes_to_the_one_it_is_for() -> None:
    assert relay(DOOR, OFFER, NODES) == [(NodeAddress("acme", "main", "till"), OFFER)]


NOWHERE: list[tuple[str, KeyMessage]] = [
    ("a want in another's name", msgspec.structs.replace(WANT, node="door-2")),
    ("an offer in another's name", msgspec.structs.replace(OFFER, node="door-2")),
    ("an offer to itself", msgspec.structs.replace(OFFER, to="door-1")),
    ("to one that is not online", msgspec.structs.replace(OFFER, to="door-3")),
    ("to one of another store", msgspec.structs.replace(OFFER, to="cellar")),
    ("a roster, which is the cloud's to say", Roster("2026-11-24", (Sibling("door-1", True),))),
]


@pytest.mark.parametrize("message", [pytest.param(n[1], id=n[0]) for n in NOWHERE])
def test_anything_else_goes_nowhere(message: KeyMessage) -> None:
    assert relay(DOOR, message, NODES) == []


def test_a_node_that_is_not_of_the_store_is_not_heard() -> None:
    assert relay(NodeAddress("acme", "main", "cellar"), msgspec.structs.replace(WANT, node="cellar"), NODES) == []


NAMES = st.sampled_from(["door-1", "door-2", "till", "cellar"])


@given(NAMES, NAMES, NAMES, st.dictionaries(NAMES, st.booleans()))
def test_nothing_leaves_the_senders_store(sender: str, said: str, to: str, nodes: dict[str, bool]) -> None:
    address = NodeAddress("acme", "main", sender)
    for message in (msgspec.structs.replace(WANT, node=said), msgspec.structs.replace(OFFER, node=said, to=to)):
        for recipient, sent in relay(address, message, nodes):
            assert (recipient.tenant, recipient.store) == ("acme", "main") and recipient.node in nodes
            assert sent == message or recipient == address
