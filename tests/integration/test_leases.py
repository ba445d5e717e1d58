"""Who tells a store's story: one process at a time, another within seconds when it dies, hangs or comes back late."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from cloud.locate.lease import STALE_S, Heart, Leases
from tests.conftest import Database
from tests.integration.cloud_support import make_tenant, superuser

ROOT = Path(__file__).resolve().parents[2]
TAKEOVER_S = 2.0
"""After a process was killed."""


def make_stores(database: Database, count: int) -> list[str]:
    """Stores with a floor, a zone and two nodes each, so that their stories can be told."""
    make_tenant(database, "acme")
    names = [f"store-{n}" for n in range(count)]
    with superuser(database) as conn:
        for name in names:
            conn.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', %s, 'S', 'UTC')", (name,))
            conn.execute(
                "INSERT INTO floor (tenant_id, store_id, floor, name, width_m, depth_m, cell_m)"
                " VALUES ('acme', %s, '0', 'Ground', 8, 8, 1)",
                (name,),
            )
            for node in "ab":
                conn.execute(
                    "INSERT INTO node (tenant_id, node, store_id, floor, x_m, y_m, z_m)"
                    " VALUES ('acme', %s, %s, '0', 1, 1, 2)",
                    (f"{name}-{node}", name),
                )
    return names


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    with superuser(database) as conn:
        yield conn


def holders(conn: psycopg.Connection[Any]) -> dict[str, int]:
    """Which locator holds each store."""
    return dict(conn.execute("SELECT store_id, locator_id FROM store_lease ORDER BY 1").fetchall())


def session(database: Database) -> psycopg.Connection[TupleRow]:
    return psycopg.connect(database.service, autocommit=True)


def test_of_two_that_look_each_holds_its_share_and_no_store_is_held_twice(database: Database) -> None:
    make_stores(database, 5)
    with session(database) as one, session(database) as two:
        first, second = Leases.begin(one), Leases.begin(two)
        assert len(first.look()[0]) == 3, "a fair share of five among two, rounded up"
        assert len(second.look()[0]) == 2
        assert not first.held & second.held
        assert first.look() == ([], [])
        second.end()
        assert len(first.look()[0]) == 2
        third = Leases.begin(two)
        taken, surplus = first.look()
        assert (taken, len(surplus)) == ([], 2)
        for store in surplus:
            first.release(store)
        assert third.look()[0] == surplus


def test_a_session_that_ended_frees_its_stores_at_once(database: Database, admin) -> None:
    make_stores(database, 1)
    with session(database) as two:
        one = session(database)
        first, second = Leases.begin(one), Leases.begin(two)
        first.look()
        assert second.look() == ([], [])
        one.close()
        wait_for(lambda: bool(second.look()[0]), 5)
        assert holders(admin) == {"store-0": second.locator_id}


def test_who_falls_silent_is_cut_off_and_what_it_had_begun_is_undone(database: Database, admin) -> None:
    make_stores(database, 1)
    with session(database) as two:
        silent = session(database)
        first, second = Leases.begin(silent), Leases.begin(two, stale_s=0.3)
        first.look()
        silent.execute("BEGIN")
        silent.execute("UPDATE store SET located_until = now()")
        with Heart(database.service, second.locator_id):
            wait_for(lambda: bool(second.look()[0]), 5)
        assert holders(admin) == {"store-0": second.locator_id}
        with pytest.raises(psycopg.OperationalError):
            silent.execute("COMMIT")
        assert admin.execute("SELECT located_until FROM store").fetchone() == (None,)


def test_who_beats_is_left_alone_however_long_its_work_takes(database: Database, admin) -> None:
    make_stores(database, 1)
    with session(database) as one, session(database) as two:
        first, second = Leases.begin(one), Leases.begin(two, stale_s=2.5)
        with Heart(database.service, first.locator_id):
            first.look()
            one.execute("BEGIN")
            one.execute("UPDATE store SET located_until = now()")
            until = time.monotonic() + 4
            while time.monotonic() < until:
                assert second.look() == ([], [])
                time.sleep(0.2)
            one.execute("COMMIT")
    assert admin.execute("SELECT located_until IS NOT NULL FROM store").fetchone() == (True,)


def test_work_that_does_not_come_round_stops_the_heart(database: Database, admin, monkeypatch) -> None:
    monkeypatch.setattr("cloud.locate.lease.BEAT_EVERY_S", 0.02)
    with session(database) as one:
        leases = Leases.begin(one)

        def beat_at() -> object:
            return admin.execute("SELECT beat_at FROM locator").fetchone()

        before = beat_at()
        with Heart(database.service, leases.locator_id):
            wait_for(lambda: beat_at() != before, 5)
            monkeypatch.setattr("cloud.locate.lease.TURN_S", 0.0)
            time.sleep(0.2)  # whatever beat was under way is told
            last = beat_at()
            time.sleep(0.5)  # room for many more
        assert beat_at() == last


def test_a_locator_whose_row_was_tidied_away_begins_anew(database: Database, admin) -> None:
    make_stores(database, 1)
    with session(database) as one:
        leases = Leases.begin(one)
        leases.look()
        admin.execute("DELETE FROM locator")
        with pytest.raises(psycopg.OperationalError, match="row is gone"):
            leases.look()


# --- processes


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    """Seconds until the condition holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "in vain"
        time.sleep(0.02)
    return time.monotonic() - begun


