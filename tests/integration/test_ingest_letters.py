"""Dead letters: what was refused is found with its reason, and stored once its reason is gone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import TupleRow

from cli import ROOT
from cloud.ingest.letters import letters, retry, state
from cloud.ingest.store import Message, Store
from contract.topics import NodeAddress
from tests.conftest import NODE, Database
from tests.integration.cloud_support import superuser
from tests.integration.test_ingest_store import GOOD, crowd, health, sightings

NEWCOMER = NodeAddress("acme", "main-street", "node-2")


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    """The service role's connection to a store with one node."""
    with superuser(database) as admin:
        admin.execute("INSERT INTO tenant VALUES ('acme', 'Acme')")
        admin.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'main-street', 'M', 'UTC')")
        admin.execute("INSERT INTO floor VALUES ('acme', 'main-street', '0', 'Ground', 8, 8, 1)")
        claim(admin, NODE)
    with psycopg.connect(database.service, autocommit=True) as connection:
        yield connection


def claim(admin: psycopg.Connection[TupleRow], node: NodeAddress) -> None:
    admin.execute(
        "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m) VALUES (%s, %s, %s, '0', 1, 1, 2)",
        (node.tenant, node.node, node.store),
    )


def command(*arguments: str, dsn: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"AISLE_SERVICE_DSN": dsn}
    words = [sys.executable, "-m", "cli", "ingest", *arguments]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


REFUSED = [*(sightings(n, node=NEWCOMER) for n in (1, 2, 3)), crowd(4, radios=2), Message(GOOD.topic, b"garbage")]


def test_letters_of_a_node_that_was_claimed_are_stored_and_the_others_stay(conn, database: Database) -> None:
    Store().take(conn, REFUSED)
    assert retry(conn) == 0, "nothing has changed"
    with superuser(database) as admin:
        claim(admin, NEWCOMER)
    assert retry(conn, "NotABatch") == 0
    assert retry(conn, "UnknownNode") == 3
    assert conn.execute("SELECT seq FROM batch ORDER BY seq").fetchall() == [(1,), (2,), (3,)]
    assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (9,)
    assert conn.execute("SELECT count(*) FROM locate_queue").fetchone() == (3,), "the locator hears of them too"
    assert {(letter.reason, letter.tenant) for letter in letters(conn)} == {
        ("NotStorable", "acme"),
        ("NotABatch", "acme"),
    }
    assert retry(conn) == 0, "each once"


def test_a_letter_whose_batch_came_in_the_meantime_is_no_second_one(conn, database: Database) -> None:
    Store().take(conn, REFUSED[:1])
    with superuser(database) as admin:
        claim(admin, NEWCOMER)
    Store().take(conn, REFUSED[:1])
    assert retry(conn) == 1
    assert conn.execute("SELECT count(*) FROM sighting").fetchone() == (3,)
    assert letters(conn) == []


def test_more_letters_than_one_transaction_takes(conn, database: Database) -> None:
    Store().take(conn, [sightings(n, node=NEWCOMER, n=1) for n in range(1, 231)])
    with superuser(database) as admin:
        claim(admin, NEWCOMER)
    assert retry(conn) == 230


def test_the_state_tells_what_is_stored_refused_and_held(conn) -> None:
    assert state(conn).stored_us is None
    Store().take(conn, [sightings(1), health(), *REFUSED])
    found = state(conn)
    assert (found.batches, found.events, found.queued) == (1, 3, 1)
    assert found.dead_letters == {"NotABatch": 1, "NotStorable": 1, "UnknownNode": 3}
    assert [(node.node, node.state, node.outbox_rows) for node in found.nodes] == [("node-1", "online", 7)]


def test_the_commands_tell_and_retry(conn, database: Database) -> None:
    Store().take(conn, [sightings(1), health(), *REFUSED])
    dsn = database.service
    told = command("status", "--json", dsn=dsn)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["dead_letters"] == {"NotABatch": 1, "NotStorable": 1, "UnknownNode": 3}
    assert "3 UnknownNode" in command("status", dsn=dsn).stdout
    listed = json.loads(command("dead-letters", "--reason", "UnknownNode", "--json", dsn=dsn).stdout)
    assert [letter["node"] for letter in listed["dead_letters"]] == ["node-2"] * 3
    assert "NotStorable" in command("dead-letters", dsn=dsn).stdout
    with superuser(database) as admin:
        claim(admin, NEWCOMER)
    assert json.loads(command("retry", "--json", dsn=dsn).stdout) == {"stored": 3, "left": 2}
    assert command("retry", dsn=dsn).stdout == "0 stored, 2 left\n"


def test_a_database_that_is_not_there_is_one_line(database: Database) -> None:
    done = command("status", dsn="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("aisle: the database does not answer: ") and done.stderr.count("\n") == 1
