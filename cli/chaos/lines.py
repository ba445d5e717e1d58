"""The lines between a stack's parts, each through a proxy that can spoil it, and what can go wrong on which."""

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cli.chaos import certificates
from cli.stack.cloud import LocalCloud
from cli.stack.database import SERVICE
from cli.stack.fault_proxy import Fault, FaultProxy

FAULTS: dict[str, Callable[[FaultProxy, random.Random], None]] = {
    "latency": lambda line, rng: line.become(Fault(latency_s=rng.uniform(0.05, 0.5))),
    "narrow": lambda line, rng: line.become(Fault(bytes_per_s=rng.uniform(5_000, 50_000))),
    "stall": lambda line, _: line.become(Fault(stalled=True)),
    "half-open": lambda line, _: line.become(Fault(half_open=True)),
    "cut": lambda line, _: line.cut(),
    "reset": lambda line, _: line.reset(),
    "corrupt": lambda line, rng: line.become(Fault(corrupt=rng.uniform(0.05, 0.5))),
    "slow-close": lambda line, rng: line.become(Fault(close_after_s=rng.uniform(0.5, 3))),
}
"""What a line does from now on, by name."""

LINES: dict[str, tuple[str, ...]] = {
    "uplink": tuple(FAULTS),
    "intake": tuple(name for name in FAULTS if name != "corrupt"),
    "store": ("latency", "narrow", "stall", "cut", "reset", "slow-close"),
}
"""From the nodes to the broker, from the broker to ingest, from ingest to the database; and what each is put to.

The last two are lines inside a data centre and carry no TLS here, so nothing would notice a bit turned over on them. A
database whose end of a connection is gone without a word is the kernel's to notice, which a proxy cannot show.
"""


class Lines:
    """While entered, one proxy a line; without any fault to come the parts speak to each other directly."""

    def __init__(self, cloud: LocalCloud, faults: Sequence[str]) -> None:
        self._cloud = cloud
        self._faults = tuple(faults)
        self._stack = ExitStack()
        self._proxies: dict[str, FaultProxy] = {}
        self.tls = "corrupt" in faults
        """Whether nodes speak TLS: in plain text nothing notices a bit turned over, which is what TLS is for."""

    @property
    def names(self) -> list[str]:
        """The lines that have something to fear."""
        return list(self._proxies)

    @property
    def uplink_port(self) -> int:
        """Where nodes reach the broker."""
        return self._proxies["uplink"].port if self._proxies else self._cloud.broker.port

    @property
    def broker_url(self) -> str:
        """Where ingest reaches the broker."""
        url = self._cloud.broker.url("cloud")
        return _at(url, self._proxies["intake"].port) if self._proxies else url

    @property
    def service_dsn(self) -> str:
        """Where ingest reaches the database."""
        dsn = self._cloud.postgres.dsn(SERVICE)
        return _at(dsn, self._proxies["store"].port) if self._proxies else dsn

    @property
    def authority(self) -> str:
        """The file with the authority that nodes trust, where they speak TLS."""
        return str(self._cloud.root / "tls" / certificates.AUTHORITY)

    def spoil(self, name: str, rng: random.Random) -> str:
        """Something goes wrong on that line; returns what."""
        fault = rng.choice([fault for fault in LINES[name] if fault in self._faults])
        FAULTS[fault](self._proxies[name], rng)
        return fault

    def heal(self, name: str) -> None:
        """The line is good again."""
        self._proxies[name].heal()

    def __enter__(self) -> Self:
        """Raises StackError."""
        if self._faults:
            targets = {"uplink": self._cloud.broker.port, "intake": self._cloud.broker.port}
            targets["store"] = self._cloud.postgres.port
            if self.tls:
                serving, _ = certificates.make(self._cloud.root / "tls")
                targets["uplink"] = self._stack.enter_context(FaultProxy(targets["uplink"], tls=serving)).port
            for name, target in targets.items():
                if set(LINES[name]) & set(self._faults):
                    self._proxies[name] = self._stack.enter_context(FaultProxy(target))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()
