"""What a recording is to a replay: who heard which bytes when, and what the cloud must know of the place."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from edge.frames.ad import advert_from_ad
from edge.frames.dot11 import parse_management
from edge.pipeline import Pipeline
from edge.settings import Inventory
from edge.tags import TagRead

Floats = npt.NDArray[np.float64]

LONGEST_PAUSE_US = 30_000_000
"""Hours may lie between two walks: nobody needs to see them pass."""
SHORTEST_PAUSE_US = 1_000_000
SECOND_US = 1_000_000


class UnknownRecording(ValueError):
    """A path is not one of the recordings that can be replayed, or a file of it is broken."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


@dataclass(frozen=True, slots=True)
class HeardAdvert:
    """One advertisement as one node heard it."""

    at_us: int
    node: str
    address: bytes
    """6 bytes, big-endian as printed."""
    rssi_dbm: int
    data: bytes
    """The AD structures as they were on the air."""

    def shifted(self, by_us: int) -> Self:
        return replace(self, at_us=self.at_us + by_us)

    def tell(self, pipeline: Pipeline) -> None:
        """As a scanner does; a level that is no measurement is left out."""
        advert = advert_from_ad(self.address, True, self.rssi_dbm, self.data)
        if advert is not None:
            pipeline.hear(advert, self.at_us)


@dataclass(frozen=True, slots=True)
class HeardFrame:
    """One packet that a Wi-Fi interface in monitor mode gave: a radiotap header and an 802.11 frame."""

    at_us: int
    node: str
    data: bytes

    def shifted(self, by_us: int) -> Self:
        return replace(self, at_us=self.at_us + by_us)

    def tell(self, pipeline: Pipeline) -> None:
        """As the source does: what is no management frame is left out."""
        frame = parse_management(self.data)
        if frame is not None:
            pipeline.hear_wifi(frame, self.at_us)


@dataclass(frozen=True, slots=True)
class HeardTags:
    """One report of an RFID reader."""

    at_us: int
    node: str
    reads: tuple[TagRead, ...]

    def shifted(self, by_us: int) -> Self:
        reads = tuple(read._replace(at_us=read.at_us + by_us) for read in self.reads)
        return replace(self, at_us=self.at_us + by_us, reads=reads)

    def tell(self, pipeline: Pipeline) -> None:
        pipeline.hear_tags(self.reads)


Heard = HeardAdvert | HeardFrame | HeardTags
"""What a node hears, as bytes wherever the recording has them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Where a walking beacon really was."""

    at_us: npt.NDArray[np.int64]
    xy_m: Floats  # (R, 2)

    def at(self, at_us: npt.NDArray[np.int64]) -> Floats:
        """Places (len(at_us), 2) at instants, straight between the known ones."""
        since = (at_us - self.at_us[0]).astype(float)
        known = (self.at_us - self.at_us[0]).astype(float)
        return np.column_stack([np.interp(since, known, self.xy_m[:, axis]) for axis in (0, 1)])


@dataclass(frozen=True, slots=True)
class Walk:
    """A stretch of a recording without a long pause, in order of time."""

    label: str
    heard: Sequence[Heard]
    truth: Truth | None = None

    def shifted(self, by_us: int) -> "Walk":
        """The same walk, earlier or later."""
        heard = [heard.shifted(by_us) for heard in self.heard]
        truth = Truth(self.truth.at_us + by_us, self.truth.xy_m) if self.truth else None
        return Walk(self.label, heard, truth)


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything that is replayed."""

    store: str
    """The store it is shown as, unless told otherwise."""
    plan: dict[str, object]
    """The body of PUT /v1/stores/{store}."""
    nodes: tuple[str, ...]
    walks: Sequence[Walk]
    notes: Sequence[str]
    """What a person must know to read the figures."""
    survey: list[dict[str, object]] = field(default_factory=list)
    """The points of PUT …/survey; none where nothing was surveyed."""
    figures: dict[str, int] = field(default_factory=dict)
    """What this kind of recording counts beside the common figures."""
    inventory: Inventory = Inventory()
    """How the nodes judge tags, and where their antennas read."""

    @property
    def has_truth(self) -> bool:
        """Whether positions can be compared with the truth."""
        return any(walk.truth is not None for walk in self.walks)


def laid_out(walks: Sequence[Walk], begin_us: int) -> list[Walk]:
    """The walks one after another from `begin_us` on, their own instants kept relative to each other.

    They are moved by whole seconds, so that a node's windows of a second hold what they held when it was recorded. Only
    the pauses between walks are cut, and walks of the same time follow each other.
    """
    laid: list[Walk] = []
    begin_us = -(-begin_us // SECOND_US) * SECOND_US
    before: Walk | None = None
    for walk in sorted(walks, key=lambda walk: walk.heard[0].at_us):
        first_us = walk.heard[0].at_us // SECOND_US * SECOND_US
        if before is not None:
            pause_us = min(max(first_us - before.heard[-1].at_us, SHORTEST_PAUSE_US), LONGEST_PAUSE_US)
            begin_us = -(-(laid[-1].heard[-1].at_us + pause_us) // SECOND_US) * SECOND_US
        laid.append(walk.shifted(begin_us - first_us))
        before = walk
    return laid


def duration_us(walks: Sequence[Walk]) -> int:
    """How long the walks take once laid out."""
    laid = laid_out(walks, 0)
    return laid[-1].heard[-1].at_us
