"""What becomes of an address: a pseudonym of the day, nothing at all, or a place among at least five."""

import logging
import random
import re
import timeit
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.clock import SimulatedClock
from contract.codec import decode
from contract.identity import member_token, token_slot
from contract.messages import Crowd
from contract.orders import KeyRank, OptOutList, opt_out_prefix
from edge.config import parse_config
from edge.crowd import K
from edge.daykey import Day, Held, key_id
from edge.frames.advert import Advert
from edge.frames.eddystone import EDDYSTONE
from edge.frames.ibeacon import APPLE
from edge.outbox import Outbox
from edge.pipeline import Pipeline
from edge.privacy import (
    NotAnAddress,
    NotAnOptOutList,
    OptOuts,
    Pseudonyms,
    RotatingAddress,
    add_opt_out,
    opt_outs_from_text,
    opt_outs_text,
    read_opt_outs,
    with_opt_out,
)

S = 1_000_000
DAY_US = 86_400 * S
START_US = 20_718 * DAY_US
PHONE = bytes.fromhex("0050c2000001")


def held(key: bytes = b"k" * 32, start_us: int = START_US) -> Held:
    day = Day("2026-09-22", start_us, start_us + DAY_US)
    return Held(day, KeyRank(start_us, "node-1", key_id(key)), bytearray(key))


def following(key: bytes = b"k" * 32, start_us: int = START_US) -> Pseudonyms:
    made = Pseudonyms()
    made.follow(held(key, start_us))
    return made


def test_a_pseudonym_is_eight_bytes_of_an_hmac_under_the_key_of_the_day() -> None:
    # echo -n 0050c2000001 | xxd -r -p | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
    assert following().subject(PHONE, False, START_US) == 0x869CDD147329F52C
    assert following().subject(PHONE, False, START_US + DAY_US - 1) == 0x869CDD147329F52C


def test_another_day_or_store_gives_a_pseudonym_that_has_nothing_to_do_with_it() -> None:
    assert following(b"a" * 32).subject(PHONE, False, START_US) != following().subject(PHONE, False, START_US)


def test_without_the_key_of_that_day_nobody_is_told_apart() -> None:
    pseudonyms = Pseudonyms()
    assert pseudonyms.subject(PHONE, False, START_US) is None
    pseudonyms.follow(held())
    assert pseudonyms.subject(PHONE, False, START_US - 1) is None
    assert pseudonyms.subject(PHONE, False, START_US + DAY_US) is None
    assert pseudonyms.subject(PHONE, False, START_US) is not None
    pseudonyms.follow(None)
    assert pseudonyms.subject(PHONE, False, START_US) is None


NEVER = [
    ("a random address of Bluetooth", "0050c2000001", True),
    ("one made up locally", "da50c2000001", False),
    ("the same with other bits", "0250c2000001", False),
    ("a group's", "01005e000001", False),
    ("a name that some platforms give instead", "0050c200", False),
    ("nothing", "", False),
]


@pytest.mark.parametrize(("address", "is_random"), [pytest.param(*n[1:], id=n[0]) for n in NEVER])
def test_an_address_that_may_change_is_never_a_person(address: str, is_random: bool) -> None:
    assert following().subject(bytes.fromhex(address), is_random, START_US) is None


@given(st.binary(min_size=6, max_size=6), st.booleans())
def test_everybody_else_has_the_same_pseudonym_each_time(address: bytes, is_random: bool) -> None:
    pseudonyms = following()
    first = pseudonyms.subject(address, is_random, START_US)
    assert pseudonyms.subject(address, is_random, START_US) == first
    assert (first is None) is (is_random or bool(address[0] & 3))
    assert first is None or 0 < first < 2**64


def test_the_memory_of_addresses_is_bounded_and_goes_with_the_key() -> None:
    pseudonyms = following()
    for number in range(70_000):
        pseudonyms.subject(b"\0" + number.to_bytes(5, "big"), False, START_US)
    assert len(pseudonyms._known) <= 65_536
    pseudonyms.follow(None)
    assert not pseudonyms._known and pseudonyms._keyed is None


@pytest.mark.benchmark
def test_a_million_known_addresses_a_second() -> None:
    pseudonyms = following()
    took = min(timeit.repeat(lambda: pseudonyms.subject(PHONE, False, START_US), number=100_000, repeat=5))
    assert 100_000 / took >= 1_000_000


# -- opt-outs

SALT = bytes(range(16))


def listed(*addresses: str) -> OptOutList:
    entries = OptOutList(SALT, b"")
    for address in addresses:
        entries = with_opt_out(entries, address)
    return entries


def test_a_device_that_is_listed_is_out_and_its_neighbour_is_not() -> None:
    out = OptOuts((listed("00:50:C2:00:00:01", "00-50-c2-00-00-07"),))
    assert len(out) == 2
    for _ in range(2):
        assert out.is_out(PHONE)
        assert not out.is_out(bytes.fromhex("0050c2000002"))
    assert not OptOuts().is_out(PHONE)


def test_the_technicians_own_list_counts_beside_the_stores() -> None:
    other = OptOutList(bytes(16), opt_out_prefix(bytes(16), PHONE))
    assert OptOuts((listed("0050.c200.0007"), other)).is_out(PHONE)


