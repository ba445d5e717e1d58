"""RFID: LLRP's stream, messages, reports and orders; a serial module's line; EPCs and what the cloud says of them."""

import base64
import json
import math
import struct
from collections.abc import Iterator

from cloud.inventory.epcis import Site, TagChange, document
from contract.epc import Epc, Scheme, decode, encode, sgtin, uri_of
from edge.doctor.readers import greeting_status
from edge.frames.llrp import codec
from edge.frames.llrp.codec import Element, Framer, LlrpError, Raw, decode_parameters, encode_frame
from edge.frames.llrp.instants import ReaderTime
from edge.frames.llrp.orders import (
    capabilities,
    failure,
    impinj_enable_extensions,
    reader_config,
    rospec,
)
from edge.frames.llrp.reports import CUSTOM, EPC_DATA, EPC_MOST, IMPINJ, TAG_REPORT_DATA, TagReader
from edge.frames.llrp.tables import MESSAGES, PARAMETERS
from edge.frames.llrp.view import UNKNOWN, from_json, to_json
from edge.frames.uhf_serial import (
    Decoder,
    Frame,
    TagAnswer,
    error_of,
    info,
    multiple_poll,
    set_query,
    stop_poll,
    tag_frame,
    tag_of,
)
from edge.frames.uhf_serial import encode as uhf_bytes
from simulators.llrp_tags import Answer, Read, tag_report
from tests.fuzz.mutate import JSON
from tests.fuzz.target import RECORDINGS, Target, pieces, recorded

NOW_US = 1_790_078_400_000_000
EPC = bytes.fromhex("3074257bf7194e4000001a85")
RO_ACCESS_REPORT = 61

# -- LLRP


def read_stream(data: bytes) -> None:
    """LLRP as it comes over the line, in pieces: frames, their messages"""
    whole, cut = Framer(), Framer()
    frames = whole.feed(data)
    assert [frame for piece in pieces(data) for frame in cut.feed(piece)] == frames
    assert (cut.partial, cut.garbled) == (whole.partial, whole.garbled)
    assert data.startswith(b"".join(encode_frame(f.type, f.id, f.payload, f.version) for f in frames))
    for frame in frames:
        assert frame.name
        _message(frame.type, frame.payload)
    greeting_status(data)


def read_message(data: bytes) -> None:
    """an LLRP message: its type in 2 bytes, then its content"""
    _message(int.from_bytes(data[:2], "big"), data[2:])


def _message(type_: int, payload: bytes) -> None:
    parameters = decode_parameters(payload)
    if parameters is not None:
        assert b"".join(map(codec.encode_parameter, parameters)) == payload
    message = codec.decode(type_, payload)
    if message is None:
        return
    assert codec.encode(message) == payload
    told = json.loads(json.dumps(to_json(message)))
    try:
        codec.encode(from_json(message.name, told))
    except LlrpError:  # a parameter that must be there is not: bytes may lack it, an order may not
        pass
    failure(message)
    found = capabilities(message)
    assert found.label
    found.power_index(20.0)


def read_report(data: bytes) -> None:
    """a report of tags: the fast way reads what the codec reads"""
    reader = TagReader()
    first = reader.read(data)
    assert len({len(column) for column in first}) == 1
    rows = list(zip(*first, strict=True))
    assert list(zip(*reader.read(data), strict=True)) == rows, "read otherwise when its layouts are known"
    plain = _by_the_codec(data)
    assert plain is None or plain == rows
    at_us = ReaderTime().at_us(first.seen_us, NOW_US)
    assert all(at <= NOW_US for at in at_us)


Row = tuple[bytes, int, float | None, int, int, float | None, float | None]


def _by_the_codec(payload: bytes) -> list[Row] | None:
    """The rows of TagColumns, plainly; None for what is no report by the standard: there the two may differ."""
    message = codec.decode(RO_ACCESS_REPORT, payload)
    if message is None:
        return None
    rows = []
    for child in message.children:
        if isinstance(child, Raw):
            if child.number < 0x80 or child.number == TAG_REPORT_DATA:
                return None
        elif child.name == "TagReportData":
            row = _row(child)
            rows += [] if row is None else [row]
        elif child.name in _SHORT:
            return None
    return rows


_SHORT = frozenset(shape.name for number, shape in PARAMETERS.items() if number < 0x80)
_IMPINJ = {56: ">H", 57: ">h", 68: ">h"}
_SEEN = ("FirstSeenUTC", "FirstSeenUptime", "LastSeenUTC", "LastSeenUptime")


