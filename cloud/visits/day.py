"""A day's visits in numbers that may be told: how far they went, from zone to zone, who was here before. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.analytics.kfloor import K_COUNT
from cloud.visits.rules import Rule, joined

Ints = npt.NDArray[np.int64]

STAGES = ("passed", "entered", "browsed", "engaged", "bought")
"""How far a visit went; each stage is part of the one before it."""
SHELVES = frozenset({"aisle", "shelf", "fitting"})
OUTSIDE = ""
ELSEWHERE = "*"


@dataclass(frozen=True, slots=True)
class Stay:
    """A subject from the first window to the last, as the locator told it; excluded ones are not among them."""

    person: int
    begins_us: int
    ends_us: int
    zones: Sequence[tuple[str, str, int, float]]
    """Zone, its kind, entered at (microseconds), seconds there."""
    bought: bool
    returning: bool | None
    """Whether the person was here before; None for who did not agree to be known again."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Stays of one person that the store's rule takes for one visit."""

    person: int
    stage: int
    """Index into STAGES."""
    path: tuple[str, ...]
    """Zones in the order of coming there, none twice in a row."""
    returning: bool | None


@dataclass(frozen=True, slots=True)
class Day:
    """What may be told of a day's visits."""

    people: int | None
    stages: tuple[int, ...]
    """Visits that came as far as each of STAGES, or further."""
    newcomers: int | None
    returning: int | None
    moves: dict[tuple[str, str], int]


def visits(stays: Sequence[Stay], rule: Rule, begins_us: int, ends_us: int, midnights_us: Ints) -> list[Visit]:
    """The visits that begin on the day [begins_us, ends_us); staff, whose visits are too long, left out."""
    person, begins, ends = (np.array(values, np.int64) for values in (
        [s.person for s in stays], [s.begins_us for s in stays], [s.ends_us for s in stays]))  # fmt: skip
    number = joined(person, begins, ends, rule, midnights_us)
    members: dict[int, list[Stay]] = {}
    for one, stay in zip(number.tolist(), stays, strict=True):
        members.setdefault(one, []).append(stay)
    found = []
    for whole in members.values():
        whole.sort(key=lambda stay: stay.begins_us)
        lasted_s = (max(stay.ends_us for stay in whole) - whole[0].begins_us) / 1e6
        if begins_us <= whole[0].begins_us < ends_us and lasted_s <= rule.longest_s:
            found.append(_visit(whole, lasted_s, rule))
    return found


def _visit(whole: list[Stay], lasted_s: float, rule: Rule) -> Visit:
    zones = sorted((zone for stay in whole for zone in stay.zones), key=lambda zone: zone[2])
    at_shelf: dict[str, float] = {}
    for zone, kind, _, seconds in zones:
        if kind in SHELVES:
            at_shelf[zone] = at_shelf.get(zone, 0.0) + seconds
    only_passed = lasted_s < rule.shortest_s or (bool(zones) and all(kind == "street" for _, kind, _, _ in zones))
    if any(stay.bought for stay in whole):
        stage = 4
    elif only_passed:
        stage = 0
    else:
        stage = 1 + bool(at_shelf) + (max(at_shelf.values(), default=0.0) >= rule.engaged_s)
    names = [zone for zone, *_ in zones]
    path = tuple(name for name, before in zip(names, [None, *names], strict=False) if name != before)
    return Visit(whole[0].person, stage, path, whole[0].returning)


def told(found: Sequence[Visit], k: int = K_COUNT) -> Day:
    """The day's numbers, each of k people or more; together they are sums of groups that do not overlap."""
    people = len({visit.person for visit in found})
    known = {visit.person: visit.returning for visit in found if visit.returning is not None}
    again = sum(known.values())
    apart = all(not 0 < group < k for group in (again, len(known) - again, people - len(known)))
    return Day(
        people if people >= k or people == 0 else None,
        _stages(found, k),
        len(known) - again if apart else None,
        again if apart else None,
        _moves(found, k),
    )


def _stages(found: Sequence[Visit], k: int) -> tuple[int, ...]:
    """Too few to be told apart are told as having come as far as those one stage below; the last few as those above."""
    groups: list[tuple[int, set[int], int]] = []  # the stage that is told, its people, its visits
    who: set[int] = set()
    count = 0
    for stage in range(len(STAGES) - 1, -1, -1):
        here = [visit.person for visit in found if visit.stage == stage]
        who, count = who | set(here), count + len(here)
        if len(who) >= k:
            groups.append((stage, who, count))
            who, count = set(), 0
    if count and groups:
        stage, above, number = groups.pop()
        groups.append((stage, above | who, number + count))
    return tuple(sum(number for at, _, number in groups if at >= stage) for stage in range(len(STAGES)))


def _moves(found: Sequence[Visit], k: int) -> dict[tuple[str, str], int]:
    """Steps from zone to zone. Of each zone those that few took are told as one; then the zones that few left."""
    steps: dict[tuple[str, str], list[int]] = {}
    for visit in found:
        if visit.path:
            way = (OUTSIDE, *visit.path, OUTSIDE)
            for step in zip(way, way[1:], strict=False):
                steps.setdefault(step, []).append(visit.person)
    for whole in (lambda step: (step[0], ELSEWHERE), lambda step: (ELSEWHERE, ELSEWHERE)):
        few = [step for step, who in steps.items() if len(set(who)) < k]
        for step in few:
            steps.setdefault(whole(step), []).extend(steps.pop(step))
    return {step: len(who) for step, who in steps.items() if len(set(who)) >= k}
