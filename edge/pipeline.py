"""The heart of a node: what was heard with its instants in, encoded batches into the outbox out. It reads no clock.

Everything happens at instants of the adverts' own time, in their order, so that live listening, a recording replayed
and two days fast-forwarded give the same batches, however often or seldom `tick` is called.
"""

from collections.abc import Callable
from os import urandom

from contract.clock import Clock
from contract.identity import SubjectKind, subject_hex
from contract.messages import CrowdRow, PresenceRow
from edge.batches import Batches
from edge.config import NodeConfig
from edge.crowd import Crowd, CrowdSpan
from edge.frames.advert import Advert
from edge.frames.dot11 import Frame
from edge.lanes import Lane, Telling
from edge.machine import boot_id
from edge.outbox import Outbox
from edge.presence import Presence, Transition
from edge.sightings import RadioDigest, sighting_of
from edge.wifi_crowd import WifiCrowd, WifiSpan
from edge.windows import Window, Windows

BACK_MOST_US = 5_000_000
"""A step back of the clock by more than this starts time afresh; less is jitter between sources."""


class Pipeline:
    """Not thread-safe: `hear`, `tick` and `finish` are called from one thread."""

    def __init__(
        self,
        config: NodeConfig,
        outbox: Outbox,
        clock: Clock,
        boot: str | None = None,
        draw: Callable[[int], bytes] = urandom,
    ) -> None:
        self._zone = config.node.zone or ""
        self._batches = Batches(config.address, outbox, clock, boot or boot_id())
        self._digest = RadioDigest(draw)
        self._windows = Windows(config.windows.length_us)
        self._crowd = Crowd()
        self._wifi = WifiCrowd(draw)
        self._presence = _presence(config)
        self._lanes: list[Lane] = [
            *([Telling(self._presence, self._tell_presence)] if self._presence is not None else []),
            Telling(self._windows, self._tell_windows),
            Telling(self._crowd, self._tell_crowd),
            Telling(self._wifi, self._tell_wifi),
        ]
        self._now_us = 0
        self.adverts = 0
        """Adverts heard since start."""
        self.windows = 0
        """Windows put into the outbox since start."""

    def hear(self, advert: Advert, at_us: int) -> None:
        """Takes one advert, heard at an instant. Whatever fell due before it is told first."""
        self.tick(at_us)
        self.adverts += 1
        sighting = sighting_of(advert, at_us, self._digest)
        if sighting is None:
            return
        if sighting.kind is not SubjectKind.BEACON:  # beacons are things: a crowd is of people's devices
            self._crowd.add(at_us, sighting.radio or (sighting.subject or 0) & 0xFFFF_FFFF, sighting.rssi)
        self._windows.add(sighting)
        if self._presence is not None:
            transition = self._presence.add(sighting)
            if transition is not None:
                self._tell_presence(transition.at_us, [transition])

    def hear_wifi(self, frame: Frame, at_us: int) -> None:
        """Takes one management frame, heard at an instant; it counts and is forgotten."""
        self.tick(at_us)
        self._wifi.add(frame, at_us)

    def tick(self, now_us: int) -> None:
        """Tells all that fell due until now: windows that ended, people who left, crowds. Cheap when nothing is due."""
        if now_us < self._now_us - BACK_MOST_US:
            for lane in self._lanes:
                lane.clock_went_back(now_us)
            self._now_us = now_us
        self._now_us = max(self._now_us, now_us)
        while (due := self._next_due()) is not None and due <= now_us:
            for lane in self._lanes:  # each only at its own instants, so that no other one shifts what it tells
                if lane.due_us() == due:
                    lane.settle(due)

    def finish(self, now_us: int) -> None:
        """Tells what is still open, for a clean end: the open windows too, under their true ends."""
        self.tick(now_us)
        for end_us in self._windows.ends():
            closed = self._windows.close(end_us)
            if closed is not None:
                self._tell_windows(end_us, closed)

    def _next_due(self) -> int | None:
        return min((due for lane in self._lanes if (due := lane.due_us()) is not None), default=None)

    def _tell_windows(self, end_us: int, closed: list[Window]) -> None:
        self._batches.sightings(end_us, closed)
        self.windows += len(closed)

    def _tell_presence(self, t0_us: int, transitions: list[Transition]) -> None:
        self._batches.presence(t0_us, [_presence_row(self._zone, t0_us, each) for each in transitions])

    def _tell_crowd(self, _due_us: int, span: CrowdSpan) -> None:
        self._batches.crowd(span.end_us, CrowdRow(0, span.span_s, span.radios, span.strong))

    def _tell_wifi(self, _due_us: int, span: WifiSpan) -> None:
        counts = CrowdRow(
            dt=0,
            span_s=span.span_s,
            radios=span.radios,
            strong=span.strong,
            source="wifi",
            devices=span.devices,
            devices_strong=span.devices_strong,
            frames=span.frames,
        )
        self._batches.crowd(span.end_us, counts)


def _presence_row(zone: str, t0_us: int, transition: Transition) -> PresenceRow:
    return PresenceRow(
        subject=subject_hex(transition.subject),
        kind=transition.kind,
        zone=zone,
        state=transition.state,
        dt=(transition.at_us - t0_us) // 1_000,
        since=(transition.since_us - t0_us) // 1_000,
        confidence=transition.confidence,
    )


def _presence(config: NodeConfig) -> Presence | None:
    if config.node.zone is None:
        return None
    rules = config.presence
    return Presence(rules.enter_dbm, rules.exit_dbm, rules.enter_s, rules.away_s)
