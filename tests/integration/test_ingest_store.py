"""What arrives is stored exactly once, or buried with its reason: never half, never with its neighbours."""

import gzip
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from cloud.ingest.store import RETIRED_AFTER_S, Message, NodeDirectory, Outcome, Store, UnknownNode
from contract import codec
from contract.messages import (
    SIGHTING_COLUMNS,
    Crowd,
    CrowdRow,
    Header,
    Health,
    Presence,
    PresenceRow,
    Sightings,
    SourceHealth,
    Status,
    TagRow,
    Tags,
    ranges,
)
from contract.orders import KeyWant, Roster, decode_keys, encode_order
from contract.topics import NodeAddress
from tests.conftest import NODE, OTHER_NODE, Database
from tests.integration.cloud_support import NOON_US, superuser

EPOCH = "a" * 32


def header(kind: Any, seq: int, n: int, t0: int = NOON_US, node: NodeAddress = NODE) -> Header:
    return Header(kind, node.tenant, node.store, node.node, EPOCH, seq, "boot-1", "trusted", t0, n)


def sightings(seq: int, n: int = 3, t0: int = NOON_US, node: NodeAddress = NODE, rssi: int = -600) -> Message:
    rows = (range(-n * 1000, 0, 1000), range(1, n + 1), [1] * n, [0] * n, [rssi] * n, [-55] * n, [4] * n)
    columns = tuple(codec.column_bytes(c, list(v)) for c, v in zip(SIGHTING_COLUMNS, rows, strict=True))
    return Message(node.up("sightings"), codec.encode(Sightings(header("sightings", seq, n, t0, node), columns)))


def crowd(seq: int, radios: int, t0: int = NOON_US) -> Message:
    return Message(NODE.up("crowd"), codec.encode(Crowd(header("crowd", seq, 1, t0), (CrowdRow(0, 300, radios, 1),))))


def presence(seq: int, state: Any = "enter") -> Message:
    row = PresenceRow("00" * 8, 1, "coffee", state, -10, -2000, 0.9)
    return Message(NODE.up("presence"), codec.encode(Presence(header("presence", seq, 1), (row,))))


def tags(seq: int) -> Message:
    row = TagRow("30395dfa835a2c4000000001", "arrived", "shelf-1", -10, -2_000, rssi=-61.5, reads=3)
    return Message(NODE.up("tags"), codec.encode(Tags(header("tags", seq, 1), (row,))))


def health(boot: str = "boot-1", node: NodeAddress = NODE) -> Message:
    said = Health(NOON_US, boot, "1", "c" * 12, 1.0, "trusted", 1, 1.0, 1, 7, 0.0, 0, 0, 30.0, 0)
    said = msgspec.structs.replace(said, sources={"ble": SourceHealth("ok", heard=5)})
    return Message(node.up("health"), codec.encode_small(said))


def status(state: Any, node: NodeAddress = NODE) -> Message:
    return Message(node.status, codec.encode_small(Status(state, "boot-1", NOON_US)))


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    """The ingest process's connection to a database with the two nodes' store."""
    with superuser(database) as admin:
        admin.execute("INSERT INTO tenant VALUES ('acme', 'Acme')")
        admin.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'main-street', 'M', 'UTC')")
        admin.execute("INSERT INTO floor VALUES ('acme', 'main-street', '0', 'Ground', 8, 8, 1)")
        for node in (NODE, OTHER_NODE):
            admin.execute(
                "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m) VALUES (%s, %s, %s, '0', 1, 1, 2)",
                (node.tenant, node.node, node.store),
            )
    with psycopg.connect(database.service, autocommit=True) as connection:
        yield connection


def rows(conn: psycopg.Connection[TupleRow], query: str) -> list[Any]:
    return conn.execute(query.encode()).fetchall()


def letters(conn: psycopg.Connection[TupleRow]) -> list[tuple[str, str, str, int]]:
    return rows(conn, "SELECT tenant_id, node, reason, times FROM dead_letter ORDER BY dead_letter_id")


