"""A small store whose air a test controls: its plan and survey, people with tags who walk where the test says."""

import math
import random
import threading
from dataclasses import dataclass

from contract.clock import Clock
from contract.identity import token_slot
from contract.topics import NodeAddress
from simulators.adverts import frame, token_advert
from simulators.air import Air

Point = tuple[float, float]

TENANT, STORE, TZ = "acme", "corner", "Europe/Berlin"
WIDTH_M, DEPTH_M = 12.0, 8.0
NODES: dict[str, tuple[Point, str | None]] = {
    "coffee-shelf": ((2.0, 6.5), "coffee"),
    "door": ((6.0, 0.5), None),
    "till": ((10.0, 6.5), None),
}
"""Where each node hangs, and the zone that is its own."""
DOOR, AT_COFFEE, AT_TILL = (6.0, 1.0), (2.2, 6.0), (10.0, 6.0)

NODE_Z_M, TAG_Z_M = 2.0, 1.0
AT_1M_DBM, EXPONENT, NOISE_DB = -59.0, 2.2, 2.0
WALK_M_S = 1.5
EVERY_S = 0.2
"""Tags advertise five times a second."""


def addresses() -> list[NodeAddress]:
    return [NodeAddress(TENANT, STORE, node) for node in NODES]


def mean_dbm(place: Point, node: Point) -> float:
    """Log-distance path loss: all there is in this store's air but noise."""
    distance_m = math.hypot(place[0] - node[0], place[1] - node[1], NODE_Z_M - TAG_Z_M)
    return AT_1M_DBM - 10 * EXPONENT * math.log10(distance_m)


def plan() -> dict[str, object]:
    """The body of PUT /v1/stores/corner."""
    zones: list[tuple[str, str, str, list[str], float, float, float, float]] = [
        ("coffee", "Coffee shelf", "shelf", ["coffee"], 0, 4.5, 5, 8),
        ("entrance", "Entrance", "entrance", [], 4, 0, 8, 2.5),
        ("till", "Tills", "till", [], 8, 4.5, 12, 8),
    ]
    return {
        "name": "Corner test store",
        "tz": TZ,
        "opens": "09:00",
        "closes": "21:00",
        "demo": True,
        "floors": [{"floor": "0", "name": "Floor", "width_m": WIDTH_M, "depth_m": DEPTH_M, "cell_m": 0.5}],
        "zones": [
            {
                "zone": zone,
                "name": name,
                "kind": kind,
                "floor": "0",
                "categories": categories,
                "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]],
            }
            for zone, name, kind, categories, x0, y0, x1, y1 in zones
        ],
        "nodes": [
            {"node": node, "floor": "0", "x_m": place[0], "y_m": place[1], "z_m": NODE_Z_M, "zone": zone}
            for node, (place, zone) in NODES.items()
        ],
    }


def survey() -> dict[str, object]:
    """What a technician with a tag measured, every metre."""
    places = [(x + 0.5, y + 0.5) for x in range(int(WIDTH_M)) for y in range(int(DEPTH_M))]
    return {
        "points": [
            {
                "x_m": place[0],
                "y_m": place[1],
                "node": node,
                "mean_dbm": mean_dbm(place, at),
                "sd_db": NOISE_DB,
                "n": 20,
            }
            for place in places
            for node, (at, _) in NODES.items()
        ]
    }


@dataclass(slots=True)
class Walker:
    """Somebody with a tag."""

    token_key: bytes
    place: Point = DOOR
    goal: Point = DOOR

    def step(self, seconds: float) -> None:
        """Go on towards the goal."""
        (x, y), (gx, gy) = self.place, self.goal
        left_m = math.hypot(gx - x, gy - y)
        share = WALK_M_S * seconds / left_m if left_m else 1.0
        self.place = self.goal if share >= 1 else (x + share * (gx - x), y + share * (gy - y))


class Floor:
    """The people in the store. `speak` is called from the air's thread, the rest from the test's."""

    def __init__(self, clock: Clock, seed: int = 1) -> None:
        self._clock = clock
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._walkers: list[Walker] = []

    def admit(self, token_key: bytes) -> Walker:
        """Somebody with this tag comes in at the door."""
        with self._lock:
            self._walkers.append(Walker(token_key))
            return self._walkers[-1]

    def walk(self, walker: Walker, goal: Point) -> None:
        """Send somebody to a place."""
        with self._lock:
            walker.goal = goal

    def at_goal(self, walker: Walker) -> bool:
        """Whether somebody has arrived."""
        with self._lock:
            return walker.place == walker.goal

    def speak(self, air: Air) -> None:
        """Everybody's tag says its token once; each node hears it as loud as it is near."""
        slot = token_slot(self._clock.now_us())
        with self._lock:
            for walker in self._walkers:
                walker.step(EVERY_S)
                advert = token_advert(walker.token_key, slot)
                for node, (at, _) in NODES.items():
                    air.send(node, frame(advert, round(mean_dbm(walker.place, at) + self._rng.gauss(0, NOISE_DB))))
