"""The points ledger on a real PostgreSQL: what it does with lots, holds, returns and merges, and what it refuses."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cli.stack.database import APP, SERVICE
from cloud.errors import Conflict, NotFound
from cloud.points import service
from cloud.points.models import Returns
from cloud.points.service import Award, KeyReused, NotEnoughPoints
from tests.conftest import Database
from tests.integration.cloud_support import NOON_US, make_tenant, superuser
from tests.integration.points_support import DAY_US, TENANT, Ledger, bound, ledger_of

TABLES = (
    "wallet account operation transfer lot use debt hold hold_lot adjustment merge statement policy"
).split()  # fmt: skip


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    with ledger_of(database) as made:
        yield made
        assert made.faults() == []


def after(days: float) -> int:
    """So many days after NOON."""
    return NOON_US + round(days * DAY_US)


# Who may write


def test_only_the_ledgers_own_functions_may_write_its_tables(database: Database) -> None:
    with superuser(database) as conn:
        found = {name for (name,) in conn.execute("SELECT relname FROM pg_class WHERE relname LIKE 'points\\_%'"
                                                  " AND relkind = 'r'")}  # fmt: skip
        assert found == {f"points_{table}" for table in TABLES}
        for table in sorted(found):
            for role in (APP, SERVICE, "public"):
                for what in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
                    may = conn.execute("SELECT has_table_privilege(%s, %s, %s)", (role, table, what)).fetchone()
                    assert may == (False,), f"{role} may {what} {table}"
            assert conn.execute("SELECT has_any_column_privilege(%s, %s, 'INSERT, UPDATE')", (APP, table)).fetchone() \
                == (False,)  # fmt: skip
        open_to_all = conn.execute(
            "SELECT p.proname FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
            " WHERE p.proname LIKE 'points\\_%' AND a.grantee = 0"
        ).fetchall()
        assert open_to_all == []
    for dsn in (database.app, database.service):
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("SELECT set_config('aisle.tenant', 'acme', false)")
            for statement in (b"UPDATE points_account SET credits = 10", b"DELETE FROM points_lot",
                              b"INSERT INTO points_wallet VALUES ('acme', 'mine', '', '')",
                              b"SELECT points_move(1, 1, 2, 5)"):  # fmt: skip
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement)


def test_what_is_posted_cannot_be_changed_even_by_the_owner(ledger: Ledger, database: Database) -> None:
    member = ledger.member()
    ledger.earn(member, 100)
    with psycopg.connect(database.owner, autocommit=True) as conn:
        conn.execute("SELECT set_config('aisle.tenant', 'acme', false)")
        for table in ("operation", "transfer", "use", "merge", "statement"):
            for how in (
                "UPDATE points_{} SET tenant_id = tenant_id",
                "DELETE FROM points_{}",
                "TRUNCATE points_{} CASCADE",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only added to"):
                    conn.execute(how.format(table).encode())
    assert ledger.balance(member) == 100


def test_another_tenants_member_is_unknown_and_without_a_tenant_nothing_is_done(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 100, key="first")
    make_tenant(ledger.database, "beta")
    for tenant in ("beta", ""):
        with ledger.conn.transaction():
            service.bind(ledger.conn, tenant)
            with pytest.raises(NotFound):
                service.earn(ledger.conn, Award(member, 5, "mine", NOON_US, "test"))
            with pytest.raises(NotEnoughPoints):
                service.spend(ledger.conn, member, 5, key="mine", at_us=NOON_US, actor="test")
            with pytest.raises(NotFound):
                service.reverse_earn(ledger.conn, "first", 5, key="mine", at_us=NOON_US, actor="test")
            assert service.balance(ledger.conn, tenant, member, at_us=NOON_US).wallets == []
    assert ledger.balance(member) == 100


# Once


def test_the_same_key_gives_the_same_answer_and_with_other_content_it_is_refused(ledger: Ledger) -> None:
    a, b = ledger.member(), ledger.member()
    award = Award(a, 100, "earn:r1:rule-1", NOON_US, "test", receipt="r1", rule="rule-1")
    first, again = ledger.call(service.earn, award), ledger.call(service.earn, award)
    assert (first.replayed, again.replayed) == (False, True)
    assert (first.number, first.amount) == (again.number, again.amount) == (first.number, 100)
    for other in (
        Award(a, 101, award.key, NOON_US, "test", receipt="r1", rule="rule-1"),
        Award(b, 100, award.key, NOON_US, "test", receipt="r1", rule="rule-1"),
    ):
        with pytest.raises(KeyReused):
            ledger.call(service.earn, other)
    with pytest.raises(KeyReused):
        ledger.spend(a, 100, key=award.key)
    ledger.spend(a, 60, key="s")
    ledger.spend(a, 60, key="s")
    with pytest.raises(KeyReused):
        ledger.spend(a, 61, key="s")
    assert ledger.balance(a) == 40


def test_a_refused_spend_writes_nothing_and_its_key_may_be_tried_again(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 50)
    with pytest.raises(NotEnoughPoints) as refused:
        ledger.spend(member, 60, key="s")
    assert refused.value.available == 50 and refused.value.status == 409
    ledger.earn(member, 10)
    ledger.spend(member, 60, key="s")
    assert ledger.balance(member) == 0


def test_an_offline_till_that_sends_its_batch_thrice_in_any_order_awards_once(ledger: Ledger) -> None:
    """OCA/pos #185, Odoo PR #270532."""
    member = ledger.member()
    awards = [Award(member, n, f"earn:r{n}:1", NOON_US + n, "till", receipt=f"r{n}") for n in range(1, 8)]
    for order in (awards, awards[::-1], awards[3:] + awards[:3]):
        for award in order:
            ledger.call(service.earn, award)
    assert ledger.balance(member) == sum(range(1, 8))


