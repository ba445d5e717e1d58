"""The pipeline: adverts in, batches out, the same ones at any speed and however often it is ticked."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.clock import SimulatedClock
from contract.codec import column_values, decode
from contract.identity import SubjectKind, subject_hex, tag_subject
from contract.messages import SIGHTING_COLUMNS, Batch, Crowd, Presence, Sightings, Tags
from edge.clients import Login, StationSeen
from edge.config import parse_config
from edge.frames.advert import Advert
from edge.frames.eddystone import EDDYSTONE
from edge.frames.ibeacon import APPLE
from edge.outbox import Outbox
from edge.pipeline import Pipeline
from edge.stock import places
from edge.tags import TagRead

S = 1_000_000
T0 = 1_790_000_000 * S
CONFIG = b"""
[node]
tenant = "acme"
store = "main"
node = "door-1"
zone = "entrance"
[uplink]
host = "localhost"
"""


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


def pipeline(outbox: Outbox, config: bytes = CONFIG) -> Pipeline:
    return Pipeline(parse_config(config), outbox, SimulatedClock(T0, 0), boot="boot", draw=lambda n: b"k" * n)


def token(number: int, rssi: int = -60) -> Advert:
    service = {EDDYSTONE: b"\x30\xeb" + number.to_bytes(8, "big")}
    return Advert(b"\xc0\0\0\0\0\x01", True, rssi, {}, service)


def phone(number: int, rssi: int = -80) -> Advert:
    return Advert(number.to_bytes(6, "big"), True, rssi, {APPLE: bytes.fromhex("10055b1c0a0b0c")}, {})


def told(outbox: Outbox) -> list[Batch]:
    outbox.flush()
    return [decode(stored.payload) for stored in outbox.pending(0, 10_000)]


def column(batch: Sightings, name: str) -> list[int]:
    at = [c.name for c in SIGHTING_COLUMNS].index(name)
    return column_values(SIGHTING_COLUMNS[at], batch.columns[at])


def test_a_window_is_one_batch_whose_t0_is_its_end_and_silence_follows_once(outbox):
    node = pipeline(outbox)
    for millisecond in (100, 1_100, 1_300, 1_900):
        node.hear(token(7), T0 + millisecond * 1_000)
    node.tick(T0 + 60 * S)
    *_, full, silent = (batch for batch in told(outbox) if isinstance(batch, Sightings))
    assert (full.header.t0, full.header.n) == (T0 + 2 * S, 1)
    assert (column(full, "subject"), column(full, "count"), column(full, "dt"), column(full, "radio")) == (
        [7],
        [3],
        [0],
        [0],
    )
    assert (silent.header.t0, silent.header.n) == (T0 + 3 * S, 0)


def test_a_newcomer_is_told_a_moment_after_the_first_advert_under_the_windows_true_end(outbox):
    node = pipeline(outbox)
    for millisecond in (100, 300, 900):
        node.hear(token(7), T0 + millisecond * 1_000)
    node.tick(T0 + 250_000)
    assert len([b for b in told(outbox) if isinstance(b, Sightings)]) == 1, "told before its second was over"
    node.tick(T0 + 60 * S)
    early, rest, silent = (batch for batch in told(outbox) if isinstance(batch, Sightings))
    assert (early.header.t0, early.header.seq) == (T0, 1), "all before the window has been told, nothing more"
    ends = [batch.header.t0 + column(batch, "dt")[0] * 1_000 for batch in (early, rest)]
    assert ends == [T0 + S, T0 + S]
    assert column(early, "count")[0] + column(rest, "count")[0] == 3
    assert silent.header.n == 0


def a_morning() -> list[tuple[int, Advert]]:
    """200 s of six members coming and going among twenty phones."""
    rng = random.Random(5)
    heard = [(T0 + rng.randrange(600 * S), phone(rng.randrange(20))) for _ in range(800)]
    for member in range(1, 7):
        begin = T0 + rng.randrange(100 * S)
        heard += [(begin + i * 200_000, token(member, rng.randrange(-80, -50) + min(i, 10))) for i in range(300)]
    return sorted(heard, key=lambda pair: pair[0])


@pytest.mark.parametrize("every_us", [10_000, 333_333, 5 * S, 10**12])
def test_the_same_adverts_give_the_same_batches_however_often_it_is_ticked(tmp_path, every_us):
    def run(name: str, tick_us: int) -> list[tuple[str, int, bytes]]:
        box = Outbox(tmp_path / name)
        node = pipeline(box)
        ticked = T0
        for at_us, advert in a_morning():
            while ticked + tick_us < at_us:
                ticked += tick_us
                node.tick(ticked)
            node.hear(advert, at_us)
        node.finish(T0 + 700 * S)
        box.flush()
        result: list[tuple[str, int, bytes]] = [
            (b.stream, b.at_us, b.payload.replace(box.epoch.encode(), b"")) for b in box.pending(0, 10_000)
        ]
        box.close()
        return result

    assert run("ticked.db", every_us) == run("plain.db", 10**12)
    assert {stream for stream, _, _ in run("streams.db", 10**12)} == {"sightings", "presence", "crowd"}


def test_no_sighting_is_lost_between_the_air_and_the_outbox(outbox):
    node = pipeline(outbox)
    morning = a_morning()
    for at_us, advert in morning:
        node.hear(advert, at_us)
    node.finish(T0 + 700 * S)
    counts = sum(sum(column(b, "count")) for b in told(outbox) if isinstance(b, Sightings))
    assert counts == sum(EDDYSTONE in advert.service for _, advert in morning)


def test_strangers_are_a_crowd_and_nothing_else(outbox):
    node = pipeline(outbox)
    for number in range(6):
        node.hear(phone(number), T0 + number)
    node.finish(T0 + 600 * S)
    (crowd,) = told(outbox)
    assert isinstance(crowd, Crowd)
    assert (crowd.rows[0].radios, crowd.rows[0].strong, crowd.rows[0].span_s) == (6, 0, 300)


def test_somebody_who_stays_is_present_and_a_node_without_a_zone_says_nothing_of_it(tmp_path):
    rows = {}
    for name, config in (("zone", CONFIG), ("none", CONFIG.replace(b'zone = "entrance"', b""))):
        box = Outbox(tmp_path / name)
        node = pipeline(box, config)
        for i in range(50):
            node.hear(token(7, -55), T0 + i * 200_000)
        node.finish(T0 + 60 * S)
        rows[name] = [row for batch in told(box) if isinstance(batch, Presence) for row in batch.rows]
        box.close()
    assert [(row.state, row.zone, row.subject) for row in rows["zone"]] == [
        ("enter", "entrance", f"{7:016x}"),
        ("exit", "entrance", f"{7:016x}"),
    ]
    assert rows["none"] == []


def test_a_clock_set_right_after_boot_loses_nothing(outbox):
    node = pipeline(outbox)
    node.hear(token(1), 5 * S)
    node.hear(token(2), T0)
    node.hear(token(3), T0 - 3600 * S)
    node.finish(T0)
    batches = [b for b in told(outbox) if isinstance(b, Sightings) and b.header.n]
    assert sorted(subject for batch in batches for subject in column(batch, "subject")) == [1, 2, 3]
    ends = {
        s: b.header.t0 + dt * 1_000
        for b in batches
        for s, dt in zip(column(b, "subject"), column(b, "dt"), strict=True)
    }
    assert ends == {1: 6 * S, 2: T0 + S, 3: T0 - 3599 * S}


RFID = (
    CONFIG
    + b"""