def content(conn: psycopg.Connection[TupleRow]) -> dict[str, list[Any]]:
    """All that was stored, whatever the order of arrival."""
    return {
        "batch": rows(conn, "SELECT tenant_id, node, epoch, seq, kind, digest, events, t0 FROM batch ORDER BY 2, 4"),
        "sighting": rows(conn, "SELECT * FROM sighting ORDER BY time, subject, node_key"),
        "crowd": rows(conn, "SELECT * FROM crowd ORDER BY time, node"),
        "queue": rows(conn, "SELECT tenant_id, store_id, node, payload FROM locate_queue ORDER BY payload"),
        "letters": rows(conn, "SELECT topic, reason, digest FROM dead_letter ORDER BY 1, 2, 3"),
    }


def told(outcome: Outcome) -> tuple[list[int], list[tuple[int, str]]]:
    """The numbers stored and refused, of whatever node."""
    refused = [r for some in outcome.rejected.values() for r in some]
    return sorted(s for some in outcome.stored.values() for s in some), sorted(refused)


def test_a_batch_that_comes_again_is_stored_once_and_acknowledged_each_time(conn) -> None:
    store, message = Store(), sightings(1)
    assert [told(store.take(conn, [message, message])), told(store.take(conn, [message]))] == [
        ([1], []),
        ([1], []),
    ]
    assert rows(conn, "SELECT count(*), min(rssi), max(count) FROM sighting") == [(3, -600, 4)]
    assert rows(conn, "SELECT seq, events, kind FROM batch") == [(1, 3, "sightings")]
    assert rows(conn, "SELECT store_id, node FROM locate_queue") == [("main-street", "node-1")]
    assert Store().take(conn, [message]).events == 0, "another process acknowledges it too"


@pytest.mark.parametrize("together", [True, False], ids=["in one transaction", "one after the other"])
def test_another_content_under_a_known_name_is_buried_and_the_first_is_kept(conn, together: bool) -> None:
    first, forged, store = sightings(1), sightings(1, rssi=-400), Store()
    calls = [[first, forged]] if together else [[first], [forged]]
    outcomes = [told(store.take(conn, messages)) for messages in calls]
    assert outcomes[-1][1] == [(1, "NameTaken")]
    assert rows(conn, "SELECT DISTINCT rssi FROM sighting") == [(-600,)]
    assert letters(conn) == [("acme", "node-1", "NameTaken", 1)]
    assert len(rows(conn, "SELECT 1 FROM locate_queue")) == 1


def renamed(payload: bytes, field: int, value: int) -> bytes:
    """A sightings batch with another value in one of its header's fields."""
    fields = msgspec.msgpack.decode(payload)
    fields[field] = value
    return msgspec.msgpack.encode(fields)