def test_a_crash_between_any_two_operations_leaves_all_or_nothing_of_a_transaction(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 100)

    class Crash(Exception):
        """The process ends."""

    for steps in (1, 2):
        with pytest.raises(Crash), bound(ledger.conn):
            service.spend(ledger.conn, member, 30, key="s", at_us=NOON_US, actor="test")
            if steps == 2:
                service.earn(ledger.conn, Award(member, 7, "e", NOON_US, "test"))
            raise Crash
        assert ledger.balance(member) == 100
    with bound(ledger.conn):
        service.spend(ledger.conn, member, 30, key="s", at_us=NOON_US, actor="test")
        service.earn(ledger.conn, Award(member, 7, "e", NOON_US, "test"))
    assert ledger.balance(member) == 77


# Lots


def test_the_earliest_expiry_is_spent_first_whatever_its_age_and_never_expiring_points_last(ledger: Ledger) -> None:
    """Open Loyalty 3.x spent by age."""
    member = ledger.member()
    ledger.earn(member, 10)  # never expires
    ledger.earn(member, 20, days=90)
    ledger.earn(member, 30, days=30)
    ledger.spend(member, 35)
    assert ledger.lots(member) == [(15, 90), (10, None)]
    ledger.spend(member, 20)
    assert ledger.lots(member) == [(5, None)]


def test_points_past_their_expiry_cannot_be_spent_although_nobody_swept(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 50, days=10)
    ledger.earn(member, 20, days=20)
    with pytest.raises(NotEnoughPoints) as refused:
        ledger.spend(member, 60, at_us=after(10))
    assert refused.value.available == 20
    ledger.spend(member, 20, at_us=after(10))
    assert ledger.balance(member, after(10)) == 0


def test_expired_credits_and_the_spends_from_them_leave_the_balance_right(ledger: Ledger) -> None:
    """FloCafe #78, where expired credits were dropped and their spends still subtracted."""
    member = ledger.member()
    ledger.earn(member, 100, days=10)
    ledger.earn(member, 40, days=100)
    ledger.spend(member, 70, at_us=after(1))
    assert ledger.call(service.sweep, at_us=after(11)) == 1
    assert ledger.call(service.sweep, at_us=after(11)) == 0
    assert ledger.balance(member, after(11)) == 40


@pytest.mark.parametrize("reason", ["", "welcome", "sorry", "bonus", "expired", "adjust", "réunion"])
def test_lots_expire_by_their_date_whatever_they_were_given_for(ledger: Ledger, reason: str) -> None:
    """ecommerce-laravel PR #1056, where lots expired by label."""
    member = ledger.member()
    ledger.earn(member, 10, days=5, reason=reason)
    ledger.earn(member, 10, days=None, reason=reason)
    ledger.call(service.adjust, member, 10, key=ledger.key(), at_us=NOON_US, reason="other", actor="a",
                expires_us=after(5))  # fmt: skip
    assert [ledger.balance(member, at) for at in (after(5) - 1, after(5))] == [30, 10]


