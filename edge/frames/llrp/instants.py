"""A reader's instants on the node's clock: the reader's spacing is kept, its own idea of the time of day is not."""

from collections.abc import Sequence

DRIFT = 200e-6
"""How fast two clocks may part: quartz is good for 100 parts in a million, each."""
STEP_US = 30_000_000
"""A report is never so long on its way, the line would have been given up: if it seems so, a clock was set."""
AGE_MOST_US = 3_600_000_000
"""Readers hold back reads while nobody is connected; what seems older has a wrong instant."""


class ReaderTime:
    """Learns by how much two clocks differ: the least delay seen is taken for none, and forgotten as clocks drift."""

    def __init__(self) -> None:
        self._offset_us: int | None = None
        self._updated_us = 0

    def heard(self, reader_us: int, now_us: int) -> int:
        """Learns from an instant that the reader told just now; gives node's minus reader's time, microseconds."""
        candidate = now_us - reader_us
        offset = self._offset_us
        if offset is None or candidate > offset + STEP_US:
            offset = candidate
        else:
            offset = min(candidate, offset + int(max(0, now_us - self._updated_us) * DRIFT))
        self._offset_us, self._updated_us = offset, now_us
        return offset

    def at_us(self, seen_us: Sequence[int], now_us: int) -> list[int]:
        """Instants of the reader, 0 for none, as the node's; none is later than now."""
        if not seen_us or not (newest := max(seen_us)):
            return [now_us] * len(seen_us)
        offset = self.heard(newest, now_us)
        oldest = now_us - AGE_MOST_US
        if min(seen_us) + offset >= oldest:
            return [seen + offset for seen in seen_us]
        return [now_us if not seen else max(seen + offset, oldest) for seen in seen_us]
