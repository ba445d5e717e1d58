"""LLRP: recordings and any other message are read and written byte for byte, and no bytes whatever raise."""

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.frames.llrp.codec import (
    DEPTH_MOST,
    LENGTH_MOST,
    Bits,
    Element,
    Framer,
    LlrpError,
    Raw,
    decode,
    decode_parameters,
    encode,
    encode_frame,
    encode_message,
    encode_parameter,
)
from edge.frames.llrp.tables import BY_NAME, MESSAGES, PARAMETERS, Fixed, Shape
from edge.frames.llrp.view import from_json, to_json

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "data" / "rfid_llrp"
FILES = sorted(RECORDINGS.glob("*.bytes"))

STATUS_OF_A_WRONG_ANTENNA = (
    "011f 0022 0064 000a" + b"no antenna".hex() + "0121 0010 00b7 00c9 0120 0008 0000 012d"
)  # by hand from LLRP 1.1, 17.2.8: M_ParameterError; AISpec: P_FieldError; field 0: A_OutOfRange


def number(name):
    return BY_NAME[name].number


# -- recordings


@pytest.mark.skipif(not FILES, reason=f"no recordings in {RECORDINGS}")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recorded_message_is_read_told_and_written_as_it_was(file):
    name, payload = file.stem.partition("-")[0], file.read_bytes()
    told = json.loads(file.with_suffix(".json").read_text())
    message = decode(number(name), payload)
    assert message is not None
    assert encode(message) == payload
    assert json.dumps(to_json(message), sort_keys=True) == json.dumps(told, sort_keys=True)
    assert encode(from_json(name, told)) == payload


@pytest.mark.skipif(not FILES, reason=f"no recordings in {RECORDINGS}")
@given(st.data())
@settings(max_examples=100)
def test_a_recorded_message_with_bytes_changed_or_cut_is_read_or_refused_and_written_as_it_was(data):
    file = data.draw(st.sampled_from(FILES))
    payload = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)))]
    message = decode(number(file.stem.partition("-")[0]), bytes(payload))
    if message is not None:
        assert encode(message) == payload
        json.dumps(to_json(message))


# -- messages by hand


def test_a_status_that_names_the_field_is_read():
    payload = bytes.fromhex(STATUS_OF_A_WRONG_ANTENNA)
    message = decode(number("AddROSpecResponse"), payload)
    assert message is not None
    assert to_json(message) == {
        "LLRPStatus": {
            "Status": 100,
            "ErrorDescription": "no antenna",
            "FieldError": None,
            "ParameterError": {
                "ParameterType": number("AISpec"),
                "ErrorCode": 201,
                "ParameterError": None,
                "FieldError": {"FieldIndex": 0, "ErrorCode": 301},
            },
        }
    }
    assert encode(message) == payload


@pytest.mark.parametrize(
    ("name", "told", "payload"),
    [
        # by hand from LLRP 1.1, chapters 16 and 17
        ("DeleteROSpec", {"ROSpecID": 0}, "00000000"),
        ("SetReaderConfig", {"ResetToFactoryDefaults": True}, "80"),
        ("SetReaderConfig", {"KeepAliveSpec": {"Trigger": 1, "Interval": 10_000}}, "00 00dc 0009 01 00002710"),
        ("SetReaderConfig", {"EventsAndReports": True}, "00 00e2 0005 80"),
        ("CustomMessage", {"VendorID": 25882, "MessageSubtype": 21, "Data": "AAAAAA=="}, "0000651a 15 00000000"),
        (
            "ROAccessReport",
            {"TagReportData": [{"EPCData": {"EPCNumBits": 12, "EPC": "MHA="}, "PeakRSSI": -60, "AntennaID": 2}]},
            "00f0 0011 00f1 0008 000c 3070 81 0002 86 c4",
        ),
        (
            "ROAccessReport",
            {"TagReportData": [{"EPC96": {"EPC": "MHQle/cZTkAAABqF"}, "C1G2PC": {"EPCMemoryLength": 6}}]},
            "00f0 0014 8d 3074257bf7194e4000001a85 8c 3000",
        ),
        (
            "AddAccessSpec",
            {
                "AccessSpec": {
                    "AccessSpecID": 1,
                    "AirProtocolID": 1,
                    "Trigger": {"Trigger": 1, "OperationCountValue": 1},
                    "AccessCommand": {
                        "C1G2TagSpec": {
                            "TagPattern1": {
                                "C1G2MemoryBank": 1,
                                "MatchFlag": True,
                                "MostSignificantBit": 32,
                                "TagMask": "8A==",
                                "TagMaskNumBits": 4,
                                "TagData": "MA==",
                                "TagDataNumBits": 4,
                            }
                        },
                        "C1G2Write": {"OpSpecID": 3, "C1G2MemoryBank": 3, "WordAddress": 2, "Data": [1, 65535]},
                    },
                }
            },
            "00cf 003f 00000001 0000 01 00 00000000"
            "00d0 0007 01 0001"
            "00d1 0028 0152 0011 0153 000d 60 0020 0004 f0 0004 30 0156 0013 0003 00000000 c0 0002 0002 0001 ffff",
        ),
    ],
)
def test_messages_by_hand_are_written_and_told_alike(name, told, payload):
    payload = bytes.fromhex(payload)
    message = from_json(name, told)
    assert encode(message) == payload
    assert decode(number(name), payload) == message


