"""The locate process: holds its share of the stores, and tells their stories as batches arrive."""

import logging
import math
import threading
import time
from dataclasses import dataclass, field

from cloud import db
from cloud.config import Settings
from cloud.locate.lease import Heart, Leases, Store
from cloud.locate.store import StoreLocator
from cloud.process import run_until_stopped
from contract.clock import Clock

log = logging.getLogger(__name__)

LOOK_S = 0.1
FIND_STORES_EVERY_S = 0.5


@dataclass(slots=True)
class Locate:
    """Any number may run; a store whose holder dies is taken over at the next look."""

    settings: Settings
    clock: Clock
    _stores: dict[Store, StoreLocator] = field(default_factory=dict)
    """Those that have a plan and nodes, of the stores that are held."""

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        run_until_stopped(self._work)

    def _work(self, stopping: threading.Event) -> None:
        dsn = self.settings.service_dsn
        channels = ("aisle_queue", "aisle_consent", "aisle_plan")
        self._stores.clear()
        looked_at = -math.inf
        with db.connect(dsn, "locate", autocommit=True) as conn, db.listening(dsn, "locate", *channels) as ear:
            leases = Leases.begin(conn)
            with Heart(dsn, leases.locator_id) as heart:
                log.info("locate is ready")
                while not stopping.is_set():
                    heart.turn()
                    if time.monotonic() - looked_at >= FIND_STORES_EVERY_S:
                        self._find_stores(leases)
                        looked_at = time.monotonic()
                    worked = [locator.advance() for locator in list(self._stores.values())]
                    notes = [
                        *ear.notifies(timeout=0 if any(worked) else LOOK_S, stop_after=1),
                        *ear.notifies(timeout=0),
                    ]
                    if self._heed({(note.channel, note.payload) for note in notes}):
                        looked_at = -math.inf
                leases.end()

    def _find_stores(self, leases: Leases) -> None:
        """Take stores that are free, let go what is too many, begin those that got a plan."""
        taken, surplus = leases.look()
        for store in surplus:
            self._stores.pop(store, None)
            leases.release(store)
            log.info("store %s/%s is left to another", *store)
        for store in taken:
            log.info("holding store %s/%s", *store)
        for store in leases.held - self._stores.keys():
            locator = StoreLocator.load(leases.conn, self.clock, *store)
            if locator is not None:
                self._stores[store] = locator

    def _heed(self, notes: set[tuple[str, str]]) -> bool:
        """Act on what was notified, each thing once; returns whether stores must be looked for now.

        Of `aisle_queue` being woken is all there is to it.
        """
        replanned = [payload for channel, payload in notes if channel == "aisle_plan"]
        for payload in replanned:
            tenant, _, store = payload.partition("/")
            if self._stores.pop((tenant, store), None) is not None:
                log.info("plan of %s changed", payload)
        consented = {payload for channel, payload in notes if channel == "aisle_consent"}
        for (tenant, _), locator in self._stores.items():
            if tenant in consented:
                locator.reload_directory()
        return bool(replanned)
