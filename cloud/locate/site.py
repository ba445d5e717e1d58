"""A store's site and directory as the database has them."""

from dataclasses import replace
from typing import Any

import numpy as np
from psycopg import Connection

from cloud import db
from cloud.locate.directory import Directory, Person
from cloud.locate.engine import REVISE_AFTER_US
from cloud.locate.radiomap import Grid, RadioMap
from cloud.locate.story import OpenPresence, Site, Track
from cloud.locate.zones import zone_masks

WORN_SD_DB = 1.5
"""What a body adds beyond the one direction that the filter estimates; on simulated shoppers 1.5 and 2 do alike."""

sql = db.statements("cloud.locate")
member_sql = db.statements("cloud.members")


def load_site(conn: Connection[Any], tenant: str, store: str) -> tuple[Site, str, int] | None:
    """The store's site, its floor's name and how far its story is told; None for a store without a plan or nodes."""
    key = {"tenant": tenant, "store": store}
    row = conn.execute(sql.floor, key).fetchone()
    if row is None:
        return None
    floor, width_m, depth_m, cell_m, stored, told_us = row
    key["floor"] = floor
    nodes = conn.execute(sql.nodes, key).fetchall()
    if not nodes:
        return None
    grid = Grid((0.0, 0.0), cell_m, int(np.ceil(width_m / cell_m)), int(np.ceil(depth_m / cell_m)))
    positions = np.array([node[1:] for node in nodes], float)
    radio_map = RadioMap.from_bytes(stored) if stored else None
    if radio_map is None or radio_map.nodes != len(nodes) or radio_map.grid != grid:
        radio_map = RadioMap.from_path_loss(grid, positions)  # not surveyed, or surveyed before nodes were moved
    zones = conn.execute(sql.zones, key).fetchall()
    masks = zone_masks(grid, [polygon for _, polygon in zones])
    radio_map = worn(radio_map)
    return Site(grid, radio_map, tuple(n[0] for n in nodes), tuple(z for z, _ in zones), masks), floor, told_us or 0


def worn(radio_map: RadioMap) -> RadioMap:
    """The map with the doubt that a body adds: who carries a tag shadows it, for as long as they stand."""
    known = np.zeros_like(radio_map.mean_dbm) if radio_map.map_sd_db is None else radio_map.map_sd_db
    return replace(radio_map, map_sd_db=np.sqrt(known**2 + WORN_SD_DB**2).astype(np.float32))


def load_directory(conn: Connection[Any], tenant: str, store: str) -> Directory:
    """Who may be recognised in the store now: members with consent, enrolled beacons."""
    key = {"tenant": tenant, "store": store}
    keys = {
        bytes(token_key): Person(member, None, staff)
        for _, member, staff, token_key in conn.execute(member_sql.sensed, key)
    }
    beacons = {
        subject % 2**64: Person(None, beacon, excluded=True) for subject, beacon in conn.execute(sql.beacons, key)
    }
    tags = {
        subject % 2**64: Person(member, None, staff)
        for member, staff, subject in conn.execute(member_sql.sensed_tags, key)
    }
    return Directory(keys, beacons, tags)


def load_tracks(conn: Connection[Any], tenant: str, store: str) -> list[Track]:
    """Visits that an earlier process left open, with their open presences; rows of the filter are still to be given."""
    key = {"tenant": tenant, "store": store}
    tracks = {
        visit: Track(Person(member, beacon, excluded), visit, -1, started, seen)
        for visit, member, beacon, excluded, started, seen in conn.execute(sql.open_visits, key)
    }
    for presence, visit, zone, source, entered, trusted in conn.execute(sql.open_presence, key):
        tracks[visit].presence[zone] = OpenPresence(
            presence, {source}, entered, entered, revised=len(REVISE_AFTER_US), trusted=trusted
        )
    return list(tracks.values())
