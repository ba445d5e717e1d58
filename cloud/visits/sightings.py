"""Visits straight from sightings, in bulk: who was seen from when to when, by the time that they were away."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UInts = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

CODE_BITS = 24
"""Sixteen million names at most: a code and a time share one number of 64 bits, and numbers sort ten times faster
than an index of them."""
MS_BITS = 64 - CODE_BITS
ODD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio: multiplied by it, names close together spread over the table (Knuth, TAOCP 3, 6.4)."""


class Visits(NamedTuple):
    """Parallel arrays, one entry a visit, in no particular order of subjects and in the order of time for each."""

    subject: UInts
    begins_ms: Ints
    ends_ms: Ints
    sightings: Ints


def visits(subject: UInts, time_us: Ints, away_us: int) -> Visits:
    """A subject unseen for longer than `away_us` begins a new visit. Sightings in any order; times to the millisecond.

    Raises ValueError for more than sixteen million subjects or for times more than 34 years apart.
    """
    if not subject.size:
        return Visits(np.zeros(0, np.uint64), *(np.zeros(0, np.int64) for _ in range(3)))
    code, names = codes(subject)
    origin_ms = int(time_us.min()) // 1000
    if int(time_us.max()) // 1000 - origin_ms >= 1 << MS_BITS:
        raise ValueError("sightings that are more than 34 years apart")
    key = (time_us // 1000 - origin_ms).view(np.uint64)
    key |= code << np.uint64(MS_BITS)
    key.sort()
    new = np.diff(key) > np.uint64(away_us // 1000)
    new |= np.diff(key >> np.uint64(MS_BITS)) > 0  # the next subject, though its time may be no later
    begins = np.r_[0, np.flatnonzero(new) + 1]
    ends = np.r_[begins[1:], key.size]
    mask = np.uint64((1 << MS_BITS) - 1)
    first, last = key[begins], key[ends - 1]
    return Visits(
        names[(first >> np.uint64(MS_BITS)).astype(np.int64)],
        (first & mask).astype(np.int64) + origin_ms,
        (last & mask).astype(np.int64) + origin_ms,
        ends - begins,
    )


def codes(subject: UInts) -> tuple[UInts, UInts]:
    """A small number for each name, and the name of each number. Raises ValueError for more than sixteen million names.

    A table of slots that the names are thrown into; whoever finds another's name in the slot goes to the next table:
    a few passes over memory, where numbering the names by sorting them takes several times as long.
    """
    code = np.zeros(subject.size, np.uint64)
    names: list[UInts] = []
    left, which, taken = subject, np.zeros(0, np.int64), 0
    bits = min(max(int(subject.size).bit_length(), 8), CODE_BITS - 2)
    factor = int(ODD)
    while left.size:
        if taken + (1 << bits) > 1 << CODE_BITS:
            raise ValueError("more than sixteen million subjects")
        slot = (left * np.uint64(factor)) >> np.uint64(64 - bits)
        table = np.zeros(1 << bits, np.uint64)
        table[slot] = left
        fits = table[slot] == left
        if taken == 0:
            code[:] = slot
            which = np.flatnonzero(~fits)
        else:
            code[which[fits]] = slot[fits] + np.uint64(taken)
            which = which[~fits]
        names.append(table)
        taken += 1 << bits
        left = left[~fits]
        bits = min(max(int(left.size).bit_length() + 1, 8), bits)
        factor = factor * int(ODD) % 2**64 | 1
    return code, np.concatenate(names)
