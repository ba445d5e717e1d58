"""What the fake of the cloud's API answers with: a small store, its nodes, visits and campaigns."""

import math
from typing import Any

import numpy as np

MINUTE_US = 60_000_000
NOON_US = 1_778_587_200_000_000
"""2026-05-12 12:00 UTC, 14:00 in the store: the fake service's clock starts here."""
OPENED_US = NOON_US - 2 * 24 * 60 * MINUTE_US
"""Where the data begins."""
K = 5

ZONES: list[tuple[str, str, str, list[tuple[float, float]]]] = [
    ("street", "Street", "street", [(0, 0), (24, 0), (24, 1.6), (0, 1.6)]),
    ("door", "Entrance", "entrance", [(9.5, 1.6), (14.5, 1.6), (14.5, 4), (9.5, 4)]),
    ("cosmetics", "Cosmetics", "shelf", [(0.5, 5), (7, 5), (7, 9), (0.5, 9)]),
    ("bakery", "Bakery", "shelf", [(0.5, 10), (7, 10), (7, 15.5), (0.5, 15.5)]),
    ("drinks", "Drinks", "shelf", [(8.5, 9), (15.5, 9), (15.5, 15.5), (8.5, 15.5)]),
    ("household", "Household", "aisle", [(17, 8), (23.5, 8), (23.5, 15.5), (17, 15.5)]),
    ("tills", "Tills", "till", [(16, 2), (23.5, 2), (23.5, 6.5), (16, 6.5)]),
    ("fitting", "Fitting room", "fitting", [(0.5, 2), (3.5, 2), (3.5, 4.6), (0.5, 4.6)]),
]
NODES = [
    ("n1", 12.0, 1.7),
    ("n2", 0.4, 7.0),
    ("n3", 0.4, 13.0),
    ("n4", 12.0, 15.6),
    ("n5", 23.6, 12.0),
    ("n6", 23.6, 4.0),
]
PLAN: dict[str, Any] = {
    "store": "north",
    "name": "North Street",
    "tz": "Europe/Berlin",
    "opens": "09:00",
    "closes": "21:00",
    "demo": True,
    "floors": [{"floor": "0", "name": "Ground floor", "width_m": 24.0, "depth_m": 16.0, "cell_m": 0.5}],
    "zones": [
        {"zone": zone, "name": name, "kind": kind, "floor": "0", "polygon": polygon, "categories": []}
        for zone, name, kind, polygon in ZONES
    ],
    "nodes": [{"node": node, "floor": "0", "x_m": x, "y_m": y, "z_m": 2.6, "zone": None} for node, x, y in NODES],
    "beacons": [],
}
HOT = [
    (12, 3, 1.5, 3.0),
    (3.5, 7, 1.8, 5.0),
    (4, 13, 1.6, 2.2),
    (12, 12, 2.4, 3.2),
    (20, 11, 2.2, 1.6),
    (19, 4, 1.3, 8.0),
]
"""Where people are: x, y, spread in metres, weight."""

OFFER: dict[str, Any] = {
    "push_id": "p-1",
    "title": "10% off face care",
    "body": "You are beside it: any face cream, today only.",
    "offer": "face-10",
    "coupon": "FACE10-7K2M",
    "state": "sent",
    "why": "You looked at Cosmetics for more than a minute, and you allowed offers from this store.",
}


def count(n: int) -> dict[str, Any]:
    return {"n": n, "less_than": None} if n == 0 or n >= K else {"n": None, "less_than": K}


RESULTS: dict[str, dict[str, Any]] = {
    "face": {
        "decided": 412,
        "sent": 371,
        "ghosts": 41,
        "shown": 342,
        "clicked": 180,
        "used": 96,
        "refused": {"no consent": 120, "cap: 1 a visit": 38, "quiet hours": 4, "staff": 61},
        "target": {"n": 371, "bought": 141, "rate": 0.38},
        "control": {"n": 41, "bought": 11, "rate": 0.268},
        "lift_pp": 11.2,
        "ci_low_pp": -3.6,
        "ci_high_pp": 23.8,
        "verdict": "Leans positive, not yet sure.",
        "note": "Wilson intervals, Newcombe's difference.",
    },
    "bread": {
        "decided": 3120,
        "sent": 2801,
        "ghosts": 319,
        "shown": 2600,
        "clicked": 900,
        "used": 655,
        "refused": {},
        "target": {"n": 2801, "bought": 1232, "rate": 0.44},
        "control": {"n": 319, "bought": 108, "rate": 0.339},
        "lift_pp": 10.1,
        "ci_low_pp": 4.6,
        "ci_high_pp": 15.4,
        "verdict": "The offer makes more people buy.",
        "note": None,
    },
}


