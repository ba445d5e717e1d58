"""The heart of a node: what was heard with its instants in, encoded batches into the outbox out. It reads no clock.

Everything happens at instants of what was heard, in their order, so that live listening, a recording replayed and two
days fast-forwarded give the same batches, however often or seldom `tick` is called.
"""

from collections.abc import Callable, Sequence
from os import urandom
from zoneinfo import ZoneInfo

import msgspec

from contract.clock import Clock
from contract.identity import SubjectKind, tag_subject
from contract.messages import CrowdRow
from edge import rows, stock
from edge.batches import Batches
from edge.clients import Clients, ClientTransition, Login, StationSeen
from edge.config import NodeConfig
from edge.crowd import Crowd, CrowdSpan
from edge.frames.advert import Advert
from edge.frames.dot11 import Frame
from edge.inventory import Inventory, TagEvent
from edge.lanes import Lane, Telling
from edge.machine import boot_id
from edge.outbox import Outbox
from edge.presence import Presence, Transition
from edge.sightings import RadioDigest, Sighting, sighting_of
from edge.tags import TagRead
from edge.wifi_crowd import WifiCrowd, WifiSpan
from edge.windows import EarlyWindows, Window, Windows

BACK_MOST_US = 5_000_000
"""A step back of the clock by more than this starts time afresh; less is jitter between sources."""
CARD_AWAY_S = 10.0
"""A member's card that is not read for so long was taken along: people do not lie on shelves for hours."""

Pseudonym = Callable[[bytes, bool], int | None]
"""From an address, and whether it is random, to the day's pseudonym; None for a device that gets none."""


def _nobody(_: bytes) -> bool:
    return False


