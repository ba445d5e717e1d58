"""Whose each store is: leases that end with the holder's database session, and sessions that end when the holder falls
silent.

Everything that is told about a store is written in one session. So when another process may take the store, the session
is over, and with it whatever the first one had begun: nothing that comes back late can write.
"""

import logging
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection

from cloud import db

log = logging.getLogger(__name__)
sql = db.statements("cloud.locate")

Store = tuple[str, str]
"""Tenant and store."""

BEAT_EVERY_S = 1.0
STALE_S = 10.0
"""A process that has not beaten for so long is stopped or cut off: its session is ended."""
TURN_S = 120.0
"""A process whose work has not come round for so long hangs, and may not beat any more."""


@dataclass(slots=True)
class Leases:
    """The stores that this process holds, as its session `conn` may write them."""

    conn: Connection[Any]
    locator_id: int
    stale_s: float = STALE_S
    held: set[Store] = field(default_factory=set)

    @classmethod
    def begin(cls, conn: Connection[Any], stale_s: float = STALE_S) -> "Leases":
        """Make this process known as a locator. The connection commits each statement."""
        row = conn.execute(sql.become_locator).fetchone()
        assert row is not None
        conn.execute(sql.add_locator, {"locator": row[0]})
        return cls(conn, row[0], stale_s)

    def look(self) -> tuple[list[Store], list[Store]]:
        """Take what nobody holds, up to a fair share; returns the stores taken, and those to be let go by `release`."""
        ended = self.conn.execute(sql.end_silent, {"locator": self.locator_id, "stale_s": self.stale_s}).rowcount
        gone = self.conn.execute(sql.forget_gone_locators, {"locator": self.locator_id}).rowcount
        if ended or gone:
            log.info("%d locators were silent, %d are gone", ended, gone)
        stores, locators, is_known = self.conn.execute(sql.shares, {"locator": self.locator_id}).fetchall()[0]
        if not is_known:  # somebody tidied up by hand: the stores may be another's by now
            raise psycopg.OperationalError("this locator's row is gone, and its leases with it")
        share = math.ceil(stores / locators)
        room = share - len(self.held)
        taken: list[Store] = []
        if room > 0:
            taken = self.conn.execute(sql.take_stores, {"locator": self.locator_id, "room": room}).fetchall()
            self.held.update(taken)
        return taken, sorted(self.held)[share:]

    def release(self, store: Store) -> None:
        """Let another have it. Nothing of the store is written from here on."""
        self.held.discard(store)
        self.conn.execute(sql.release_store, dict(zip(("tenant", "store"), store, strict=True)))

    def end(self) -> None:
        """Let all go."""
        self.conn.execute(sql.remove_locator, {"locator": self.locator_id})


class Heart:
    """Beats on a connection and a thread of its own, so that long work is no silence; work that hangs is."""

    def __init__(self, dsn: str, locator_id: int) -> None:
        self._dsn = dsn
        self._locator = locator_id
        self._turned_s = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def turn(self) -> None:
        """The work has come round."""
        self._turned_s = time.monotonic()

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ending.is_set():
            try:
                with psycopg.connect(
                    self._dsn, autocommit=True, connect_timeout=2, application_name="aisle heart"
                ) as conn:
                    while not self._ending.wait(BEAT_EVERY_S):
                        if time.monotonic() - self._turned_s < TURN_S:
                            conn.execute(sql.beat, {"locator": self._locator})
            except (psycopg.OperationalError, psycopg.InterfaceError):  # the work notices for itself
                self._ending.wait(BEAT_EVERY_S)