# -- what is not in the tables


@pytest.mark.parametrize(
    "payload",
    [
        "011f 0008 0000 0000 03e7 0006 beef",  # a TLV of the future
        "011f 0008 0000 0000 0400 0004",  # reserved bits in a parameter's header
        "011f 0008 0000 0000 b2 0102",  # a TV of the future: nobody knows where it ends
        "011f 000b 0000 0000 01 02 03",  # a known parameter that is not as the table says
        "00dc 0009 01 00002710 011f 0008 0000 0000",  # known ones in a strange order
    ],
)
def test_unknown_parameters_are_kept_as_they_came(payload):
    payload = bytes.fromhex(payload)
    message = decode(number("GetROSpecsResponse"), payload)
    assert message is not None
    assert encode(message) == payload
    assert encode(from_json("GetROSpecsResponse", to_json(message) | {"LLRPStatus": {}})) is not None


def test_reserved_bits_are_kept_and_told():
    payload = bytes.fromhex("00e2 0005 a1")
    (read,) = decode_parameters(payload) or ()
    assert isinstance(read, Element)
    assert encode_parameter(read) == payload
    assert to_json(read) == {"HoldEventsAndReportsUponReconnect": True, "Reserved": 0x21}
    assert from_json("EventsAndReports", to_json(read)) == read


def test_a_text_that_is_no_utf8_is_kept_and_told_readably():
    payload = bytes.fromhex("011f 000a 0064 0002 41ff")
    message = decode(number("ErrorMessage"), payload)
    assert message is not None
    assert encode(message) == payload
    status = message.child("LLRPStatus")
    assert status is not None
    assert status.text("ErrorDescription") == "A�"


def test_parameters_deeper_than_any_honest_message_are_kept_as_bytes():
    nested = b""
    for _ in range(4_000):
        nested = encode_parameter(Raw(number("ParameterError"), bytes(4) + nested))
    message = decode(number("ErrorMessage"), encode_parameter(Raw(number("LLRPStatus"), bytes(4) + nested)))
    assert message is not None
    assert encode(message) == encode_parameter(Raw(number("LLRPStatus"), bytes(4) + nested))
    deepest = message.child("LLRPStatus", *["ParameterError"] * (DEPTH_MOST - 1))
    assert deepest is not None
    assert deepest.child("ParameterError") is None


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("DeleteROSpec", "0000"),  # too short
        ("DeleteROSpec", "0000000000"),  # too long
        ("GetROSpecsResponse", "011f 0003"),  # a length that does not hold its own header
        ("GetROSpecsResponse", "011f 00ff 0000"),  # a parameter that overruns the message
        ("GetROSpecsResponse", "011f 00"),
        ("GetROSpecsResponse", "0001 0006 0001"),  # a parameter of 1 byte of header, with the other one
        ("KeepAlive", "00"),
    ],
)
def test_malformed_messages_are_none(name, payload):
    assert decode(number(name), bytes.fromhex(payload)) is None