GOOD = sightings(9)
CUT = Message(GOOD.topic, GOOD.payload[:-20])
LONG = Message(GOOD.topic, b"\x00" * 2_000_000)
STRANGER = NodeAddress("acme", "main-street", "node-9")
ELSEWHERE = NodeAddress("acme", "side-street", "node-1")
OTHERS = NodeAddress("beta", "main-street", "node-1")
BAD = [
    ("wrong tenant in the topic", replace(GOOD, topic=OTHERS.up("sightings")), "WrongNode", [9]),
    ("wrong store in the topic", replace(GOOD, topic=ELSEWHERE.up("sightings")), "WrongNode", [9]),
    ("wrong node in the topic", replace(GOOD, topic=OTHER_NODE.up("sightings")), "WrongNode", [9]),
    ("wrong stream", replace(GOOD, topic=NODE.up("crowd")), "BadTopic", [9]),
    ("no topic of ours", replace(GOOD, topic="aisle/v1/up/acme/sightings"), "BadTopic", []),
    ("a node that stands nowhere", sightings(9, node=STRANGER), "UnknownNode", [9]),
    ("a heartbeat of a stranger", health(node=STRANGER), "UnknownNode", []),
    ("a clock that was never set", sightings(9, t0=86_400_000_000), "BadTime", [9]),
    ("the year 2101", sightings(9, t0=4_133_980_800_000_000), "BadTime", [9]),
    ("garbage", replace(GOOD, payload=b"\xc1garbage\x00"), "NotABatch", []),
    ("nothing", replace(GOOD, payload=b""), "NotABatch", []),
    ("cut short", CUT, "NotABatch", []),
    ("2 MB", LONG, "TooLarge", []),
    ("2 MB behind a good header", replace(GOOD, payload=msgspec.msgpack.encode(
        [*msgspec.msgpack.decode(GOOD.payload)[:11], [b"\x00" * 2_000_000]])), "TooLarge", [9]),
    ("a gzip file that would grow a thousandfold", replace(GOOD, payload=gzip.compress(b"\x00" * 2_000_000)),
     "NotABatch", []),
    ("an array that claims four billion fields", replace(GOOD, payload=b"\xdd\xff\xff\xff\xff\x01"), "NotABatch", []),
    ("a hundred thousand arrays in one another", replace(GOOD, payload=b"\x91" * 100_000 + b"\x01"), "NotABatch", []),
    ("the same as JSON", replace(GOOD, payload=b'{"v":' * 40_000), "NotABatch", []),
    ("a million rows announced", replace(GOOD, payload=renamed(GOOD.payload, 10, 1_000_000)), "TooLarge", []),
    ("a number that is none", replace(presence(9), payload=presence(9).payload.replace(b"0.9", b"NaN")),
     "NotABatch", []),
    ("more than any number", replace(presence(9), payload=presence(9).payload.replace(b"0.9", b"1e999")),
     "NotABatch", []),
    ("a confidence of two", replace(presence(9), payload=presence(9).payload.replace(b"0.9", b"2.0")), "BadRows", [9]),
    ("a level that is none", replace(tags(9), payload=tags(9).payload.replace(b"-61.5", b"-1e30")), "BadRows", [9]),
    ("a crowd of four, whom one could tell apart", crowd(9, radios=4), "NotStorable", [9]),
    ("a crowd without an hour", crowd(9, radios=-1), "NotStorable", [9]),
    ("a NUL in a heartbeat", health(boot="\x00"), "NotStorable", []),
]  # fmt: skip


@pytest.mark.parametrize(("message", "reason", "refused"), [pytest.param(*b[1:], id=b[0]) for b in BAD])
def test_what_cannot_be_stored_is_buried_alone_and_its_neighbours_are_stored(
    conn, message: Message, reason: str, refused: list[int]
) -> None:
    store = Store()
    outcome = told(store.take(conn, [sightings(1), message, crowd(2, radios=5), presence(3)]))
    assert outcome == ([1, 2, 3], [(seq, reason) for seq in refused])
    assert [(r, times) for _, _, r, times in letters(conn)] == [(reason, 1)]
    assert rows(conn, "SELECT payload FROM dead_letter") == [(message.payload,)]
    store.take(conn, [message])
    assert [(r, times) for _, _, r, times in letters(conn)] == [(reason, 2)], "one letter, counted"
    assert len(rows(conn, "SELECT 1 FROM sighting")) == 3
    assert rows(conn, "SELECT seq FROM batch ORDER BY seq") == [(1,), (2,), (3,)]


def test_one_among_many_that_the_database_refuses_is_found_by_halves(conn) -> None:
    store = Store()
    outcome = store.take(conn, [*(sightings(n) for n in range(1, 60)), crowd(60, radios=2), crowd(61, radios=9)])
    assert told(outcome) == ([*range(1, 60), 61], [(60, "NotStorable")])
    assert (outcome.events, outcome.buried) == (59 * 3 + 1, 1)
    # Each transaction that is rolled back takes a number too: far fewer than one for each message.
    (taken,) = rows(conn, "SELECT count(DISTINCT xmin::text) FROM batch")[0]
    assert taken <= 6


