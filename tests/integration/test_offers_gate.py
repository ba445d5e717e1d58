"""The contact gate: consent fails closed, ghosts get nothing, quiet hours are local, no cap is ever exceeded."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.offers.decide import decide_due
from cloud.offers.gate import HOLDOUT_SALT, UNIVERSAL_HOLDOUT, is_quiet, pass_gate, share_of
from tests.conftest import Database
from tests.integration.cloud_support import (
    CONSENTS,
    NOON,
    add_presence,
    add_visit,
    furnish,
    make_member,
    running_api,
    say_consent,
    superuser,
    told_until,
    us,
)

SALT = "salt"
IDS = [UUID(int=i) for i in range(20_000)]
TARGET = next(i for i in IDS[1:] if share_of(HOLDOUT_SALT, i) >= UNIVERSAL_HOLDOUT and share_of(SALT, i) >= 0.1)
CONTROL = next(i for i in IDS[1:] if share_of(HOLDOUT_SALT, i) >= UNIVERSAL_HOLDOUT and share_of(SALT, i) < 0.1)
HELD_OUT = next(i for i in IDS[1:] if share_of(HOLDOUT_SALT, i) < UNIVERSAL_HOLDOUT)
SENT = ("sent", "passed all gates", "target")


@dataclass(frozen=True, slots=True)
class Till:
    """A furnished store and a superuser's connection to it."""

    database: Database
    conn: psycopg.Connection[Any]

    def trigger(self, member: UUID, at: datetime = NOON, visit: int | None = None, campaign: str = "coffee-now") -> int:
        """A stay in the campaign's zone whose dwell is reached at `at`; returns the visit."""
        entered = at - timedelta(seconds=20)
        visit = visit or add_visit(self.conn, "acme", member, entered)
        presence = add_presence(self.conn, "acme", visit, "coffee", entered)
        self.conn.execute(
            "INSERT INTO trigger_due (presence_id, tenant_id, campaign, store_id, visit_id, member_id, due_at)"
            " VALUES (%s, 'acme', %s, 'main-street', %s, %s, %s)",
            (presence, campaign, visit, member, at),
        )
        told_until(self.conn, "acme", at)
        return visit

    def decide(self, now: datetime = NOON) -> list[tuple[str, str, str | None]]:
        """Decide all that is due, as the worker does; returns every decision there is."""
        with psycopg.connect(self.database.service, autocommit=True) as conn:
            decide_due(conn, us(now))
        return self.conn.execute("SELECT outcome, reason, arm FROM decision ORDER BY decision_id").fetchall()

    def counts(self) -> dict[str, int]:
        tables = ("decision", "contact", "coupon", "push", "trigger_due")
        found = {t: self.conn.execute(f"SELECT count(*) FROM {t}".encode()).fetchone() for t in tables}
        return {table: row[0] for table, row in found.items() if row}


@pytest.fixture
def store(database: Database) -> Iterator[Till]:
    with running_api(database) as api:
        furnish(api, database, "acme")
    with superuser(database) as conn:
        conn.execute("UPDATE campaign SET salt = %s", (SALT,))
        yield Till(database, conn)


def member(store: Till, member_id: UUID = TARGET, consents: dict[str, bool] | None = None, **columns: Any) -> UUID:
    consents = CONSENTS if consents is None else consents
    return make_member(store.database, "acme", consents, member_id=member_id, **columns)


BOTH = {"in_store_sensing": True, "marketing_push": True}
ANSWERS = [
    ("none", {}, False),
    ("sensing only", {"in_store_sensing": True}, False),
    ("offers only", {"marketing_push": True}, False),
    ("one of two refused", BOTH | {"marketing_push": False}, False),
    ("the other refused", BOTH | {"in_store_sensing": False}, False),
    ("profiling instead", {"profiling": True, "marketing_push": True}, False),
    ("both", BOTH, True),
]


@pytest.mark.parametrize(("consents", "may"), [pytest.param(*a[1:], id=a[0]) for a in ANSWERS])
def test_consent_fails_closed(store: Till, consents: dict[str, bool], may: bool) -> None:
    store.trigger(member(store, consents=consents))
    assert store.decide() == [SENT if may else ("refused", "no consent", None)]
    assert store.counts()["push"] == int(may)


