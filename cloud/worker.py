"""The worker process: triggers that are due, receipts to join, plans that begin to hold, and the database's upkeep."""

import logging
import math
import threading
import time
from dataclasses import dataclass

import psycopg

from cloud import db
from cloud.config import Settings
from cloud.offers.decide import decide_due
from cloud.places.service import apply_due
from cloud.process import run_until_stopped
from cloud.receipts.join import join_receipts
from cloud.upkeep import Upkeep
from contract.clock import Clock

log = logging.getLogger(__name__)
sql = db.statements("cloud.offers")

LOOK_S = 0.1
"""The longest that a trigger waits unseen if a notification was lost."""
JOIN_EVERY_S = 1.0


@dataclass(slots=True)
class Worker:
    """Runs each job when it has something to do; any number of workers may run at once."""

    settings: Settings
    clock: Clock

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        run_until_stopped(self._work)

    def _work(self, stopping: threading.Event) -> None:
        dsn = self.settings.service_dsn
        joined_at = -math.inf
        with (
            db.connect(dsn, "worker", autocommit=True) as conn,
            db.listening(dsn, "worker", "aisle_due", "aisle_receipt") as ear,
            Upkeep(dsn, self.clock),
        ):
            log.info("worker is ready")
            while not stopping.is_set():
                decided = decide_due(conn, self.clock.now_us(), history_until_us=self.settings.history_until_us)
                if time.monotonic() - joined_at >= JOIN_EVERY_S:
                    with conn.transaction():
                        join_receipts(conn)
                    with conn.transaction():
                        apply_due(conn, self.clock.now_us())
                    joined_at = time.monotonic()
                if not decided and self._wait(conn, ear):
                    joined_at = -math.inf

    def _wait(self, conn: psycopg.Connection, ear: psycopg.Connection) -> bool:
        """Until the next trigger is due, something is announced, or LOOK_S has passed; True if receipts came."""
        row = conn.execute(sql.next_due).fetchone()
        until_due_s = (row[0] - self.clock.now_us()) / 1e6 if row and row[0] is not None else LOOK_S
        notes = list(ear.notifies(timeout=min(max(until_due_s, 0.005), LOOK_S), stop_after=1))
        return any(note.channel == "aisle_receipt" for note in notes)