def test_every_expiry_is_listed_by_date_and_not_only_the_nearest(ledger: Ledger) -> None:
    """FloCafe #62."""
    member = ledger.member()
    for days, amount in ((30, 5), (10, 7), (30, 6), (20, 8)):
        ledger.earn(member, amount, days=days)
    ledger.earn(member, 9)
    with bound(ledger.conn):
        [wallet] = service.balance(ledger.conn, TENANT, member, at_us=NOON_US).wallets
    noon = datetime.fromtimestamp(NOON_US / 1e6, UTC).date()
    assert [(due.day, due.amount) for due in wallet.expiries] == [
        (noon + timedelta(days=days), amount) for days, amount in ((10, 7), (20, 8), (30, 11))
    ]
    assert wallet.balance == wallet.available == 35


# Pending


def test_pending_points_turn_active_at_their_instant_and_their_validity_counts_from_then(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 100, days=30, pending=True, active_us=after(15))
    with pytest.raises(NotEnoughPoints):
        ledger.spend(member, 1, at_us=after(15) - 1)
    with bound(ledger.conn):
        [wallet] = service.balance(ledger.conn, TENANT, member, at_us=after(14)).wallets
    assert (wallet.balance, wallet.pending, wallet.activations[0].amount) == (0, 100, 100)
    ledger.spend(member, 1, at_us=after(15))
    assert ledger.lots(member) == [(99, 45)]


def test_points_that_wait_for_an_action_turn_active_by_it_once(ledger: Ledger) -> None:
    member = ledger.member()
    key = ledger.earn(member, 100, days=30, pending=True)
    assert ledger.balance(member, after(1000)) == 0
    activate: Any = lambda at: ledger.call(service.activate, key, at_us=at, actor="app")  # noqa: E731
    assert (activate(after(5)).replayed, activate(after(6)).replayed) == (False, True)
    assert ledger.lots(member) == [(100, 35)]


# Holds


def test_a_hold_reserves_is_resolved_once_and_its_points_do_not_expire_meanwhile(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 100, days=10)
    hold: Any = lambda amount, key: ledger.call(  # noqa: E731
        service.hold, member, amount, key=key, at_us=after(9), until_us=after(12), actor="till"
    )
    held = hold(80, "h")
    assert hold(80, "h").number == held.number
    with pytest.raises(KeyReused):
        hold(81, "h")
    for over in (lambda: ledger.spend(member, 21, at_us=after(9)), lambda: hold(21, "i")):
        with pytest.raises(NotEnoughPoints) as refused:
            over()
        assert refused.value.available == 20
    assert ledger.balance(member, after(11)) == 80, "the free part has expired, what is held has not"
    first = ledger.call(service.commit, held.number, at_us=after(11), actor="till")
    again = ledger.call(service.commit, held.number, at_us=after(11), actor="till")
    assert (first.amount, again.replayed, again.number) == (80, True, first.number)
    with pytest.raises(Conflict):
        ledger.call(service.void, held.number, at_us=after(11))
    assert ledger.balance(member, after(11)) == 0


def test_a_voided_or_timed_out_hold_gives_its_points_back_and_what_is_past_its_date_then_expires(
    ledger: Ledger,
) -> None:
    member = ledger.member()
    ledger.earn(member, 50, days=10)
    ledger.earn(member, 50, days=100)
    void, late = (
        ledger.call(service.hold, member, amount, key=ledger.key(), at_us=NOON_US, until_us=after(20), actor="t").number
        for amount in (30, 40)
    )
    ledger.call(service.void, void, at_us=after(1))
    assert ledger.call(service.void, void, at_us=after(1)).replayed
    assert ledger.balance(member, after(11)) == 70, "30 went with their date, 20 of that lot are held"
    with pytest.raises(Conflict):
        ledger.call(service.commit, late, at_us=after(20), actor="t")
    ledger.spend(member, 50, at_us=after(20))
    assert ledger.balance(member, after(20)) == 0
    with pytest.raises(Conflict):
        ledger.call(service.commit, late, at_us=after(20), actor="t")


# Returns


def test_a_return_takes_exactly_its_points_from_what_is_left_of_that_award_first(ledger: Ledger) -> None:
    """Odoo PR #257854."""
    member = ledger.member()
    other = ledger.earn(member, 100, days=5)
    earned = ledger.earn(member, 50, days=90)
    assert ledger.unearn(earned, 20) == 20
    assert ledger.lots(member) == [(100, 5), (30, 90)]
    assert ledger.unearn(earned, 30) == 30
    with pytest.raises(Conflict, match="only 0"):
        ledger.unearn(earned, 1)
    assert ledger.lots(member) == [(100, 5)]
    assert ledger.unearn(other, 100) == 100


