"""What a live run came to: people, receipts, offers and their latencies, measured against the truth."""

from collections.abc import Iterable

import msgspec
import numpy as np

from simulators.truth import Shown, Trigger, trigger_of


class Summary(msgspec.Struct, frozen=True):
    """The figures of a live run. Latencies: shown - trigger instant, ms, of dwells that began after the start."""

    from_us: int
    to_us: int
    people: int
    members: int
    triggers_true: int
    """Dwells in the campaign's zone that became long enough during the run, of members and strangers alike."""
    triggers_members: int
    triggers_reachable: int
    """Those of members who consent to sensing and push and have the app along."""
    pushes_shown: int
    pushes_without_trigger: int
    """Offers shown to somebody who had not dwelt long enough."""
    pushes_from_before: int
    """Offers for dwells that had begun before the run: their latency says nothing."""
    push_p50_ms: float | None
    push_p95_ms: float | None
    push_latencies_ms: tuple[float, ...]
    receipts_stored: int
    receipts_refused: int
    receipts_waiting: int
    air_bytes_dropped: int
    things_bought: int
    """Tagged pieces that somebody took along from a shelf during the run."""
    things_put_back: int
    cards_enrolled: int
    """Members' RFID cards that the product was told of."""
    tags_told: int
    """Answers of tags, things' and cards' alike, that the RFID modules passed on to their nodes."""
    wifi_frames: int
    """Probe requests that nodes in monitor mode could hear."""


def latencies(shown: Iterable[Shown], triggers: Iterable[Trigger], from_us: int) -> tuple[list[float], int, int]:
    """Latencies in ms of the first offer for each dwell since `from_us`; offers without a dwell; offers from before."""
    by_person: dict[int, list[Trigger]] = {}
    for trigger in triggers:
        by_person.setdefault(trigger.person, []).append(trigger)
    found: dict[tuple[int, int], float] = {}
    without = before = 0
    for offer in sorted(shown, key=lambda offer: offer.at_us):
        answered = trigger_of(offer, by_person.get(offer.person, ()))
        if answered is None:
            without += 1
        elif answered.entered_us < from_us:
            before += 1
        else:
            found.setdefault((answered.person, answered.at_us), (offer.at_us - answered.at_us) / 1000)
    return list(found.values()), without, before


def percentile(values: list[float], q: float) -> float | None:
    """The q-th percentile, None of nothing."""
    return round(float(np.percentile(values, q)), 1) if values else None
