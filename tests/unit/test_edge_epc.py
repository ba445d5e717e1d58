"""EPCs: the standard's examples, every scheme and partition there and back, agreement with two other readers."""

import random
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llrpkit import decode_epc

from contract.epc import Epc, Scheme, check_digit, decode, encode, sgtin, uri_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it has regular expressions with stray backslashes
    from epcpy.utils.parsers import hex_to_tag_encodable

GOLDEN = bytes.fromhex("3074257bf7194e4000001a85")
CHARACTERS = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
SCHEMES: tuple[Scheme, ...] = (
    "sgtin-96", "sgtin-198", "sscc-96", "sgln-96", "sgln-195", "grai-96", "grai-170", "giai-96", "giai-202",
)  # fmt: skip
TOGETHER = {"sgtin": 13, "sscc": 17, "sgln": 12, "grai": 12}
"""Digits of company prefix and reference together (TDS 1.13, tables 14-2 to 14-14)."""
NUMBER_BITS = {"sgtin-96": 38, "sgln-96": 41, "grai-96": 38}
TEXT_MOST = {"sgtin-198": 20, "sgln-195": 20, "grai-170": 16}


def some_epc(draw: random.Random, scheme: Scheme, company_digits: int, alphabet: str = CHARACTERS) -> Epc:
    """One that is right for its scheme and partition; the ends of the ranges come often."""

    def digits(n: int) -> str:
        return draw.choice(["0" * n, "9" * n, "".join(draw.choices("0123456789", k=n))])

    def text(most: int) -> str:
        return "".join(draw.choices(alphabet, k=draw.choice([1, most, draw.randint(1, most)])))

    def number(bits: int) -> str:
        return str(draw.choice([0, (1 << bits) - 1, draw.randrange(1 << bits)]))

    name = scheme.partition("-")[0]
    company, value = digits(company_digits), draw.randrange(8)
    if scheme == "giai-202":
        return Epc(scheme, value, company, text(30 - company_digits))
    if scheme == "giai-96":
        bits = 82 - {12: 40, 11: 37, 10: 34, 9: 30, 8: 27, 7: 24, 6: 20}[company_digits]
        return Epc(scheme, value, company, number(bits))
    reference = digits(TOGETHER[name] - company_digits)
    if scheme == "sscc-96":
        return Epc(scheme, value, company, reference)
    serial = number(NUMBER_BITS[scheme]) if scheme in NUMBER_BITS else text(TEXT_MOST[scheme])
    return Epc(scheme, value, company, reference, serial)


EVERY = [(scheme, digits) for scheme in SCHEMES for digits in range(6, 13)]


@pytest.mark.parametrize(
    ("data", "tag_uri", "gtin"),
    [
        # The examples of TDS 1.13, appendix E.3.
        ("3074257bf7194e4000001a85", "sgtin-96:3.0614141.812345.6789", "80614141123458"),
        ("3674257bf6b7a659b2c2bf1" + 29 * "0", "sgtin-198:3.0614141.712345.32a%2Fb", "70614141123451"),
        ("3174257bf4499602d2000000", "sscc-96:3.0614141.1234567890", None),
        ("3274257bf46072000000162e", "sgln-96:3.0614141.12345.5678", None),
        ("3974257bf46072cd9615f88" + 29 * "0", "sgln-195:3.0614141.12345.32a%2Fb", None),
        ("3374257bf40c0e400000162e", "grai-96:3.0614141.12345.5678", None),
        ("3774257bf40c0e59b2c2bf1" + 21 * "0", "grai-170:3.0614141.12345.32a%2Fb", None),
        ("3474257bf40000000000162e", "giai-96:3.0614141.5678", None),
        ("3874257bf59b2c2bf1" + 34 * "0", "giai-202:3.0614141.32a%2Fb", None),
    ],
)
def test_the_standards_own_examples_are_read(data: str, tag_uri: str, gtin: str | None) -> None:
    epc = decode(bytes.fromhex(data))
    assert epc is not None
    scheme, _, fields = tag_uri.partition("-")
    uri = f"urn:epc:id:{scheme}:{fields.partition('.')[2]}"
    assert (epc.uri, epc.tag_uri, epc.gtin) == (uri, f"urn:epc:tag:{tag_uri}", gtin)
    assert encode(epc).hex() == data


@pytest.mark.parametrize(("scheme", "company_digits"), EVERY)
@settings(max_examples=40)
@given(draw=st.randoms(use_true_random=False))
def test_what_is_encoded_decodes_to_itself(scheme: Scheme, company_digits: int, draw: random.Random) -> None:
    epc = some_epc(draw, scheme, company_digits)
    data = encode(epc)
    assert decode(data) == epc
    assert decode(data + b"\0\0") == epc, "memory is filled up with zeros"
    assert decode(data + b"\0\1") is None, "with anything else it is another thing"


@given(st.binary(max_size=40))
def test_any_bytes_are_an_epc_that_encodes_to_them_or_none(data: bytes) -> None:
    epc = decode(data)
    if epc is not None:
        assert encode(epc).rstrip(b"\0") == data.rstrip(b"\0")
    assert uri_of(data).startswith("urn:epc:")


