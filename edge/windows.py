"""Sightings to fixed windows of time: per subject and radio how often and how strongly. Pure; loses no sighting."""

from dataclasses import dataclass

from contract.codec import column_bytes
from contract.messages import SIGHTING_COLUMNS
from edge.newcomers import Newcomers
from edge.sightings import Sighting

_MAX_COUNT = 0xFFFF
"""What the wire's `count` column holds; a fuller window becomes several rows."""
_MAX_SPAN_MS = 0x7FFF_FFFF

_Key = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """One subject, heard over one radio during one window."""

    end_us: int
    subject: int
    kind: int
    """SubjectKind."""
    radio: int
    mean_ddbm: int
    """Mean RSSI, 0.1 dBm."""
    peak_dbm: int
    count: int


class Windows:
    """The open windows. Windows end at multiples of their length, so those of all nodes coincide.

    Newcomers need not wait for that: see `EarlyWindows`.
    """

    def __init__(self, length_us: int) -> None:
        self.length_us = length_us
        self._open: dict[int, dict[_Key, list[int]]] = {}
        self._closed_us = 0
        self._spoke = False
        self._newcomers = Newcomers()

    def add(self, sighting: Sighting) -> None:
        """Counts a sighting in its window. One late for a closed window is told with the next, under its true end."""
        if sighting.subject is None or sighting.kind is None:
            return
        end = (sighting.at_us // self.length_us + 1) * self.length_us
        rows = self._open.get(end)
        if rows is None:
            rows = self._open[end] = {}
        key = (sighting.subject, sighting.kind, sighting.radio)
        row = rows.get(key)
        if row is None:
            rows[key] = [1, sighting.rssi, sighting.rssi]
            if end > self._closed_us:
                self._newcomers.meet(sighting.subject, sighting.at_us, end)
            return
        row[0] += 1
        row[1] += sighting.rssi
        if sighting.rssi > row[2]:
            row[2] = sighting.rssi

    def due_us(self) -> int | None:
        """The next instant at which there is something to tell: a window's end, or the first silence after one."""
        if self._open:
            first = min(self._open)
            late = first <= self._closed_us
            return self._closed_us + self.length_us if late or self._spoke else first
        return self._closed_us + self.length_us if self._spoke else None

    def close(self, end_us: int) -> list[Window] | None:
        """All windows that ended at or before `end_us`, oldest first.

        An empty list says that silence began (told once); None that there is nothing to tell.
        """
        closed = [
            window
            for end in sorted(end for end in self._open if end <= end_us)
            for key, row in sorted(self._open.pop(end).items())
            for window in _windows(end, key, row)
        ]
        self._closed_us = max(self._closed_us, end_us)
        self._newcomers.closed(end_us)
        if not closed and not self._spoke:
            return None
        self._spoke = bool(closed)
        return closed

    def clock_went_back(self, now_us: int) -> None:
        """Forgets how far time had come, so that windows of an earlier time close when they end."""
        self._closed_us = min(self._closed_us, now_us // self.length_us * self.length_us)
        self._spoke = False
        self._newcomers.clock_went_back()

    def ends(self) -> list[int]:
        """The ends of all open windows, for the last close of a process."""
        return sorted(self._open)

    @property
    def subjects(self) -> int:
        """Distinct subjects in the open windows."""
        return len({key[0] for rows in self._open.values() for key in rows})

    def early_due_us(self) -> int | None:
        """When there are newcomers to tell of before their window ends."""
        return self._newcomers.due_us

    def early(self, now_us: int) -> tuple[int, list[Window]] | None:
        """See `EarlyWindows.close`."""
        due = self._newcomers.take(now_us)
        if due is None:
            return None
        end_us, new = due
        rows = self._open.get(end_us, {})
        keys = sorted(key for key in rows if key[0] in new)
        told = [window for key in keys for window in _windows(end_us, key, rows.pop(key))]
        self._closed_us = max(self._closed_us, end_us - self.length_us)
        self._spoke = True
        return end_us - self.length_us, told


@dataclass(frozen=True, slots=True)
class EarlyWindows:
    """The windows of newcomers, told before they end, as a part of the pipeline: it stands after the windows there.

    What was heard so far is told under the window's true end, and the rest when it ends: the parts of a window add up,
    and nothing is told twice.
    """

    windows: Windows

    def due_us(self) -> int | None:
        """When there is somebody to tell."""
        return self.windows.early_due_us()

    def close(self, now_us: int) -> tuple[int, list[Window]] | None:
        """The batch's t0, and what was heard of the newcomers in their window. None if nobody is due.

        All before t0 is told; it is the start of the window, so that these rows alone lie after their t0.
        """
        return self.windows.early(now_us)

    def clock_went_back(self, now_us: int) -> None:
        """The windows know it."""


def _windows(end_us: int, key: _Key, row: list[int]) -> list[Window]:
    subject, kind, radio = key
    count, total, peak = row
    mean = (20 * total + count) // (2 * count)  # 10 × mean, rounded half up, in whole numbers: order cannot matter
    full, rest = divmod(count, _MAX_COUNT)
    counts = [_MAX_COUNT] * full + ([rest] if rest else [])
    return [Window(end_us, subject, kind, radio, mean, peak, part) for part in counts]


def window_columns(windows: list[Window], t0_us: int) -> tuple[bytes, ...]:
    """Windows as the columns of a sightings batch whose t0 is given, in the order of SIGHTING_COLUMNS."""
    values = {
        "dt": [(window.end_us - t0_us) // 1_000 for window in windows],
        "subject": [window.subject for window in windows],
        "kind": [window.kind for window in windows],
        "radio": [window.radio for window in windows],
        "rssi": [window.mean_ddbm for window in windows],
        "peak": [window.peak_dbm for window in windows],
        "count": [window.count for window in windows],
    }
    return tuple(column_bytes(column, values[column.name]) for column in SIGHTING_COLUMNS)


def batches_of(windows: list[Window], end_us: int, most: int) -> list[tuple[int, list[Window]]]:
    """(t0, windows) of each batch: at most `most` rows, and none so old that its `dt` would not fit 32 bits.

    A node whose clock was years wrong at boot can hold windows of both times; each then gets a t0 of its own.
    """
    if not windows:
        return [(end_us, [])]
    batches: list[tuple[int, list[Window]]] = []
    rest = windows
    while rest:
        t0 = end_us if (end_us - rest[0].end_us) // 1_000 < _MAX_SPAN_MS else rest[0].end_us
        taken = 0
        while taken < min(most, len(rest)) and 0 <= t0 - rest[taken].end_us < _MAX_SPAN_MS * 1_000:
            taken += 1
        batches.append((t0, rest[:taken]))
        rest = rest[taken:]
    return batches
