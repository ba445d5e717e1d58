"""contract/asyncapi.yaml, the code and the frozen examples say the same."""

import json
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import jsonschema
import msgspec
import pytest
import yaml

from contract.codec import CONTENT_TYPE, HEADER_ORDER, decode, decode_small
from contract.errors import ContractError
from contract.identity import SubjectKind
from contract.messages import (
    MAX_BYTES,
    MAX_ROWS,
    SIGHTING_COLUMNS,
    Ack,
    CrowdRow,
    Header,
    Health,
    PresenceRow,
    Rejection,
    SourceHealth,
    Status,
    TagRow,
)
from contract.orders import Desired, KeyOffer, KeyWant, Reported, Roster, decode_keys, decode_order
from contract.topics import ALL_STATUS, ALL_UP, ORDERS, SHARED_UP, STREAMS, NodeAddress, Order, Stream

CONTRACT = Path(__file__).parents[2] / "contract"
EXAMPLES = CONTRACT / "examples"
# Any: a YAML document is nested mappings and lists of every shape; the tests below are its check.
DOCUMENT: dict[str, Any] = yaml.safe_load((CONTRACT / "asyncapi.yaml").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
MESSAGES = DOCUMENT["components"]["messages"]
ANY_NODE = NodeAddress("{tenant}", "{store}", "{node}")

SENT = {"sightings", "presence", "crowd", "tags", "health", "keysUp", "configUp", "ack", "keys", "config"}
NOT_SENT_YET = {"faces", "shown", "command"}
STRUCTS = (Header, PresenceRow, CrowdRow, TagRow, Ack, Rejection, Status, Health, SourceHealth)
ORDERED = {"keyWant", "keyOffer", "desired"}
"""They hold bytes as base64, which a schema names and does not check."""
ORDER_STRUCTS = (KeyWant, KeyOffer, Roster, Desired, Reported)
SMALL: dict[str, Callable[[bytes], object]] = {
    "keyWant": decode_keys,
    "keyOffer": decode_keys,
    "keyRoster": decode_keys,
    "desired": lambda payload: decode_order(payload, Desired),
    "reported": lambda payload: decode_order(payload, Reported),
    "ack": lambda payload: decode_small(payload, Ack),
    "status": lambda payload: decode_small(payload, Status),
    "health": lambda payload: decode_small(payload, Health),
}


def resolve(reference: str) -> Any:
    """What a reference within the document points to; KeyError or IndexError if to nothing."""
    assert reference.startswith("#/"), reference
    place: Any = DOCUMENT
    for step in reference[2:].split("/"):
        place = place[int(step)] if isinstance(place, list) else place[step]
    return place


def references(part: object) -> Iterator[str]:
    """Every $ref in a part of the document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def validator(schema: str) -> jsonschema.Draft7Validator:
    """Checks values against a schema of the document; AsyncAPI's schemas are JSON Schema draft 7."""
    return jsonschema.Draft7Validator({"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]})


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its references and its one-sided allOf followed."""
    while "$ref" in schema or "allOf" in schema:
        schema = resolve(schema["$ref"]) if "$ref" in schema else schema["allOf"][0]
    return schema


def up_channel(stream: str) -> str:
    """The channel of a stream; what is said in both directions has one for each."""
    return f"{stream}Up" if stream in ORDERS else stream


# The document's own structure


def test_every_reference_in_the_document_resolves():
    found = sorted(set(references(DOCUMENT)))
    assert len(found) > 40
    for reference in found:
        resolve(reference)


def test_everything_in_components_is_used():
    used = set(references(DOCUMENT))
    for kind, parts in DOCUMENT["components"].items():
        for name in parts:
            pointer = f"#/components/{kind}/{name}"
            assert any(each == pointer or each.startswith(pointer + "/") for each in used), f"{pointer} is not used"


def test_the_document_is_asyncapi_3_with_what_that_requires():
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["title"] and DOCUMENT["info"]["version"]
    for server in DOCUMENT["servers"].values():
        assert server["host"] and server["protocol"] in ("mqtt", "mqtts") and server["protocolVersion"] == "5"
    for name, channel in DOCUMENT["channels"].items():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"]), name
    for name, operation in DOCUMENT["operations"].items():
        assert operation["action"] in ("send", "receive"), name
        channel = operation["channel"]["$ref"]
        for message in references(operation["messages"]):
            assert message.startswith(channel + "/messages/"), name


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_each_schema_is_json_schema_and_requires_only_what_it_names(name):
    jsonschema.Draft7Validator.check_schema(SCHEMAS[name])
    assert set(SCHEMAS[name].get("required", ())) <= set(SCHEMAS[name].get("properties", ()))


# Topics


def test_every_topic_of_the_code_has_its_channel_and_no_channel_is_without_a_topic():
    topics = {up_channel(stream): ANY_NODE.up(stream) for stream in get_args(Stream)}
    topics |= {str(order): ANY_NODE.down(order) for order in get_args(Order)}
    topics |= {"status": ANY_NODE.status}
    assert {name: channel["address"] for name, channel in DOCUMENT["channels"].items()} == topics


def test_what_is_named_and_not_sent_yet_says_so_and_has_no_message_or_operation():
    assert SENT | NOT_SENT_YET == {*map(up_channel, STREAMS), *ORDERS}
    operated = {operation["channel"]["$ref"].split("/")[-1] for operation in DOCUMENT["operations"].values()}
    assert operated == SENT | {"status"}
    for name, channel in DOCUMENT["channels"].items():
        assert ("messages" in channel) == (name not in NOT_SENT_YET)
        assert channel.get("x-sent", True) == (name not in NOT_SENT_YET)
        assert channel["description"].startswith("Named, not sent yet.") == (name in NOT_SENT_YET)
    said = re.findall(r"not sent yet: ([a-z, ]+)\.", DOCUMENT["info"]["description"])
    assert {name for names in said for name in names.split(", ")} == NOT_SENT_YET


def test_each_message_has_a_sender_on_one_side_and_a_receiver_on_the_other():
    for name in SENT | {"status"}:
        on_channel = [o for o in DOCUMENT["operations"].values() if o["channel"]["$ref"] == f"#/channels/{name}"]
        sides = {operation["action"]: operation["tags"][0]["name"] for operation in on_channel}
        sender, receiver = ("cloud", "edge") if name in ORDERS else ("edge", "cloud")
        assert sides == {"send": sender, "receive": receiver}
        said = {reference.split("/")[-1] for operation in on_channel for reference in references(operation["messages"])}
        assert said == set(DOCUMENT["channels"][name]["messages"])


def test_subscriptions_are_those_of_the_code():
    for name, operation in DOCUMENT["operations"].items():
        if operation["action"] == "receive":
            cloud = ALL_STATUS if name == "cloudReceivesStatus" else SHARED_UP
            assert operation["x-subscription"] == (ANY_NODE.all_down if name.startswith("edge") else cloud)
    assert SHARED_UP.endswith(ALL_UP)


def test_all_travels_at_least_once_and_only_the_status_is_retained():
    for name, operation in DOCUMENT["operations"].items():
        binding = resolve(operation["bindings"]["$ref"])["mqtt"]
        assert binding["qos"] == 1
        assert binding["retain"] == (name == "edgeSendsStatus")
    will = DOCUMENT["components"]["serverBindings"]["node"]["mqtt"]["lastWill"]
    assert (will["topic"], will["qos"], will["retain"]) == (ANY_NODE.status, 1, True)


def test_content_types_and_user_properties_are_said_for_each_batch():
    for name, message in MESSAGES.items():
        binary = name == "sightings"
        assert message["contentType"] == (CONTENT_TYPE if binary else "application/json")
        assert message["bindings"]["mqtt"]["contentType"] == message["contentType"]
        assert message["bindings"]["mqtt"]["payloadFormatIndicator"] == (0 if binary else 1)
        assert ("traits" in message) == (name not in SMALL)
    assert list(SCHEMAS["UserProperties"]["properties"]) == ["id", "source", "type", "traceparent"]


# Fields, columns, limits


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_a_struct_and_its_schema_have_the_same_fields_of_the_same_types(struct):
    schema = SCHEMAS[struct.__name__]
    hints = get_type_hints(struct)
    assert set(schema["properties"]) == set(hints)
    for name, hint in hints.items():
        assert_same_type(plain(schema["properties"][name]), hint, f"{struct.__name__}.{name}")
    required = {field.name for field in msgspec.structs.fields(struct) if field.required}
    # The decoder asks for v, which a Header made by this build has by itself.
    assert set(schema["required"]) == (required | {"v"} if struct is Header else required)


def assert_same_type(schema: dict[str, Any], hint: Any, where: str) -> None:
    """A field's schema admits what its annotation does."""
    if get_origin(hint) is Literal:
        assert schema["enum"] == list(get_args(hint)), where
    elif get_origin(hint) is tuple:
        assert schema["type"] == "array", where
        inner = [each for each in get_args(hint) if not isinstance(each, types.EllipsisType)]
        if len(inner) == len(get_args(hint)):
            assert schema["minItems"] == schema["maxItems"] == len(inner), where
        for each in inner:
            assert_same_type(plain(schema["items"]), each, where)
    elif get_origin(hint) is types.UnionType:  # of one type and None
        (inner,) = [each for each in get_args(hint) if each is not type(None)]
        assert schema["type"][1:] == ["null"], where
        assert_same_type({**schema, "type": schema["type"][0]}, inner, where)
    elif get_origin(hint) is dict:
        assert schema["type"] == "object", where
        assert_same_type(plain(schema["additionalProperties"]), get_args(hint)[1], where)
    elif isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        assert schema == SCHEMAS[hint.__name__], where
    else:
        names: dict[object, str] = {str: "string", int: "integer", float: "number"}
        assert schema["type"] == names[hint], where


def test_orders_have_the_schemas_of_their_structs():
    _, wanted = msgspec.json.schema_components(ORDER_STRUCTS, ref_template="#/components/schemas/{name}")
    for name, schema in wanted.items():
        assert SCHEMAS[name] == without_titles(schema), name


def without_titles(schema: Any) -> Any:
    """As msgspec makes it, less its titles, and with $ where Python's patterns have \\Z."""
    if isinstance(schema, dict):
        return {key: without_titles(value) for key, value in schema.items() if key != "title"}
    if isinstance(schema, list | tuple):
        return [without_titles(value) for value in schema]
    return schema.replace("\\Z", "$") if isinstance(schema, str) else schema


def test_the_array_has_the_header_in_the_codecs_order():
    *header, columns = SCHEMAS["SightingsArray"]["items"]
    assert tuple(SCHEMAS["Header"]["required"]) == HEADER_ORDER
    assert SCHEMAS["SightingsArray"]["minItems"] == len(HEADER_ORDER) + 1
    for name, schema in zip(HEADER_ORDER, header, strict=True):
        reference = {"$ref": f"#/components/schemas/Header/properties/{name}"}
        assert schema == ({"const": "sightings"} if name == "kind" else reference)
    assert columns["minItems"] == len(SIGHTING_COLUMNS)


def test_columns_have_the_names_types_and_units_of_the_code():
    wanted = [(column.name, column.dtype, column.unit) for column in SIGHTING_COLUMNS]
    packed = SCHEMAS["SightingsArray"]["items"][-1]["items"]
    assert [(each["title"], each["x-dtype"], each["x-unit"]) for each in packed] == wanted
    twin = SCHEMAS["Columns"]
    assert [(name, each["x-dtype"], each["x-unit"]) for name, each in twin["properties"].items()] == wanted
    assert twin["required"] == [column.name for column in SIGHTING_COLUMNS]
    for column in SIGHTING_COLUMNS:
        bits = 8 * column.width
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if column.dtype[1] == "i" else (0, 2**bits - 1)
        numbers = twin["properties"][column.name]["items"]
        assert (numbers["type"], numbers["minimum"], numbers["maximum"]) == ("integer", low, high)


def test_limits_and_kinds_of_subject_are_those_of_the_code():
    assert (DOCUMENT["info"]["x-max-bytes"], DOCUMENT["info"]["x-max-rows"]) == (MAX_BYTES, MAX_ROWS)
    assert SCHEMAS["Header"]["properties"]["n"]["maximum"] == MAX_ROWS
    kinds = {kind.name: kind.value for kind in SubjectKind}
    assert SCHEMAS["Columns"]["properties"]["kind"]["x-kinds"] == kinds
    assert SCHEMAS["PresenceRow"]["properties"]["kind"]["x-kinds"] == kinds


# Examples


def message_of(example: str) -> str:
    """The name of the document's message that an example is one of."""
    (name,) = [str(name) for name, message in MESSAGES.items() if example in message["x-examples"]]
    return name


EXAMPLE_FILES = sorted(path.name for path in EXAMPLES.iterdir() if path.name not in ("README.md", "expected.json"))


@pytest.mark.parametrize("example", EXAMPLE_FILES)
def test_each_example_is_one_of_one_message_and_follows_its_schema(example):
    message = MESSAGES[message_of(example)]
    payload = (EXAMPLES / example).read_bytes()
    if example.endswith(".json"):
        value = json.loads(payload)
    else:  # a schema knows no bytes: each is shown as the character of its number
        *header, columns = msgspec.msgpack.decode(payload)
        value = [*header, [column.decode("latin-1") for column in columns]]
    validator(message["payload"]["$ref"].split("/")[-1]).validate(value)


def test_every_example_that_the_document_names_is_there():
    named = [example for message in MESSAGES.values() for example in message["x-examples"]]
    assert sorted(named) == EXAMPLE_FILES


# What the document allows, the decoder takes, and the other way round

ODD_VALUES: tuple[object, ...] = (
    None, True, False, 0, 1, 2, -1, 255, 256, 10_000, 10_001, 2**31 - 1, 2**31, -(2**31) + 1, -(2**31),
    2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 253_402_300_799_999_999, 253_402_300_800_000_000, 0.5, 1.5, -0.5,
    "", "a", "A", "-a", "a" * 63, "a" * 64, "a" * 65, "0" * 16, "F" * 16, "0" * 32, "é", "a b", "a\0",
    "sightings", "faces", "trusted", "enter", "online", [], {}, [1], [[1, 2]], [[1]], [[1, 2, 3]],
    [{"seq": 1, "reason": "x"}], [{"seq": 1}], [{}], [0, 1, 2], [0.5], [True], [2**64], ["0"],
)  # fmt: skip


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every field in a message, first rows and first elements only."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def changed(text: str, path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A message with one field replaced."""
    message: dict[str, Any] = json.loads(text)
    place: Any = message
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return message


def accepts(name: str, payload: bytes) -> bool:
    """Whether the decoder takes a payload; it may raise nothing but a ContractError."""
    try:
        SMALL.get(name, decode)(payload)
    except ContractError:
        return False
    return True


@pytest.mark.parametrize("example", [name for name in EXAMPLE_FILES if name.endswith(".json")])
def test_the_decoder_takes_what_the_document_allows_and_refuses_what_it_does_not(example):
    name = message_of(example)
    text = (EXAMPLES / example).read_text()
    allowed_by = validator(MESSAGES[name]["payload"]["$ref"].split("/")[-1])
    for path in places(json.loads(text)):
        for odd in ODD_VALUES:
            message = changed(text, path, odd)
            allowed = allowed_by.is_valid(message) and (name not in ORDERED or not isinstance(odd, str))
            taken = accepts(name, json.dumps(message).encode())
            where = f"{example}: {path} = {odd!r}"
            if miscounted(message):  # n against the rows, which a schema cannot say
                assert not taken, where
            elif name in SMALL:  # the receiver judges the numbers of these; their types are the contract's
                assert taken or not allowed, where
            else:
                assert taken == allowed, where


def miscounted(message: dict[str, Any]) -> bool:
    """Whether n is a number but not that of the rows or of the values in each column."""
    n, rows, columns = message.get("n"), message.get("rows"), message.get("columns")
    if isinstance(rows, list):
        return len(rows) != n
    if isinstance(columns, dict):
        return any(isinstance(column, list) and len(column) != n for column in columns.values())
    return False
