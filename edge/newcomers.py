"""Who newly came: subjects heard after an absence, to be told at once and not at the end of a window. Pure."""

GATHER_US = 100_000
"""Newcomers are told so long after the first of them: a family at the door is one message."""
ABSENT_US = 30_000_000
"""Unheard for so long, a subject that is heard again has newly come. BlueZ forgets a device after as long."""
_REMEMBERED = 50_000
"""Subjects that are remembered; beyond that (a flood of made-up names) nobody more is told early."""


class Newcomers:
    """The newcomers of the present window, and when each subject was heard last."""

    def __init__(self) -> None:
        self.due_us: int | None = None
        """When they are to be told; None if there are none whom the end of their window would not tell sooner."""
        self._end_us = 0
        self._new: set[int] = set()
        self._last: dict[int, int] = {}
        """Subject to the end of the last window it was heard in."""
        self._forget_us = 0

    def meet(self, subject: int, at_us: int, end_us: int) -> None:
        """A subject was heard, the first time in the window that ends at `end_us`, which is not over yet."""
        last_us = self._last.get(subject)
        if last_us is None or end_us - last_us > ABSENT_US:
            self._forget(end_us)
            if len(self._last) >= _REMEMBERED:
                return
            if end_us > self._end_us:
                self._new.clear()
                self._end_us, self.due_us = end_us, at_us + GATHER_US
            if end_us == self._end_us:
                self._new.add(subject)
        self._last[subject] = end_us if last_us is None else max(end_us, last_us)

    def take(self, now_us: int) -> tuple[int, set[int]] | None:
        """The end of their window and the newcomers themselves, once; None while that is not due."""
        if self.due_us is None or self.due_us > now_us:
            return None
        end_us, new = self._end_us, self._new
        self._new = set()
        self._end_us, self.due_us = 0, None
        return end_us, new

    def closed(self, end_us: int) -> None:
        """The windows until `end_us` are told: whoever came in them needs no word of its own."""
        if self._end_us <= end_us:
            self._new.clear()
            self._end_us, self.due_us = 0, None

    def clock_went_back(self) -> None:
        """What was last heard when is worth nothing any more."""
        self.closed(self._end_us)
        self._last.clear()
        self._forget_us = 0

    def _forget(self, end_us: int) -> None:
        if end_us < self._forget_us:
            return
        self._forget_us = end_us + ABSENT_US
        for subject in [subject for subject, last_us in self._last.items() if end_us - last_us > ABSENT_US]:
            del self._last[subject]