def _row(tag: Element) -> Row | None:
    told: dict[str, int] = {}
    epcs: list[bytes] = []
    extras: dict[int, int] = {}
    for part in tag.children:
        if isinstance(part, Raw):
            if part.number == EPC_DATA:
                return None
        elif part.name in ("EPC96", "EPCData"):
            epc = part.data("EPC")
            if not 0 < len(epc) <= EPC_MOST:
                return None
            epcs.append(epc)
        elif part.name == "Custom":
            format_ = _IMPINJ.get(part.number("Subtype")) if part.number("VendorID") == IMPINJ else None
            if format_ and len(part.data("Data")) >= 2:
                extras.setdefault(part.number("Subtype"), *struct.unpack_from(format_, part.data("Data")))
        elif len(part.fields) == 1:
            told.setdefault(part.name, part.number(next(iter(part.fields))))
    if not epcs:
        return None
    return (
        epcs[0],
        told.get("AntennaID", 0),
        extras[57] / 100 if 57 in extras else told.get("PeakRSSI"),
        next((told[name] for name in _SEEN if name in told), 0),
        told.get("TagSeenCount", 1),
        (extras[56] & 0xFFF) * (2 * math.pi / 4096) if 56 in extras else None,
        extras[68] / 16 if 68 in extras else None,
    )


def read_order(data: bytes) -> None:
    """what a technician's file orders of a reader, JSON"""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return
    for name in ("ROSpec", "SetReaderConfig"):
        try:
            order = from_json(name, told)
            sent = codec.encode_parameter(order) if name == "ROSpec" else codec.encode(order)
        except LlrpError:
            continue
        if UNKNOWN.encode() in data:  # parameters that the tables do not know may stand for whatever they like
            continue
        back = decode_parameters(sent) if name == "ROSpec" else (codec.decode(3, sent),)
        assert back is not None and len(back) == 1 and isinstance(back[0], Element)
        assert (codec.encode_parameter(back[0]) if name == "ROSpec" else codec.encode(back[0])) == sent


def reports() -> Iterator[bytes]:
    content = from_json(
        "TagReportContentSelector",
        {
            **{f"Enable{name}": True for name in ("ROSpecID", "SpecIndex", "AntennaID", "PeakRSSI", "ChannelIndex")},
            **{f"Enable{name}": True for name in ("FirstSeenTimestamp", "LastSeenTimestamp", "TagSeenCount")},
        },
    )
    bare = Element("TagReportContentSelector")
    for epcs, extras in (([EPC], set[int]()), ([EPC, EPC[::-1]], {52, 53, 67}), ([EPC, EPC[:8], bytes(62)], {53})):
        for wanted in (content, bare):
            reads = (Read(Answer(epc, 1, -52.25, 1.5, 3.0), NOW_US, NOW_US + 5, 1) for epc in epcs)
            yield b"".join(codec.encode_parameter(tag_report(1, read, wanted, extras)) for read in reads)
    yield from recorded("rfid_llrp/ROAccessReport-*.bytes")


def messages() -> Iterator[bytes]:
    numbers = {shape.name: number for number, shape in MESSAGES.items()}
    for path in sorted((RECORDINGS / "rfid_llrp").glob("*.bytes")):
        yield numbers[path.name.partition("-")[0]].to_bytes(2, "big") + path.read_bytes()
    yield from (RO_ACCESS_REPORT.to_bytes(2, "big") + report for report in reports())
    for name, told in (
        ("AddROSpec", {"ROSpec": rospec([1, 2], mode=1000, power=(1, 30), impinj=True)}),
        ("SetReaderConfig", reader_config(10_000)),
        ("AddROSpecResponse", {"LLRPStatus": {"Status": 100, "ErrorDescription": "no", "ParameterError": _ERROR}}),
        ("ReaderEventNotification", {"ReaderEventNotificationData": {"ConnectionAttemptEvent": 0}}),
    ):
        yield numbers[name].to_bytes(2, "big") + codec.encode(from_json(name, told))
    extensions = impinj_enable_extensions()
    yield numbers[extensions.name].to_bytes(2, "big") + codec.encode(extensions)
    nested = codec.encode_parameter(Element("LLRPStatus"))
    for _ in range(40):  # deeper than anything honest
        nested = struct.pack(">HHHH", 289, 8 + len(nested), 1, 1) + nested
    yield numbers["AddROSpecResponse"].to_bytes(2, "big") + nested


_ERROR = {"ParameterType": 177, "ErrorCode": 101, "FieldError": {"FieldIndex": 1, "ErrorCode": 300}}


def streams() -> Iterator[bytes]:
    frames = [encode_frame(int.from_bytes(data[:2], "big"), 7, data[2:]) for data in messages()]
    yield from frames
    yield b"".join(frames[-5:])