def test_an_entry_names_nobody_one_in_sixteen_million_fits_it() -> None:
    entries = listed("00:50:c2:00:00:01")
    assert PHONE not in entries.prefixes and len(entries.prefixes) == 3
    rng = random.Random(1)
    strangers = (bytes([0, *rng.randbytes(5)]) for _ in range(100_000))
    out = OptOuts((OptOutList(SALT, entries.prefixes + bytes(3 * 167)),))  # 168 entries: 1 in 100,000
    assert sum(map(out.is_out, strangers)) <= 8


def test_prefixes_are_read_at_their_places_only() -> None:
    prefix = opt_out_prefix(SALT, PHONE)
    shifted = b"\xee" + prefix + b"\xee\xee"
    assert not OptOuts((OptOutList(SALT, shifted),)).is_out(PHONE)
    assert OptOuts((OptOutList(SALT, shifted + prefix),)).is_out(PHONE)


def test_a_list_does_not_tell_who_came_first_and_takes_nobody_twice() -> None:
    one, two = "00:50:c2:00:00:01", "00:50:c2:00:00:02"
    assert listed(one, two).prefixes == listed(two, one).prefixes
    assert listed(one, one) == listed(one)
    assert listed(one, two).version == 2


@pytest.mark.parametrize(
    ("address", "error"),
    [("someone", NotAnAddress), ("da:50:c2:00:00:01", RotatingAddress), ("01:00:5e:00:00:01", RotatingAddress)],
)
def test_what_is_no_devices_own_address_is_refused(address: str, error: type[Exception]) -> None:
    with pytest.raises(error) as told:
        with_opt_out(OptOutList(SALT, b""), address)
    assert address not in str(told.value)


def test_a_list_in_a_file_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "opt-outs.txt"
    assert read_opt_outs(path) is None
    assert add_opt_out(path, "00:50:c2:00:00:01") == 1
    assert add_opt_out(path, "00:50:c2:00:00:02") == 2
    entries = read_opt_outs(path)
    assert entries is not None
    assert OptOuts((entries,)).is_out(PHONE)
    assert "0050c2000001" not in path.read_text().replace(":", "")
    assert opt_outs_from_text(opt_outs_text(entries) + "\n# a remark\n") == entries


@pytest.mark.parametrize(("text", "line"), [("", 1), ("salt 00", 1), ("abcdef", 1), (f"salt {SALT.hex()}\nabcdefg", 2)])
def test_a_file_that_is_no_list_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(NotAnOptOutList, match=f"line {line}: expected"):
        opt_outs_from_text(text)


# -- a day of a store

CONFIG = b"""
[node]
tenant = "acme"
store = "main"
node = "door-1"
zone = "entrance"
[uplink]
host = "localhost"
"""


def forms(secret: bytes) -> Iterator[bytes]:
    """How bytes may stand in a file: as they are, in reverse, or as digits in any of the usual ways."""
    for value in (secret, secret[::-1]):
        yield value
        for separator in ("", ":", "-"):
            digits = value.hex(separator) if separator else value.hex()
            yield digits.encode()
            yield digits.upper().encode()


def test_after_a_day_no_address_and_no_key_is_in_outbox_log_or_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rng = random.Random(7)
    strangers = [bytes([rng.choice((0x00, 0xDA, 0x7C)), *rng.randbytes(5)]) for _ in range(40)]
    beacons = [bytes([0xC0, *rng.randbytes(5)]) for _ in range(3)]
    key, member_radio = rng.randbytes(16), bytes([0x5A, *rng.randbytes(5)])
    uuid = rng.randbytes(16)
    ibeacon = {APPLE: b"\x02\x15" + uuid + b"\0\1\0\2\xc5"}
    outbox = Outbox(tmp_path / "outbox.db")
    pipeline = Pipeline(parse_config(CONFIG), outbox, SimulatedClock(START_US, 0), boot="boot")
    for second in range(0, 86_400, 20):
        at_us = START_US + second * S
        for address in rng.sample(strangers, rng.choice((0, 1, 6))):
            pipeline.hear(Advert(address, bool(address[0] & 2), rng.randint(-95, -40), {76: b"\x10\x05"}, {}), at_us)
        pipeline.hear(Advert(rng.choice(beacons), True, -60, ibeacon, {}), at_us + S // 10)
        token = member_token(key, token_slot(at_us)).to_bytes(8, "big")
        pipeline.hear(Advert(member_radio, True, -50, {}, {EDDYSTONE: b"\x30\xeb" + token}), at_us + S // 5)
    pipeline.finish(START_US + DAY_US)
    outbox.flush()
    payloads = [stored.payload for stored in outbox.pending(0, 1_000_000)]
    outbox.close()
    crowds = [row for batch in map(decode, payloads) if isinstance(batch, Crowd) for row in batch.rows]
    assert crowds and all(row.radios >= K and (row.strong == 0 or row.strong >= K) for row in crowds)
    written = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert len(written) > 100_000 and b"".join(payloads[:1])[:8] in written
    everything = b"\n".join([written, *payloads, caplog.text.encode()])
    for secret in (*strangers, *beacons, member_radio, key, uuid):
        # One search for all its forms: the file is large.
        assert not re.search(b"|".join(map(re.escape, forms(secret))), everything), "an address left the node"