@given(st.sampled_from([0x30, 0x31, 0x32, 0x33, 0x34, 0x36, 0x37, 0x38, 0x39]), st.binary(min_size=10, max_size=27))
def test_any_bytes_behind_a_known_header_too(header: int, rest: bytes) -> None:
    data = bytes([header]) + rest
    epc = decode(data)
    if epc is not None:
        assert encode(epc).rstrip(b"\0") == data.rstrip(b"\0")


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme.endswith("-96")])
def test_llrpkit_reads_the_same_in_every_partition(scheme: Scheme) -> None:
    draw = random.Random(scheme)
    for company_digits in range(6, 13):
        for _ in range(300):
            data = encode(some_epc(draw, scheme, company_digits))
            ours, theirs = decode(data), decode_epc(data)
            assert ours is not None and theirs is not None
            assert (ours.uri, ours.tag_uri) == (theirs.pure_identity_uri, theirs.tag_uri)
            assert ours.gtin == theirs.fields.get("gtin")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_epcpy_reads_the_same_in_every_partition(scheme: Scheme) -> None:
    draw = random.Random(scheme)
    read: Callable[[str], object] = hex_to_tag_encodable
    # It reads no escapes with a letter (%3C), counts an escape as several characters, and cuts a GIAI at a colon.
    plain = "".join(sorted(set(CHARACTERS) - set('"%&/<>?:')))
    for company_digits in range(6, 13):
        for _ in range(150):
            data = encode(some_epc(draw, scheme, company_digits, plain))
            ours, theirs = decode(data), read(data.hex())
            assert ours is not None
            assert ours.uri == getattr(theirs, "epc_uri"), data.hex()  # noqa: B009  # epcpy has no common typed base
            if ours.gtin is not None:
                assert ours.gtin == theirs.gs1_key()  # type: ignore[attr-defined]


def test_random_bits_are_read_like_llrpkit_reads_them() -> None:
    draw, read = random.Random(7), 0
    for _ in range(20_000):
        data = bytes([draw.choice([0x30, 0x32, 0x33, 0x34])]) + draw.randbytes(11)
        ours, theirs = decode(data), decode_epc(data)
        if ours is not None:
            assert theirs is not None and ours.uri == theirs.pure_identity_uri
            read += 1
        elif theirs is not None:  # a reference with more digits than its partition has: TDS 14.3.3 forbids it
            assert len(theirs.pure_identity_uri) > len("urn:epc:id:sgtin:") + 13
    assert read > 5_000


@pytest.mark.parametrize(
    "epc",
    [
        Epc("sgtin-96", 8, "0614141", "812345", "1"),
        Epc("sgtin-96", 1, "06141", "81234567", "1"),
        Epc("sgtin-96", 1, "061414x", "812345", "1"),
        Epc("sgtin-96", 1, "0614141", "81234", "1"),
        Epc("sgtin-96", 1, "0614141", "8123456", "1"),
        Epc("sgtin-96", 1, "0614141", "812345", "01"),
        Epc("sgtin-96", 1, "0614141", "812345", str(1 << 38)),
        Epc("sgtin-96", 1, "0614141", "812345", "A1"),
        Epc("sgtin-198", 1, "0614141", "812345", ""),
        Epc("sgtin-198", 1, "0614141", "812345", "a" * 21),
        Epc("sgtin-198", 1, "0614141", "812345", "käse"),
        Epc("sscc-96", 1, "0614141", "1234567890", "1"),
        Epc("grai-96", 1, "061414100000", "1", "1"),
        Epc("giai-96", 1, "0614141", "007"),
        Epc("giai-96", 1, "0614141", str(1 << 58)),
        Epc("giai-202", 1, "0614141", "a", "1"),
        Epc("giai-202", 1, "0614141", "a" * 24),
    ],
)
def test_what_does_not_fit_is_refused(epc: Epc) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        encode(epc)


@pytest.mark.parametrize(
    "data", [b"", b"\x30", GOLDEN[:-1], b"\x30\x7c" + GOLDEN[2:], b"\xe2\x80" + GOLDEN[2:], GOLDEN + b"\0\1"]
)
def test_what_is_no_epc_is_none_and_goes_by_its_bits(data: bytes) -> None:
    assert decode(data) is None
    assert uri_of(data) == f"urn:epc:raw:{len(data) * 8}.x{data.hex().upper()}"


def test_a_piece_of_an_article_gets_the_short_tag_where_its_serial_fits() -> None:
    short = sgtin("80614141123458", 7, "6789", 3)
    assert encode(short) == GOLDEN
    assert sgtin("80614141123458", 7, "06789").scheme == "sgtin-198"
    assert sgtin("80614141123458", 7, "32a/b").gtin == "80614141123458"
    for gtin, digits in (("80614141123457", 7), ("8061414112345", 7), ("80614141123458", 13)):
        with pytest.raises(ValueError, match="GTIN-14|company prefix"):
            sgtin(gtin, digits, "1")


@given(st.integers(0, 10**17 - 1))
def test_the_check_digit_makes_the_weighted_sum_a_multiple_of_ten(number: int) -> None:
    digits = f"{number:017d}{check_digit(number)}"
    assert sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(digits)) % 10 == 0