def orders() -> Iterator[bytes]:
    data = base64.b64encode(bytes(4)).decode()
    vendor = {"VendorID": IMPINJ, "Subtype": 50, "Data": data}
    for told in (
        rospec([1, 2], mode=1000, power=(1, 30), impinj=True),
        reader_config(10_000) | {"Custom": [vendor]},
        rospec() | {"Unknown": [{"Type": CUSTOM, "Data": data}]},
    ):
        yield json.dumps(told).encode()


# -- a serial module


def read_line(data: bytes) -> None:
    """a serial module's line, in pieces: frames, tags, noise counted"""
    whole, cut = Decoder(), Decoder()
    frames = whole.feed(data)
    assert [frame for piece in pieces(data) for frame in cut.feed(piece)] == frames
    assert _counts(cut) == _counts(whole)
    frames += whole.idle()
    assert not whole.waiting and whole.frames == len(frames)
    assert whole.noise + sum(len(uhf_bytes(frame)) for frame in frames) == len(data)
    made = Frame(data[0] % 3, data[1], data[2:514]) if len(data) > 2 else info()
    for frame in [*frames, made]:
        assert Decoder().feed(uhf_bytes(frame)) == [frame]
        tag_of(frame)
        error_of(frame)
    epc, rssi = data[: 2 * min(len(data) // 2, 31)], -(len(data) % 100)
    if epc:
        assert tag_of(tag_frame(rssi, epc)) == TagAnswer(rssi, len(epc) // 2 << 11, epc)


def _counts(decoder: Decoder) -> tuple[int, int, int, bool]:
    return decoder.frames, decoder.noise, decoder.resyncs, decoder.waiting


def lines() -> Iterator[bytes]:
    tag = tag_frame(-55, EPC)
    extended = tag_frame(-55, EPC)._replace(payload=bytes.fromhex("c936000001" + EPC.hex() + "0000"))
    said = [info(), set_query(1, 4), multiple_poll(), tag, Frame(1, 0xFF, b"\x15"), extended, stop_poll()]
    yield b"".join(map(uhf_bytes, said))
    yield b"\xbb\xbb\x00" + uhf_bytes(tag) + b"\x7e\xbb\x02" + uhf_bytes(tag)[:-1]
    yield from map(uhf_bytes, said)


# -- EPCs


def read_epc(data: bytes) -> None:
    """a tag's EPC: its names, its bytes again, the EPCIS event"""
    site = Site("acme", "main", "Europe/Berlin", "061414.112345")
    change = TagChange(NOW_US, data, "arrived", "a-zone-with-a-rather-long-name", "shelf")
    assert uri_of(data).startswith("urn:epc:")
    assert document([change], site, NOW_US)["epcisBody"]["eventList"][0]["eventID"].startswith("ni:///sha-256;")
    found = decode(data)
    if found is None:
        return
    back = encode(found)
    both = min(len(back), len(data))
    assert back[:both] == data[:both] and not any(back[both:]) and not any(data[both:])
    assert decode(back) == found
    assert found.uri.isascii() and found.tag_uri.isascii()
    assert found.gtin is None or (len(found.gtin) == 14 and found.gtin.isdigit())


def epcs() -> Iterator[bytes]:
    company, made = "0614141", list[Epc]()
    numbered: list[tuple[Scheme, str, str]] = [
        ("sgtin-96", "812345", "6789"),
        ("sgtin-198", "712345", "32a/b"),
        ("sscc-96", "1234567890", ""),
        ("sgln-96", "12345", "5678"),
        ("sgln-195", "12345", "32a/b"),
        ("grai-96", "12345", "5678"),
        ("grai-170", "12345", "32a/b"),
        ("giai-96", "5678", ""),
        ("giai-202", "32a/b", ""),
    ]
    made += [Epc(scheme, 3, company, reference, serial) for scheme, reference, serial in numbered]
    made += [Epc("sscc-96", 2, "614141", "12345678901"), Epc("sgln-96", 2, "061414112345", "", "0")]
    made.append(sgtin("80614141123458", 7, "6789"))
    yield from map(encode, made)
    yield bytes.fromhex("e2801160600002054cc2096f")


TARGETS = [
    Target("llrp-stream", read_stream, streams, longest=2048),
    Target("llrp-message", read_message, messages, longest=2048),
    Target("llrp-report", read_report, reports, longest=1024),
    Target(
        "llrp-order",
        read_order,
        orders,
        longest=4096,
        words=("ROSpecID", "AISpecs", "Custom", "Unknown", "null"),
        forms=(JSON,),
    ),
    Target("uhf-line", read_line, lines, longest=1024),
    Target("epc", read_epc, epcs, longest=64),
]