# Spent before the return or not, and what the policy then takes of 50 awarded beside 30 others: the four combinations
# of ERPNext #32951 and #30242, each policy.
RETURNS = [
    (Returns.ONLY_PENDING, 0, 0, 80),
    (Returns.ONLY_PENDING, 60, 0, 20),
    (Returns.WITHIN_BALANCE, 0, 50, 30),
    (Returns.WITHIN_BALANCE, 60, 20, 0),
    (Returns.UNLIMITED, 0, 50, 30),
    (Returns.UNLIMITED, 60, 50, -30),
]


@pytest.mark.parametrize(("policy", "spent", "taken", "left"), RETURNS)
def test_a_return_follows_the_policy_when_the_points_were_spent(
    ledger: Ledger, policy: Returns, spent: int, taken: int, left: int
) -> None:
    member = ledger.member()
    earned = ledger.earn(member, 50, days=10)
    ledger.earn(member, 30, days=20)
    if spent:
        ledger.spend(member, spent)
    assert ledger.unearn(earned, 50, policy=policy) == taken
    assert ledger.balance(member) == left
    if left < 0:
        with pytest.raises(NotEnoughPoints):
            ledger.spend(member, 1)
        ledger.earn(member, 100)
        assert ledger.balance(member) == 100 + left
        ledger.spend(member, 100 + left)


def test_a_return_before_the_activation_takes_only_pending_points(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 70)
    earned = ledger.earn(member, 50, pending=True, active_us=after(14))
    assert ledger.unearn(earned, 20, policy=Returns.ONLY_PENDING) == 20
    assert ledger.balance(member, after(15)) == 100


def test_what_has_expired_unspent_is_not_taken_again_from_other_points(ledger: Ledger) -> None:
    member = ledger.member()
    earned = ledger.earn(member, 50, days=10)
    ledger.earn(member, 30)
    ledger.spend(member, 20, at_us=after(1))
    assert ledger.unearn(earned, 50, at_us=after(11)) == 20, "20 were spent, 30 have expired"
    assert ledger.balance(member, after(11)) == 10


def test_spent_points_come_back_once_into_their_own_lots_with_the_old_expiry(ledger: Ledger) -> None:
    """Odoo PR #212922."""
    member = ledger.member()
    ledger.earn(member, 50, days=10)
    ledger.earn(member, 50, days=90)
    spent = ledger.spend(member, 80)
    ledger.unspend(spent, 40, key="return-1")
    assert ledger.unspend(spent, 40, key="return-1").replayed
    assert ledger.lots(member) == [(10, 10), (50, 90)], "as if only 40 had been spent"
    ledger.unspend(spent, 40)
    assert ledger.lots(member) == [(50, 10), (50, 90)]
    with pytest.raises(Conflict, match="only 0"):
        ledger.unspend(spent, 1)


def test_spent_points_whose_expiry_has_come_return_for_days_of_grace(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 50, days=10)
    ledger.earn(member, 50, days=90)
    spent = ledger.spend(member, 80)
    ledger.unspend(spent, 70, at_us=after(20))
    assert ledger.lots(member) == [(40, 50), (50, 90)], "40 for 30 days from the return on"
    ledger.unspend(spent, 10, at_us=after(20))
    assert ledger.balance(member, after(49)) == 100
    with pytest.raises(Conflict):
        ledger.unspend(spent, 1, at_us=after(20))


def test_a_committed_hold_can_be_returned_too(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 50, days=10)
    held = ledger.call(service.hold, member, 30, key="h", at_us=NOON_US, until_us=after(1), actor="t").number
    ledger.call(service.commit, held, at_us=NOON_US, actor="t")
    ledger.unspend(f"commit:{held}", 30)
    assert ledger.lots(member) == [(50, 10)]


# By hand


