"""A steady load from the air: beacons that every node hears once a second, each a real advert."""

import random
from collections.abc import Sequence

from simulators.adverts import frame, ibeacon_advert
from simulators.air import Air

UUID = "5e2c1ab0-9d5f-4f5e-8c3a-6f1f0a7b1c2d"
SLICES = 10
"""Adverts of a second go out in so many bursts."""


def beacons(n: int) -> list[dict[str, object]]:
    """The first n of the load's beacons as a plan enrols them."""
    return [{"uuid": UUID, "major": 1, "minor": i, "role": "asset", "label": f"Trolley {i}"} for i in range(n)]


class Load:
    """One window a second for each beacon and node makes `rate` events a second."""

    every_s = 1 / SLICES

    def __init__(self, nodes: Sequence[str], rate: int, seed: int) -> None:
        rng = random.Random(seed)
        adverts = [ibeacon_advert(UUID, 1, minor) for minor in range(max(1, rate // len(nodes)))]
        self._bursts = {
            node: [b"".join(frame(a, rng.randint(-90, -50)) for a in adverts[i::SLICES]) for i in range(SLICES)]
            for node in nodes
        }
        self._turn = 0

    def speak(self, air: Air) -> None:
        """The next tenth of a second."""
        for node, bursts in self._bursts.items():
            air.send(node, bursts[self._turn])
        self._turn = (self._turn + 1) % SLICES
