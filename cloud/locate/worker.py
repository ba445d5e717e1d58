"""The locate process: holds stores by advisory lock, one holder a store, and tells their stories as batches arrive."""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from cloud import db
from cloud.config import Settings
from cloud.locate.store import StoreLocator
from cloud.process import run_until_stopped
from contract.clock import Clock

log = logging.getLogger(__name__)
sql = db.statements("cloud.locate")

LOOK_S = 0.1
FIND_STORES_EVERY_S = 2.0


@dataclass(slots=True)
class Locate:
    """Any number may run; a store whose holder dies is taken over at the next look."""

    settings: Settings
    clock: Clock
    _stores: dict[tuple[str, str], StoreLocator] = field(default_factory=dict)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        run_until_stopped(self._work)

    def _work(self, stopping: threading.Event) -> None:
        dsn = self.settings.service_dsn
        channels = ("aisle_queue", "aisle_consent", "aisle_plan")
        self._stores.clear()
        looked_at = 0.0
        with db.connect(dsn, "locate", autocommit=True) as conn, db.listening(dsn, "locate", *channels) as ear:
            log.info("locate is ready")
            while not stopping.is_set():
                if time.monotonic() - looked_at >= FIND_STORES_EVERY_S:
                    self._find_stores(conn)
                    looked_at = time.monotonic()
                worked = [locator.advance() for locator in list(self._stores.values())]
                for note in ear.notifies(timeout=0 if any(worked) else LOOK_S, stop_after=1):
                    looked_at = self._heed(conn, note, looked_at)

    def _find_stores(self, conn: psycopg.Connection[Any]) -> None:
        for tenant, store in conn.execute(sql.stores).fetchall():
            if (tenant, store) in self._stores:
                continue
            held = conn.execute(sql.hold, {"tenant": tenant, "store": store}).fetchone()
            if held and held[0]:
                locator = StoreLocator.load(conn, self.clock, tenant, store)
                if locator is not None:
                    self._stores[tenant, store] = locator
                    log.info("holding store %s/%s", tenant, store)

    def _heed(self, conn: psycopg.Connection[Any], note: psycopg.Notify, looked_at: float) -> float:
        """Act on a notification; returns when stores were last looked for."""
        if note.channel == "aisle_plan":
            tenant, _, store = note.payload.partition("/")
            if self._stores.pop((tenant, store), None) is not None:
                log.info("plan of %s changed", note.payload)
            return 0.0
        if note.channel == "aisle_consent":
            for (tenant, _), locator in self._stores.items():
                if tenant == note.payload:
                    locator.reload_directory()
            return looked_at
        return looked_at  # aisle_queue: being woken is all there is to it
