"""LLRP messages and parameters: bytes to values and back, byte for byte, by the tables.

Any bytes give a value or None. A parameter that the tables do not know, or whose body is not as they say, is kept as
the bytes it came in: what was decoded encodes to what it was.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.frames.llrp.tables import BY_NAME, MESSAGES, PARAMETERS, Fixed, Shape, Variable

HEADER = struct.Struct(">HII")
"""3 bits reserved, 3 version, 10 type; length of all with this header; message id (LLRP 1.1, 16.1)."""
LENGTH_MOST = 1 << 20
"""A longer message is taken for noise: a capabilities answer has a few KiB, a report of 1,000 tags 60."""
VERSION = 1
"""LLRP 1.0.1, which every reader speaks."""
DEPTH_MOST = 16
"""Parameters within parameters: the standard needs 9. Deeper ones are kept as bytes."""
RESERVED = "Reserved"
"""The field under which reserved bits are kept that a reader did set; a row's place follows if it is not the first."""

_TLV = struct.Struct(">HH")
_U16 = struct.Struct(">H")
_TV = 0x80


class Bits(NamedTuple):
    """A row of bits: how many, and the bytes that hold them, most significant first."""

    length: int
    data: bytes


Value = int | str | bytes | tuple[int, ...] | Bits


class Raw(NamedTuple):
    """A parameter that is not understood."""

    number: int
    body: bytes
    """All after the parameter's header."""


@dataclass(frozen=True, slots=True)
class Element:
    """A message or a parameter: its fields by name, and the parameters in it in the order of the wire."""

    name: str
    fields: Mapping[str, Value] = field(default_factory=dict)
    children: "tuple[Element | Raw, ...]" = ()

    def child(self, *path: str) -> "Element | None":
        """The first parameter of a name; of several names, the one within the one within it."""
        found: Element | None = self
        for name in path:
            if found is None:
                return None
            found = next((child for child in found.children if isinstance(child, Element) and child.name == name), None)
        return found

    def all(self, name: str) -> "list[Element]":
        """All parameters of a name."""
        return [child for child in self.children if isinstance(child, Element) and child.name == name]

    def number(self, name: str) -> int:
        """A field that is a number; 0 if there is none of this name."""
        value = self.fields.get(name)
        return value if isinstance(value, int) else 0

    def numbers(self, name: str) -> tuple[int, ...]:
        """A field that is a row of numbers; empty if there is none of this name."""
        value = self.fields.get(name)
        return value if isinstance(value, tuple) and not isinstance(value, Bits) else ()

    def text(self, name: str) -> str:
        """A field that is a text, unreadable bytes replaced; empty if there is none of this name."""
        value = self.fields.get(name)
        return readable(value) if isinstance(value, str) else ""

    def data(self, name: str) -> bytes:
        """A field of bytes, or of bits; empty if there is none of this name."""
        value = self.fields.get(name)
        return value.data if isinstance(value, Bits) else value if isinstance(value, bytes) else b""


class Frame(NamedTuple):
    """A message on the wire, its content still bytes."""

    type: int
    id: int
    """An answer has the id of what it answers."""
    payload: bytes
    version: int = VERSION

    @property
    def name(self) -> str:
        """What the tables call it."""
        shape = MESSAGES.get(self.type)
        return shape.name if shape else f"message {self.type}"


class LlrpError(ValueError):
    """A value that LLRP cannot carry; says which, and why."""


