"""The worker's upkeep of the database, once an hour, beside its other work: offers must not wait for a sweep."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection

from cloud.retention import count_hours, forget, make_days
from contract.clock import Clock

log = logging.getLogger(__name__)

EVERY_S = 3600.0
RETRY_S = 60.0
"""After an hour's work that failed, most likely for want of the database."""

Job = Callable[[Connection[Any], int], object]

JOBS: tuple[Job, ...] = (make_days, forget, count_hours)
"""Each is given a connection that commits each statement, and the time. Any number of workers may do them at once."""


class Upkeep:
    """Runs the jobs at once and then every hour, on a thread of its own, until the block is left."""

    def __init__(self, dsn: str, clock: Clock) -> None:
        self._dsn = dsn
        self._clock = clock
        self._ending = threading.Event()
        self._conn: Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def __enter__(self) -> "Upkeep":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        if self._conn is not None:
            self._conn.cancel_safe(timeout=2)  # what a job had not committed is done the next time
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ending.is_set():
            self._ending.wait(EVERY_S if self._done() else RETRY_S)

    def _done(self) -> bool:
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=5, application_name="aisle upkeep"
            ) as self._conn:
                for job in JOBS:
                    job(self._conn, self._clock.now_us())
        except psycopg.Error as error:
            if not self._ending.is_set():
                log.warning("upkeep failed, trying again: %s", str(error).strip().splitlines()[0])
            return False
        finally:
            self._conn = None
        return True
