"""Where tagged things are: reads of tags to arrived, moved and departed, zone by zone. Pure; reads no clock.

The logic is that of EdgeX's RFID inventory service (docs.edgexfoundry.org, App RFID LLRP Inventory): a tag stays with
its antenna until another one hears it better by an offset, which shrinks the longer its own antenna has missed it.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from edge.settings import Inventory as Rules
from edge.smurf import EPOCH_US, AdaptiveWindow
from edge.tags import TagRead

MEAN_READS = 20
"""A running mean is over about so many reads (EdgeX's window)."""
MEAN_US = 10 * 1_000_000
"""And no longer than this: a tag that is seldom read would else be where it was."""
FRESH_US = 60 * 1_000_000
"""An antenna that missed a tag for longer begins anew: what it heard before tells nothing of the present place."""
USUAL_GAPS = 3.0
"""An antenna misses a tag once it was silent for so many times the usual gap between its reads. EdgeX has no such rule
and lets a tag that is seldom read wander between antennas that hear it equally well."""
UNMEASURED_DBM = -65.0
"""Stands for the strength where a reader measures none: antennas then differ in how recently they heard a tag."""


class TagEvent(NamedTuple):
    """A tag came into sight, changed zone, or was not read any more."""

    epc: bytes
    state: Literal["arrived", "moved", "departed"]
    zone: str
    """Where it is; on `departed`, where it was last."""
    origin: str
    """On `moved`, the zone it came from; else empty."""
    at_us: int
    """When that was sure."""
    since_us: int
    """When it happened: the first read in the zone, or on `departed` the last read."""
    rssi: float | None
    """Mean at the antenna, dBm; None where it measures none."""
    reads: int
    """On `departed`, all reads of the stay; else those at the antenna that made it sure."""
    antenna: str = ""
    """The one that made it sure; empty on `departed`."""


class Place(NamedTuple):
    """Where an earlier run left a tag."""

    epc: bytes
    zone: str
    antenna: str
    at_us: int
    """When that was sure."""
    rssi: float | None
    reads: int


class _Heard:
    """How one antenna hears one tag."""

    __slots__ = ("first_us", "gap_us", "last_us", "measured", "reads", "reports", "rssi")

    def __init__(self, read: TagRead | Place, at_us: int, reads: int) -> None:
        self.first_us = self.last_us = at_us
        self.gap_us = 0.0
        self.rssi = _dbm(read)
        self.measured = read.rssi is not None
        self.reports = 1
        self.reads = reads

    def add(self, read: TagRead, at_us: int) -> None:
        """Takes a read into the means: the first ones weigh alike, later ones more, the more time has passed."""
        gap_us = at_us - self.last_us
        known = min(self.reports, MEAN_READS)
        self.rssi += (_dbm(read) - self.rssi) * max(1 / (known + 1), gap_us / (gap_us + MEAN_US))
        self.gap_us += (gap_us - self.gap_us) / known
        self.measured = read.rssi is not None
        self.reports += 1
        self.reads += read.count
        self.last_us = at_us


def _dbm(read: TagRead | Place) -> float:
    return UNMEASURED_DBM if read.rssi is None else read.rssi


class _Tag:
    """One tag: where it is and how its antennas hear it."""

    __slots__ = ("antenna", "fresh", "heard", "read_us", "reads", "window", "zone")

    def __init__(self) -> None:
        self.zone = ""  # nowhere yet: too few reads
        self.antenna = ""
        self.heard: dict[str, _Heard] = {}
        self.read_us = 0
        self.reads = 0
        self.fresh = 0  # reads in the present epoch
        self.window: AdaptiveWindow | None = None


class Inventory:
    """The tags in sight of a node's antennas."""

    def __init__(self, rules: Rules, zones: Mapping[str, str]) -> None:
        """`zones` says in which zone each antenna (`READER/PORT`) reads; what others read is ignored."""
        self._rules = rules
        self._zones = dict(zones)
        self._cards = tuple(bytes.fromhex(prefix) for prefix in rules.cards)
        self._hold_us = int(rules.hold_s * 1e6)
        self._departed_us = int(rules.departed_s * 1e6)
        self._smurf = rules.window == "smurf"
        # In the order of their last reads, so that who is due stands first.
        self._tags: OrderedDict[bytes, _Tag] = OrderedDict()
        self._epoch_us: int | None = None
        self._begun_us = self._ended_us = 0
        self.overflow = 0
        """Reads of tags that there was no room for."""

    def __len__(self) -> int:
        """Tags kept track of."""
        return len(self._tags)

    def is_card(self, epc: bytes) -> bool:
        """Whether this is a member's card: such a read is a person's and never an event here."""
        return epc.startswith(self._cards)

    def restore(self, places: Iterable[Place], now_us: int, ended_us: int) -> None:
        """Takes up where an earlier run left its tags; that run ended about `ended_us`.

        Who is read again has never been away; who is not within the usual time from now on departs.
        """
        self._begun_us, self._ended_us = now_us, ended_us
        for place in places:
            if place.epc in self._tags or len(self._tags) >= self._rules.most:
                continue
            tag = self._tags[place.epc] = _Tag()
            heard = _Heard(place, now_us, place.reads)
            tag.zone, tag.reads, tag.read_us = place.zone, place.reads, now_us
            if self._zones.get(place.antenna) == place.zone:
                tag.antenna = place.antenna
            else:  # zones were named anew meanwhile: the first antenna that reads it has it
                heard.rssi, heard.measured = -math.inf, False
            tag.heard[tag.antenna] = heard
            self._ended_us = max(self._ended_us, min(place.at_us, now_us))

    def read(self, read: TagRead) -> TagEvent | None:
        """Takes a read and says whether it was the one that made an arrival or a move sure."""
        zone = self._zones.get(read.antenna)
        if zone is None or self.is_card(read.epc):
            return None
        tag = self._tags.get(read.epc)
        if tag is None:
            if len(self._tags) >= self._rules.most:
                self.overflow += 1
                return None
            tag = self._tags[read.epc] = _Tag()
            tag.read_us = read.at_us
        else:
            self._tags.move_to_end(read.epc)
        if self._smurf:
            tag.window = tag.window or AdaptiveWindow()  # one that was restored has none until it is read
            tag.fresh += read.count
            if self._epoch_us is None:
                self._epoch_us = (read.at_us // EPOCH_US + 1) * EPOCH_US
        tag.read_us = max(tag.read_us, read.at_us)  # one that comes late, within the sources' jitter, counts as now
        tag.reads += read.count
        heard = tag.heard.get(read.antenna)
        if heard is None or tag.read_us - heard.last_us > FRESH_US:
            heard = tag.heard[read.antenna] = _Heard(read, tag.read_us, read.count)
        else:
            heard.add(read, tag.read_us)
        if read.antenna == tag.antenna or heard.reads < self._rules.reads or not self._is_better(tag, heard):
            return None
        return self._place(read.epc, tag, read.antenna, zone)

    def due_us(self) -> int | None:
        """When to look next for tags that are gone; None while there are none."""
        if not self._tags:
            return None
        first = next(iter(self._tags.values())).read_us + self._departed_us
        return first if self._epoch_us is None else min(first, self._epoch_us)

    def close(self, now_us: int) -> list[TagEvent] | None:
        """Lets go of the tags that are gone by now, and tells those that were in a zone; None if there are none."""
        gone = list[TagEvent]()
        while self._epoch_us is not None and self._epoch_us <= now_us:
            self._end_epoch(self._epoch_us, gone)
            self._epoch_us = self._epoch_us + EPOCH_US if self._tags else None
        while self._tags:
            epc, tag = next(iter(self._tags.items()))
            if tag.read_us + self._departed_us > now_us:
                break
            self._let_go(epc, tag, now_us, gone)
        return gone or None

    def clock_went_back(self, now_us: int) -> None:
        """Nothing moves because a clock does: tags stay where they are, and what was measured in time begins anew."""
        for tag in self._tags.values():
            tag.read_us = now_us
            for heard in tag.heard.values():
                heard.first_us = heard.last_us = now_us
            if tag.window is not None:
                tag.window = AdaptiveWindow()
                tag.fresh = max(tag.fresh, 1)
        if self._epoch_us is not None:
            self._epoch_us = (now_us // EPOCH_US + 1) * EPOCH_US

    def _is_better(self, tag: _Tag, heard: _Heard) -> bool:
        """Whether an antenna hears a tag better than its own by the present offset."""
        if not tag.zone:
            return True
        own = tag.heard[tag.antenna]
        missed_us = tag.read_us - own.last_us - max(self._hold_us, USUAL_GAPS * own.gap_us)
        offset_db = self._rules.stay_db - self._rules.fall_db_per_s * max(missed_us, 0) / 1e6
        return heard.rssi > own.rssi + offset_db

    def _place(self, epc: bytes, tag: _Tag, antenna: str, zone: str) -> TagEvent | None:
        """Puts a tag to an antenna; None if that is in the zone where it is already."""
        heard = tag.heard[antenna]
        origin = tag.zone
        since_us = heard.first_us if not origin else max(heard.first_us, tag.heard[tag.antenna].last_us)
        tag.antenna, tag.zone = antenna, zone
        if zone == origin:
            return None
        tag.reads = heard.reads
        rssi = round(heard.rssi, 1) if heard.measured else None
        state: Literal["arrived", "moved"] = "moved" if origin else "arrived"
        return TagEvent(epc, state, zone, origin, tag.read_us, since_us, rssi, heard.reads, antenna)

    def _end_epoch(self, end_us: int, gone: list[TagEvent]) -> None:
        rounds, epoch = self._rules.rounds_per_s * EPOCH_US / 1e6, end_us // EPOCH_US - 1
        for epc, tag in list(self._tags.items()):
            if tag.window is not None and not tag.window.slide(epoch, tag.fresh / rounds):
                self._let_go(epc, tag, end_us, gone)
            tag.fresh = 0

    def _let_go(self, epc: bytes, tag: _Tag, now_us: int, gone: list[TagEvent]) -> None:
        del self._tags[epc]
        if tag.zone:
            heard = tag.heard[tag.antenna]
            rssi = round(heard.rssi, 1) if heard.measured else None
            since_us = self._ended_us if tag.read_us == self._begun_us else tag.read_us  # not read since the start
            gone.append(TagEvent(epc, "departed", tag.zone, "", now_us, since_us, rssi, tag.reads))