def readable(text: str) -> str:
    """A text from the wire in proper UTF-8: within, bytes that are none are kept as surrogates."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# -- frames


def encode_frame(type_: int, id_: int, payload: bytes, version: int = VERSION) -> bytes:
    """A message as it stands on the wire."""
    return HEADER.pack((version & 7) << 10 | type_ & 0x3FF, HEADER.size + len(payload), id_) + payload


class Framer:
    """Cuts a stream into frames. Total: what cannot be LLRP ends it, and `garbled` says why."""

    def __init__(self) -> None:
        self._rest = b""
        self.garbled = ""

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are whole now. None after the stream was garbled."""
        buffer, at = self._rest + data, 0
        found: list[Frame] = []
        while not self.garbled and at + HEADER.size <= len(buffer):
            head, length, id_ = HEADER.unpack_from(buffer, at)
            if not 1 <= head >> 10 <= 3 or not HEADER.size <= length <= LENGTH_MOST:
                self.garbled = f"a header of version {head >> 10} and length {length}"
                break
            if at + length > len(buffer):
                break
            found.append(Frame(head & 0x3FF, id_, buffer[at + HEADER.size : at + length], head >> 10))
            at += length
        self._rest = b"" if self.garbled else buffer[at:]
        return found

    @property
    def partial(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._rest)


# -- bytes to values


def decode(type_: int, payload: bytes) -> Element | None:
    """The message of a type in the bytes after its header. None if the type is unknown or the bytes are not like it."""
    shape = MESSAGES.get(type_)
    return None if shape is None else _read(shape, payload, 0)


def decode_parameters(data: bytes) -> tuple[Element | Raw, ...] | None:
    """The parameters in a row of bytes, as within a vendor's message. None if they overrun it."""
    return _read_parameters(data, 0, 0)


def _read(shape: Shape, body: bytes, depth: int) -> Element | None:
    fields: dict[str, Value] = {}
    at = 0
    for place, part in enumerate(shape.parts):
        if isinstance(part, Fixed):
            if at + part.size > len(body):
                return None
            _read_fixed(part, int.from_bytes(body[at : at + part.size], "big"), place, fields)
            at += part.size
        else:
            read = _read_variable(part, body, at)
            if read is None:
                return None
            fields[part.name], at = read
    if not shape.slots:  # nothing may follow
        return Element(shape.name, fields) if at == len(body) else None
    children = _read_parameters(body, at, depth)
    return None if children is None else Element(shape.name, fields, children)


def _read_fixed(part: Fixed, row: int, place: int, fields: dict[str, Value]) -> None:
    for number in part.numbers:
        value = row >> number.shift & (1 << number.width) - 1
        if number.kind == "bool":
            fields[number.name] = bool(value)
        elif number.kind == "signed" and value >> number.width - 1:
            fields[number.name] = value - (1 << number.width)
        else:
            fields[number.name] = value
    if row & part.reserved:
        fields[f"{RESERVED}{place or ''}"] = row & part.reserved


def _read_variable(part: Variable, body: bytes, at: int) -> tuple[Value, int] | None:
    """The value and where it ends."""
    if part.kind == "rest":
        return body[at:], len(body)
    if part.kind == "raw":
        end = at + part.size
        return (body[at:end], end) if end <= len(body) else None
    start = at + 2
    if start > len(body):
        return None
    (count,) = _U16.unpack_from(body, at)
    match part.kind:
        case "u16[]":
            end = start + 2 * count
        case "u32[]":
            end = start + 4 * count
        case "bits":
            end = start + (count + 7) // 8
        case _:
            end = start + count
    if end > len(body):
        return None
    data = body[start:end]
    match part.kind:
        case "u16[]":
            return struct.unpack(f">{count}H", data), end
        case "u32[]":
            return struct.unpack(f">{count}I", data), end
        case "bits":
            return Bits(count, data), end
        case "text":
            return data.decode("utf-8", "surrogateescape"), end
        case _:
            return data, end