def test_tags_are_stored_and_not_for_the_locator(conn) -> None:
    assert told(Store().take(conn, [tags(1), tags(1)])) == ([1], [])
    assert rows(conn, "SELECT encode(epc, 'hex'), zone, reads FROM tag_event") == [
        ("30395dfa835a2c4000000001", "shelf-1", 3)
    ]
    assert rows(conn, "SELECT count(*) FROM locate_queue") == [(0,)]


def test_processes_that_store_the_same_at_once_never_wait_for_one_another(conn, database: Database) -> None:
    beats = [health(), health(node=OTHER_NODE)]
    batches = [sightings(n, node=node) for n in range(1, 41) for node in (NODE, OTHER_NODE)]

    def run(seed: int) -> list[Outcome]:
        mix, outcomes = random.Random(seed), []
        with psycopg.connect(database.service, autocommit=True) as own:
            for _ in range(8):
                some = [*beats, *batches]
                mix.shuffle(some)
                outcomes.append(Store().take(own, some))  # a deadlock would be an OperationalError
        return outcomes

    with ThreadPoolExecutor(3) as pool:
        outcomes = [outcome for some in pool.map(run, range(3)) for outcome in some]
    assert sum(outcome.events for outcome in outcomes) == len(batches) * 3
    assert rows(conn, "SELECT count(*) FROM sighting") == [(len(batches) * 3,)]
    assert all(told(outcome) == (sorted([*range(1, 41)] * 2), []) for outcome in outcomes)


def test_a_request_is_answered_and_leaves_nothing_behind(conn) -> None:
    want = KeyWant("node-1", "2026-09-22", b"\x04" * 65, None, b"certificate", b"signature")
    asked = Message(NODE.up("keys"), encode_order(want))
    strange = Message(STRANGER.up("keys"), encode_order(want))
    bad = Message(NODE.up("keys"), b"\xff")
    outcome = Store().take(conn, [status("online", OTHER_NODE), asked, strange, bad])
    answers = [(order.topic, decode_keys(order.payload)) for order in outcome.orders]
    assert [(topic, type(said)) for topic, said in answers] == [
        (NODE.down("keys"), Roster),
        (OTHER_NODE.down("keys"), KeyWant),
    ]
    assert letters(conn) == [] and told(outcome) == ([], [])


