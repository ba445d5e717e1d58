"""The ladder for a radio that fell silent: which rung is due, and when. Pure; times are monotonic seconds.

A silent radio is broken or alone, and an empty store at night must not cost a reboot. So what is known beside the
silence decides how far and how fast the ladder is climbed (`Sign`), and every rung, once tried, rests twice as long
before it is tried again. Pis lose their Bluetooth in each of the ways that the rungs help against: a scan that ends
unasked, a controller that answers and hears nothing until it is power-cycled, a daemon that is stuck
(https://github.com/home-assistant/core/issues/77043, https://github.com/home-assistant/operating-system/issues/4022).
"""

from enum import Enum, IntEnum

SCAN_REST_MOST_S = 900.0
REST_MOST_S = 3600.0
"""How long a rung rests at most between two tries of one silence; starting a scan again costs nothing."""
MANY = 5
"""So many radios do not leave within seconds of each other: when all fall silent at once, the radio is suspected."""
DAY_S = 86_400.0
"""A machine is rebooted once in so long at most."""


class Rung(IntEnum):
    """What can be done, from cheap to dear."""

    SCAN = 1
    """Stop the scan and start it again."""
    ADAPTER = 2
    """Power-cycle the adapter."""
    SERVICE = 3
    """Restart bluetoothd."""
    REBOOT = 4


class Sign(Enum):
    """What is known beside the silence."""

    DEAD = "dead"
    """The scan cannot be started, or the adapter itself says that it is off or does not scan."""
    CUT = "cut"
    """The adapter says that all is well, but many radios fell silent at one moment."""
    QUIET = "quiet"
    """All is well and few radios were about: most likely nobody is there."""


AFTER: dict[Sign, dict[Rung, float]] = {
    Sign.DEAD: {Rung.SCAN: 1, Rung.ADAPTER: 2, Rung.SERVICE: 4},
    Sign.CUT: {Rung.SCAN: 1, Rung.ADAPTER: 2, Rung.SERVICE: 6},
    Sign.QUIET: {Rung.SCAN: 1, Rung.ADAPTER: 40},
}
"""The silence after which a rung is first due, in multiples of the setting (40 × 90 s: an hour). A reboot is asked for
only when DEAD, and after a time of its own."""


def sign_of(scanning: bool, powered: bool | None, discovering: bool | None, radios: int) -> Sign:
    """Judges a silence: whether a scan runs, what the adapter says (None: not known), and how many were heard last."""
    if not scanning or powered is False or discovering is False:
        return Sign.DEAD
    return Sign.CUT if radios >= MANY else Sign.QUIET


class Watchdog:
    """One radio's ladder."""

    def __init__(self, silence_s: float, now_s: float, reboot_after_s: float | None = None) -> None:
        """`silence_s` is the silence that is thought strange; without `reboot_after_s` no reboot is ever due."""
        self._silence_s = silence_s
        self._reboot_after_s = reboot_after_s
        self._since_s = now_s
        self._again_s: dict[Rung, float] = {}
        self._rest_s: dict[Rung, float] = {}
        self._last_s: float | None = None

    def heard(self, now_s: float) -> None:
        """The radio hears: the next silence starts at the lowest rung."""
        self._since_s = now_s
        self._again_s.clear()
        self._rest_s.clear()
        self._last_s = None

    def silence_s(self, now_s: float) -> float:
        """How long nothing was heard."""
        return now_s - self._since_s

    def due(self, now_s: float, sign: Sign, may_reboot: bool = False) -> Rung | None:
        """The highest rung that is due, None if none is. It counts as tried from now on."""
        if self._last_s is not None and now_s - self._last_s < self._silence_s:
            return None  # the last one has not had the time to help
        silent_s = self.silence_s(now_s)
        afters_s = {rung: times * self._silence_s for rung, times in AFTER[sign].items()}
        if sign is Sign.DEAD and may_reboot and self._reboot_after_s is not None:
            afters_s[Rung.REBOOT] = self._reboot_after_s
        for rung, after_s in sorted(afters_s.items(), reverse=True):
            if silent_s >= after_s and now_s >= self._again_s.get(rung, now_s):
                self._rest(rung, now_s, after_s)
                return rung
        return None

    def _rest(self, rung: Rung, now_s: float, after_s: float) -> None:
        most_s = SCAN_REST_MOST_S if rung is Rung.SCAN else REST_MOST_S
        rest_s = self._rest_s.get(rung, after_s)
        self._last_s = now_s
        self._again_s[rung] = now_s + rest_s
        self._rest_s[rung] = max(after_s, min(2 * rest_s, most_s))