def test_an_adjustment_above_the_threshold_waits_for_a_second_person(ledger: Ledger) -> None:
    """B10."""
    member = ledger.member()

    def adjust(amount: int, actor: str = "ann", key: str | None = None) -> Any:
        return ledger.call(service.adjust, member, amount, key=key or ledger.key(), at_us=NOON_US, reason="sorry",
                           actor=actor)  # fmt: skip

    def decide(adjustment: int, approve: bool, actor: str) -> Any:
        return ledger.call(service.decide, adjustment, approve=approve, at_us=NOON_US, actor=actor)

    assert not adjust(100_000).waiting
    large = adjust(100_001, key="large")
    assert large.waiting and ledger.balance(member) == 100_000
    assert adjust(100_001, key="large").number == large.number
    with pytest.raises(KeyReused):
        adjust(100_002, key="large")
    with pytest.raises(Conflict, match="second person"):
        decide(large.number, True, "ann")
    assert decide(large.number, True, "bob").amount == 100_001
    assert decide(large.number, True, "bob").replayed
    with pytest.raises(Conflict):
        decide(large.number, False, "bob")
    assert ledger.balance(member) == 200_001
    refused = adjust(-150_000)
    decide(refused.number, False, "ann")
    with pytest.raises(Conflict):
        decide(refused.number, True, "bob")
    with pytest.raises(NotEnoughPoints):
        adjust(-200_002)
    adjust(-1)
    assert ledger.balance(member) == 200_000


# Members


def test_given_points_keep_their_expiry_and_who_pays_for_them(ledger: Ledger) -> None:
    giver, taker = ledger.member(), ledger.member()
    ledger.earn(giver, 50, days=10, funder="bakery")
    ledger.earn(giver, 50, days=90)
    ledger.call(service.give, giver, taker, 70, key="g", at_us=NOON_US, actor="app")
    assert (ledger.lots(giver), ledger.lots(taker)) == ([(30, 90)], [(50, 10), (20, 90)])
    assert ledger.call(service.give, giver, taker, 70, key="g", at_us=NOON_US, actor="app").replayed
    with pytest.raises(NotEnoughPoints):
        ledger.call(service.give, giver, taker, 31, key=ledger.key(), at_us=NOON_US, actor="app")
    with pytest.raises(NotFound):
        ledger.call(service.give, giver, giver, 1, key=ledger.key(), at_us=NOON_US, actor="app")


def test_a_merge_loses_no_point_and_unmerging_restores_the_former_state(ledger: Ledger) -> None:
    """A03: the total of points before and after; holds, debts, pending points and later returns follow the survivor."""
    ledger.call(service.put_wallet, "bakery", "Bakery", "bakery")
    gone, kept = ledger.member(), ledger.member()
    ledger.earn(gone, 100, days=10)
    ledger.earn(gone, 40, pending=True, active_us=after(5))
    ledger.earn(gone, 60, wallet="bakery")
    ledger.earn(kept, 30, days=20)
    spent = ledger.spend(gone, 70)
    before = [(ledger.lots(m), ledger.balance(m)) for m in (gone, kept)]

    def merge(key: str) -> Any:
        return ledger.call(service.merge, gone, kept, key=key, at_us=NOON_US, actor="dedupe")

    assert merge("m").amount == 130
    assert merge("m").replayed
    assert ledger.lots(gone) == [] and ledger.balance(gone) == 0
    assert ledger.balance(kept) == 60
    ledger.call(service.unmerge, "m", key="u", at_us=NOON_US, actor="dedupe")
    assert ledger.call(service.unmerge, "m", key="u", at_us=NOON_US, actor="dedupe").replayed
    assert [(ledger.lots(m), ledger.balance(m)) for m in (gone, kept)] == before
    with pytest.raises(Conflict):
        ledger.call(service.unmerge, "m", key="again", at_us=NOON_US, actor="dedupe")

    merge("m2")
    ledger.unspend(spent, 70)
    assert ledger.balance(kept) == 130, "what was spent before the merge returns to the survivor"
    held = ledger.call(service.hold, kept, 110, key="h", at_us=NOON_US, until_us=after(1), actor="t").number
    with pytest.raises(Conflict):
        ledger.call(service.unmerge, "m2", key="u2", at_us=NOON_US, actor="dedupe")
    ledger.call(service.void, held, at_us=NOON_US)
    ledger.call(service.unmerge, "m2", key="u2", at_us=NOON_US, actor="dedupe")
    assert (ledger.balance(gone), ledger.balance(kept)) == (100, 30)


def test_debts_and_holds_follow_a_merge(ledger: Ledger) -> None:
    gone, kept = ledger.member(), ledger.member()
    earned = ledger.earn(gone, 50)
    ledger.spend(gone, 50)
    ledger.unearn(earned, 50, policy=Returns.UNLIMITED)
    ledger.earn(kept, 30)
    ledger.call(service.merge, gone, kept, key="m", at_us=NOON_US, actor="dedupe")
    assert (ledger.balance(gone), ledger.balance(kept)) == (0, -20)
    third = ledger.member()
    ledger.earn(kept, 100)
    held = ledger.call(service.hold, kept, 60, key="h", at_us=NOON_US, until_us=after(1), actor="t").number
    ledger.call(service.merge, kept, third, key="m2", at_us=NOON_US, actor="dedupe")
    ledger.call(service.commit, held, at_us=NOON_US, actor="t")
    assert (ledger.balance(kept), ledger.balance(third)) == (0, 20)