class Process:
    """`python -m cloud locate`, with its log."""

    def __init__(self, database: Database, log: Path) -> None:
        environ = {**os.environ, "AISLE_SERVICE_DSN": database.service, "OPENBLAS_NUM_THREADS": "1"}
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cloud", "locate"], env=environ, cwd=ROOT, stdout=out, stderr=out
            )

    def says(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def pair(database: Database, tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """A process that holds the only store, and one that stands by."""
    make_stores(database, 1)
    first = Process(database, tmp_path / "first.log")
    second = None
    try:
        wait_for(lambda: first.says("holding store acme/store-0"), 30)
        second = Process(database, tmp_path / "second.log")
        wait_for(lambda: second.says("locate is ready"), 30)
        yield first, second
    finally:
        first.end()
        if second is not None:
            second.end()


def test_after_kill_9_the_next_takes_the_store_within_two_seconds(
    pair: tuple[Process, Process], record_property: Callable[[str, object], None]
) -> None:
    first, second = pair
    first.process.kill()
    took_s = wait_for(lambda: second.says("holding store acme/store-0"), 10)
    record_property("takeover_after_kill_s", round(took_s, 2))
    print(f"takeover after kill -9: {took_s:.2f} s")
    assert took_s < TAKEOVER_S


def test_a_holder_that_hangs_is_replaced_and_may_not_write_when_it_comes_back(
    pair: tuple[Process, Process], database: Database, admin, record_property: Callable[[str, object], None]
) -> None:
    first, second = pair
    before = holders(admin)
    first.process.send_signal(signal.SIGSTOP)
    took_s = wait_for(lambda: second.says("holding store acme/store-0"), STALE_S + 10)
    record_property("takeover_after_hang_s", round(took_s, 2))
    print(f"takeover after SIGSTOP: {took_s:.2f} s")
    assert STALE_S - 2 < took_s < STALE_S + 3
    after = holders(admin)
    assert after != before
    first.process.send_signal(signal.SIGCONT)
    wait_for(lambda: first.says("database lost"), 10)
    wait_for(lambda: first.log.read_text().count("locate is ready") == 2, 10)
    assert holders(admin) == after, "it stands by now"
    assert len(admin.execute("SELECT 1 FROM locator").fetchall()) == 2


def test_a_holder_that_is_told_to_stop_hands_over_at_once(pair: tuple[Process, Process]) -> None:
    first, second = pair
    first.process.terminate()
    assert first.process.wait(10) == 0
    assert wait_for(lambda: second.says("holding store acme/store-0"), 10) < TAKEOVER_S
