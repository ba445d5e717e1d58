"""The heartbeat: what a node tells about itself, and nothing about anybody else."""

import time
from collections.abc import Callable

from contract.clock import Clock
from contract.messages import Health
from edge import __version__
from edge.machine import rss_mb
from edge.outbox import Outbox


class Heartbeat:
    """Makes a `Health` when called. Counts come from the functions given; rates are since the last call."""

    def __init__(
        self,
        clock: Clock,
        outbox: Outbox,
        boot: str,
        config: str,
        adverts: Callable[[], int],
        windows: Callable[[], int],
        reconnects: Callable[[], int],
        restarts: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._outbox = outbox
        self._boot = boot
        self._config = config
        self._adverts = adverts
        self._windows = windows
        self._reconnects = reconnects
        self._restarts = restarts
        self._started = self._last = time.monotonic()
        self._last_adverts = 0

    def __call__(self) -> Health:
        now, now_us, adverts = time.monotonic(), self._clock.now_us(), self._adverts()
        rate = (adverts - self._last_adverts) / max(now - self._last, 1e-3)
        self._last, self._last_adverts = now, adverts
        oldest_us = self._outbox.oldest_us
        return Health(
            at=now_us,
            boot=self._boot,
            version=__version__,
            config=self._config,
            uptime_s=round(now - self._started, 1),
            clock="trusted" if self._clock.trusted else "untrusted",
            adverts=adverts,
            adverts_per_s=round(rate, 2),
            windows=self._windows(),
            outbox_rows=self._outbox.rows(),
            outbox_oldest_s=0.0 if oldest_us is None else round(max(0, now_us - oldest_us) / 1e6, 1),
            dropped=self._outbox.dropped[1],
            reconnects=self._reconnects(),
            rss_mb=round(rss_mb(), 1),
            restarts=self._restarts(),
        )
