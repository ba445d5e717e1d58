"""The frozen messages of contract/examples read as they always did, and the page that explains one shows its bytes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.codec import column_values, decode, decode_small, encode, encode_json, encode_small
from contract.messages import SIGHTING_COLUMNS, Ack, Health, Sightings, Status
from contract.orders import Desired, Order, Reported, decode_keys, decode_order

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "contract" / "examples"
# Any: what a frozen message decodes to is JSON of every shape.
EXPECTED: dict[str, Any] = json.loads((EXAMPLES / "expected.json").read_text())
ORDERS: dict[str, Callable[[bytes], Order]] = {
    "keys": decode_keys,
    "config-desired": lambda payload: decode_order(payload, Desired),
    "config-reported": lambda payload: decode_order(payload, Reported),
}
SMALL: dict[str, Callable[[bytes], Ack | Status | Health]] = {
    "ack": lambda payload: decode_small(payload, Ack),
    "status": lambda payload: decode_small(payload, Status),
    "health": lambda payload: decode_small(payload, Health),
}


def read(name: str) -> object:
    """The message in an example, as the plain values that expected.json holds."""
    payload = (EXAMPLES / name).read_bytes()
    for prefix, decode_it in ORDERS.items():
        if name.startswith(prefix):
            return msgspec.to_builtins(decode_it(payload))
    small = SMALL.get(name.split("-")[0])
    if small is not None:
        return msgspec.to_builtins(small(payload))
    batch = decode(payload)
    header = msgspec.to_builtins(batch.header)
    if not isinstance(batch, Sightings):
        return {"header": header, "rows": msgspec.to_builtins(batch.rows)}
    columns = zip(SIGHTING_COLUMNS, batch.columns, strict=True)
    return {"header": header, "columns": {column.name: column_values(column, data) for column, data in columns}}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_frozen_message_decodes_to_what_it_always_meant(name: str) -> None:
    # A later build may add fields with a default; what was said then must still be said.
    assert_holds(read(name), EXPECTED[name])


def assert_holds(now: object, then: object) -> None:
    """Everything in `then` is in `now`; objects may have gained keys, lists and tuples are alike."""
    if isinstance(then, dict):
        assert isinstance(now, dict)
        for key, value in then.items():
            assert_holds(now[key], value)
    elif isinstance(then, list):
        assert isinstance(now, (list, tuple)) and len(now) == len(then)
        for left, right in zip(now, then, strict=True):
            assert_holds(left, right)
    else:
        assert now == then and type(now) is type(then)


def test_every_example_is_expected_and_every_expectation_has_its_example() -> None:
    files = {path.name for path in EXAMPLES.iterdir() if path.name not in ("README.md", "expected.json")}
    assert files == set(EXPECTED)


def test_the_json_twin_of_a_sightings_batch_is_the_same_batch() -> None:
    packed = (EXAMPLES / "sightings-v1.msgpack").read_bytes()
    twin = (EXAMPLES / "sightings-v1.json").read_bytes()
    assert decode(packed) == decode(twin)
    assert encode(decode(twin)) == packed
    assert json.loads(encode_json(decode(packed))) == json.loads(twin)


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_a_small_message_keeps_its_values_when_written_again(kind: str) -> None:
    payload = (EXAMPLES / f"{kind}-v1.json").read_bytes()
    assert_holds(json.loads(encode_small(SMALL[kind](payload))), json.loads(payload))


def test_the_page_shows_the_bytes_of_the_frozen_batch() -> None:
    page = (ROOT / "docs" / "contract.md").read_text()
    lines = re.findall(r"^([0-9a-f]{8}): ((?:[0-9a-f]{2,4} )+)", page, re.MULTILINE)
    packed = (EXAMPLES / "sightings-v1.msgpack").read_bytes()
    assert bytes.fromhex("".join(digits for _, digits in lines)) == packed
    assert [int(offset, 16) for offset, _ in lines] == list(range(0, len(packed), 16))
    for offset, cell in re.findall(r"^\| ([0-9a-f]{2}) \| (.*?) \|", page, re.MULTILINE):
        first = bytes.fromhex(cell.split("`")[1])
        assert packed[int(offset, 16) :].startswith(first), f"the table's row at {offset}"


def test_the_page_names_every_reason_for_a_dead_letter() -> None:
    import contract.errors

    page = (ROOT / "docs" / "contract.md").read_text()
    reasons = {error.__name__ for error in contract.errors.ContractError.__subclasses__()}
    assert {name for name in reasons if f"`{name}`" not in page} == set()
