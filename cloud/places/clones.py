"""Registered beacons that are heard where they cannot be, or in several places at once. Pure.

Ids are copied: a maker's default stays in a thousand beacons, and whoever wants a shop's offers elsewhere needs nothing
but a phone that sends its id. What cannot be copied is where a beacon hangs. So three things are looked at, minute by
minute: the addresses that send one id to one node, the pairs of nodes that hear it louder than one place allows, and
nodes that hear it although its place is too far away.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from cloud.locate.beaconmap import RADIOS_MOST

MINUTES_LEAST = 3
"""A beacon that changes its address is heard under both in one minute, never in three."""
LOUDEST_1M_DBM = -49.0
"""At 1 m: 12 dB above the usual beacon, stronger than any that is sold for shops (-55 at +4 dBm)."""
LEAST_EXPONENT = 1.6
"""How slowly a level falls at least, along a corridor."""
SLACK_M = 2.0
"""A plan's places and a technician's ladder."""
PROOF_MOST = 5
"""Pieces of evidence that are kept of each kind."""


@dataclass(frozen=True, slots=True)
class HeardMinute:
    """What one node heard of one id from one address in one minute."""

    store: str
    node: str
    radio: int
    """The address's digest of the day; 0 where it is not known."""
    minute: int
    dbm: float
    """Mean."""


@dataclass(frozen=True, slots=True)
class Hung:
    """Where a node hangs."""

    floor: str
    x_m: float
    y_m: float


@dataclass(frozen=True, slots=True)
class Registered:
    """A beacon as the registry has it."""

    store: str
    fixed: bool
    floor: str | None
    x_m: float | None
    y_m: float | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is wrong with a beacon, and what shows it."""

    kind: Literal["beacon-cloned", "beacon-elsewhere"]
    says: str
    evidence: dict[str, object]


def farthest_m(dbm: float) -> float:
    """How far away a sender can be that is heard at this level."""
    return float(10 ** ((LOUDEST_1M_DBM - dbm) / (10 * LEAST_EXPONENT)))


def doubts(beacon: Registered, heard: Iterable[HeardMinute], nodes: dict[tuple[str, str], Hung]) -> list[Doubt]:
    """What an hour or so says against a beacon: nothing, a copy, or another place. `nodes` by store and name."""
    rows = list(heard)
    copies = _many_addresses(rows) | _apart(rows, nodes)
    strange = _away(beacon, rows, nodes) if beacon.fixed else []
    if copies:
        evidence = copies | ({"too_far": strange[:PROOF_MOST]} if strange else {})
        return [Doubt("beacon-cloned", "more than one sender has this id", evidence)]
    if strange:
        return [Doubt("beacon-elsewhere", "it is not where the plan has it", {"too_far": strange[:PROOF_MOST]})]
    return []


def _many_addresses(rows: list[HeardMinute]) -> dict[str, object]:
    """Addresses that one node heard in the same minutes. Digests of two nodes cannot be compared in every night."""
    at: dict[tuple[str, str], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        if row.radio:
            at[row.store, row.node][row.minute].add(row.radio)
    found = []
    for (store, node), minutes in sorted(at.items()):
        together: dict[tuple[int, int], int] = defaultdict(int)
        for radios in minutes.values():
            for pair in combinations(sorted(radios)[: RADIOS_MOST + 2], 2):
                together[pair] += 1
        most = max(together.values(), default=0)
        radios_all = len(set().union(*minutes.values()))
        if most >= MINUTES_LEAST or radios_all > RADIOS_MOST:
            found.append({"store": store, "node": node, "senders": radios_all, "minutes_at_once": most})
    return {"senders": found[:PROOF_MOST]} if found else {}


def _apart(rows: list[HeardMinute], nodes: dict[tuple[str, str], Hung]) -> dict[str, object]:
    """Pairs of nodes that heard it in the same minutes and are farther apart than its levels allow."""
    loudest: dict[int, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in rows:
        here = loudest[row.minute]
        here[row.store, row.node] = max(row.dbm, here.get((row.store, row.node), -math.inf))
    minutes: dict[tuple[tuple[str, str], tuple[str, str]], int] = defaultdict(int)
    for here in loudest.values():
        for one, other in combinations(sorted(here), 2):
            if _cannot_be_one(one, other, here[one], here[other], nodes):
                minutes[one, other] += 1
    found = [
        {"stores": [one[0], other[0]], "nodes": [one[1], other[1]], "minutes": n}
        for (one, other), n in sorted(minutes.items(), key=lambda item: -item[1])
        if n >= MINUTES_LEAST
    ]
    return {"several_places": found[:PROOF_MOST]} if found else {}


def _cannot_be_one(
    one: tuple[str, str], other: tuple[str, str], dbm: float, other_dbm: float, nodes: dict[tuple[str, str], Hung]
) -> bool:
    if one[0] != other[0]:
        return True  # two stores in one minute
    a, b = nodes.get(one), nodes.get(other)
    if a is None or b is None or a.floor != b.floor:  # through a ceiling both may hear it well
        return False
    return farthest_m(dbm) + farthest_m(other_dbm) + SLACK_M < math.hypot(a.x_m - b.x_m, a.y_m - b.y_m)


def _away(beacon: Registered, rows: list[HeardMinute], nodes: dict[tuple[str, str], Hung]) -> list[dict[str, object]]:
    """Nodes that hear a fixed beacon although it is too far away: in the same store by its level, in another at all."""
    levels: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        node = nodes.get((row.store, row.node))
        if row.store == beacon.store:
            if node is None or beacon.x_m is None or beacon.y_m is None or node.floor != beacon.floor:
                continue
            if farthest_m(row.dbm) + SLACK_M >= math.hypot(node.x_m - beacon.x_m, node.y_m - beacon.y_m):
                continue
        levels[row.store, row.node].append(row.dbm)
    return [
        {
            "store": store,
            "node": node,
            "loudest_dbm": round(max(heard), 1),
            "at_most_m": round(farthest_m(max(heard)), 1),
        }
        for (store, node), heard in sorted(levels.items(), key=lambda item: -max(item[1]))
        if len(heard) >= MINUTES_LEAST
    ]
