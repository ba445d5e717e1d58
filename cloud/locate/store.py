"""One store under this process's hold: batches in from the queue, the story out to the journal, in one transaction."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import Connection

from cloud import db
from cloud.ingest.columns import Windows, windows
from cloud.locate.engine import Engine
from cloud.locate.journal import Journal, numbers
from cloud.locate.site import load_directory, load_site, load_tracks
from cloud.locate.story import Heard, Story
from cloud.locate.timeline import Timeline
from contract.clock import Clock
from contract.codec import decode
from contract.messages import Presence, Sightings

log = logging.getLogger(__name__)
sql = db.statements("cloud.locate")

STEP_US = 500_000
"""Windows that end within the same half second are one look at the store; nodes' clocks differ by some milliseconds."""


@dataclass(slots=True)
class _Held:
    """A batch that was read and whose story is not told yet."""

    queue_id: int
    until_us: int
    node: int
    windows: Windows | None


@dataclass(slots=True)
class StoreLocator:
    """Tells one store's story. After an error it is thrown away and made anew from the database."""

    conn: Connection[Any]
    clock: Clock
    tenant: str
    store: str
    timeline: Timeline
    engine: Engine
    journal: Journal
    _held: list[_Held] = field(default_factory=list)
    _told: list[int] = field(default_factory=list)
    """Queue ids of batches that need no telling of their own (presence, unknown nodes)."""
    late: int = 0
    """Windows that came after their moment had been told: stored, but not part of the story."""

    @classmethod
    def load(cls, conn: Connection[Any], clock: Clock, tenant: str, store: str) -> "StoreLocator | None":
        """The store as the database has it; None while it has no plan or no nodes."""
        loaded = load_site(conn, tenant, store)
        if loaded is None:
            return None
        site, _, told_us = loaded
        ids = numbers(conn, sql.visit_ids), numbers(conn, sql.presence_ids)
        engine = Engine(site, load_directory(conn, tenant, store), *ids)
        for track in load_tracks(conn, tenant, store):
            engine.resume(track)
        journal = Journal(conn, tenant, store)
        return cls(conn, clock, tenant, store, Timeline(told_us), engine, journal)

    def reload_directory(self) -> None:
        """Consents changed: whoever is not to be recognised any more is forgotten at once."""
        directory = load_directory(self.conn, self.tenant, self.store)
        known = set(directory.keys.values())
        now_us = max(self.timeline.told_until_us, min(self.clock.now_us(), self.timeline.told_until_us + 2_000_000))
        for track in self.engine.tracks:
            if track.person.member_id is not None and track.person not in known:
                self.engine.forget(track.person.member_id, now_us)
        self.engine.directory = directory

    def advance(self) -> bool:
        """Read what is queued and tell the story as far as it can be told; True if anything was written."""
        with self.conn.transaction():
            self._read()
            until_us = self.timeline.ready_until(self.clock.now_us(), time.monotonic())
            story = self.engine.story
            if until_us > self.timeline.told_until_us:
                self._tell(until_us)
            elif not (self._told or self._came_late() or story.entered or story.left or story.ended):
                return False
            self.journal.write(story, self.engine.tracks, until_us)
            self.engine.story = Story()
            self._dequeue(until_us)
            self.timeline.told_until_us = until_us
        return True

    def _came_late(self) -> bool:
        """Whether a batch came whose moment was told without it: it only has to leave the queue."""
        return any(held.until_us <= self.timeline.told_until_us for held in self._held)

    def _read(self) -> None:
        held = [h.queue_id for h in self._held] + self._told
        key = {"tenant": self.tenant, "store": self.store, "held": held}
        for queue_id, node, payload in self.conn.execute(sql.queued, key).fetchall():
            batch = decode(bytes(payload))  # it was decoded before it was queued
            if isinstance(batch, Presence):
                self._hear_presence(batch)
                self._told.append(queue_id)
            elif isinstance(batch, Sightings) and node in self.engine.site.nodes:
                index = self.engine.site.nodes.index(node)
                rows = windows(batch) if batch.header.n else None
                # A newcomer's window is told before it ends: its rows lie after t0.
                until_us = batch.header.t0 if rows is None else max(batch.header.t0, int(rows.time_us.max()))
                self._held.append(_Held(queue_id, until_us, index, rows))
                self.timeline.heard(node, batch.header.t0, silent=batch.header.n == 0)
            else:
                self._told.append(queue_id)

    def _hear_presence(self, batch: Presence) -> None:
        t0 = batch.header.t0
        for row in batch.rows:
            self.engine.node_presence(
                row.kind,
                int(row.subject, 16),
                row.zone,
                t0 + row.dt * 1_000,
                t0 + row.since * 1_000,
                row.confidence,
                enter=row.state == "enter",
            )

    def _tell(self, until_us: int) -> None:
        parts = [(h.windows, h.node) for h in self._held if h.windows is not None]
        if parts:
            time_us = np.concatenate([w.time_us for w, _ in parts])
            node = np.repeat([n for _, n in parts], [w.time_us.size for w, _ in parts])
            kind, subject, rssi, count = (
                np.concatenate([getattr(w, name) for w, _ in parts])
                for name in ("kind", "subject", "rssi_dbm", "count")
            )
            now = (time_us > self.timeline.told_until_us) & (time_us <= until_us)
            self.late += int((time_us <= self.timeline.told_until_us).sum())
            self._steps(time_us[now], Heard(kind[now], subject[now], node[now], rssi[now], count[now].astype(np.int64)))
        self._held = [_rest(h, until_us) for h in self._held]
        self.engine.settle(until_us)

    def _steps(self, time_us: npt.NDArray[np.int64], heard: Heard) -> None:
        """One engine step for each half second in which anything was heard."""
        if not time_us.size:
            return
        look = -(-time_us // STEP_US) * STEP_US
        order = np.argsort(look, kind="stable")
        looks, first = np.unique(look[order], return_index=True)
        for at_us, rows in zip(looks.tolist(), np.split(order, first[1:]), strict=True):
            here = Heard(
                heard.kind[rows], heard.subject[rows], heard.node[rows], heard.rssi_dbm[rows], heard.count[rows]
            )
            alive = np.array([self.timeline.alive(node, at_us) for node in self.engine.site.nodes])
            self.engine.step(at_us, here, alive)

    def _dequeue(self, until_us: int) -> None:
        done = [h.queue_id for h in self._held if h.until_us <= until_us] + self._told
        self._held = [h for h in self._held if h.until_us > until_us]
        self._told = []
        if done:
            self.conn.execute(sql.dequeue, {"ids": done})


def _rest(held: _Held, until_us: int) -> _Held:
    """A batch without the windows that were told; a batch is told to its end unless the story stops within it."""
    w = held.windows
    if w is None or held.until_us <= until_us:
        return _Held(held.queue_id, held.until_us, held.node, None)
    keep = w.time_us > until_us
    rest = Windows(*(getattr(w, name)[keep] for name in w.__slots__))
    return _Held(held.queue_id, held.until_us, held.node, rest)
