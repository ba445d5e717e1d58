"""EPCs as tags carry them, read and written: GS1 EPC Tag Data Standard 1.13, chapter 14 (binary encodings).

Decoding is total: any bytes give an Epc or None. Behind an encoding's last bit there must be zeros only, with which
tags fill their memory up to whole words; so `encode(decode(data))` is `data` again.
"""

from typing import Literal, NamedTuple

Scheme = Literal[
    "sgtin-96", "sgtin-198", "sscc-96", "sgln-96", "sgln-195", "grai-96", "grai-170", "giai-96", "giai-202"
]


class Epc(NamedTuple):
    """A thing's name by GS1: who issued it, what it is, which one it is."""

    scheme: Scheme
    filter: int
    """0 to 7: item, case, pallet and so on, as the scheme has it. No part of the thing's identity."""
    company: str
    """GS1 company prefix: 6 to 12 digits."""
    reference: str
    """SGTIN: indicator and item reference. SSCC: extension and serial reference. SGLN: location. GRAI: asset type.
    GIAI: the asset's own reference. Digits but for GIAI-202; empty where the prefix leaves no room for any."""
    serial: str = ""
    """SGTIN, GRAI: serial number. SGLN: extension, "0" for none. Empty for SSCC and GIAI, which have none."""

    @property
    def uri(self) -> str:
        """The pure identity, whatever tag carries it: `urn:epc:id:sgtin:0614141.812345.6789`."""
        scheme, _, company, reference, serial = self
        begin = _NUMBERED.get(scheme)
        if begin is not None:
            return f"{begin}{company}.{reference}.{serial}"
        return f"urn:epc:id:{_FORMS[scheme].name}:{_escaped(self)}"

    @property
    def tag_uri(self) -> str:
        """With the encoding and filter: `urn:epc:tag:sgtin-96:3.0614141.812345.6789`."""
        scheme, filter_value, company, reference, serial = self
        if scheme in _NUMBERED:
            return f"urn:epc:tag:{scheme}:{filter_value}.{company}.{reference}.{serial}"
        return f"urn:epc:tag:{scheme}:{filter_value}.{_escaped(self)}"

    @property
    def gtin(self) -> str | None:
        """The article's GTIN-14; None for what is no trade item."""
        scheme, _, company, reference, _ = self
        if scheme != "sgtin-96" and scheme != "sgtin-198":
            return None
        digits = reference[0] + company + reference[1:]
        return digits + "0123456789"[check_digit(int(digits))]


def decode(data: bytes) -> Epc | None:
    """The EPC in a tag's EPC memory (without the protocol control word); None if it is of no scheme known here."""
    if len(data) < 2:
        return None
    second = data[1]
    part = _PARTS.get(data[0] << 3 | second >> 2 & 7)
    if part is None:
        return None
    (scheme, bits, tail, tail_mask, most,
     company_shift, company_mask, company_end, company_form, shift, mask, end, reference_form) = part  # fmt: skip
    value = int.from_bytes(data, "big")
    behind = len(data) * 8 - bits
    if behind:
        if behind < 0 or value & ((1 << behind) - 1):
            return None
        value >>= behind
    company = value >> company_shift & company_mask
    reference = value >> shift & mask
    if company >= company_end or reference >= end:
        return None
    rest = value & tail_mask
    if tail == "number":
        said = (scheme, second >> 5, company_form % company, reference_form % reference, str(rest))
        return _new(Epc, said)  # half the time of Epc(…), which is a good part of all this
    if tail == "none":
        return None if rest else Epc(scheme, second >> 5, company_form % company, reference_form % reference)
    text = _text(rest, tail_mask.bit_length(), most)
    if text is None:
        return None
    if scheme == "giai-202":
        return Epc(scheme, second >> 5, company_form % company, text)
    return Epc(scheme, second >> 5, company_form % company, reference_form % reference, text)


