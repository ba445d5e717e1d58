"""Walking: shortest ways over the waypoints, and a trajectory built leg by leg."""

import math
from dataclasses import dataclass, field

import numpy as np

from simulators.scenario import Scenario

Point = tuple[float, float]


class Ways:
    """Shortest ways between all waypoints (Floyd and Warshall), in metres along the links."""

    def __init__(self, scenario: Scenario) -> None:
        names = [waypoint.name for waypoint in scenario.waypoints]
        self._index = {name: i for i, name in enumerate(names)}
        self._xy = [(waypoint.x_m, waypoint.y_m) for waypoint in scenario.waypoints]
        n = len(names)
        length = np.full((n, n), np.inf)
        self._next = np.full((n, n), -1)
        for i in range(n):
            length[i, i], self._next[i, i] = 0.0, i
        for i, waypoint in enumerate(scenario.waypoints):
            for link in waypoint.links:
                j = self._index[link]
                length[i, j] = length[j, i] = math.dist(self._xy[i], self._xy[j])
                self._next[i, j], self._next[j, i] = j, i
        for k in range(n):
            through = length[:, k, None] + length[None, k, :]
            shorter = through < length
            length = np.where(shorter, through, length)
            self._next = np.where(shorter, self._next[:, k, None], self._next)
        if np.isinf(length).any():
            i, j = np.argwhere(np.isinf(length))[0]
            raise ValueError(f"waypoints: no way from {names[i]} to {names[j]}")

    def at(self, name: str) -> Point:
        """Where a waypoint is."""
        return self._xy[self._index[name]]

    def between(self, start: str, end: str) -> list[Point]:
        """The points from one waypoint to another, both ends included."""
        i, j = self._index[start], self._index[end]
        points = [self._xy[i]]
        while i != j:
            i = int(self._next[i, j])
            points.append(self._xy[i])
        return points


@dataclass(slots=True)
class Trail:
    """A trajectory under construction: knots in time order, and the way the body faces from each knot on."""

    t_us: list[int] = field(default_factory=list)
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    heading: list[float] = field(default_factory=list)

    @property
    def end_us(self) -> int:
        """The instant of the last knot."""
        return self.t_us[-1]

    @property
    def here(self) -> Point:
        """The place of the last knot."""
        return self.x[-1], self.y[-1]

    def start(self, at_us: int, place: Point, heading: float) -> None:
        """The first knot."""
        self._knot(at_us, place, heading)

    def walk(self, place: Point, speed_m_s: float) -> None:
        """Straight to a place; nothing if already there."""
        x, y = self.here
        length = math.hypot(place[0] - x, place[1] - y)
        if length < 0.01:
            return
        self.heading[-1] = math.atan2(place[1] - y, place[0] - x)
        self._knot(self.end_us + max(int(length / speed_m_s * 1e6), 1_000), place, self.heading[-1])

    def stay(self, seconds: float, heading: float) -> None:
        """Stand still for a while, facing somewhere."""
        if seconds <= 0:
            return
        self.heading[-1] = heading
        self._knot(self.end_us + max(int(seconds * 1e6), 1_000), self.here, heading)

    def _knot(self, at_us: int, place: Point, heading: float) -> None:
        self.t_us.append(at_us)
        self.x.append(place[0])
        self.y.append(place[1])
        self.heading.append(heading)
