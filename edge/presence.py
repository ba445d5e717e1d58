"""Who is in the zone of a node that has one: enter and exit with hysteresis, and when each really happened."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from edge.crossing import NOISE_DB, crossing_us
from edge.sightings import Sighting

SMOOTH_S = 1.0
"""Time constant of the running mean: at 5 adverts a second it takes 5 dB of noise down to about 1.6 dB."""
LOOK_BACK_S = 8.0
"""How much raw history is kept to tell with hindsight when somebody came."""
DIP_DB = 2.0
"""A running mean that dips by less has not fallen: it is the noise left in it."""
EARLIEST_S = 4.0
"""How long before the running mean crossed a level the subject may really have crossed it."""
LATEST_S = 1.0
"""And after: noise can lift the mean early."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A subject began or ended being in the zone."""

    subject: int
    kind: int
    state: Literal["enter", "exit"]
    at_us: int
    """When the node was sure."""
    since_us: int
    """When it happened, as far as can be told afterwards."""
    confidence: float
    """0 to 1."""


class _Track:
    """What is known of one subject."""

    __slots__ = ("above_us", "below_us", "heard_us", "history", "inside", "kind", "left_us", "mean", "turned_us")

    def __init__(self, kind: int, at_us: int, rssi: int) -> None:
        self.kind = kind
        self.mean = float(rssi)
        self.heard_us = at_us
        self.history: deque[tuple[int, int]] = deque(maxlen=256)
        self.above_us: int | None = None
        self.below_us: int | None = None
        self.left_us: int | None = None
        self.turned_us = at_us  # the last crossing told: the next one cannot lie before it
        self.inside = False


class Presence:
    """The tracks of all subjects about. Levels in dBm, times in seconds."""

    def __init__(self, enter_dbm: float, exit_dbm: float, enter_s: float, away_s: float) -> None:
        self.enter_dbm = enter_dbm
        self.exit_dbm = exit_dbm
        self._enter_us = int(enter_s * 1e6)
        self._away_us = int(away_s * 1e6)
        self._tracks: dict[int, _Track] = {}
        self._due_us: int | None = None

    def add(self, sighting: Sighting) -> Transition | None:
        """Takes a sighting and says whether it was the one that made the node sure."""
        subject = sighting.subject
        if subject is None or sighting.kind is None:
            return None
        track = self._tracks.get(subject)
        if track is None:
            track = self._tracks[subject] = _Track(sighting.kind, sighting.at_us, sighting.rssi)
            due_us = sighting.at_us + self._away_us
            self._due_us = due_us if self._due_us is None else min(self._due_us, due_us)
        elif sighting.at_us < track.heard_us:
            return None  # late: its window tells of it, presence has moved on
        _smooth(track, sighting)
        if track.inside:
            return self._maybe_exit(subject, track)
        return self._maybe_enter(subject, track)

    def due_us(self) -> int | None:
        """When to look next whether a subject is unheard for too long; None while none is tracked. Never too late."""
        return self._due_us

    def close(self, now_us: int) -> list[Transition]:
        """Lets go of all that were not heard for away_s, and tells the exits among them: they left when last heard."""
        gone = [(s, t) for s, t in self._tracks.items() if t.heard_us + self._away_us <= now_us]
        for subject, _ in gone:
            del self._tracks[subject]
        heard = min((track.heard_us for track in self._tracks.values()), default=None)
        self._due_us = None if heard is None else heard + self._away_us
        return [
            Transition(subject, track.kind, "exit", now_us, self._left(track), 0.9)
            for subject, track in sorted(gone, key=lambda pair: pair[0])
            if track.inside
        ]

    def clock_went_back(self, now_us: int) -> list[Transition]:
        """Starts afresh: durations across a step of the clock mean nothing."""
        inside = sorted((subject, track.kind) for subject, track in self._tracks.items() if track.inside)
        self._tracks.clear()
        self._due_us = None
        return [Transition(subject, kind, "exit", now_us, now_us, 0.5) for subject, kind in inside]

    def _maybe_enter(self, subject: int, track: _Track) -> Transition | None:
        if track.mean < self.enter_dbm:
            if track.mean < self.enter_dbm - DIP_DB:
                track.above_us = None
            return None
        if track.above_us is None:
            track.above_us = track.heard_us
        if track.heard_us - track.above_us < self._enter_us:
            return None
        since = max(self._crossed(track, track.above_us, rising=True), track.turned_us)
        track.turned_us = since
        track.inside, track.below_us, track.left_us = True, None, None
        return Transition(subject, track.kind, "enter", track.heard_us, since, self._confidence(track))

    def _maybe_exit(self, subject: int, track: _Track) -> Transition | None:
        if track.mean >= self.enter_dbm:
            track.left_us = None
        elif track.left_us is None:
            track.left_us = track.heard_us
        if track.mean >= self.exit_dbm:
            track.below_us = None
            return None
        if track.below_us is None:
            track.below_us = track.heard_us
        if track.heard_us - track.below_us < self._enter_us:
            return None
        since = track.turned_us = self._left(track)
        track.inside, track.above_us = False, None
        return Transition(subject, track.kind, "exit", track.heard_us, since, 0.9)

    def _crossed(self, track: _Track, seen_us: int, rising: bool) -> int:
        first_us = max(seen_us - int(EARLIEST_S * 1e6), track.history[0][0])
        last_us = min(seen_us + int(LATEST_S * 1e6), track.heard_us)
        return crossing_us(track.history, self.enter_dbm, rising, first_us, last_us)

    def _left(self, track: _Track) -> int:
        """When the subject crossed the zone's edge outwards: where it last fell below the level of entering."""
        if track.left_us is None:
            return track.heard_us
        if track.left_us < track.history[0][0]:  # it lingered between the levels for long
            return max(track.left_us, track.turned_us)
        return max(self._crossed(track, track.left_us, rising=False), track.turned_us)

    def _confidence(self, track: _Track) -> float:
        """How likely the true level lies above the threshold, the noise left in the running mean being normal."""
        first_us = track.history[0][0]
        rate = (len(track.history) - 1) / max((track.heard_us - first_us) / 1e6, 0.1)
        spread_db = NOISE_DB / math.sqrt(max(1.0, 2 * SMOOTH_S * rate))
        return round(0.5 * math.erfc((self.enter_dbm - track.mean) / spread_db / math.sqrt(2)), 3)


def _smooth(track: _Track, sighting: Sighting) -> None:
    passed_s = (sighting.at_us - track.heard_us) / 1e6
    # Weight by elapsed time, so that the mean follows equally at 1 and at 10 adverts a second.
    weight = 1 - math.exp(-max(passed_s, 0.02) / SMOOTH_S)
    track.mean += weight * (sighting.rssi - track.mean)
    track.heard_us = sighting.at_us
    track.history.append((sighting.at_us, sighting.rssi))
    oldest = sighting.at_us - int(LOOK_BACK_S * 1e6)
    while track.history[0][0] < oldest:
        track.history.popleft()