def test_a_consent_that_is_revoked_between_trigger_and_decision_refuses(store: Till) -> None:
    who = member(store)
    store.trigger(who)
    say_consent(store.conn, "acme", who, "marketing_push", False)
    assert store.decide() == [("refused", "no consent", None)]


def test_a_consent_of_another_tenants_member_is_not_asked(store: Till) -> None:
    store.conn.execute("INSERT INTO tenant VALUES ('beta', 'Beta')")
    make_member(store.database, "beta", CONSENTS, member_id=TARGET)
    store.trigger(member(store, consents={}))
    assert store.decide() == [("refused", "no consent", None)]


WHO = [
    ("staff", TARGET, {"staff": True}, ("refused", "staff", None)),
    ("universal holdout", HELD_OUT, {}, ("refused", "universal holdout", None)),
    ("control group", CONTROL, {}, ("ghost", "control group", "control")),
]


@pytest.mark.parametrize(("member_id", "columns", "decision"), [pytest.param(*w[1:], id=w[0]) for w in WHO])
def test_who_is_not_to_be_offered_leaves_a_decision_and_nothing_else(
    store: Till, member_id: UUID, columns: dict[str, Any], decision: tuple[str, str, str | None]
) -> None:
    store.trigger(member(store, member_id, **columns))
    assert store.decide() == [decision]
    assert store.counts() == {"decision": 1, "contact": 0, "coupon": 0, "push": 0, "trigger_due": 0}


def test_shares_are_what_they_say_and_campaigns_are_drawn_independently() -> None:
    held = {i for i in IDS if share_of(HOLDOUT_SALT, i) < UNIVERSAL_HOLDOUT}
    one, other = ({i for i in IDS if share_of(salt, i) < 0.10} for salt in ("a", "b"))
    # Five standard errors of a share p of 20,000: 5 * sqrt(p (1 - p) / 20000).
    assert len(held) / len(IDS) == pytest.approx(0.03, abs=0.0061)
    assert len(one) / len(IDS) == pytest.approx(0.10, abs=0.0107)
    assert len(one & other) / len(IDS) == pytest.approx(0.01, abs=0.0036)
    assert all(share_of("a", i) == share_of("a", i) for i in IDS[:10])


BERLIN = ZoneInfo("Europe/Berlin")
HOURS = [
    ("one second before nine", datetime(2026, 11, 24, 8, 59, 59, tzinfo=BERLIN), True),
    ("nine", datetime(2026, 11, 24, 9, tzinfo=BERLIN), False),
    ("one second before twenty-one", datetime(2026, 11, 24, 20, 59, 59, tzinfo=BERLIN), False),
    ("twenty-one", datetime(2026, 11, 24, 21, tzinfo=BERLIN), True),
    ("midnight", datetime(2026, 11, 24, 0, tzinfo=BERLIN), True),
    ("07:30 UTC in summer is 09:30", datetime(2026, 7, 1, 7, 30, tzinfo=UTC), False),
    ("07:30 UTC in winter is 08:30", datetime(2026, 12, 1, 7, 30, tzinfo=UTC), True),
    ("19:30 UTC in summer is 21:30", datetime(2026, 7, 1, 19, 30, tzinfo=UTC), True),
    ("19:30 UTC in winter is 20:30", datetime(2026, 12, 1, 19, 30, tzinfo=UTC), False),
    ("the day the clocks go back, 08:30 UTC is 09:30", datetime(2026, 10, 25, 8, 30, tzinfo=UTC), False),
    ("the day before, 06:59 UTC is 08:59", datetime(2026, 10, 24, 6, 59, tzinfo=UTC), True),
]


@pytest.mark.parametrize(("at", "quiet"), [pytest.param(*h[1:], id=h[0]) for h in HOURS])
def test_quiet_hours_are_local(at: datetime, quiet: bool) -> None:
    assert is_quiet(at, "Europe/Berlin") is quiet


