"""The places' own checks, for the worker: registered beacons that are copied or moved, radio maps that have aged."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from psycopg import Connection
from psycopg.types.json import Jsonb

from cloud import db
from cloud.locate.map_age import DayLevel, aged_nodes
from cloud.locate.radiomap import RadioMap
from cloud.places.clones import HeardMinute, Hung, Registered, doubts

sql = db.statements("cloud.places")

LOOK_BACK_US = 3600 * 1_000_000
"""The worker's hour."""
KEPT = timedelta(days=120)
"""Levels by the day: a map that is older than a season should be walked again whatever they say."""

Key = dict[str, Any]


def check_places(conn: Connection[Any], now_us: int) -> int:
    """All checks; returns how many findings are to be told. Each statement may commit for itself; doing it twice at
    once, or again, changes nothing."""
    return check_beacons(conn, now_us) + check_maps(conn, now_us)


def check_beacons(conn: Connection[Any], now_us: int) -> int:
    """Look at the last hour of every registered beacon."""
    span = {"from": now_us - LOOK_BACK_US, "to": now_us}
    heard: dict[tuple[str, str, int], list[HeardMinute]] = defaultdict(list)
    for tenant, store, beacon, *row in conn.execute(sql.registered_heard, span):
        heard[tenant, store, beacon].append(HeardMinute(*row))
    if not heard:
        return 0
    hung: dict[str, dict[tuple[str, str], Hung]] = defaultdict(dict)
    for tenant, store, node, *place in conn.execute(sql.hung_nodes):
        hung[tenant][store, node] = Hung(*place)
    registered = {row[0]: row[1:] for row in conn.execute(sql.registered)}
    found = 0
    for (tenant, store, beacon), rows in sorted(heard.items()):
        if beacon not in registered:  # retired meanwhile
            continue
        uuid, major, minor, *place = registered[beacon]
        for doubt in doubts(Registered(*place), rows, hung[tenant]):
            about = {"kind": doubt.kind, "about": f"{uuid}/{major}/{minor}"}
            told = {"says": doubt.says, "evidence": Jsonb(doubt.evidence)}
            found += conn.execute(sql.found, {"tenant": tenant, "store": store} | about | told | span).rowcount
    return found


def check_maps(conn: Connection[Any], now_us: int) -> int:
    """Keep what was heard of fixed beacons today and yesterday, and compare weeks of it with each floor's map."""
    today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
    conn.execute(sql.keep_fixed_levels, {"day": today - timedelta(days=1)})
    conn.execute(sql.forget_fixed_levels, {"day": today - KEPT})
    found = 0
    for tenant, store, floor, stored, surveyed_at in conn.execute(sql.mapped_floors).fetchall():
        key = {"tenant": tenant, "store": store, "floor": floor}
        surveyed = surveyed_at.astimezone(UTC).date()
        found += _check_map(conn, key, RadioMap.from_bytes(bytes(stored)), surveyed, today, now_us)
    return found


def _check_map(conn: Connection[Any], key: Key, radio_map: RadioMap, surveyed: date, today: date, now_us: int) -> int:
    beacons = conn.execute(sql.fixed_beacons, key).fetchall()
    nodes = [node for (node,) in conn.execute(sql.floor_nodes, key)]
    if not beacons or len(nodes) != radio_map.nodes:
        return 0
    cells = radio_map.grid.cell_of(np.array([place for _, *place in beacons], float))
    expected = {
        (beacon, node): float(radio_map.mean_dbm[j, cell])
        for (beacon, *_), cell in zip(beacons, cells.tolist(), strict=True)
        for j, node in enumerate(nodes)
    }
    rows = conn.execute(sql.fixed_levels, key | {"day": max(surveyed, today - KEPT)})
    levels = [DayLevel(beacon, node, day.toordinal(), dbm, n) for beacon, node, day, dbm, n in rows]
    found = 0
    # Today is not over: its people are not those of a whole day.
    for aged in aged_nodes(levels, expected, surveyed.toordinal(), today.toordinal() - 1):
        way = "louder" if aged.drift_db > 0 else "softer"
        says = f"the map has aged at node {aged.node} by {abs(aged.drift_db):.0f} dB ({way}): walk that part again"
        evidence = {"floor": key["floor"], "drift_db": round(aged.drift_db, 1), "error_db": round(aged.error_db, 1),
                    "tags": aged.tags, "days": aged.days}  # fmt: skip
        told = {"kind": "map-aged", "about": aged.node, "says": says, "evidence": Jsonb(evidence)}
        # Evidence of yesterday and before: who walked and closed it since will not be told again by it.
        begins = int(datetime(today.year, today.month, today.day, tzinfo=UTC).timestamp() * 1e6) - 86_400_000_000
        found += conn.execute(sql.found, key | told | {"from": begins, "to": now_us}).rowcount
    return found