def test_a_node_that_nobody_knows_is_looked_up_once_and_not_for_each_of_its_messages(conn) -> None:
    looked = 0
    execute = conn.execute

    def counting(query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal looked
        looked += "node_key" in str(query)
        return execute(query, *args, **kwargs)

    conn.execute = counting  # the statement is what is counted, and it runs
    outcome = Store().take(conn, [sightings(n, node=STRANGER) for n in range(1, 21)])
    assert len(told(outcome)[1]) == 20
    assert looked == 1


def test_a_status_says_who_is_there_and_a_bad_one_is_left_aside(conn) -> None:
    bad = Message(NODE.status, b"{}")
    Store().take(conn, [status("online"), status("online", OTHER_NODE), bad, status("offline", OTHER_NODE)])
    assert rows(conn, "SELECT node, state FROM node ORDER BY node") == [("node-1", "online"), ("node-2", "offline")]
    assert letters(conn) == []


def test_a_letters_detail_is_cut_and_holds_no_nul(conn) -> None:
    Store().take(conn, [Message("aisle/v1/up/" + "x" * 2_000, b"")])
    (detail,) = rows(conn, "SELECT detail FROM dead_letter")[0]
    assert len(detail) == 500 and "\x00" not in detail


def test_a_heartbeat_is_kept_and_makes_no_batch(conn) -> None:
    outcome = Store().take(conn, [health()])
    assert told(outcome) == ([], [])
    kept = "SELECT state, health ->> 'version', health #>> '{sources,ble,heard}' FROM node WHERE node = 'node-1'"
    assert rows(conn, kept) == [("online", "1", "5")]
    assert rows(conn, "SELECT count(*) FROM batch") == [(0,)]


def test_a_silent_batch_is_in_the_ledger_and_in_the_queue(conn) -> None:
    assert told(Store().take(conn, [sightings(1, n=0)])) == ([1], [])
    assert rows(conn, "SELECT events FROM batch") == [(0,)]
    assert len(rows(conn, "SELECT 1 FROM locate_queue")) == 1


def test_the_locator_finds_batches_in_the_order_of_arrival(conn) -> None:
    arrived = [presence(1), sightings(2), presence(3, "exit"), sightings(4)]
    Store().take(conn, arrived)
    queued = rows(conn, "SELECT payload FROM locate_queue ORDER BY queue_id")
    assert queued == [(message.payload,) for message in arrived]


def test_days_are_made_when_their_first_window_arrives(conn) -> None:
    store, midnight = Store(), datetime(2026, 3, 1, tzinfo=UTC)
    t0 = int((midnight + timedelta(milliseconds=1)).timestamp() * 1e6)
    store.take(conn, [sightings(1, n=2, t0=t0)])
    days = rows(conn, "SELECT to_char(day, 'YYYYMMDD') FROM days('sighting')")
    assert days == [("20260228",)], "both windows end before midnight"
    # The refused crowd undoes the transaction, and the new day's partition with it: it is made again.
    store.take(conn, [sightings(2, t0=t0 + 86_400_000_000), crowd(4, radios=2)])
    assert len(rows(conn, "SELECT 1 FROM sighting")) == 5


def test_a_day_that_another_process_is_just_making_is_waited_for(conn, database: Database) -> None:
    with psycopg.connect(database.service) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT ensure_day('sighting', at_us(%s)::date)", (NOON_US,))
        taking = pool.submit(Store().take, conn, [sightings(1)])
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with superuser(database) as admin:
            while not admin.execute(waits).fetchone() and not taking.done():
                time.sleep(0.01)
        other.commit()
        assert told(taking.result(20)) == ([1], [])


@pytest.mark.parametrize(
    ("seqs", "expected"),
    [
        ([], ()),
        ([5], ((5, 5),)),
        ([3, 1, 2], ((1, 3),)),
        ([1, 2, 3, 7], ((1, 3), (7, 7))),
        ([2, 2, 4, 4, 3], ((2, 4),)),
    ],
)
def test_ranges_name_exactly_the_numbers(seqs: list[int], expected: tuple[tuple[int, int], ...]) -> None:
    assert ranges(seqs) == expected


def test_a_node_that_was_taken_from_the_plan_is_soon_heard_no_more(conn, database, monkeypatch) -> None:
    nodes = NodeDirectory()
    assert nodes.key(conn, NODE)
    with superuser(database) as admin:
        admin.execute("UPDATE node SET retired_at = now() WHERE node = 'node-1'")
    later = time.monotonic() + RETIRED_AFTER_S + 1
    monkeypatch.setattr("cloud.ingest.store.time.monotonic", lambda: later)
    with pytest.raises(UnknownNode):
        nodes.key(conn, NODE)


MIXED = [
    *(sightings(seq, n=seq % 4, t0=NOON_US + seq * 10**6) for seq in range(1, 6)),
    *(sightings(seq, t0=NOON_US, node=OTHER_NODE) for seq in range(1, 4)),
    crowd(10, radios=8, t0=NOON_US + 1), crowd(11, radios=2), presence(12), presence(13, "exit"),
    sightings(14, node=STRANGER), Message(NODE.up("crowd"), b"{"), replace(GOOD, topic=OTHER_NODE.up("sightings")),
]  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, len(MIXED) - 1), max_size=15), st.integers(1, 12))
def test_any_order_and_repetition_stores_the_same(conn, mix: random.Random, again: list[int], size: int) -> None:
    arrived = MIXED + [MIXED[i] for i in again]
    mix.shuffle(arrived)
    conn.execute("BEGIN")  # savepoints within: undone at the end, so that each example begins with an empty database
    try:
        Store().take(conn, MIXED)
        expected = content(conn)
        conn.execute("ROLLBACK")
        conn.execute("BEGIN")
        store = Store()
        for start in range(0, len(arrived), size):
            store.take(conn, arrived[start : start + size])
        assert content(conn) == expected
    finally:
        conn.execute("ROLLBACK")
