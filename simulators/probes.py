"""Shoppers' phones that look for Wi-Fi, as a node in monitor mode on one channel receives them."""

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from simulators.people import Person
from simulators.radio import RadioModel
from simulators.scenario import Scenario
from simulators.wifi_air import MODELS, Model, probe_request, radiotap, tagged
from simulators.world import Day

CHANNEL = 6
"""Where the node stays. Of a scan over all channels it hears what is asked on this one."""
ASKS = 2
"""Requests on a channel in one scan."""
FIRST_S = 20.0
"""Somebody who comes in looks at the phone, or it looks for a network it knows: the first scan comes soon."""
SHORTEST_S = 5.0
FADING_DB = 3.0
FLOOR_DBM = -92.0
HANDSETS = tuple(model for model in MODELS if model.randomises)


@dataclass(frozen=True, slots=True)
class Handset:
    """A phone with its Wi-Fi on, along with somebody for a day."""

    person: int
    model: Model
    every_s: float
    draw: random.Random


def handsets(scenario: Scenario, seed: int, day: Day) -> list[Handset]:
    """The phones of a day, the same each time; members and strangers alike have one or not."""
    wifi = scenario.wifi
    if wifi is None:
        return []
    found = []
    for person in day.people:
        draw = random.Random(_name(seed, day, person))
        if person.kind in ("member", "stranger") and draw.random() < wifi.on_share:
            found.append(Handset(person.index, draw.choice(HANDSETS), draw.uniform(*wifi.scan_s), draw))
    return found


class Probes:
    """Which phones ask now, and what every node with Wi-Fi receives of it."""

    def __init__(self, scenario: Scenario, day: Day, phones: Sequence[Handset], radio: RadioModel, now_us: int) -> None:
        self._day = day
        self._phones = phones
        self._radio = radio
        self._tx_db = scenario.wifi.tx_db if scenario.wifi is not None else 0.0
        ears = {node.node for node in scenario.nodes if node.wifi is not None}
        self._ears = [(column, node) for column, node in enumerate(radio.nodes) if node in ears]
        self._due = [
            (max(int(day.enters_us[phone.person]), now_us) + _us(phone.draw.uniform(0, FIRST_S)), number)
            for number, phone in enumerate(phones)
            if day.leaves_us[phone.person] > now_us
        ]
        heapq.heapify(self._due)

    def send(self, now_us: int, air: Callable[[str, bytes], None]) -> None:
        """Gives the requests due until now to the nodes that receive them."""
        while self._due and self._due[0][0] <= now_us:
            _, number = heapq.heappop(self._due)
            phone = self._phones[number]
            if now_us < self._day.leaves_us[phone.person]:
                self._ask(phone, now_us, air)
                gap_s = max(SHORTEST_S, phone.draw.gauss(phone.every_s, phone.every_s / 5))
                heapq.heappush(self._due, (now_us + _us(gap_s), number))

    def _ask(self, phone: Handset, now_us: int, air: Callable[[str, bytes], None]) -> None:
        """One scan, under an address made up for it."""
        draw, elements = phone.draw, tagged(phone.model, CHANNEL)
        noise, sequence = draw.randbytes(6), draw.randrange(4096)
        source = bytes([noise[0] & 0xFC | 0x02]) + noise[1:]  # locally administered, one device
        xy, heading = self._day.at(np.array([phone.person]), np.array([now_us]))
        mean_dbm, _ = self._radio.mean(xy, heading, np.array([self._tx_db]))
        for number in range(ASKS):
            for column, node in self._ears:
                rssi = draw.gauss(float(mean_dbm[0, column]), FADING_DB)
                if rssi >= FLOOR_DBM:
                    air(node, radiotap(probe_request(source, sequence + number, elements), CHANNEL, round(rssi)))


def _name(seed: int, day: Day, person: Person) -> bytes:
    return hashlib.sha256(f"wifi {seed} {day.date} {person.index}".encode()).digest()


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