def test_quiet_hours_refuse_after_the_arm_was_drawn(store: Till) -> None:
    night = datetime(2026, 11, 24, 22, tzinfo=BERLIN)
    store.trigger(member(store), night)
    store.trigger(member(store, CONTROL), night)
    assert sorted(store.decide(night)) == [
        ("ghost", "control group", "control"),
        ("refused", "quiet hours", "target"),
    ]


HOUR, DAY, SECOND = timedelta(hours=1), timedelta(days=1), timedelta(seconds=1)
CAPS = [
    ("4 hours less a second", [4 * HOUR - SECOND], False, "cap: 4 h apart"),
    ("4 hours", [4 * HOUR], False, "cap: 1 a day"),
    ("a day less a second", [DAY - SECOND], False, "cap: 1 a day"),
    ("a day", [DAY], False, "passed all gates"),
    ("the same visit, a day ago", [DAY + HOUR], True, "cap: 1 a visit"),
    ("two within a week", [2 * DAY, 7 * DAY - SECOND], False, "cap: 2 in 7 days"),
    ("the older a week ago", [2 * DAY, 7 * DAY], False, "passed all gates"),
]


@pytest.mark.parametrize(("ago", "same", "reason"), [pytest.param(*c[1:], id=c[0]) for c in CAPS])
def test_each_cap_holds_to_the_second(store: Till, ago: list[timedelta], same: bool, reason: str) -> None:
    who = member(store)
    visit = 0
    for passed in sorted(ago, reverse=True):
        visit = add_visit(store.conn, "acme", who, NOON - passed)
        _contact(store.conn, who, visit, NOON - passed)
    if not same:
        visit = add_visit(store.conn, "acme", who)
    with store.conn.transaction():
        verdict = pass_gate(store.conn, "acme", who, visit, NOON, "Europe/Berlin", SALT, 0.1)
    assert verdict.reason == reason


def _contact(conn: psycopg.Connection[Any], who: UUID, visit: int, at: datetime) -> None:
    conn.execute(
        "WITH d AS (INSERT INTO decision (tenant_id, campaign, visit_id, member_id, presence_id, at, outcome, reason,"
        " arm) VALUES ('acme', 'before', %(v)s, %(m)s, 0, %(at)s, 'sent', 'x', 'target') RETURNING decision_id)"
        " INSERT INTO contact (tenant_id, member_id, decision_id, visit_id, purpose, at)"
        " SELECT 'acme', %(m)s, decision_id, %(v)s, 'proximity', %(at)s FROM d",
        {"v": visit, "m": who, "at": at},
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 14 * 24 * 60), st.booleans()), min_size=2, max_size=25))
def test_no_history_exceeds_a_cap(store: Till, history: list[tuple[int, bool]]) -> None:
    store.conn.execute("DELETE FROM contact")
    store.conn.execute("DELETE FROM decision")
    store.conn.execute("INSERT INTO member (tenant_id, member_id, card) VALUES ('acme', %s, '12345678')"
                       " ON CONFLICT DO NOTHING", (TARGET,))  # fmt: skip
    for purpose in BOTH:
        say_consent(store.conn, "acme", TARGET, purpose, True)
    sent: list[tuple[datetime, int]] = []
    visit, began = 0, NOON
    for minute, new_visit in sorted(history):
        at = NOON + timedelta(minutes=minute)
        if new_visit or not visit or at - began > DAY:  # nobody stays longer than a day
            visit, began = add_visit(store.conn, "acme", TARGET, at), at
        with store.conn.transaction():
            verdict = pass_gate(store.conn, "acme", TARGET, visit, at, "Europe/Berlin", SALT, 0.1)
            if verdict.outcome == "sent":
                _contact(store.conn, TARGET, visit, at)
                sent.append((at, visit))
    assert len({v for _, v in sent}) == len(sent), "one a visit"
    times = [at for at, _ in sent]
    assert all(later - one >= DAY for one, later in zip(times, times[1:], strict=False)), "one a day, 4 h apart"
    assert all(third - one >= 7 * DAY for one, third in zip(times, times[2:], strict=False)), "two in 7 days"
    assert not any(is_quiet(at, "Europe/Berlin") for at in times)
