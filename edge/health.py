"""The heartbeat: what a node tells about itself, and nothing about anybody else."""

import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from contract.messages import Health, SourceHealth
from edge import __version__, machine
from edge.outbox import Outbox
from edge.sources import Source
from edge.time_trust import NodeTime


class Counted(Protocol):
    """What a pipeline has taken and told since start."""

    @property
    def adverts(self) -> int: ...
    @property
    def windows(self) -> int: ...


class Line(Protocol):
    """The connection to the broker."""

    @property
    def connects(self) -> int: ...


class Heartbeat:
    """Makes a `Health` when called, from whatever thread. Rates are since the last call."""

    def __init__(
        self,
        moment: NodeTime,
        outbox: Outbox,
        boot: str,
        config: str,
        counted: Counted,
        line: Line,
        sources: Sequence[Source] = (),
        mode: Literal["normal", "safe"] = "normal",
        config_version: int = 0,
        ack_lag_s: Callable[[], float | None] = lambda: None,
        cert_days: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._time = moment
        self._outbox = outbox
        self._boot = boot
        self._config = config
        self._counted = counted
        self._line = line
        self._sources = sources
        self._mode: Literal["normal", "safe"] = mode
        self._config_version = config_version
        self._ack_lag_s = ack_lag_s
        self._cert_days = cert_days
        self._started = self._last = time.monotonic()
        self._last_heard: dict[str, int] = {}

    def __call__(self) -> Health:
        now, now_us = time.monotonic(), self._time.wall.now_us()
        sources = self._source_health(now - self._last)
        self._last = now
        oldest_us = self._outbox.oldest_us
        lag_s = self._ack_lag_s()
        ble = sources.get("ble")
        return Health(
            at=now_us,
            boot=self._boot,
            version=__version__,
            config=self._config,
            uptime_s=round(now - self._started, 1),
            clock="trusted" if self._time.trusted else "untrusted",
            adverts=self._counted.adverts,
            adverts_per_s=ble.per_s if ble else 0.0,
            windows=self._counted.windows,
            outbox_rows=self._outbox.rows(),
            outbox_oldest_s=0.0 if oldest_us is None else round(max(0, now_us - oldest_us) / 1e6, 1),
            dropped=self._outbox.dropped[1],
            reconnects=max(0, self._line.connects - 1),
            rss_mb=round(machine.rss_mb(), 1),
            restarts=ble.restarts if ble else 0,
            mode=self._mode,
            config_version=self._config_version,
            sources=sources,
            outbox_mb=round(self._outbox.used_mb, 2),
            dropped_by={name: lost for name, lost in self._outbox.dropped_by_class.items() if lost},
            ack_lag_s=None if lag_s is None else round(lag_s, 3),
            cert_days=self._cert_days(),
            clock_step_s=round(self._time.stepped_us / 1e6, 3) or None,
            temperature_c=machine.temperature_c(),
            throttled=machine.throttled(),
            load=machine.load(),
            disk_free_mb=machine.disk_free_mb(self._outbox.path),
            wifi_dbm=machine.wifi_dbm(),
        )

    def _source_health(self, passed_s: float) -> dict[str, SourceHealth]:
        found = {}
        for source in self._sources:
            health = source.health()
            rate = (health.heard - self._last_heard.get(source.name, 0)) / max(passed_s, 1e-3)
            self._last_heard[source.name] = health.heard
            found[source.name] = msgspec.structs.replace(health, per_s=round(rate, 2))
        return found
