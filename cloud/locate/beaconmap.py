"""Where a phone is among fixed beacons: a map learned from sightings at known places, and the doubt that goes with it.

Beacon ids in the wild are cloned: cheap beacons keep their maker's default, and in one real mall a single id was sent
by 318 radios on all floors. So an id says where it was heard before, never where it "hangs"; one that many radios send
says nothing and is left out; and a place is told only with the error that it expects.

P(place | heard) ∝ Π over ids of the geometric mean over its sightings of Σ over what was learned of it of
K(ΔRSSI) · N(place - there; s²) + ε, with s growing by a walk's pace with the age of the sighting: a kernel density for
each id, the ids independent (naive Bayes), the sightings of one id not at all: they share its map's errors.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Id = TypeVar("Id", bound=Hashable)
Floats = npt.NDArray[np.float64]

RADIOS_MOST = 10
"""An id heard from more radios than this is cloned."""
NEAR_M = 6.0
"""A sighting says "within a few metres of where it was heard before"."""
PACE_M_S = 0.8
"""A shopper's mean speed, pauses included."""
LEVEL_SD_DB = 4.0
LEVEL_FLOOR = 0.05
"""A level never seen before at a place does not exclude it: another phone, a body in between."""
ELSEWHERE_PER_M2 = 1e-4 / 400
"""ε: the beacon was moved, or is somebody's phone."""
OTHER_FLOOR = 0.02
"""How strongly a beacon is believed to be heard through a ceiling."""
WRONG_FLOOR_M = 60.0
"""What a wrong floor costs: the way to the stairs and back."""
CELL_M = 2.0
SIGHTINGS_MOST = 400
"""Learned sightings kept of one id; more of them only cost time."""


@dataclass(frozen=True, slots=True)
class Surveyed(Generic[Id]):
    """A beacon heard at a known place."""

    id: Id
    radio: Hashable
    """The address that sent it, however it is told apart; only counted."""
    rssi_dbm: float
    x_m: float
    y_m: float
    floor: int


@dataclass(frozen=True, slots=True)
class HeardBeacon(Generic[Id]):
    """A beacon heard by the phone that is to be placed."""

    id: Id
    rssi_dbm: float
    apart_s: float
    """How long before (or after) the instant in question."""


@dataclass(frozen=True, slots=True)
class Place:
    """An estimate. `error_m` is what it expects to be wrong by, a wrong floor counted as WRONG_FLOOR_M."""

    x_m: float
    y_m: float
    floor: int
    error_m: float


class BeaconMap(Generic[Id]):
    """Make one with `learn`."""

    def __init__(self, places: Mapping[Id, Floats], cloned: frozenset[Id]) -> None:
        self._places = places  # each (n, 4): x, y, floor, RSSI
        self.cloned = cloned
        """Ids that too many radios send."""

    @classmethod
    def learn(cls, sightings: Iterable[Surveyed[Id]], radios_most: int = RADIOS_MOST) -> "BeaconMap[Id]":
        """The map of a survey's sightings, in any order."""
        rows: dict[Id, list[tuple[float, float, float, float]]] = defaultdict(list)
        radios: dict[Id, set[Hashable]] = defaultdict(set)
        for seen in sightings:
            rows[seen.id].append((seen.x_m, seen.y_m, float(seen.floor), seen.rssi_dbm))
            radios[seen.id].add(seen.radio)
        cloned = frozenset(id for id, senders in radios.items() if len(senders) > radios_most)
        return cls({id: _thinned(np.array(found)) for id, found in rows.items() if id not in cloned}, cloned)

    def locate(self, heard: Sequence[HeardBeacon[Id]]) -> Place | None:
        """Where the phone was; None if it heard nothing that the map knows."""
        known = [one for one in heard if one.id in self._places]
        if not known:
            return None
        there = np.concatenate([self._places[id][:, :3] for id in {one.id for one in known}])
        cells = np.unique(np.round(there / [CELL_M, CELL_M, 1]), axis=0) * [CELL_M, CELL_M, 1]
        belief = np.zeros(len(cells))
        times = Counter(one.id for one in known)
        for one in known:
            belief += np.log(self._likelihood(one, cells)) / times[one.id]
        belief = np.exp(belief - belief.max())
        return _place(cells, belief / belief.sum())

    def _likelihood(self, heard: HeardBeacon[Id], cells: Floats) -> Floats:
        """Of one sighting for each cell (C, 3): x, y, floor."""
        learned = self._places[heard.id]
        variance = NEAR_M**2 + (PACE_M_S * heard.apart_s) ** 2
        level = np.exp(-((learned[:, 3] - heard.rssi_dbm) ** 2) / (2 * LEVEL_SD_DB**2)) + LEVEL_FLOOR
        apart = ((cells[:, None, :2] - learned[None, :, :2]) ** 2).sum(axis=2)
        floor = np.where(cells[:, None, 2] == learned[None, :, 2], 1.0, OTHER_FLOOR)
        near = np.exp(-apart / (2 * variance)) / variance
        density: Floats = (near * floor) @ (level / level.sum()) + ELSEWHERE_PER_M2
        return density


def _thinned(learned: Floats) -> Floats:
    """Evenly, so that no part of the survey is preferred."""
    if len(learned) <= SIGHTINGS_MOST:
        return learned
    thinned: Floats = learned[np.linspace(0, len(learned) - 1, SIGHTINGS_MOST).astype(int)]
    return thinned


def _place(cells: Floats, belief: Floats) -> Place:
    floors = np.unique(cells[:, 2])
    shares = np.array([belief[cells[:, 2] == floor].sum() for floor in floors])
    best = int(shares.argmax())
    here = cells[:, 2] == floors[best]
    weights = belief[here] / shares[best]
    middle = weights @ cells[here, :2]
    spread = np.sqrt(weights @ ((cells[here, :2] - middle) ** 2).sum(axis=1))
    error = float(spread + WRONG_FLOOR_M * (1 - shares[best]))
    return Place(float(middle[0]), float(middle[1]), int(floors[best]), error)
