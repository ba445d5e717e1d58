"""LLRP messages as JSON and back, in the form of EdgeX device-rfid-llrp-go, whose recordings and tools can be used so.

There a parameter with one number alone is told as that number, bytes are base64, what is absent is null, and of the two
ways to tell an EPC or an instant both are told, the absent one as zero. What that form has no place for (unknown
parameters, reserved bits) stands under `Unknown` and `Reserved`, which other messages do not have.
"""

import base64
import binascii
from collections.abc import Mapping

from edge.frames.llrp.codec import RESERVED, Bits, Element, LlrpError, Raw, Value, encode_parameter, readable
from edge.frames.llrp.tables import BY_NAME, Fixed, Number, Shape, Slot, Variable

Json = dict[str, object]

UNKNOWN = "Unknown"


def to_json(element: Element) -> Json:
    """A message or a parameter as JSON values."""
    shape = BY_NAME[element.name]
    told: Json = {}
    for place, part in enumerate(shape.parts):
        if isinstance(part, Fixed):
            for number in part.numbers:
                told[number.name] = element.fields.get(number.name, False if number.kind == "bool" else 0)
            reserved = f"{RESERVED}{place or ''}"
            if reserved in element.fields:
                told[reserved] = element.fields[reserved]
        else:
            _tell_variable(part, element.fields.get(part.name), told)
    left = list(element.children)
    for slot in shape.slots:
        here = [child for child in left if isinstance(child, Element) and child.name == slot.type]
        here = here if slot.cardinality == "many" else here[:1]
        for child in here:
            left.remove(child)
        told[slot.key] = _tell_slot(slot, here)
    if left:
        told[UNKNOWN] = [_tell_unknown(child) for child in left]
    return told


def _tell_variable(part: Variable, value: Value | None, told: Json) -> None:
    match value:
        case Bits():
            told[f"{part.name}NumBits"] = value.length
            told[part.name] = _base64(value.data)
        case None if part.kind == "bits":
            told[f"{part.name}NumBits"] = 0
            told[part.name] = None
        case str():
            told[part.name] = readable(value)
        case bytes():
            told[part.name] = _base64(value)
        case tuple():
            told[part.name] = list(value) or None
        case _:
            told[part.name] = "" if part.kind == "text" else None


def _tell_slot(slot: Slot, here: list[Element]) -> object:
    if slot.cardinality == "many":
        return [_tell(child) for child in here] or None
    if here:
        return _tell(here[0])
    return _tell(Element(slot.type)) if slot.cardinality == "choice" else None


def _tell(element: Element) -> object:
    shape = BY_NAME[element.name]
    told = to_json(element)
    # Reserved bits that are set, or the like, take more than the number alone.
    return told[shape.single.name] if shape.single and len(told) == 1 else (told or {})


def _tell_unknown(child: Element | Raw) -> Json:
    """The parameter as bytes: which one it is, and its body."""
    if isinstance(child, Raw):
        return {"Type": child.number, "Data": _base64(child.body)}
    number = BY_NAME[child.name].number
    return {"Type": number, "Data": _base64(encode_parameter(child)[1 if number < 0x80 else 4 :])}


def _base64(data: bytes) -> str | None:
    return base64.b64encode(data).decode() if data else None


def from_json(name: str, told: Mapping[str, object]) -> Element:
    """The message or parameter of a name that JSON values tell. What is not told is zero or absent.

    Raises LlrpError with the place if a key is unknown, a value of the wrong kind, or a required parameter not there.
    """
    shape = BY_NAME.get(name)
    if shape is None:
        raise LlrpError(f"{name}: LLRP has no such message or parameter")
    return _hear(shape, told, name)


def _hear(shape: Shape, told: object, where: str) -> Element:
    if shape.single is not None and not isinstance(told, Mapping):
        told = {shape.single.name: told}
    if not isinstance(told, Mapping):
        raise LlrpError(f"{where}: {type(told).__name__}, expected an object")
    left = dict(told)
    fields: dict[str, Value] = {}
    for place, part in enumerate(shape.parts):
        if isinstance(part, Fixed):
            for number in part.numbers:
                fields[number.name] = _hear_number(number, left.pop(number.name, 0), where)
            reserved = left.pop(f"{RESERVED}{place or ''}", None)
            if isinstance(reserved, int):
                fields[f"{RESERVED}{place or ''}"] = reserved
        else:
            fields[part.name] = _hear_variable(part, left, where)
    children: list[Element | Raw] = []
    for slot in shape.slots:
        children += _hear_slot(slot, left.pop(slot.key, None), f"{where}.{slot.key}")
    children += _hear_unknown(left.pop(UNKNOWN, None), where)
    if left:
        raise LlrpError(f"{where}: unknown key {next(iter(left))!r}")
    return Element(shape.name, fields, tuple(children))


def _hear_number(number: Number, value: object, where: str) -> int:
    if number.kind == "bool" and isinstance(value, int):
        return bool(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise LlrpError(f"{where}.{number.name}: {value!r}, expected a whole number")
    return value


def _hear_variable(part: Variable, left: Json, where: str) -> Value:
    where = f"{where}.{part.name}"
    value = left.pop(part.name, None)
    match part.kind:
        case "text":
            if isinstance(value, str) or value is None:
                return value or ""
        case "u16[]" | "u32[]":
            if value is None:
                return ()
            if isinstance(value, list) and all(isinstance(item, int) for item in value):
                return tuple(value)
        case "bits":
            data = _hear_bytes(value, where)
            count = left.pop(f"{part.name}NumBits", 8 * len(data))
            if isinstance(count, int):
                return Bits(count, data)
        case _:
            data = _hear_bytes(value, where)
            return data or bytes(part.size)
    raise LlrpError(f"{where}: {type(value).__name__}, expected {part.kind}")


def _hear_bytes(value: object, where: str) -> bytes:
    if value is None:
        return b""
    try:
        return base64.b64decode(value, validate=True)  # type: ignore[arg-type]  # what is no text raises TypeError
    except (TypeError, ValueError, binascii.Error):
        raise LlrpError(f"{where}: {value!r}, expected bytes in base64") from None


def _hear_slot(slot: Slot, value: object, where: str) -> list[Element]:
    shape = BY_NAME[slot.type]
    if slot.cardinality == "many":
        if value is None:
            return []
        if not isinstance(value, list):
            raise LlrpError(f"{where}: {type(value).__name__}, expected a list")
        return [_hear(shape, item, f"{where}[{at}]") for at, item in enumerate(value)]
    if value is None:
        if slot.cardinality == "one":
            raise LlrpError(f"{where}: missing")
        return []
    if slot.cardinality == "choice" and value == _tell(Element(slot.type)):
        return []  # not chosen: told as zero
    return [_hear(shape, value, where)]


def _hear_unknown(value: object, where: str) -> list[Raw]:
    match value:
        case None:
            return []
        case [*items]:
            found = []
            for item in items:
                match item:
                    case {"Type": int(number), "Data": data} if 0 < number < 0x8000:
                        found.append(Raw(number, _hear_bytes(data, f"{where}.{UNKNOWN}")))
                    case _:
                        raise LlrpError(f"{where}.{UNKNOWN}: expected objects with Type, 1 to 32767, and Data")
            return found
    raise LlrpError(f"{where}.{UNKNOWN}: expected a list")
