"""How many radios are about, without naming any: distinct ones per five minutes, told only when at least k."""

from dataclasses import dataclass

SPAN_US = 300 * 1_000_000
LONGEST_US = 3600 * 1_000_000
K = 5
"""Fewer radios than this would be about single people."""
STRONG_DBM = -70


@dataclass(frozen=True, slots=True)
class CrowdSpan:
    """A span of time in which at least K distinct radios were heard."""

    end_us: int
    span_s: int
    radios: int
    strong: int
    """Those heard at STRONG_DBM or more; 0 also where they were fewer than K."""


class Crowd:
    """The set of radios of the present span; it never leaves, only its size does."""

    def __init__(self) -> None:
        self._peaks: dict[int, int] = {}
        self._start_us = 0
        self._next_us: int | None = None

    def add(self, at_us: int, radio: int, rssi: int) -> None:
        """Counts a radio in the present span; one that comes late counts in it too."""
        if self._next_us is None:
            self._start_us = at_us // SPAN_US * SPAN_US
            self._next_us = self._start_us + SPAN_US
        peak = self._peaks.get(radio)
        if peak is None or rssi > peak:
            self._peaks[radio] = rssi

    def due_us(self) -> int | None:
        """When the present span ends; None while nobody was heard since the last one."""
        return self._next_us

    def close(self, now_us: int) -> CrowdSpan | None:
        """Ends the span that is due. Too few radios stay for the next span, up to an hour; then they are given up."""
        end_us = self._next_us
        if end_us is None or end_us > now_us:
            return None
        if len(self._peaks) < K:
            if end_us - self._start_us < LONGEST_US:
                self._next_us = end_us + SPAN_US
            else:
                self._forget()
            return None
        strong = sum(peak >= STRONG_DBM for peak in self._peaks.values())
        span = CrowdSpan(
            end_us=end_us,
            span_s=(end_us - self._start_us) // 1_000_000,
            radios=len(self._peaks),
            strong=strong if strong >= K else 0,
        )
        self._forget()
        return span

    def clock_went_back(self, now_us: int) -> None:
        """Gives up the present span: its length in time is no longer known."""
        if self._next_us is not None and now_us < self._start_us:
            self._forget()

    def _forget(self) -> None:
        self._peaks.clear()
        self._next_us = None