def encode(epc: Epc) -> bytes:
    """The EPC as a tag carries it, filled up to whole 16-bit words. Raises ValueError with what does not fit."""
    scheme, (name, header) = epc.scheme, _FORMS[epc.scheme]
    if not 0 <= epc.filter <= 7:
        raise ValueError(f"filter {epc.filter} is not 0 to 7")
    if not (6 <= len(epc.company) <= 12 and _digits(epc.company)):
        raise ValueError(f"company prefix {epc.company!r} is not 6 to 12 digits")
    partition = 12 - len(epc.company)
    part = _PARTS[header << 3 | partition]
    bits, tail = part.bits, part.tail
    value = (header << 6 | epc.filter << 3 | partition) << (bits - 14) | int(epc.company) << part.company_shift
    if scheme != "giai-202":
        value |= _reference(epc, part) << part.shift
    if name in ("sscc", "giai") and epc.serial:
        raise ValueError(f"{name} has no serial, found {epc.serial!r}")
    if tail == "number":
        value |= _number(epc.serial, part.tail_mask)
    elif tail == "text":
        text = epc.reference if name == "giai" else epc.serial
        value |= _septets(text, part.most, part.tail_mask.bit_length())
    words = -(-bits // 16)
    return (value << (words * 16 - bits)).to_bytes(words * 2, "big")


def sgtin(gtin: str, company_digits: int, serial: str, filter_value: int = 1) -> Epc:
    """The EPC of one piece of an article (filter 1: an item for the till), SGTIN-96 where the serial fits into it.

    `gtin` has 14 digits, the first 6 to 12 of which (after the indicator) are the company prefix. Raises ValueError.
    """
    if len(gtin) != 14 or not _digits(gtin) or int(gtin[13]) != check_digit(int(gtin[:13])):
        raise ValueError(f"{gtin!r} is no GTIN-14 with a right check digit")
    if not 6 <= company_digits <= 12:
        raise ValueError(f"a company prefix has 6 to 12 digits, not {company_digits}")
    short = _digits(serial) and str(int(serial)) == serial and int(serial) < 1 << 38
    company, reference = gtin[1 : 1 + company_digits], gtin[0] + gtin[1 + company_digits : 13]
    return Epc("sgtin-96" if short else "sgtin-198", filter_value, company, reference, serial)


def uri_of(data: bytes) -> str:
    """What to call a tag elsewhere: its pure identity, or its raw bits where they are of no scheme known here."""
    epc = decode(data)
    return epc.uri if epc is not None else f"urn:epc:raw:{len(data) * 8}.x{data.hex().upper()}"


def check_digit(number: int) -> int:
    """GS1's check digit to append to a number: weights 3 and 1 in turn from the right (GenSpecs 7.9)."""
    total = 0
    while number:
        number, eight = divmod(number, 100_000_000)
        total += _SUMS[eight % 10_000] + _SUMS[eight // 10_000]
    return -total % 10


class _Form(NamedTuple):
    """A binary encoding."""

    name: str
    header: int


class _Part(NamedTuple):
    """How an encoding's bits are shared out under one length of company prefix."""

    scheme: Scheme
    bits: int
    tail: Literal["number", "text", "none"]
    """What stands in the last bits: a number, text of 7-bit characters, or nothing but zeros."""
    tail_mask: int
    most: int
    """Characters of a tail of text."""
    company_shift: int
    company_mask: int
    company_end: int
    """The first number with too many digits."""
    company_form: str
    """Writes it with its leading zeros."""
    shift: int
    mask: int
    end: int
    form: str


_COMPANY = ((40, 12), (37, 11), (34, 10), (30, 9), (27, 8), (24, 7), (20, 6))
"""Bits and digits of the company prefix by partition, of which there are no more; the rest is the reference's."""

_FORMS: dict[str, _Form] = {
    "sgtin-96": _Form("sgtin", 0x30),
    "sgtin-198": _Form("sgtin", 0x36),
    "sscc-96": _Form("sscc", 0x31),
    "sgln-96": _Form("sgln", 0x32),
    "sgln-195": _Form("sgln", 0x39),
    "grai-96": _Form("grai", 0x33),
    "grai-170": _Form("grai", 0x37),
    "giai-96": _Form("giai", 0x34),
    "giai-202": _Form("giai", 0x38),
}


def _parts(scheme: Scheme, bits: int, tail: Literal["number", "text", "none"], width: int, digits: int) -> list[_Part]:
    """`width` bits hold company and reference, which have `digits` together; below them lies the tail."""
    below, made = bits - 14 - width, []
    for company_bits, company_digits in _COMPANY:
        own, own_digits = width - company_bits, digits - company_digits
        form = f"%0{own_digits}d" if own_digits else "%.0s"  # which writes nothing
        made.append(
            _Part(scheme, bits, tail, (1 << below) - 1, -(-below // 7),
                  below + own, (1 << company_bits) - 1, 10**company_digits, f"%0{company_digits}d",
                  below, (1 << own) - 1, 10**own_digits, "%d" if scheme == "giai-96" else form)
        )  # fmt: skip
    return made


def _giai_202() -> list[_Part]:
    """The tail is the reference, as text; company prefix and reference have at most 30 characters together."""
    return [
        _Part("giai-202", 202, "text", (1 << 188 - bits) - 1, 30 - digits,
              188 - bits, (1 << bits) - 1, 10**digits, f"%0{digits}d", 0, 0, 1, "")
        for bits, digits in _COMPANY
    ]  # fmt: skip


_PARTS = {
    _FORMS[part.scheme].header << 3 | partition: part
    for parts in (
        _parts("sgtin-96", 96, "number", 44, 13),
        _parts("sgtin-198", 198, "text", 44, 13),
        _parts("sscc-96", 96, "none", 58, 17),
        _parts("sgln-96", 96, "number", 41, 12),
        _parts("sgln-195", 195, "text", 41, 12),
        _parts("grai-96", 96, "number", 44, 12),
        _parts("grai-170", 170, "text", 44, 12),
        _parts("giai-96", 96, "none", 82, 25),
        _giai_202(),
    )
    for partition, part in enumerate(parts)
}
"""By the header's eight bits and the partition's three."""
_NUMBERED = {
    part.scheme: f"urn:epc:id:{_FORMS[part.scheme].name}:" for part in _PARTS.values() if part.tail == "number"
}
"""How the identity of a scheme of nothing but digits begins: there is nothing to escape in it."""
_new = tuple.__new__

_CHARACTERS = frozenset("!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
"""GS1's character set 82, of which serial numbers are (GenSpecs, figure 7.11-1)."""
_ESCAPES = {ord(char): f"%{ord(char):02X}" for char in '"%&/<>?'}
"""What an EPC URI may not hold as it is (TDS 5.4)."""

_PAIRS = [(tens + 3 * ones) % 10 for tens in range(10) for ones in range(10)]
_SUMS = bytes((high + low) % 10 for high in _PAIRS for low in _PAIRS)
"""The weighted sum of each four digits, modulo 10: a GTIN takes four look-ups."""


def _escaped(epc: Epc) -> str:
    """What a URI has behind its scheme and filter, where there may be something to escape."""
    text = f"{epc.company}.{epc.reference.translate(_ESCAPES)}"
    return f"{text}.{epc.serial.translate(_ESCAPES)}" if epc.serial else text


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _text(value: int, bits: int, most: int) -> str | None:
    """1 to `most` 7-bit characters from the left, zeros behind the last one; None if that is not what it is."""
    codes = [value >> shift & 0x7F for shift in range(bits - 7, -1, -7)]
    text = "".join(map(chr, codes)).rstrip("\0")
    whole = value & ((1 << bits % 7) - 1) == 0
    return text if whole and 1 <= len(text) <= most and _CHARACTERS.issuperset(text) else None


def _reference(epc: Epc, part: _Part) -> int:
    number = int(epc.reference) if _digits(epc.reference) else 0
    if number >= part.end or number > part.mask or part.form % number != epc.reference:
        raise ValueError(
            f"reference {epc.reference!r} does not go with {epc.scheme} and company prefix {epc.company!r}"
        )
    return number


def _number(text: str, most: int) -> int:
    number = int(text) if _digits(text) else -1
    if not 0 <= number <= most or str(number) != text:
        raise ValueError(f"serial {text!r} is no number of {most.bit_length()} bits without leading zeros")
    return number


def _septets(text: str, most: int, bits: int) -> int:
    if not (1 <= len(text) <= most and _CHARACTERS.issuperset(text)):
        raise ValueError(f"{text!r} is not 1 to {most} characters of GS1's set 82")
    value = 0
    for char in text:
        value = value << 7 | ord(char)
    return value << (bits - 7 * len(text))
