"""One store's story from windows of sightings: positions, zone presence and visits. Pure: no database, no clock.

The caller feeds windows in the order of time and writes down what the engine says happened.
"""

from collections.abc import Iterator, Sequence
from uuid import UUID

import numpy as np
import numpy.typing as npt

from cloud.locate.directory import Directory, Person
from cloud.locate.filter import GridFilter
from cloud.locate.hindsight import Hindsight
from cloud.locate.motion import Motion
from cloud.locate.story import Entered, Heard, Left, OpenPresence, Revised, Site, Story, Track, Trusted
from cloud.locate.zones import RISE, Crossing, ZoneStates, zones_apart

VISIT_ENDS_AFTER_US = 300 * 1_000_000
"""A subject unheard for five minutes has left the store."""
AWAY_AFTER_US = 12 * 1_000_000
"""A subject unheard this long is in no zone any more."""
VOUCHED_FOR_US = 1800 * 1_000_000
"""A card or a Wi-Fi client says nothing while it stays: the node's word holds until it is taken back, or so long."""
UNKNOWN_SPREAD_M = 6.0
"""A belief wider than this is no position."""
LONGEST_STEP_S = 10.0
TRUST = 0.95
"""A stay goes on while it is credible at all; an offer waits for more. On simulated shoppers 0.8 let 4 % of the dwell
triggers be of a wrong zone and missed 4 % of the stays, this 2 % and 9 %."""
REVISE_AFTER_US = (6_000_000, 14_000_000)
"""How long after a subject entered a zone the instant is told once more, with what was learned since."""
ENTRY_LEAD_US = 1_000_000
"""Entries are told so much earlier than estimated, the estimate's own error: an offer a second early is in time."""
BODY_SD_DB = 1.0
"""What a body takes from what it carries, along each axis. 7 dB between front and back would be 2.5: on simulated
shoppers 1 does nearly as well, and it is gentler where there is no body."""
SHOPPERS = Motion(start_per_s=0.1, stop_per_s=0.1)
"""Shoppers stand at a shelf for a quarter of a minute and walk on for some metres. On simulated ones to start 0.06
times a second does as well, 0.45 much worse; on recorded walks without a stop 0.06 is worse (docs/accuracy.md)."""
OFFSET_SD_DB = 3.0
"""Phones and tags of many makes send up to several dB louder or softer than the surveyor's tag."""


