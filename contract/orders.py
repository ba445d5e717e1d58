"""Requests and orders beside the ledger: the key of the day, desired configuration, opt-outs. All of them small JSON.

`down/…/keys` and `up/…/keys` carry a KeyMessage: the cloud hands wants and offers from node to node and can read none
of the keys. `down/…/config` carries a Desired, `up/…/config` the node's Reported. None of them is stored as it came.
Decoding is total: any bytes give a message or a ContractError that names what is wrong.
"""

import hashlib
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from contract.errors import NotABatch, TooLarge
from contract.messages import MAX_BYTES

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
Point = Annotated[bytes, Meta(min_length=65, max_length=65)]
"""A public key on P-256, uncompressed (SEC 1, 2.3.3)."""
Certificate = Annotated[bytes, Meta(min_length=1, max_length=4096)]
"""X.509, DER."""
Signature = Annotated[bytes, Meta(min_length=8, max_length=80)]
"""ECDSA with SHA-256 by the certificate's key, DER."""
Count = Annotated[int, Meta(ge=0, lt=2**31)]
Instant = Annotated[int, Meta(ge=0, lt=253_402_300_800_000_000)]
"""Microseconds since 1970 UTC, before the year 10000."""

MAX_NODES = 1_000
MAX_OPT_OUTS = 20_000
"""A store's; so many would drop 1 in 840 strangers as well."""
MAX_PROBLEMS = 50

PREFIX_BYTES = 3
"""Of an opt-out's digest: each entry fits 2⁴⁸ / 2²⁴ = 16.7 million addresses, so none of them is named by it."""


class KeyRank(msgspec.Struct, frozen=True, order=True):
    """Which of two keys of a day is the store's: the lower one. Made first, then by its maker's name."""

    made: Instant
    """When it was made, by its maker's clock."""
    maker: Name
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    """8 bytes of a digest of the key: tells keys apart and nothing about them."""


class KeyWant(msgspec.Struct, frozen=True, tag="want", tag_field="type"):
    """A node asks its siblings for the key of a day, or for a better one than it has."""

    node: Name
    day: Day
    """The store's local day."""
    point: Point
    """What the answer is to be sealed to: a key of this day and this process, kept nowhere."""
    rank: KeyRank | None
    """Of the key that the node holds; None if it holds none."""
    certificate: Certificate
    signature: Signature
    """Over `want_signed`."""


class KeyOffer(msgspec.Struct, frozen=True, tag="offer", tag_field="type"):
    """A sibling's answer: the key of the day, sealed to the one who asked."""

    node: Name
    """Who offers; not always who made it."""
    to: Name
    day: Day
    rank: KeyRank
    asked: Point
    """The `point` of the want that this answers."""
    point: Point
    sealed: Annotated[bytes, Meta(min_length=48, max_length=48)]
    """The key under AES-256-GCM, 32 bytes and the tag."""
    certificate: Certificate
    signature: Signature
    """Over `offer_signed`."""


class Sibling(msgspec.Struct, frozen=True):
    """A node of the store, as the cloud sees it."""

    node: Name
    online: bool


class Roster(msgspec.Struct, frozen=True, tag="roster", tag_field="type"):
    """The cloud's answer to a want: who is there to be waited for. It decides nothing but who makes a key first."""

    day: Day
    nodes: Annotated[tuple[Sibling, ...], Meta(max_length=MAX_NODES)]


KeyMessage = KeyWant | KeyOffer | Roster


class OptOutList(msgspec.Struct, frozen=True):
    """Devices that a store must not hear, without naming them: `opt_out_prefix` of each."""

    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    prefixes: Annotated[bytes, Meta(max_length=PREFIX_BYTES * MAX_OPT_OUTS)]
    """3 bytes each, one after another."""
    version: Count = 0
    """Counts up with each entry."""


Section = dict[str, Any] | list[dict[str, Any]]
"""Of a node.toml: a table, or several under one name."""


