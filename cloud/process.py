"""A process on the database: goes on until it is told to stop, and begins anew when the database was lost."""

import logging
import signal
import threading
from collections.abc import Callable

import psycopg

log = logging.getLogger(__name__)


def run_until_stopped(work: Callable[[threading.Event], None]) -> None:
    """Call `work` until SIGTERM or SIGINT sets its event. Work connects for itself, which waits for a database away."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    while not stopping.is_set():
        try:
            work(stopping)
        except psycopg.OperationalError as error:
            log.warning("database lost: %s", str(error).strip().splitlines()[0])
