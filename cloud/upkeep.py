"""The worker's upkeep of the database, beside its other work: offers must not wait for a sweep or a day's heatmap."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection

from cloud.analytics.jobs import tell_days
from cloud.places.jobs import check_places
from cloud.points.jobs import keep_points
from cloud.retention import count_hours, forget, make_days
from contract.clock import Clock

log = logging.getLogger(__name__)

HOURLY_S, SOON_S = 3600.0, 10.0
RETRY_S = 60.0
"""After work that failed, most likely for want of the database."""

Job = Callable[[Connection[Any], int], object]

JOBS: tuple[tuple[float, Job], ...] = (
    (HOURLY_S, make_days),
    (HOURLY_S, forget),
    (HOURLY_S, count_hours),
    (HOURLY_S, check_places),
    (HOURLY_S, keep_points),
    (SOON_S, tell_days),
)
"""With how often. Each is given a connection that commits each statement, and the time. Any number of workers may do
them at once."""


class Upkeep:
    """Runs the jobs at once and then as often as they are due, on a thread of its own, until the block is left."""

    def __init__(self, dsn: str, clock: Clock) -> None:
        self._dsn = dsn
        self._clock = clock
        self._ending = threading.Event()
        self._due_s: dict[Job, float] = {}
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
            self._ending.wait(SOON_S if self._done() else RETRY_S)

    def _done(self) -> bool:
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=5, application_name="aisle upkeep"
            ) as self._conn:
                for every_s, job in JOBS:
                    if time.monotonic() >= self._due_s.get(job, 0.0):
                        job(self._conn, self._clock.now_us())
                        self._due_s[job] = time.monotonic() + every_s
        except psycopg.Error as error:
            if not self._ending.is_set():
                log.warning("upkeep failed, trying again: %s", str(error).strip().splitlines()[0])
            return False
        finally:
            self._conn = None
        return True