def test_an_unknown_message_is_none():
    assert decode(999, b"") is None


# -- laws


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=200))
def test_any_bytes_are_a_message_that_encodes_to_them_or_none(type_, payload):
    message = decode(type_, payload)
    if message is not None:
        assert encode(message) == payload
        json.dumps(to_json(message))


def values(kind, size=0):
    match kind:
        case "text":
            return st.text(max_size=12)
        case "bytes" | "rest":
            return st.binary(max_size=12)
        case "raw":
            return st.binary(min_size=size, max_size=size)
        case "u16[]" | "u32[]":
            return st.lists(st.integers(0, 2 ** int(kind[1:3]) - 1), max_size=4).map(tuple)
        case _:
            lengths = st.integers(0, 70)
            return lengths.flatmap(
                lambda length: st.binary(min_size=(length + 7) // 8, max_size=(length + 7) // 8).map(
                    lambda data: Bits(length, data)
                )
            )


@st.composite
def elements(draw, shape: Shape, depth: int = 0):
    fields = {}
    for part in shape.parts:
        if isinstance(part, Fixed):
            for field in part.numbers:
                match field.kind:
                    case "bool":
                        fields[field.name] = draw(st.booleans())
                    case "signed":
                        fields[field.name] = draw(st.integers(-(1 << field.width - 1), (1 << field.width - 1) - 1))
                    case _:
                        fields[field.name] = draw(st.integers(0, (1 << field.width) - 1))
        else:
            fields[part.name] = draw(values(part.kind, part.size))
    children = []
    for slot in shape.slots:
        most = 2 if slot.cardinality == "many" and depth < 3 else 1
        least = 1 if slot.cardinality == "one" else 0
        if depth > 4:
            most = least
        for _ in range(draw(st.integers(least, most))):
            children.append(draw(elements(BY_NAME[slot.type], depth + 1)))
    return Element(shape.name, fields, tuple(children))


@given(st.sampled_from(sorted(MESSAGES)).flatmap(lambda type_: elements(MESSAGES[type_])))
@settings(max_examples=150, deadline=None)
def test_every_message_that_the_tables_allow_is_written_and_read(message):
    payload = encode(message)
    assert decode(BY_NAME[message.name].number, payload) == message


@given(st.sampled_from(sorted(MESSAGES)).flatmap(lambda type_: elements(MESSAGES[type_])))
@settings(max_examples=80, deadline=None)
def test_every_message_can_be_told_as_json_and_told_again_alike(message):
    told = json.loads(json.dumps(to_json(message)))
    again = from_json(message.name, told)
    assert to_json(again) == told


def test_each_parameter_and_message_is_in_one_place_and_has_a_name_of_its_own():
    assert len(BY_NAME) == len(MESSAGES) + len(PARAMETERS)
    assert all(slot.type in BY_NAME for shape in BY_NAME.values() for slot in shape.slots)
    assert all(shape.size for number, shape in PARAMETERS.items() if number < 0x80), "a TV tells no length"


# -- JSON that cannot be meant

KEYS = ("Type", "Data", "Unknown", "Reserved", "Trigger", "TagMask", "TagMaskNumBits", "EPC", "EPCNumBits", "Status")


@pytest.mark.parametrize(
    ("name", "told", "complaint"),
    [
        ("ROSpek", {}, "ROSpek: LLRP has no such message or parameter"),
        ("DeleteROSpec", {"RoSpecID": 1}, "DeleteROSpec: unknown key 'RoSpecID'"),
        ("DeleteROSpec", {"ROSpecID": "1"}, "DeleteROSpec.ROSpecID: '1', expected a whole number"),
        ("AddROSpec", {}, "AddROSpec.ROSpec: missing"),
        ("GetROSpecsResponse", {"LLRPStatus": {}, "ROSpecs": {}}, "GetROSpecsResponse.ROSpecs: dict, expected a list"),
        ("CustomMessage", {"Data": "?"}, "CustomMessage.Data: '?', expected bytes in base64"),
        ("ErrorMessage", {"LLRPStatus": []}, "ErrorMessage.LLRPStatus: list, expected an object"),
    ],
)
def test_json_that_cannot_be_meant_is_refused_with_the_place(name, told, complaint):
    with pytest.raises(LlrpError) as caught:
        from_json(name, told)
    assert str(caught.value) == complaint


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 65) | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(sorted(BY_NAME)), st.data())
@settings(max_examples=200, deadline=None)
def test_any_json_is_an_order_that_can_be_sent_or_is_refused(name, data):
    told = {key: data.draw(JSON_VALUES) for key in to_json(Element(name)) if data.draw(st.booleans())}
    try:
        encode(from_json(name, told | data.draw(st.dictionaries(st.sampled_from(KEYS), JSON_VALUES, max_size=2))))
    except LlrpError:
        pass


