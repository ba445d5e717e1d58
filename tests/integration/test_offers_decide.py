"""From a due trigger to the member's inbox: once per visit and campaign, whoever is at it, and all of it or nothing."""

import threading
from datetime import timedelta

import psycopg
import pytest

from cloud.offers.decide import COUPON_LETTERS, decide_due
from tests.conftest import Database
from tests.integration.cloud_support import CAMPAIGN, NOON, OFFER, SEGMENT, add_presence, superuser, told_until, us
from tests.integration.test_offers_gate import SENT, Till, member, store

__all__ = ["store"]


def test_what_is_sent_says_why_and_ends_in_time(store: Till) -> None:
    store.trigger(member(store))
    assert store.decide() == [SENT]
    row = store.conn.execute(
        "SELECT p.title, p.sent_at, p.expires_at - p.sent_at, c.expires_at - p.sent_at, p.coupon, p.why, k.at,"
        " k.purpose FROM push p JOIN coupon c ON c.code = p.coupon JOIN contact k USING (contact_id)"
    ).fetchone()
    assert row is not None
    title, sent, ttl, good_for, code, why, at, purpose = row
    assert (title, sent, ttl, good_for) == (OFFER["title"], NOON, timedelta(minutes=10), timedelta(hours=12))
    assert len(code) == 10 and set(code) <= set(COUPON_LETTERS)
    assert why == "You were at Coffee for 20 seconds and agreed to offers in the store."
    assert (at, purpose) == (NOON, "proximity")
    assert store.counts() == {"decision": 1, "contact": 1, "coupon": 1, "push": 1, "trigger_due": 0}


def test_a_trigger_waits_for_its_instant_and_for_the_story(store: Till) -> None:
    store.trigger(member(store))
    assert store.decide(NOON - timedelta(seconds=1)) == [], "its time has not come"
    told_until(store.conn, "acme", NOON - timedelta(seconds=2))
    assert store.decide() == [], "the locator has not told enough"
    told_until(store.conn, "acme", NOON - timedelta(seconds=1))
    assert store.decide() == [SENT]


GONE = [
    ("left before the dwell", "UPDATE presence SET left_at = entered_at + interval '19 seconds'"),
    ("campaign stopped", "UPDATE campaign SET state = 'stopped'"),
    ("not in the segment", """UPDATE segment SET condition = '{"trait": "vip", "op": "eq", "value": true}'"""),
]


@pytest.mark.parametrize("change", [pytest.param(c, id=name) for name, c in GONE])
def test_a_trigger_that_came_to_nothing_leaves_no_decision(store: Till, change: str) -> None:
    store.trigger(member(store))
    store.conn.execute(change.encode())
    assert store.decide() == []
    assert store.counts()["trigger_due"] == 0


def test_a_visit_is_decided_about_once_per_campaign(store: Till) -> None:
    who = member(store)
    visit = store.trigger(who)
    assert store.decide() == [SENT]
    store.trigger(who, NOON + timedelta(minutes=1), visit)
    assert store.decide(NOON + timedelta(minutes=1)) == [SENT]


def test_many_workers_at_once_decide_once(store: Till) -> None:
    """Two sources, two campaigns, sixteen workers: one decision per visit and campaign, one contact, no error."""
    who = member(store)
    store.conn.execute(
        "INSERT INTO campaign SELECT tenant_id, 'second', name, store_id, zone, dwell_s, segment, offer,"
        " control_share, salt, state FROM campaign"
    )
    visit = store.trigger(who)
    for campaign in ("coffee-now", "coffee-now", "second", "second"):
        store.trigger(who, NOON, visit, campaign)
    begin, errors = threading.Barrier(16), list[BaseException]()

    def work() -> None:
        try:
            with psycopg.connect(store.database.service, autocommit=True) as conn:
                begin.wait(30)
                decide_due(conn, us(NOON))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    counts = store.counts()
    assert (counts["contact"], counts["push"], counts["coupon"]) == (1, 1, 1)
    assert counts["decision"] == 2
    assert errors == []
    assert counts["trigger_due"] == 0


@pytest.mark.parametrize("table", ["decision", "contact", "coupon", "push"])
def test_a_decision_is_all_or_nothing(store: Till, table: str) -> None:
    store.trigger(member(store))
    before = store.counts()
    store.conn.execute(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (false) NOT VALID".encode())
    with psycopg.connect(store.database.service, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.CheckViolation):
            decide_due(conn, us(NOON))
    assert store.counts() == before, "the trigger is still due, nothing else is there"
    store.conn.execute(f"ALTER TABLE {table} DROP CONSTRAINT broken".encode())
    assert store.decide() == [SENT]


def test_the_locator_arms_only_running_campaigns_and_only_members(store: Till, database: Database) -> None:
    """The statement that the locator runs when somebody enters a zone."""
    from cloud.locate.store import sql

    who = member(store)
    with superuser(database) as conn:
        row = conn.execute(
            "INSERT INTO visit (tenant_id, store_id, member_id, started_at, seen_at, excluded)"
            " VALUES ('acme', 'main-street', %(m)s, %(at)s, %(at)s, false),"
            " ('acme', 'main-street', %(m)s, %(at)s, %(at)s, true) RETURNING array[visit_id]",
            {"m": who, "at": NOON},
        ).fetchall()
        visits = [v for (some,) in row for v in some]
        presences = [add_presence(conn, "acme", v, zone) for v in visits for zone in ("coffee", "till")]
    with psycopg.connect(database.service, autocommit=True) as conn:
        conn.execute(sql.arm_triggers, {"presences": presences})
        conn.execute(sql.arm_triggers, {"presences": presences})
    armed = store.conn.execute("SELECT visit_id, campaign, due_at FROM trigger_due").fetchall()
    assert armed == [(visits[0], CAMPAIGN["campaign"], NOON + timedelta(seconds=20))]
    assert SEGMENT["condition"] == {"all": []}
