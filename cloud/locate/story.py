"""What the engine works with and what it tells: the site, visits while they last, and the story to be written down."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cloud.locate.directory import Person
from cloud.locate.hindsight import Trail
from cloud.locate.radiomap import Grid, RadioMap


@dataclass(frozen=True, slots=True)
class Site:
    """What the engine must know of a store's floor."""

    grid: Grid
    radio_map: RadioMap
    nodes: tuple[str, ...]
    zones: tuple[str, ...]
    zone_masks: npt.NDArray[np.bool_]


@dataclass(slots=True)
class Track:
    """A person's visit while it lasts."""

    person: Person
    visit_id: int
    row: int
    started_us: int
    seen_us: int
    presence: dict[str, "OpenPresence"] = field(default_factory=dict)
    vouched: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Zones whose own node says that the subject is there: since when, and how sure it is."""
    trail: Trail = field(default_factory=Trail)


@dataclass(slots=True)
class OpenPresence:
    """A stay in a zone that one or both sources vouch for."""

    presence_id: int
    sources: set[str]
    entered_us: int
    told_us: int
    """When it began as told at first."""
    revised: int = 0
    """How often the beginning was told once more."""
    trusted: bool = True
    """Whether the subject is, just now, surely enough there for something to be done about it."""


@dataclass(frozen=True, slots=True)
class Entered:
    presence_id: int
    visit_id: int
    zone: str
    source: str
    at_us: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Revised:
    """A presence began at another instant than was told at first."""

    presence_id: int
    entered_us: int


@dataclass(frozen=True, slots=True)
class Trusted:
    """A presence became sure enough to act upon, or too doubtful, though it goes on."""

    presence_id: int
    trusted: bool


@dataclass(frozen=True, slots=True)
class Left:
    presence_id: int
    at_us: int


@dataclass(slots=True)
class Story:
    """What happened since the last time the story was written down."""

    began: list[Track] = field(default_factory=list)
    ended: list[Track] = field(default_factory=list)
    entered: list[Entered] = field(default_factory=list)
    revised: list[Revised] = field(default_factory=list)
    trusted: list[Trusted] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    positions: list[tuple[int, int, float, float, float]] = field(default_factory=list)
    """time_us, visit_id, x_m, y_m, spread_m."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Windows of one instant: parallel arrays, one entry a subject and node."""

    kind: npt.NDArray[np.uint8]
    subject: npt.NDArray[np.uint64]
    node: npt.NDArray[np.int64]
    rssi_dbm: npt.NDArray[np.float32]
    count: npt.NDArray[np.int64]
