"""The heart of a node: adverts with their instants in, encoded batches into the outbox out. It reads no clock.

Everything happens at instants of the adverts' own time, in their order, so that live listening, a recording replayed
and two days fast-forwarded give the same batches, however often or seldom `tick` is called.
"""

from collections.abc import Callable
from os import urandom

from contract.clock import Clock
from contract.codec import encode
from contract.identity import SubjectKind, subject_hex
from contract.messages import Batch, Crowd, CrowdRow, Header, Presence, PresenceRow, Sightings
from contract.topics import Stream
from edge import windows
from edge.config import NodeConfig
from edge.crowd import Crowd as CrowdCount
from edge.crowd import CrowdSpan
from edge.frames.advert import Advert
from edge.machine import boot_id
from edge.outbox import Outbox
from edge.presence import Presence as ZonePresence
from edge.presence import Transition
from edge.sightings import RadioDigest, sighting_of
from edge.windows import Window, Windows

ROWS_MOST = 5_000
"""Windows in one batch, about 110 KiB."""
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
        self._config = config
        self._outbox = outbox
        self._clock = clock
        self._boot = boot or boot_id()
        self._digest = RadioDigest(draw)
        self._windows = Windows(config.windows.length_us)
        self._crowd = CrowdCount()
        self._presence = _presence(config)
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
                self._put_presence(transition.at_us, [transition])

    def tick(self, now_us: int) -> None:
        """Tells all that fell due until now: windows that ended, people who left, crowds. Cheap when nothing is due."""
        if now_us < self._now_us - BACK_MOST_US:
            self._clock_went_back(now_us)
        self._now_us = max(self._now_us, now_us)
        while (due := self._next_due()) is not None and due <= now_us:
            self._settle(due)

    def finish(self, now_us: int) -> None:
        """Tells what is still open, for a clean end: the open windows too, under their true ends."""
        self.tick(now_us)
        for end_us in self._windows.ends():
            self._put_windows(end_us)

    def _next_due(self) -> int | None:
        dues = (
            self._windows.due_us(),
            self._crowd.due_us(),
            self._presence.due_us() if self._presence is not None else None,
        )
        return min((due for due in dues if due is not None), default=None)

    def _settle(self, due_us: int) -> None:
        """Does everything that is due at one instant."""
        # Only at the instants that presence itself asks for, so that no other stream shifts its exits.
        asked = self._presence is not None and self._presence.due_us() == due_us
        if self._presence is not None and asked and (gone := self._presence.close(due_us)):
            self._put_presence(due_us, gone)
        if self._windows.due_us() == due_us:
            self._put_windows(due_us)
        span = self._crowd.close(due_us)
        if span is not None:
            self._put_crowd(span)

    def _clock_went_back(self, now_us: int) -> None:
        if self._presence is not None and (gone := self._presence.clock_went_back(now_us)):
            self._put_presence(now_us, gone)
        self._windows.clock_went_back(now_us)
        self._crowd.clock_went_back(now_us)
        self._now_us = now_us

    def _put_windows(self, end_us: int) -> None:
        closed = self._windows.close(end_us)
        if closed is None:
            return
        for t0_us, part in windows.batches_of(closed, end_us, ROWS_MOST):
            self._put("sightings", t0_us, len(part), self._sightings(t0_us, part))
        self.windows += len(closed)

    def _sightings(self, t0_us: int, part: list[Window]) -> Callable[[Header], Batch]:
        return lambda header: Sightings(header, windows.window_columns(part, t0_us))

    def _put_presence(self, t0_us: int, transitions: list[Transition]) -> None:
        zone = self._config.node.zone or ""
        rows = tuple(
            PresenceRow(
                subject=subject_hex(transition.subject),
                kind=transition.kind,
                zone=zone,
                state=transition.state,
                dt=(transition.at_us - t0_us) // 1_000,
                since=(transition.since_us - t0_us) // 1_000,
                confidence=transition.confidence,
            )
            for transition in transitions
        )
        self._put("presence", t0_us, len(rows), lambda header: Presence(header, rows))

    def _put_crowd(self, span: CrowdSpan) -> None:
        rows = (CrowdRow(dt=0, span_s=span.span_s, radios=span.radios, strong=span.strong),)
        self._put("crowd", span.end_us, 1, lambda header: Crowd(header, rows))

    def _put(self, stream: Stream, t0_us: int, n: int, batch: Callable[[Header], Batch]) -> None:
        node = self._config.node
        trusted = self._clock.trusted

        def build(epoch: str, seq: int) -> bytes:
            header = Header(
                kind=stream,  # type: ignore[arg-type]  # the three streams put here are exactly the three kinds
                tenant=node.tenant,
                store=node.store,
                node=node.node,
                epoch=epoch,
                seq=seq,
                boot=self._boot,
                clock="trusted" if trusted else "untrusted",
                t0=t0_us,
                n=n,
            )
            return encode(batch(header))

        self._outbox.put(stream, t0_us, n, build)


def _presence(config: NodeConfig) -> ZonePresence | None:
    if config.node.zone is None:
        return None
    rules = config.presence
    return ZonePresence(rules.enter_dbm, rules.exit_dbm, rules.enter_s, rules.away_s)