def _read_parameters(data: bytes, at: int, depth: int) -> tuple[Element | Raw, ...] | None:
    found: list[Element | Raw] = []
    while at < len(data):
        if data[at] & _TV:
            number = data[at] & 0x7F
            shape = PARAMETERS.get(number)
            start = at + 1
            # The length of such a parameter is not told: after an unknown one nothing can be found any more.
            end = len(data) if shape is None or shape.size is None else start + shape.size
        else:
            if at + _TLV.size > len(data):
                return None
            number, length = _TLV.unpack_from(data, at)
            if length < _TLV.size or number < _TV:
                return None
            shape = PARAMETERS.get(number)
            start, end = at + _TLV.size, at + length
        if end > len(data):
            return None
        body = data[start:end]
        read = None if shape is None or depth >= DEPTH_MOST else _read(shape, body, depth + 1)
        found.append(Raw(number, body) if read is None else read)
        at = end
    return tuple(found)


# -- values to bytes


def encode(element: Element) -> bytes:
    """A message's bytes after its header, or a parameter's. Raises LlrpError if a value does not fit."""
    shape = BY_NAME.get(element.name)
    if shape is None:
        raise LlrpError(f"{element.name}: LLRP has no such message or parameter")
    written = []
    for place, part in enumerate(shape.parts):
        if isinstance(part, Fixed):
            written.append(_write_fixed(element, part, place))
        else:
            written.append(_write_variable(element, part))
    return b"".join([*written, *map(encode_parameter, element.children)])


def encode_message(element: Element, id_: int = 0) -> bytes:
    """A message as it stands on the wire. Raises LlrpError if a value does not fit."""
    return encode_frame(BY_NAME[element.name].number, id_, encode(element))


def encode_parameter(element: Element | Raw) -> bytes:
    """A parameter with its header. Raises LlrpError if a value does not fit."""
    if isinstance(element, Raw):
        number, body = element
    else:
        body = encode(element)
        number = BY_NAME[element.name].number
    if number < _TV:
        return bytes([_TV | number]) + body
    if len(body) + _TLV.size > 0xFFFF:
        raise LlrpError(f"{getattr(element, 'name', number)}: {len(body)} bytes, a parameter has at most 65,531")
    return _TLV.pack(number, _TLV.size + len(body)) + body


def _write_fixed(element: Element, part: Fixed, place: int) -> bytes:
    row = element.number(f"{RESERVED}{place or ''}") & part.reserved
    for number in part.numbers:
        value = element.fields.get(number.name, 0)
        least, most = (0, (1 << number.width) - 1)
        if number.kind == "signed":
            least, most = -(1 << number.width - 1), (1 << number.width - 1) - 1
        if not isinstance(value, int) or not least <= value <= most:
            raise LlrpError(f"{element.name}.{number.name}: {value!r}, expected a number from {least} to {most}")
        row |= (value & (1 << number.width) - 1) << number.shift
    return row.to_bytes(part.size, "big")


def _write_variable(element: Element, part: Variable) -> bytes:
    value = element.fields.get(part.name)
    count, data = 0, b""
    match part.kind, value:
        case _, None:
            data = bytes(part.size)
        case "text", str():
            data = value.encode("utf-8", "surrogateescape")
            count = len(data)
        case "bits", Bits():
            count, data = value
            if len(data) != (count + 7) // 8:
                raise LlrpError(f"{element.name}.{part.name}: {len(data)} bytes, expected {count} bits")
        case (("u16[]" | "u32[]"), tuple()):
            count = len(value)
            try:
                data = struct.pack(f">{count}{'H' if part.kind == 'u16[]' else 'I'}", *value)
            except struct.error as error:
                raise LlrpError(f"{element.name}.{part.name}: {error}") from None
        case (("bytes" | "raw" | "rest"), bytes()):
            count, data = len(value), value
        case _:
            raise LlrpError(f"{element.name}.{part.name}: {type(value).__name__}, expected {part.kind}")
    if part.kind == "raw" and len(data) != part.size:
        raise LlrpError(f"{element.name}.{part.name}: {len(data)} bytes, expected {part.size}")
    if part.kind in ("raw", "rest"):
        return data
    if not 0 <= count <= 0xFFFF:
        raise LlrpError(f"{element.name}.{part.name}: {count} long, expected at most 65,535")
    return _U16.pack(count) + data
