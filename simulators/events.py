"""What is out of the ordinary on a simulated day: nodes that are off, lines that are cut, impostors, storms."""

from datetime import date
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from simulators.zones import Ints

if TYPE_CHECKING:
    from simulators.scenario import Scenario

Bools = npt.NDArray[np.bool_]


class _Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    begins: str
    """`HH:MM`, local."""
    ends: str

    def span_us(self, scenario: "Scenario", day: date) -> tuple[int, int]:
        """From when to when on a day, microseconds since 1970 UTC."""
        return scenario.instant_us(day, self.begins), scenario.instant_us(day, self.ends)


class Outage(_Event, frozen=True):
    """A node is off and hears nothing."""

    node: str


class Cut(_Event, frozen=True):
    """No node reaches the broker; what is heard waits in the outboxes and then drains, oldest first."""

    drain_per_s: float
    """Records a second that a node sends of its backlog beside what it hears meanwhile."""


class Spoof(_Event, frozen=True):
    """A sender that calls itself one of the store's beacons, somewhere else."""

    label: str
    """The beacon's."""
    x_m: float
    y_m: float


class Storm(_Event, frozen=True):
    """Senders that take another address every few seconds, as a flooding tool does."""

    x_m: float
    y_m: float
    senders: int
    interval_ms: int
    address_s: float
    """A sender keeps an address for so long."""


class Outages:
    """Which nodes are off at which instants of a day."""

    def __init__(self, scenario: "Scenario", day: date, nodes: tuple[str, ...]) -> None:
        self._nodes = len(nodes)
        self._spans = [(nodes.index(outage.node), *outage.span_us(scenario, day)) for outage in scenario.outages]

    def off(self, at_us: Ints) -> Bools:
        """(n, nodes): whether the node is off at the instant."""
        result = np.zeros((len(at_us), self._nodes), bool)
        for node, from_us, to_us in self._spans:
            result[:, node] |= (from_us <= at_us) & (at_us < to_us)
        return result

    def __bool__(self) -> bool:
        return bool(self._spans)