[inventory]
cards = ["e2801170"]
[inventory.zones]
"door/1" = "entrance"
"shelf/1" = "jeans"
"""
)
CARD, THING = bytes.fromhex("e28011700000020a7c3b9d51"), bytes.fromhex("3074257bf7194e4000001a85")


def reads(epc: bytes, antenna: str, *seconds: float) -> list[TagRead]:
    return [TagRead(T0 + int(second * S), epc, antenna, -55.0) for second in seconds]


def test_a_members_card_becomes_presence_and_never_a_tag(outbox):
    node = pipeline(outbox, RFID)
    node.hear_tags(reads(CARD, "door/1", 1, 1.2, 1.4))
    node.tick(T0 + 60 * S)
    batches = told(outbox)
    assert not [batch for batch in batches if isinstance(batch, Tags)]
    rows = [row for batch in batches if isinstance(batch, Presence) for row in batch.rows]
    assert [(row.kind, row.zone, row.state) for row in rows] == [
        (SubjectKind.TAG, "entrance", "enter"),
        (SubjectKind.TAG, "entrance", "exit"),
    ]
    assert {row.subject for row in rows} == {subject_hex(tag_subject(CARD))}
    assert not any(CARD in stored.payload or CARD.hex().encode() in stored.payload for stored in outbox.pending(0, 99))


def test_a_thing_arrives_and_departs_as_a_tag_with_its_epc(outbox):
    node = pipeline(outbox, RFID)
    node.hear_tags(reads(THING, "shelf/1", 1, 1.2, 1.4))
    node.tick(T0 + 700 * S)
    rows = [(b.header.t0, row) for b in told(outbox) if isinstance(b, Tags) for row in b.rows]
    assert [(row.epc, row.state, row.zone) for _, row in rows] == [
        (THING.hex(), "arrived", "jeans"),
        (THING.hex(), "departed", "jeans"),
    ]
    assert [t0 + row.since * 1_000 for t0, row in rows] == [T0 + S, T0 + int(1.4 * S)], "its first and its last read"


def test_a_thing_that_goes_while_the_node_is_off_departs_once_and_one_that_stays_does_not(outbox):
    other = bytes.fromhex("3074257bf7194e4000001a86")
    node = pipeline(outbox, RFID)
    for epc in (THING, other):
        node.hear_tags(reads(epc, "shelf/1", 1, 1.2))
    assert len(told(outbox)) == 2  # and no end: the process is killed
    again = pipeline(outbox, RFID)
    again.resume(T0 + 86_400 * S)
    again.hear_tags(reads(other, "shelf/1", 86_401, 86_402))
    again.tick(T0 + 86_400 * S + 600 * S)
    last = told(outbox)[-1]
    assert isinstance(last, Tags)
    (row,) = last.rows
    assert (row.epc, row.state, row.zone) == (THING.hex(), "departed", "jeans")
    assert last.header.t0 + row.since * 1_000 == T0 + int(1.2 * S), "what the outbox told last, not the restart"
    third = pipeline(outbox, RFID)
    third.resume(T0 + 90_000 * S)
    third.tick(T0 + 100_000 * S)
    rows = [row for batch in told(outbox) if isinstance(batch, Tags) for row in batch.rows]
    assert [row.epc for row in rows if row.state == "departed"] == [THING.hex(), other.hex()], "each once"
    assert outbox.notes() == {}


def test_no_card_is_noted_and_a_month_without_power_still_gives_rows_that_can_be_sent(outbox):
    node = pipeline(outbox, RFID)
    node.hear_tags([*reads(CARD, "door/1", 1, 1.2), *reads(THING, "shelf/1", 2, 2.2)])
    outbox.flush()
    assert set(outbox.notes()) == {THING}
    again = pipeline(outbox, RFID)
    again.resume(T0 + 40 * 86_400 * S)
    again.tick(T0 + 41 * 86_400 * S)
    last = told(outbox)[-1]
    assert isinstance(last, Tags) and last.rows[0].since == -(2**31 - 1)


@given(st.dictionaries(st.binary(max_size=62), st.binary(max_size=40), max_size=5))
def test_any_notes_give_places_or_nothing(noted):
    assert all(isinstance(place.zone, str) for place in places(noted))


def test_an_address_that_opted_out_is_not_even_counted(outbox):
    node = Pipeline(
        parse_config(CONFIG), outbox, SimulatedClock(T0, 0), "boot", lambda n: b"k" * n, is_out=lambda address: True
    )
    for second in range(400):
        for number in range(9):
            node.hear(phone(number), T0 + second * S)
    node.tick(T0 + 4_000 * S)
    assert told(outbox) == []


def test_a_members_device_on_the_wifi_is_present_where_its_access_point_stands(outbox):
    node = pipeline(outbox)
    mac = bytes.fromhex("0200000000a1")
    node.login(Login(T0, mac, 0xABCD))
    node.station(StationSeen(T0 + S, mac, None, "coffee", -50, "associated"))
    node.login(Login(T0 + 90 * S, mac, None))
    node.tick(T0 + 200 * S)
    rows = [row for batch in told(outbox) if isinstance(batch, Presence) for row in batch.rows]
    assert [(row.subject, row.kind, row.zone, row.state) for row in rows] == [
        (subject_hex(0xABCD), SubjectKind.CLIENT, "coffee", "enter"),
        (subject_hex(0xABCD), SubjectKind.CLIENT, "coffee", "exit"),
    ]
