"""What the engine says happened, written down in the transaction that takes the batches off the queue."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from cloud import db
from cloud.locate.story import Entered, Story, Track

sql = db.statements("cloud.locate")

SEEN_EVERY_US = 10_000_000
"""How often `visit.seen_at` follows while nothing else happens."""


def numbers(conn: Connection[Any], statement: Any) -> Iterator[int]:
    """Numbers from a sequence, fetched by the fifty."""
    while True:
        yield from [row[0] for row in conn.execute(statement)]


@dataclass(slots=True)
class Journal:
    """Writes one store's story."""

    conn: Connection[Any]
    tenant: str
    store: str
    _seen_us: int = 0
    _days: set[int] = field(default_factory=set)

    @property
    def _key(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "store": self.store}

    def write(self, story: Story, tracks: list[Track], until_us: int) -> None:
        """Write what happened up to `until_us`. The caller opens and commits the transaction."""
        with self.conn.cursor() as cursor:
            cursor.executemany(sql.begin_visit, [self._key | _visit(track) for track in story.began])
            cursor.executemany(sql.enter, [self._key | _entry(entered) for entered in story.entered])
            cursor.executemany(sql.trust, [{"presence": t.presence_id, "trusted": t.trusted} for t in story.trusted])
            cursor.executemany(sql.leave, [{"presence": left.presence_id, "at": left.at_us} for left in story.left])
            cursor.executemany(sql.end_visit, [{"visit": t.visit_id, "seen": t.seen_us} for t in story.ended])
            if until_us - self._seen_us >= SEEN_EVERY_US:
                cursor.executemany(sql.see_visit, [{"visit": t.visit_id, "seen": t.seen_us} for t in tracks])
                self._seen_us = until_us
        if story.entered:
            self.conn.execute(sql.arm_triggers, {"presences": [entered.presence_id for entered in story.entered]})
        for revised in story.revised:
            self.conn.execute(sql.revise, {"presence": revised.presence_id, "at": revised.entered_us})
        if story.ended:
            self.conn.execute(sql.count_visits, self._key | {"visits": [track.visit_id for track in story.ended]})
        self._write_positions(story)
        self.conn.execute(sql.told, self._key | {"until": until_us, "positions": len(story.positions)})
        self.conn.execute(sql.announce, self._key)

    def _write_positions(self, story: Story) -> None:
        if not story.positions:
            return
        for day in {at // 86_400_000_000 for at, *_ in story.positions} - self._days:
            self.conn.execute(sql.ensure_day, {"at": day * 86_400_000_000})
            self._days.add(day)
        with self.conn.cursor() as cursor, cursor.copy(sql.copy_positions) as copy:
            for at_us, visit, x, y, spread in story.positions:
                copy.write_row((_instant(at_us), visit, round(x, 3), round(y, 3), round(spread, 3)))


def _visit(track: Track) -> dict[str, Any]:
    person = track.person
    who = {"member": person.member_id, "beacon": person.beacon_id, "excluded": person.excluded}
    return who | {"visit": track.visit_id, "started": track.started_us, "seen": track.seen_us}


def _entry(entered: Entered) -> dict[str, Any]:
    return {
        "presence": entered.presence_id,
        "visit": entered.visit_id,
        "zone": entered.zone,
        "source": entered.source,
        "at": entered.at_us,
        "confidence": entered.confidence,
    }


def _instant(us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
