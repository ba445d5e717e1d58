"""The contract: batches, small messages, orders, topics."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from contract.codec import (
    column_bytes,
    column_values,
    decode,
    decode_small,
    digest_of,
    encode,
    encode_json,
    encode_small,
    event_id,
    header_only,
    read_event_id,
    restamped,
)
from contract.errors import BadTopic, ContractError
from contract.messages import SIGHTING_COLUMNS, Ack, CrowdRow, Header, Health, PresenceRow, Sightings, Status, TagRow
from contract.orders import (
    Desired,
    KeyOffer,
    KeyWant,
    OptOutList,
    Reported,
    address_bytes,
    decode_keys,
    decode_order,
    encode_order,
    names_a_device,
    offer_signed,
    opt_out_prefix,
    want_signed,
)
from contract.topics import NAME, NodeAddress, parse_status, parse_up
from edge.privacy import NotAnAddress, OptOuts, RotatingAddress, with_opt_out
from tests.fuzz.mutate import JSON, MSGPACK
from tests.fuzz.target import Target, text_of

EXAMPLES = Path(__file__).parents[2] / "contract" / "examples"
T0_US = 1_795_168_805_000_000

_Small = TypeVar("_Small", Ack, Status, Health)
_Order = TypeVar("_Order", Desired, Reported)


def read_batch(data: bytes) -> None:
    """a batch, msgpack or JSON: read, written both ways, told anew"""
    assert len(digest_of(data)) == 16
    try:
        batch = decode(data)
    except ContractError as error:
        assert error.reason and str(error).isprintable()
        header_only(data)
        _refused_or_bytes(data)
        return
    assert header_only(data) == batch.header
    assert decode(encode(batch)) == batch
    assert decode(encode_json(batch)) == batch
    header = msgspec.structs.replace(batch.header, t0=T0_US, clock="untrusted")
    assert decode(restamped(data, T0_US, "untrusted")) == msgspec.structs.replace(batch, header=header)
    if isinstance(batch, Sightings):
        for column, packed in zip(SIGHTING_COLUMNS, batch.columns, strict=True):
            assert column_bytes(column, column_values(column, packed)) == packed
    assert NAME.fullmatch(batch.header.node)


def _refused_or_bytes(data: bytes) -> None:
    try:
        restamped(data, T0_US, "trusted")
    except ContractError:
        return


def read_small(data: bytes) -> None:
    """an ack, a status, a heartbeat"""
    _small(data, Ack)
    _small(data, Status)
    _small(data, Health)


def _small(data: bytes, kind: type[_Small]) -> None:
    try:
        message = decode_small(data, kind)
    except ContractError:
        return
    assert decode_small(encode_small(message), kind) == message


def read_order(data: bytes) -> None:
    """messages about keys, desired and reported configuration"""
    try:
        said = decode_keys(data)
    except ContractError:
        pass
    else:
        assert decode_keys(encode_order(said)) == said
        if isinstance(said, KeyWant):
            assert want_signed("acme", "main", said)
        elif isinstance(said, KeyOffer):
            assert offer_signed("acme", "main", said)
    _order(data, Desired)
    _order(data, Reported)


def _order(data: bytes, kind: type[_Order]) -> None:
    try:
        order = decode_order(data, kind)
    except ContractError:
        return
    assert decode_order(encode_order(order), kind) == order
    if isinstance(order, Desired) and order.opt_outs is not None:
        outs = OptOuts((order.opt_outs,))
        outs.is_out(bytes(6))
        assert len(outs) * 3 == len(order.opt_outs.prefixes)


def read_topic(data: bytes) -> None:
    """a topic, or the id that travels beside a batch"""
    topic = text_of(data)
    name = read_event_id(topic)
    assert name is None or event_id(*name) == topic
    try:
        address, stream = parse_up(topic)
    except BadTopic:
        pass
    else:
        assert f"aisle/v1/up/{address}/{stream}" == topic
    try:
        address = parse_status(topic)
    except BadTopic:
        return
    assert address.status == topic


def read_address(data: bytes) -> None:
    """the address of somebody who does not want to be heard"""
    text = text_of(data)
    empty = OptOutList(bytes(16), b"")
    try:
        entered = with_opt_out(empty, text)
    except (NotAnAddress, RotatingAddress):
        return
    address = address_bytes(text)
    assert address is not None and names_a_device(address)
    assert entered.prefixes == opt_out_prefix(empty.salt, address)
    assert OptOuts((entered,)).is_out(address)


def batches() -> Iterator[bytes]:
    for path in _examples("sightings", "presence", "crowd", "tags"):
        yield path.read_bytes()
    yield from (b"\x9c" * 2_000, b"{" + b'"a":[' * 2_000, b"\x81\x81\x01\x02\x03")


def smalls() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in _examples("ack", "status", "health"))


def orders() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in _examples("keys", "config"))
    yield b'{"version":1,"settings":{"ble":{"x":' + b"[" * 300 + b"]" * 300 + b"}}}"


def _examples(*kinds: str) -> list[Path]:
    return [path for path in sorted(EXAMPLES.glob("*-v1.*")) if path.name.startswith(kinds)]


def topics() -> Iterator[bytes]:
    node = NodeAddress("acme", "main-street", "node-1")
    yield from (node.up("sightings").encode(), node.up("health").encode(), node.status.encode(), b"aisle/v1/up//\n//")
    yield event_id("0f" * 16, 7).encode()


def addresses() -> Iterator[bytes]:
    yield from (b"00:11:22:33:44:55", b" 0011.2233.4455\n", b"02-00-00-00-01-00", b"001122334455")


_BATCH = (*Header.__struct_fields__, "columns", "rows", *(column.name for column in SIGHTING_COLUMNS))
_ROWS = (*PresenceRow.__struct_fields__, *CrowdRow.__struct_fields__, *TagRow.__struct_fields__)
_SMALL_WORDS = (*Ack.__struct_fields__, *Status.__struct_fields__, *Health.__struct_fields__, "online", "ok", "silent")
_ORDER_WORDS = ("want", "offer", "roster", "settings", "opt_outs", "applied", "refused", *Reported.__struct_fields__)

TARGETS = [
    Target("batch", read_batch, batches, longest=2048, words=(*_BATCH, *_ROWS), forms=(MSGPACK, JSON)),
    Target("small-message", read_small, smalls, longest=2048, words=_SMALL_WORDS, forms=(JSON,)),
    Target("order", read_order, orders, longest=2048, words=_ORDER_WORDS, forms=(JSON,)),
    Target("topic", read_topic, topics, longest=256, words=("aisle", "v1", "up", "status", "sightings")),
    Target("opt-out-address", read_address, addresses, longest=48),
]