def presence(from_us: int, to_us: int) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """Seconds of presence per cell over a period, and how many visits it holds: busier towards the afternoon."""
    ys, xs = np.mgrid[0.25:16:0.5, 0.25:24:0.5]
    grid = np.zeros(xs.shape, np.float32)
    hours = max(0, to_us - from_us) / 3.6e9
    hour = (to_us / 3.6e9 + 2) % 24
    busy = 0.15 + math.exp(-(((hour - 14) / 3) ** 2))
    for i, (x, y, spread, weight) in enumerate(HOT):
        share = 1 + 0.6 * math.sin(hour * 1.7 + i * 2)
        seconds = weight * share * busy * hours * 60
        grid += (seconds * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * spread**2))).astype(np.float32)
    return grid, round(hours * 60 * busy)


def node_row(i: int, node: str, now_us: int) -> dict[str, Any]:
    offline = node == "n5"
    health = {
        "at": now_us - 9_000_000,
        "boot": "b" * 32,
        "version": "0.1.0",
        "config": "9f2c41aa07be",
        "uptime_s": 93_784.0 + i * 40,
        "clock": "trusted",
        "adverts": 4_210_332,
        "adverts_per_s": 41.5 + i,
        "windows": 918_233,
        "outbox_rows": 214 if offline else i % 2,
        "outbox_oldest_s": 431.0 if offline else 0.8 * (i % 2),
        "dropped": 0,
        "reconnects": i,
        "rss_mb": 41.2 + i / 3,
        "restarts": 0,
        "mode": "safe" if node == "n3" else "normal",
        "sources": {
            "ble": {"state": "ok", "heard": 4_210_332, "per_s": 41.5 + i, "restarts": 0, "detail": "active"},
            "rfid.shelf": {"state": "down", "heard": 0, "per_s": 0.0, "restarts": 3, "detail": "no such device"},
        },
        "cert_days": 61.5,
        "disk_free_mb": 11_873.0,
    }
    return {
        "node": node,
        "state": "offline" if offline else "online",
        "last_seen_us": now_us - (431 if offline else 4 + i) * 1_000_000,
        "zone": "door" if node == "n1" else None,
        "health": None if node == "n6" else health,
        "stored_batches": 48_120 + 77 * i,
        "dead_letters": 3 if offline else 0,
        "drift": node == "n2",
        "drift_since_us": now_us - 3 * 60 * MINUTE_US if node == "n2" else None,
        "config_desired": 4 if node == "n2" else 0,
        "config_running": 3 if node == "n2" else 0,
        "config_problems": ["[ble] mode: found pasive"] if node == "n2" else [],
    }


def visit_row(i: int, now_us: int) -> dict[str, Any]:
    path = ["door", "cosmetics", "drinks", "tills"][: 2 + i % 3]
    started = now_us - (i * 11 + 3) * MINUTE_US
    receipt = {
        "receipt_uid": f"r{i}",
        "total": 2395 + 310 * i,
        "currency": "EUR",
        "confidence": 0.98 - 0.03 * (i % 7),
        "reason": "card shown at the till" if i % 2 else "till dwell 42 s before the receipt",
    }
    return {
        "visit_id": i,
        "started_us": started,
        "ended_us": None if i == 0 else started + (7 + i % 5) * MINUTE_US,
        "member": f"•••• {1234 + 77 * i}" if i % 3 else None,
        "zones": [{"zone": zone, "dwell_s": 30 + 25 * ((i + j) % 6)} for j, zone in enumerate(path)],
        "receipt": receipt if i % 4 not in (0, 3) else None,
    }


def zones_now(at_us: int, empty: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """People in the store and by zone; they come and go in waves of 25 s."""
    wave = 1 + 0.3 * math.sin(at_us / 4e6)
    people = [0] * len(ZONES) if empty else [round(n * wave) for n in (0, 2, 9, 4, 12, 5, 8, 0)]
    return count(sum(people)), [{"zone": zone[0], **count(n)} for zone, n in zip(ZONES, people, strict=True)]


FIGURES: list[tuple[int | None, float | None, float | None, float | None]] = [
    (None, None, None, None),
    (412, 14.0, 9.0, None),
    (168, 161.5, 118.0, 0.31),
    (96, 84.0, 61.0, 0.44),
    (203, 95.2, 70.0, 0.52),
    (71, 66.0, 48.0, 0.22),
    (288, 140.0, 122.0, 0.97),
    (None, None, None, None),
]
"""By zone: visits, mean dwell, median dwell, conversion."""


def zone_row(i: int) -> dict[str, Any]:
    (zone, name, kind, _), (visits, mean, median, conversion) = ZONES[i], FIGURES[i]
    row = {"zone": zone, "name": name, "kind": kind, "visits": visits, "less_than": K if visits is None else None}
    return row | {"mean_dwell_s": mean, "median_dwell_s": median, "conversion": conversion}


def track(to_us: int) -> list[list[float]]:
    """A trolley on its round: instant, x, y, spread."""
    turns = [i / 40 * 2 * math.pi for i in range(36)]
    return [[to_us - (36 - i) * 4e6, 12 + 6 * math.cos(a), 9 + 3.5 * math.sin(a), 0.9] for i, a in enumerate(turns)]
