"""RFID modules, each on a pty, and what their antennas read: goods on a shelf, and what people carry past."""

import math
import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from contract.clock import Clock, SimulatedClock
from simulators.run import serial_port
from simulators.scenario import Scenario, Uhf
from simulators.tagged import Piece
from simulators.uhf_module import FieldTag, UhfModule
from simulators.world import Day
from simulators.zones import Floats, Ints

AT_1M_DBM = -45.0
DB_A_DECADE = 40.0
"""A passive tag's answer goes both ways: the fourth power of the distance."""
BODY_DB = 6.0
"""What a body takes of a tag in a pocket or bag, there and back."""
FADING_DB = 3.0
FLOOR_DBM = -60.0
"""Weaker ones had not the power to answer. So what is carried is read up to 1.7 m in the median, seldom at 2.5 m."""
COLLIDES = 0.08
"""Answers that are lost among others."""
NEAREST_M = 0.3
ROUNDS_PER_S = 2.0
"""Of simulated time. A module does some 20; two are enough to see who is about and leave the processor alone."""
ROUNDS_MOST_PER_S = 25.0
"""Of real time, however fast the clock runs."""


class Carried(NamedTuple):
    """A tag that somebody carries from an instant on until they leave."""

    epc: bytes
    person: int
    from_us: int


class _Today(NamedTuple):
    """What there is to read on a day."""

    day: Day
    pieces: list[Piece]
    carried: Sequence[Carried]
    person: Ints
    from_us: Ints
    to_us: Ints


class Antenna:
    """The field of one module. The module's thread calls it; a new day is put in its place as one value."""

    def __init__(self, uhf: Uhf, clock: Clock, seed: int) -> None:
        self._zone = uhf.zone
        self._xy: Floats = np.array([uhf.x_m, uhf.y_m])
        self._clock = clock
        self._draw = random.Random(f"{seed} {uhf.name}")
        self._today: _Today | None = None

    def open(self, day: Day, pieces: Sequence[Piece], cards: Sequence[Carried]) -> None:
        """From now on this day's things and people are there; `pieces` are those of all shelves."""
        bought = [
            Carried(piece.epc, each.person, each.taken_us)
            for piece in pieces
            for each in piece.handled
            if each.back_us is None
        ]
        carried = [*cards, *bought]
        person: Ints = np.array([each.person for each in carried], np.int64)
        from_us: Ints = np.array([each.from_us for each in carried], np.int64)
        lie = [piece for piece in pieces if piece.zone == self._zone]
        self._today = _Today(day, lie, carried, person, from_us, day.leaves_us[person])

    def __call__(self) -> list[FieldTag]:
        """Who answers in this round."""
        today, now_us = self._today, self._clock.now_us()
        if today is None:
            return []
        found = [
            FieldTag(piece.epc, rssi)
            for piece in today.pieces
            if piece.lies(now_us) and (rssi := self._answer(piece.lies_m, 0.0)) is not None
        ]
        about = np.flatnonzero((today.from_us <= now_us) & (now_us < today.to_us))
        xy, _ = today.day.at(today.person[about], np.full(len(about), now_us, np.int64))
        away_m = np.hypot(*(xy - self._xy).T)
        for index, distance_m in zip(about.tolist(), away_m.tolist(), strict=True):
            rssi = self._answer(distance_m, BODY_DB)
            if rssi is not None:
                found.append(FieldTag(today.carried[index].epc, rssi))
        return found

    def _answer(self, distance_m: float, body_db: float) -> int | None:
        """How strong a tag's answer comes, dBm; None if none does."""
        lost_db = DB_A_DECADE * math.log10(max(distance_m, NEAREST_M)) + body_db
        rssi = self._draw.gauss(AT_1M_DBM - lost_db, FADING_DB)
        if rssi < FLOOR_DBM or self._draw.random() < COLLIDES:
            return None
        return round(rssi)


class Readers:
    """All modules of a store, on their ptys below `folder` while entered."""

    def __init__(self, scenario: Scenario, seed: int, clock: Clock, folder: Path) -> None:
        speed = clock.speed if isinstance(clock, SimulatedClock) else 1.0
        rounds_per_s = min(ROUNDS_PER_S * speed, ROUNDS_MOST_PER_S)
        self._antennas: list[Antenna] = []
        self._modules: list[UhfModule] = []
        for node in scenario.nodes:
            for uhf in node.uhf:
                antenna = Antenna(uhf, clock, seed)
                link = serial_port(folder, node.node, uhf.name)
                self._antennas.append(antenna)
                self._modules.append(UhfModule(antenna, rounds_per_s=rounds_per_s, link=link, seed=seed))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for module in self._modules:
            self._stack.enter_context(module)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def told(self) -> int:
        """Tags told of to the nodes, over all rounds."""
        return sum(module.told for module in self._modules)

    def open(self, day: Day, pieces: Sequence[Piece], cards: Sequence[Carried]) -> None:
        """From now on this day's things and people are there."""
        for antenna in self._antennas:
            antenna.open(day, pieces, cards)