class Pipeline:
    """Not thread-safe: all methods are called from one thread."""

    def __init__(
        self,
        config: NodeConfig,
        outbox: Outbox,
        clock: Clock,
        boot: str | None = None,
        draw: Callable[[int], bytes] = urandom,
        *,
        is_out: Callable[[bytes], bool] = _nobody,
        pseudonym: Pseudonym | None = None,
        on_windows: Callable[[list[Window]], object] | None = None,
    ) -> None:
        """`is_out`: addresses that asked not to be heard. `on_windows` sees all windows as they are told."""
        self._is_out = is_out
        self._pseudonym = pseudonym
        self._on_windows = on_windows
        self._zone = config.node.zone or ""
        self._outbox = outbox
        self._batches = Batches(config.address, outbox, clock, boot or boot_id())
        self._digest = RadioDigest(draw)
        self._windows = Windows(config.windows.length_us)
        self._presence = _presence(config)
        self._crowd = Crowd()
        self._wifi = WifiCrowd(draw)
        self._clients = Clients(tz=ZoneInfo(config.node.tz or "UTC"), is_out=is_out, draw=draw)
        self._tags = Inventory(config.inventory, config.inventory.zones)
        self._cards = Inventory(
            msgspec.structs.replace(config.inventory, cards=(), departed_s=CARD_AWAY_S, window="fixed"),
            config.inventory.zones,
        )
        self._lanes: list[Lane] = [
            *([Telling(self._presence, self._tell_presence)] if self._presence is not None else []),
            Telling(self._windows, self._tell_windows),
            Telling(EarlyWindows(self._windows), self._tell_newcomers),
            Telling(self._crowd, self._tell_crowd),
            Telling(self._wifi, self._tell_wifi),
            Telling(self._clients, self._tell_clients),
            Telling(self._clients.others, self._tell_stations),
            Telling(self._tags, self._tell_tags),
            Telling(self._cards, self._tell_cards),
        ]
        self._now_us = 0
        self.adverts = 0
        """Adverts heard since start."""
        self.windows = 0
        """Windows put into the outbox since start."""

    # -- what was heard

    def hear(self, advert: Advert, at_us: int) -> None:
        """Takes one advert, heard at an instant. Whatever fell due before it is told first."""
        self.tick(at_us)
        self.adverts += 1
        if self._is_out(advert.address):
            return
        sighting = sighting_of(advert, at_us, self._digest)
        if sighting is None:
            return
        if sighting.kind is not SubjectKind.BEACON:  # beacons are things: a crowd is of people's devices
            self._crowd.add(at_us, sighting.radio or (sighting.subject or 0) & 0xFFFF_FFFF, sighting.rssi)
        if sighting.subject is None:
            sighting = self._named(advert, sighting)
        self._windows.add(sighting)
        if self._presence is not None:
            transition = self._presence.add(sighting)
            if transition is not None:
                self._tell_presence(transition.at_us, [transition])

    def hear_wifi(self, frame: Frame, at_us: int) -> None:
        """Takes one management frame, heard at an instant; it counts and is forgotten."""
        self.tick(at_us)
        if not self._is_out(frame.source):
            self._wifi.add(frame, at_us)

    def hear_tags(self, reads: Sequence[TagRead]) -> None:
        """Takes reads of RFID tags, in order. Members' cards become presence, things become tags."""
        for read in reads:
            self.tick(read.at_us)
            if self._tags.is_card(read.epc):
                inventory, tell = self._cards, self._tell_cards
            else:
                inventory, tell = self._tags, self._tell_tags
            event = inventory.read(read)
            if event is not None:
                tell(event.at_us, [event])

    def station(self, seen: StationSeen) -> None:
        """Takes what a network told about a device in it. Its instant may lie minutes back, so it moves no time."""
        told = self._clients.seen(seen)
        self._tell_clients(max((each.at_us for each in told), default=0), told)

    def login(self, login: Login) -> None:
        """Takes a member's login to the store's Wi-Fi, or the end of one."""
        self.tick(login.at_us)
        clients = self._clients
        if login.token is None:
            told = clients.logout(login.mac, login.at_us)
        else:
            told = clients.login(login.mac, login.token, login.at_us)
        self._tell_clients(login.at_us, told)

    # -- time

    def resume(self, now_us: int) -> None:
        """Takes up the tags that the last run on this outbox left in their zones. Once, before anything is heard."""
        ended_us = min(self._outbox.newest_us, now_us)
        self._tags.restore(stock.places(self._outbox.notes()), now_us, ended_us)

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

    @property
    def subjects(self) -> int:
        """Distinct subjects in the windows that are open."""
        return self._windows.subjects

    def _next_due(self) -> int | None:
        return min((due for lane in self._lanes if (due := lane.due_us()) is not None), default=None)

    def _named(self, advert: Advert, sighting: Sighting) -> Sighting:
        """A stranger's device under the key of the day, where there is one and its address is its own."""
        if self._pseudonym is None:
            return sighting
        subject = self._pseudonym(advert.address, advert.address_random)
        return sighting if subject is None else sighting._replace(subject=subject, kind=SubjectKind.PSEUDONYM, radio=0)

    # -- what is told

    def _tell_windows(self, end_us: int, closed: list[Window]) -> None:
        self._batches.sightings(end_us, closed)
        self._count(closed)

    def _tell_newcomers(self, _due_us: int, told: tuple[int, list[Window]]) -> None:
        t0_us, early = told
        self._batches.early(t0_us, early)
        self._count(early)

    def _count(self, told: list[Window]) -> None:
        self.windows += len(told)
        if self._on_windows is not None:
            self._on_windows(told)

    def _tell_presence(self, t0_us: int, transitions: list[Transition]) -> None:
        self._batches.presence(t0_us, [rows.presence_row(self._zone, t0_us, each) for each in transitions])

    def _tell_clients(self, t0_us: int, transitions: list[ClientTransition]) -> None:
        self._batches.presence(t0_us, [rows.client_row(t0_us, each) for each in transitions])

    def _tell_cards(self, t0_us: int, events: list[TagEvent]) -> None:
        told = [row for event in events for row in rows.card_rows(tag_subject(event.epc), t0_us, event)]
        self._batches.presence(t0_us, told)

    def _tell_tags(self, t0_us: int, events: list[TagEvent]) -> None:
        self._batches.tags(t0_us, [rows.tag_row(t0_us, event) for event in events], stock.notes(events))

    def _tell_crowd(self, _due_us: int, span: CrowdSpan) -> None:
        self._batches.crowd(span.end_us, CrowdRow(0, span.span_s, span.radios, span.strong))

    def _tell_stations(self, _due_us: int, span: CrowdSpan) -> None:
        counts = CrowdRow(0, span.span_s, span.radios, span.strong, source="stations", devices=span.radios)
        self._batches.crowd(span.end_us, counts)

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


def _presence(config: NodeConfig) -> Presence | None:
    if config.node.zone is None:
        return None
    rules = config.presence
    return Presence(rules.enter_dbm, rules.exit_dbm, rules.enter_s, rules.away_s)
