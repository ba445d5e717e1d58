"""What is forgotten, and what stays: strangers after a day, raw windows after a month, tags after a year and more."""

from datetime import UTC, datetime, timedelta

import psycopg

from cloud.retention import PSEUDONYMS, RAW, TAGS, forget
from contract.identity import SubjectKind
from tests.conftest import Database
from tests.integration.cloud_support import make_tenant, superuser

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW_US = int(NOW.timestamp() * 1e6)
HOUR = timedelta(hours=1)


def window(conn: psycopg.Connection, at: datetime, kind: SubjectKind) -> None:
    conn.execute("SELECT ensure_day('sighting', %s)", (at.date(),))
    conn.execute(
        "INSERT INTO sighting (time, subject, node_key, radio, rssi, count, peak, kind)"
        " VALUES (%s, 1, 1, 0, -600, 1, -60, %s)",
        (at, int(kind)),
    )


def test_strangers_are_kept_for_a_day_members_and_beacons_for_a_month(database: Database) -> None:
    with superuser(database) as conn:
        for kind in (SubjectKind.PSEUDONYM, SubjectKind.TOKEN):
            for age in (HOUR, PSEUDONYMS - HOUR, PSEUDONYMS + HOUR, RAW + timedelta(days=2)):
                window(conn, NOW - age, kind)
    with psycopg.connect(database.service, autocommit=True) as conn:
        forget(conn, NOW_US)
    with superuser(database) as conn:
        left = conn.execute("SELECT kind, count(*) FROM sighting GROUP BY kind ORDER BY kind").fetchall()
    assert left == [(SubjectKind.TOKEN, 3), (SubjectKind.PSEUDONYM, 2)]


def test_a_tag_that_is_there_stays_and_one_long_gone_is_forgotten(database: Database) -> None:
    make_tenant(database, "acme")
    old, new = NOW - TAGS - HOUR, NOW - TAGS + HOUR
    with superuser(database) as conn:
        for epc, zone, told in ((b"a", "shelf", old), (b"b", None, old), (b"c", None, new)):
            conn.execute(
                "INSERT INTO tag_place (tenant_id, store_id, epc, node, zone, since, told_at)"
                " VALUES ('acme', 's', %s, 'n', %s, %s, %s)",
                (epc, zone, told, told),
            )
            conn.execute(
                "INSERT INTO tag_event (tenant_id, store_id, time, since, node, epc, state, zone, origin, reads)"
                " VALUES ('acme', 's', %s, %s, 'n', %s, 'arrived', 'shelf', '', 2)",
                (told, told, epc),
            )
    with psycopg.connect(database.service, autocommit=True) as conn:
        forget(conn, NOW_US)
    with superuser(database) as conn:
        assert [bytes(r[0]) for r in conn.execute("SELECT epc FROM tag_place ORDER BY epc")] == [b"a", b"c"]
        assert [bytes(r[0]) for r in conn.execute("SELECT epc FROM tag_event ORDER BY epc")] == [b"c"]
