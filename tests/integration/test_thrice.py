"""Every batch comes three times and out of order: no row is doubled, none is lost, nobody gets an offer twice."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from cloud.ingest.store import Message, Store
from cloud.locate.store import StoreLocator
from cloud.offers.decide import decide_due
from contract import codec
from contract.identity import SubjectKind, member_token, token_slot
from contract.messages import SIGHTING_COLUMNS, Header, Sightings
from contract.topics import NodeAddress
from tests.conftest import NODE, OTHER_NODE, Database
from tests.integration import cloud_support
from tests.integration.cloud_support import NOON, NOON_US, make_member, running_api, superuser, us
from tests.integration.trust_support import furnish, one, running_ingest, sightings_payload, speaker

COPIES = 3
WINDOW = 16
EPOCH = "3" * 32


def shuffled(messages: Sequence[Message], rng: random.Random) -> list[Message]:
    """Each three times, and each no further than a window from where it was."""
    tripled = [message for message in messages for _ in range(COPIES)]
    keys = [i + rng.uniform(0, WINDOW) for i in range(len(tripled))]
    return [tripled[i] for i in sorted(range(len(tripled)), key=keys.__getitem__)]


@pytest.mark.parametrize("batches", [400, pytest.param(20_000, marks=pytest.mark.long)])
def test_every_batch_three_times_in_any_order_is_stored_once(
    database: Database, broker, tmp_path, batches: int
) -> None:
    furnish(database, [NODE, OTHER_NODE])
    wanted = range(1, batches + 1)
    topic = NODE.up("sightings")
    messages = shuffled([Message(topic, sightings_payload(NODE, EPOCH, seq)) for seq in wanted], random.Random(5))
    with running_ingest(database, broker, tmp_path), speaker(broker) as node:
        end = time.monotonic() + 60
        while (EPOCH, 1) not in node.stored:  # as a node would, until ingest listens
            assert time.monotonic() < end
            node.say(sightings_payload(NODE, EPOCH, 1))
            node.hear(0.5)
        for at, message in enumerate(messages):
            node.say(message.payload)
            if at % 500 == 0:
                node.hear(0)
        while node.stored != {(EPOCH, seq) for seq in wanted}:
            assert time.monotonic() < end + 60, f"{len(node.stored)} of {batches} acknowledged"
            node.hear(0.5)
        deadline = time.monotonic() + 30
        with psycopg.connect(database.admin, autocommit=True) as conn:
            while (rows := one(conn, "SELECT count(*) FROM sighting")) != 4 * batches:
                assert time.monotonic() < deadline, rows
            twice = one(conn, "SELECT count(*) FROM (SELECT FROM sighting GROUP BY subject HAVING count(*) > 1) t")
            queued = one(conn, "SELECT count(*) FROM locate_queue")
            counts = one(conn, "SELECT count(*) FROM batch"), one(conn, "SELECT count(*) FROM dead_letter")
    print(f"\n{len(messages)} messages for {batches} batches: {counts[0]} stored, {twice} rows doubled")
    assert (counts, twice, queued) == ((batches, 0), 0, batches)


@dataclass
class Hand:
    """A clock that is set by hand."""

    at_us: int = NOON_US
    trusted: bool = True

    def now_us(self) -> int:
        return self.at_us


SECONDS = 60
MEMBERS = 8


def furnish_with_members(database: Database) -> list[bytes]:
    """A store with a running campaign, and members at its shelf; returns their token keys."""
    with running_api(database) as api:
        cloud_support.furnish(api, database, NODE.tenant)
    keys = [bytes([i]) * 16 for i in range(1, MEMBERS + 1)]
    with superuser(database) as conn:
        conn.execute("UPDATE campaign SET salt = 'salt'")
        for i, key in enumerate(keys):
            member = make_member(database, NODE.tenant, member_id=UUID(int=1_000 + i))
            conn.execute(
                "INSERT INTO device (tenant_id, member_id, token_key) VALUES (%s, %s, %s)", (NODE.tenant, member, key)
            )
    return keys


def heard(node: NodeAddress, seq: int, at_us: int, keys: Sequence[bytes], dbm: int) -> Message:
    """A second of all of them as one node hears it."""
    tokens = [member_token(key, token_slot(at_us)) for key in keys]
    n = len(keys)
    rows = ([0] * n, tokens, [int(SubjectKind.TOKEN)] * n, [0] * n, [10 * dbm] * n, [dbm + 2] * n, [4] * n)
    columns = tuple(codec.column_bytes(column, list(v)) for column, v in zip(SIGHTING_COLUMNS, rows, strict=True))
    header = Header("sightings", node.tenant, node.store, node.node, EPOCH, seq, "boot-1", "trusted", at_us, n)
    return Message(node.up("sightings"), codec.encode(Sightings(header, columns)))


def test_who_is_heard_three_times_out_of_order_gets_one_offer(database: Database) -> None:
    keys = furnish_with_members(database)
    begun_us = us(NOON - timedelta(seconds=SECONDS))
    told = [
        heard(node, second, begun_us + second * 1_000_000, keys, dbm)
        for second in range(1, SECONDS + 1)
        for node, dbm in ((NODE, -75), (OTHER_NODE, -48))
    ]
    clock, store = Hand(), Store()
    with psycopg.connect(database.service, autocommit=True) as conn, superuser(database) as look:
        locator = StoreLocator.load(conn, clock, NODE.tenant, NODE.store)
        assert locator is not None
        arriving = shuffled(told, random.Random(7))
        for at in range(0, len(arriving), 10):
            store.take(conn, arriving[at : at + 10])
            clock.at_us = begun_us + at * SECONDS * 1_000_000 // len(arriving)
            advance(locator)
            decide_due(conn, clock.at_us)
        clock.at_us = NOON_US + 1_000_000
        advance(locator)
        decide_due(conn, clock.at_us)
        counts = {table: one(look, f"SELECT count(*) FROM {table}") for table in ("sighting", "visit", "decision")}
        pushes = look.execute("SELECT member_id, count(*) FROM push GROUP BY 1").fetchall()
        decided = look.execute("SELECT visit_id, campaign, count(*) FROM decision GROUP BY 1, 2").fetchall()
    print(f"\n{len(arriving)} messages of {len(told)} batches: {counts}, {len(pushes)} pushes")
    assert counts == {"sighting": len(told) * MEMBERS, "visit": MEMBERS, "decision": MEMBERS}
    assert pushes and {times for _, times in pushes} == {1}
    assert {times for _, _, times in decided} == {1}


def advance(locator: StoreLocator) -> None:
    while locator.advance():
        pass


def test_the_order_is_shuffled_within_the_window_only() -> None:
    messages = [Message(str(i), b"") for i in range(200)]
    mixed = shuffled(messages, random.Random(1))
    places = [int(message.topic) * COPIES for message in mixed]
    assert sorted(places) == sorted(i * COPIES for i in range(200) for _ in range(COPIES)) != places
    assert max(abs(at - place) for at, place in enumerate(places)) <= WINDOW + COPIES