def test_an_erased_members_points_stay_under_a_tombstone(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.earn(member, 70)
    ledger.call(service.erase, member)
    assert ledger.balance(member) == 0
    with superuser(ledger.database) as conn:
        total = conn.execute("SELECT sum(credits - debits) FROM points_account WHERE member_id IS NOT NULL").fetchone()
        assert total == (70,)
        for table in TABLES:
            rows = conn.execute(f"SELECT x::text FROM points_{table} x".encode()).fetchall()
            assert not any(str(member) in text for (text,) in rows), table


# Wallets


def test_partner_funded_points_do_not_mix_with_the_houses(ledger: Ledger) -> None:
    member = ledger.member()
    ledger.call(service.put_wallet, "bakery", "Bakery", "bakery")
    ledger.earn(member, 100)
    ledger.earn(member, 40, wallet="bakery")
    with pytest.raises(NotEnoughPoints):
        ledger.spend(member, 41, wallet="bakery")
    ledger.spend(member, 40, wallet="bakery")
    assert ledger.balance(member) == 100
    with pytest.raises(NotFound):
        ledger.earn(member, 1, wallet="unheard-of")


# The statement


def test_the_daily_statement_chains_and_any_change_of_the_past_breaks_it(ledger: Ledger) -> None:
    member = ledger.member()
    day = date(2026, 11, 24)
    for n in range(4):
        ledger.earn(member, 100 + n, days=2)
        ledger.spend(member, 50)
        made = ledger.call(service.close_day, day + timedelta(days=n), at_us=after(n))
        assert made == ledger.call(service.close_day, day + timedelta(days=n), at_us=after(n + 1)), "closed once"
    assert made.issued == 103 and made.redeemed == 50
    with pytest.raises(Conflict):
        ledger.call(service.close_day, day - timedelta(days=1), at_us=after(9))
    assert ledger.faults() == []
    with superuser(ledger.database) as conn:
        for table, change, back in (
            ("points_operation", "receipt = 'forged'", "receipt = NULL"),
            ("points_operation", "at = at + interval '1 second'", "at = at - interval '1 second'"),
        ):
            one = "WHERE operation_id = (SELECT min(operation_id) FROM points_operation)"
            conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER immutable".encode())
            conn.execute(f"UPDATE {table} SET {change} {one}".encode())
            assert [fault[0] for fault in ledger.faults()] == ["I10"]
            conn.execute(f"UPDATE {table} SET {back} {one}".encode())
            conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER immutable".encode())


# Each fault that the check must find: what somebody with the superuser's rights may have done to a balance of 100.
FORGED = [
    ("I2", "UPDATE points_account SET credits = credits + 5 WHERE kind = 'active'"),
    ("I3", "UPDATE points_lot SET amount = amount + 5, remaining = remaining + 5"),
    ("I3", "UPDATE points_lot SET held = 5"),
    ("I4", "UPDATE points_lot SET remaining = remaining - 5"),
    ("I5", "UPDATE points_use SET amount = amount + 5"),
    ("I6", "UPDATE points_account SET owed = 5 WHERE kind = 'active'"),
    ("I7", "UPDATE points_account SET credits = credits - 5 WHERE kind = 'active'"),
    ("I1", "UPDATE points_transfer SET credit = 999999"),
    ("I8", "INSERT INTO points_operation (tenant_id, key, kind, asked, wanted, amount, reverses, at, actor)"
           " SELECT tenant_id, 'x', 'reverse_earn', '{}', 101, 0, operation_id, at, 'x' FROM points_operation"),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "forgery"), FORGED)
def test_the_check_finds_what_was_forged(database: Database, invariant: str, forgery: str) -> None:
    with ledger_of(database) as ledger:
        ledger.earn(ledger.member(), 100)
        assert ledger.faults() == []
        with superuser(database) as conn:
            for table in ("operation", "transfer", "use"):
                conn.execute(f"ALTER TABLE points_{table} DISABLE TRIGGER immutable".encode())
            conn.execute(forgery.encode())
        assert invariant in {fault[0] for fault in ledger.faults()}
