"""The ack protocol's machine on the real ledger: ingest's own statements, undone where ingest dies."""

from collections import Counter
from collections.abc import Sequence

import psycopg
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from psycopg.rows import TupleRow

from cloud.ingest.store import Message, Outcome, Store
from contract.codec import decode
from tests.conftest import Database
from tests.integration.trust_support import furnish
from tests.unit.ack_protocol import NODE, AckProtocol, Crash, Ledger, Name


class SqlLedger:
    """`Store.take` in one transaction that is undone when the example ends."""

    def __init__(self, conn: psycopg.Connection[TupleRow]) -> None:
        self._conn = conn
        self._store = Store()
        self._payloads: dict[Name, bytes] = {}
        conn.execute("BEGIN")

    def take(self, messages: Sequence[Message], crash: bool) -> Outcome:
        with self._conn.transaction():  # a savepoint
            outcome = self._store.take(self._conn, messages)
            if crash:
                raise Crash
        for message in messages:
            header = decode(message.payload).header
            self._payloads[header.epoch, header.seq] = message.payload
        return outcome

    def stored(self) -> Counter[tuple[Name, bytes]]:
        """By the ledger; a batch counts as often as its row stands in `crowd`, whose instant is its name's."""
        query = (
            "SELECT b.epoch, b.seq, count(c.*) FROM batch b"
            " LEFT JOIN crowd c ON c.tenant_id = b.tenant_id AND c.node = b.node AND c.time = b.t0 GROUP BY 1, 2"
        )
        found = ((epoch.hex, seq, times) for epoch, seq, times in self._conn.execute(query))
        return Counter({((epoch, seq), self._payloads[epoch, seq]): times for epoch, seq, times in found})

    def letters(self) -> set[bytes]:
        return {bytes(payload) for (payload,) in self._conn.execute("SELECT payload FROM dead_letter")}

    def close(self) -> None:
        self._conn.execute("ROLLBACK")


def run(database: Database, examples: int, steps: int) -> None:
    furnish(database, [NODE])
    with psycopg.connect(database.service, autocommit=True) as conn:

        class OnSql(AckProtocol):
            def make_ledger(self) -> Ledger:
                return SqlLedger(conn)

        how = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
        run_state_machine_as_test(OnSql, settings=how)


def test_no_order_of_accidents_loses_or_doubles_a_batch_in_the_real_ledger(database: Database) -> None:
    run(database, 50, 40)


@pytest.mark.long
def test_nor_do_hundreds_of_long_ones(database: Database) -> None:
    run(database, 400, 60)
