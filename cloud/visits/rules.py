"""What a visit is: when it ends, what is too short to be one, what is too long to be a shopper's."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rule:
    """A store's rule. It joins stays, which the locator ends after five minutes without a window."""

    ends_after_s: int = 300
    """Somebody who comes back within this time goes on with the visit."""
    at_midnight: bool = False
    """Whether every visit ends with the local day."""
    shortest_s: int = 0
    """A shorter one passed by."""
    longest_s: int = 4 * 3600
    """A longer one is staff's, whatever they wear."""
    engaged_s: int = 30
    """Seconds at one shelf after which somebody is engaged; Palexy's and our own."""


PRESETS = {
    "aisle": Rule(),
    # Behaviour metrics: a visit ends after 3 h idle (runbooks.ciscospaces.io).
    "cisco": Rule(ends_after_s=3 * 3600),
    # More than 3 h away, or midnight; under 60 s in a mall, 120 s on a street are dropped (wiki.palexy.com).
    "palexy-mall": Rule(ends_after_s=3 * 3600, at_midnight=True, shortest_s=60),
    "palexy-street": Rule(ends_after_s=3 * 3600, at_midnight=True, shortest_s=120),
}


def joined(person: Ints, begins_us: Ints, ends_us: Ints, rule: Rule, midnights_us: Ints) -> Ints:
    """The number of the visit that each stay belongs to, from 0 in the order of person and time.

    `midnights_us`: where local days begin, ascending; as many as the stays span.
    """
    if not person.size:
        return np.zeros(0, np.int64)
    order = np.lexsort((begins_us, person))
    who, begins, ends = person[order], begins_us[order], ends_us[order]
    new = (who[1:] != who[:-1]) | (begins[1:] - ends[:-1] > rule.ends_after_s * 1_000_000)
    if rule.at_midnight:
        day = np.searchsorted(midnights_us, begins, side="right")
        new |= day[1:] != day[:-1]
    number = np.empty(person.size, np.int64)
    number[order] = np.r_[0, np.cumsum(new)]
    return number