class Engine:
    """Tells one store's story."""

    def __init__(self, site: Site, directory: Directory, visit_ids: Iterator[int], presence_ids: Iterator[int]) -> None:
        self.site = site
        self.directory = directory
        self.story = Story()
        self._visit_ids = visit_ids
        self._presence_ids = presence_ids
        self._filter = GridFilter(site.radio_map, motion=SHOPPERS, offset_sd_db=OFFSET_SD_DB, body_sd_db=BODY_SD_DB)
        self._hindsight = Hindsight(site.grid, Motion())  # who enters walks, and has not been standing at a shelf
        self._zones = ZoneStates(len(site.zones), zones_apart(site.zone_masks))
        self._tracks: dict[Person, Track] = {}
        self._at_us = 0

    @property
    def tracks(self) -> list[Track]:
        """The visits that go on."""
        return list(self._tracks.values())

    def resume(self, track: Track) -> None:
        """Go on with a visit that an earlier process began; where the person is must be found anew."""
        track.row = self._new_row()
        self._tracks[track.person] = track

    def step(self, at_us: int, heard: Heard, alive: npt.NDArray[np.bool_]) -> None:
        """Windows that end at `at_us`, which is later than the last step. `alive` (N,): nodes whose silence counts."""
        dt_us = min(at_us - self._at_us, int(LONGEST_STEP_S * 1e6)) if self._at_us else 1_000_000
        self._end_unheard(at_us)
        tracks, index = self._resolve(heard, at_us)
        self._at_us = at_us
        self._filter.predict(dt_us / 1e6)
        if not tracks:
            return
        known = index >= 0
        rows = np.array([track.row for track in tracks])
        self._filter.update(
            rows[index[known]], heard.node[known], heard.rssi_dbm[known], heard.count[known], alive=alive
        )
        self._tell(tracks, rows, at_us, dt_us)

    def settle(self, until_us: int) -> None:
        """Nothing more was heard before `until_us`: end what ends by the passage of time."""
        self._end_unheard(until_us)

    def node_presence(
        self, kind: int, subject: int, zone: str, at_us: int, since_us: int, confidence: float, *, enter: bool
    ) -> None:
        """A node vouches that a subject came to its own zone, or that it left."""
        person = self.directory.resolve(kind, subject, at_us)
        if person is None or zone not in self.site.zones:
            return
        track = self._tracks.get(person)
        if enter:
            track = track or self._begin(person, since_us)
            track.seen_us = max(track.seen_us, at_us)
            track.vouched[zone] = max(since_us, track.started_us), confidence
            if not track.trail.looks:  # nothing else is known of it yet: the node is believed
                self._enter(track, zone, "node", *track.vouched[zone])
        elif track is not None:
            track.vouched.pop(zone, None)
            self._leave(track, zone, "node", since_us)

    def forget(self, member_id: UUID, at_us: int) -> None:
        """A member revoked consent: the visit ends now, and nothing of the person is kept in memory."""
        person = next((p for p in self._tracks if p.member_id == member_id), None)
        if person is not None:
            self._end(self._tracks[person], at_us)

    # --- resolving

    def _resolve(self, heard: Heard, at_us: int) -> tuple[list[Track], npt.NDArray[np.int64]]:
        """The tracks that were heard, and for each window the index of its track, -1 for a subject not resolved."""
        subjects, inverse = np.unique(heard.subject, return_inverse=True)
        kinds = np.zeros(len(subjects), np.uint8)
        kinds[inverse] = heard.kind
        tracks: list[Track] = []
        index = np.full(len(subjects), -1)
        for i, (kind, subject) in enumerate(zip(kinds.tolist(), subjects.tolist(), strict=True)):
            person = self.directory.resolve(kind, subject, at_us)
            if person is not None:
                track = self._tracks.get(person) or self._begin(person, at_us)
                track.seen_us = max(track.seen_us, at_us)
                if track not in tracks:
                    tracks.append(track)
                index[i] = tracks.index(track)
        return tracks, index[inverse]

    def _begin(self, person: Person, at_us: int) -> Track:
        track = Track(person, next(self._visit_ids), self._new_row(), at_us, at_us)
        self._tracks[person] = track
        self.story.began.append(track)
        return track

    def _new_row(self) -> int:
        rows = self._filter.add(1)
        self._zones.reset(rows)
        return int(rows[0])

    # --- telling

    def _tell(self, tracks: Sequence[Track], rows: npt.NDArray[np.int64], at_us: int, dt_us: int) -> None:
        belief = self._filter.places()
        mean, spread = self._filter.estimates()
        in_zone = (belief[rows] @ self.site.zone_masks.T.astype(np.float32)).astype(float)
        by_row = {track.row: track for track in tracks}
        for track in tracks:
            track.trail.add(at_us, belief[track.row])
        for crossing in self._zones.update(rows, in_zone, at_us, dt_us):
            self._cross(by_row[crossing.row], crossing)
        for track, beliefs in zip(tracks, in_zone, strict=True):
            self._heed_vouchers(track, beliefs)
            self._weigh_trust(track, beliefs)
            self._revise(track, at_us)
        for track in tracks:
            x, y, s = float(mean[track.row, 0]), float(mean[track.row, 1]), float(spread[track.row])
            if s <= UNKNOWN_SPREAD_M:
                self.story.positions.append((at_us, track.visit_id, x, y, s))

    def _cross(self, track: Track, crossing: Crossing) -> None:
        zone = self.site.zones[crossing.zone]
        if crossing.entered:
            self._enter(track, zone, "fused", max(crossing.at_us, track.started_us), crossing.belief)
        else:
            self._leave(track, zone, "fused", crossing.at_us)

    def _enter(self, track: Track, zone: str, source: str, at_us: int, confidence: float) -> None:
        present = track.presence.get(zone)
        if present is not None:
            present.sources.add(source)
            return
        present = OpenPresence(next(self._presence_ids), {source}, at_us, at_us)
        track.presence[zone] = present
        self.story.entered.append(Entered(present.presence_id, track.visit_id, zone, source, at_us, confidence))

    def _heed_vouchers(self, track: Track, beliefs: npt.NDArray[np.float64]) -> None:
        """A node's word counts as soon as the other nodes make it credible, well before they would be sure alone."""
        for zone, (since_us, confidence) in track.vouched.items():
            if beliefs[self.site.zones.index(zone)] >= RISE:
                self._enter(track, zone, "node", since_us, confidence)

    def _weigh_trust(self, track: Track, beliefs: npt.NDArray[np.float64]) -> None:
        """Tell which stays have become sure enough to act upon, or doubtful; a node's own word is not doubted."""
        for zone, present in track.presence.items():
            belief = float(beliefs[self.site.zones.index(zone)])
            trusted = "node" in present.sources or belief >= TRUST
            if trusted != present.trusted:
                present.trusted = trusted
                self.story.trusted.append(Trusted(present.presence_id, trusted))

    def _revise(self, track: Track, at_us: int) -> None:
        """Tell the beginning of a stay once more, some seconds after it: by then it is known much better."""
        for zone, present in track.presence.items():
            if present.revised >= len(REVISE_AFTER_US) or at_us < present.told_us + REVISE_AFTER_US[present.revised]:
                continue
            present.revised += 1
            mask = self.site.zone_masks[self.site.zones.index(zone)]
            entered_us = self._hindsight.entered_us(track.trail, mask, present.entered_us)
            entered_us = max(entered_us - ENTRY_LEAD_US, track.started_us)
            if entered_us != present.entered_us:
                present.entered_us = entered_us
                self.story.revised.append(Revised(present.presence_id, entered_us))

    def _leave(self, track: Track, zone: str, source: str, at_us: int) -> None:
        present = track.presence.get(zone)
        if present is None:
            return
        present.sources.discard(source)
        if not present.sources:
            del track.presence[zone]
            self.story.left.append(Left(present.presence_id, at_us))

    def _end_unheard(self, now_us: int) -> None:
        for track in self.tracks:
            unheard_us = now_us - track.seen_us
            if track.vouched and not track.trail.looks and unheard_us < VOUCHED_FOR_US:
                continue
            if unheard_us >= AWAY_AFTER_US and track.presence:
                self._leave_all(track, track.seen_us)
            if unheard_us >= VISIT_ENDS_AFTER_US:
                self._end(track, track.seen_us)

    def _leave_all(self, track: Track, at_us: int) -> None:
        self._zones.reset(np.array([track.row]))
        track.vouched.clear()
        for present in track.presence.values():
            self.story.left.append(Left(present.presence_id, at_us))
        track.presence.clear()

    def _end(self, track: Track, at_us: int) -> None:
        self._leave_all(track, at_us)
        self._filter.drop([track.row])
        del self._tracks[track.person]
        track.seen_us = at_us
        self.story.ended.append(track)