class Desired(msgspec.Struct, frozen=True):
    """The configuration that the cloud wants a node to run: settings laid over those of its own file."""

    version: Count
    """Counts up with each change; 0 for none: the node's own file as it is."""
    settings: dict[str, Section] = {}
    """By section, as in node.toml. What they may hold is known to the node's release alone, which checks them."""
    opt_outs: OptOutList | None = None


class Reported(msgspec.Struct, frozen=True):
    """What a node made of it."""

    version: Count
    """Of the Desired that this is about."""
    state: Literal["applied", "refused"]
    """`refused`: it goes on with the configuration that it had."""
    running: Count
    """The version that it runs."""
    at: Instant
    problems: Annotated[tuple[Annotated[str, Meta(max_length=500)], ...], Meta(max_length=MAX_PROBLEMS)] = ()
    """Why it was refused: one a mistake, with section and key."""
    opt_outs: Count = 0
    """The version of the opt-out list that it follows."""


Order = KeyMessage | Desired | Reported
_Order = TypeVar("_Order", Desired, Reported)


def encode_order(message: Order) -> bytes:
    """A message of this module as JSON; bytes travel as base64."""
    return msgspec.json.encode(message)


def decode_keys(payload: bytes) -> KeyMessage:
    """A want, an offer or a roster. Raises a ContractError, whatever the bytes are."""
    message: KeyMessage = _decode(payload, KeyMessage, "message about keys")
    return message


def decode_order(payload: bytes, kind: type[_Order]) -> _Order:
    """A Desired or a Reported. Raises a ContractError, whatever the bytes are."""
    message: _Order = _decode(payload, kind, kind.__name__.lower())
    if isinstance(message, Desired) and message.opt_outs and len(message.opt_outs.prefixes) % PREFIX_BYTES:
        raise NotABatch(f"not a desired: prefixes of {PREFIX_BYTES} bytes each")
    return message


def _decode(payload: bytes, kind: Any, name: str) -> Any:
    # The type that msgspec gives back is the one it is given: the two callers state it.
    if len(payload) > MAX_BYTES:
        raise TooLarge(f"{len(payload)} bytes, at most {MAX_BYTES}")
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise NotABatch(f"not a {name}: {error}") from None


def want_signed(tenant: str, store: str, want: KeyWant) -> bytes:
    """The bytes under a want's signature: all that it says, and of which store."""
    said = [tenant, store, want.node, want.day, want.point, want.rank]
    return b"aisle key want v1\0" + msgspec.msgpack.encode(said)


def offer_signed(tenant: str, store: str, offer: KeyOffer) -> bytes:
    """The bytes under an offer's signature."""
    return b"aisle key offer v1\0" + offer_bound(tenant, store, offer) + offer.sealed


def offer_bound(tenant: str, store: str, offer: KeyOffer) -> bytes:
    """What a sealed key is bound to: it opens nowhere else, on no other day, for nobody else."""
    said = [tenant, store, offer.day, offer.rank, offer.node, offer.to, offer.asked, offer.point]
    return msgspec.msgpack.encode(said)


# -- addresses of those who do not want to be heard

_ADDRESS = re.compile(r"(?:[0-9a-f]{2}([:-]?)(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4})")


def address_bytes(text: str) -> bytes | None:
    """The 6 bytes of a MAC address as people write it: with colons, hyphens, Cisco's dots or nothing between."""
    text = text.strip().lower()
    return bytes.fromhex(re.sub(r"[^0-9a-f]", "", text)) if _ADDRESS.fullmatch(text) else None


def names_a_device(address: bytes) -> bool:
    """Whether an address stays with one device: six bytes that its maker was assigned.

    The bit 0x02 of the first says that an address was made up locally (IEEE 802c): phones do so and change it. The bit
    0x01 says that it is a group's.
    """
    return len(address) == 6 and not address[0] & 0x03


def opt_out_prefix(salt: bytes, address: bytes) -> bytes:
    """How an address stands in a store's opt-out list."""
    return hashlib.sha256(salt + address).digest()[:PREFIX_BYTES]