@pytest.mark.parametrize(
    ("element", "complaint"),
    [
        (Element("DeleteROSpec", {"ROSpecID": 1 << 32}), "DeleteROSpec.ROSpecID: 4294967296"),
        (Element("PeakRSSI", {"PeakRSSI": -129}), "PeakRSSI.PeakRSSI: -129, expected a number from -128 to 127"),
        (Element("EPC96", {"EPC": b"short"}), "EPC96.EPC: 5 bytes, expected 12"),
        (Element("EPCData", {"EPC": Bits(96, b"short")}), "EPCData.EPC: 5 bytes, expected 96 bits"),
        (Element("AISpec", {"AntennaIDs": (1, 70_000)}), "AISpec.AntennaIDs:"),
        (Element("Custom", {"Data": "text"}), "Custom.Data: str, expected rest"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_their_name(element, complaint):
    with pytest.raises(LlrpError) as caught:
        encode(element)
    assert str(caught.value).startswith(complaint)


def test_a_parameter_longer_than_its_length_can_tell_is_refused():
    with pytest.raises(LlrpError, match="at most 65,531"):
        encode_parameter(Element("Custom", {"Data": bytes(65_524)}))


# -- frames


@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 2**32 - 1), st.binary(max_size=40))), st.data())
def test_frames_are_found_however_the_stream_is_cut(messages, data):
    stream = b"".join(encode_frame(*message) for message in messages)
    framer, found, at = Framer(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        found += framer.feed(stream[at : at + size])
        at += size
    assert [(frame.type, frame.id, frame.payload) for frame in found] == messages
    assert framer.garbled == ""
    assert framer.partial == 0


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_stream_gives_frames_or_is_garbled_for_good(chunks):
    framer = Framer()
    for chunk in chunks:
        garbled = framer.garbled
        found = framer.feed(chunk)
        assert not (garbled and found)


@pytest.mark.parametrize(
    "header",
    [
        "0000 0000000a 00000000",  # version 0
        "1c3d 0000000a 00000000",  # version 7
        "043d 00000009 00000000",  # shorter than a header
        f"043d {LENGTH_MOST + 1:08x} 00000000",
    ],
)
def test_what_is_no_header_garbles_the_stream(header):
    framer = Framer()
    assert framer.feed(encode_frame(62, 1, b"") + bytes.fromhex(header)) == [(62, 1, b"", 1)]
    assert framer.garbled


def test_a_message_on_the_wire_has_type_length_and_id():
    assert encode_message(Element("KeepAliveAck"), 7) == bytes.fromhex("0448 0000000a 00000007")


# -- another's codec


def test_llrpkit_reads_and_writes_what_we_write():
    from llrpkit.protocol import decode_message

    from edge.frames.llrp.orders import impinj_enable_extensions, reader_config, rospec

    spec = rospec(antennas=(1, 3), session=2, mode=1002, power=(1, 40), report_every=10, impinj=True)
    for message in (
        from_json("AddROSpec", {"ROSpec": spec}),
        from_json("SetReaderConfig", reader_config(5_000)),
        impinj_enable_extensions(),
        from_json("ErrorMessage", {"LLRPStatus": {"Status": 109, "ErrorDescription": "ü"}}),
    ):
        ours = encode_message(message, 5)
        assert decode_message(ours).to_bytes() == ours


def test_bytes_are_told_in_base64():
    assert to_json(Element("Custom", {"Data": b"\x00\xff"}))["Data"] == base64.b64encode(b"\x00\xff").decode()
