"""The ledger's invariants under random operations from eight threads at once, and against a replay of its transfers."""

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.errors import AisleError
from cloud.points import service
from cloud.points.models import Returns
from cloud.points.service import Award, Posted
from tests.conftest import Database
from tests.integration.cloud_support import NOON_US, superuser
from tests.integration.points_support import DAY_US, TENANT, Ledger, bound, ledger_of

THREADS = 8
KINDS = (
    "earn", "earn", "earn", "spend", "spend", "replay", "hold", "commit", "void", "activate", "unearn", "unspend",
    "adjust", "give", "merge", "unmerge", "sweep", "look", "close",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A random operation; `pick` chooses its members and what it refers to."""

    kind: str
    pick: int
    amount: int
    day: float
    """After NOON; instants are in disorder, as those of tills are."""


steps = st.builds(
    Step,
    kind=st.sampled_from(KINDS),
    pick=st.integers(0, 10**6),
    amount=st.integers(1, 120),
    day=st.floats(0, 40, allow_nan=False, width=32),
)


class Crowd:
    """Members, and what was done with them, shared by all threads."""

    def __init__(self, members: Sequence[UUID], run: str) -> None:
        self.members = members
        self.run = run
        self.did: dict[str, list[Any]] = defaultdict(list)
        self.outcomes: Counter[str] = Counter()

    def one(self, kind: str, pick: int) -> Any:
        """Something that was done before, None if nothing was."""
        done = self.did[kind]
        return done[pick % len(done)] if done else None

    def do(self, conn: psycopg.Connection[Any], n: int, step: Step) -> None:
        """Carry a step out; a refusal is as good as an answer."""
        with bound(conn):
            try:
                done = self._do(conn, f"{self.run}:{n}", step)
            except AisleError as error:
                self.outcomes[f"{step.kind} {type(error).__name__}"] += 1
            else:
                self.outcomes[f"{step.kind} {'again' if isinstance(done, Posted) and done.replayed else 'done'}"] += 1

    def _do(self, conn: psycopg.Connection[Any], key: str, step: Step) -> object:
        at_us = NOON_US + int(step.day * DAY_US)
        member, other = (self.members[p % len(self.members)] for p in (step.pick, step.pick // 7))
        how: dict[str, Any] = {"key": key, "at_us": at_us, "actor": "test"}
        match step.kind:
            case "earn":
                pending = step.pick % 3 == 0
                active_us = at_us + step.pick % 5 * DAY_US if step.pick % 2 else None
                days = (None, 3, 10, 60)[step.pick % 4]
                award = Award(member, step.amount, key, at_us, "test", pending=pending,
                              active_us=active_us if pending else None, valid_days=days)  # fmt: skip
                done = service.earn(conn, award)
                self.did["earn"].append(award)
                return done
            case "spend":
                done = service.spend(conn, member, step.amount, **how)
                self.did["spend"].append((key, member, step.amount))
                return done
            case "replay":
                if step.pick % 2 and (award := self.one("earn", step.pick)):
                    return service.earn(conn, award)
                if spent := self.one("spend", step.pick):
                    return service.spend(conn, spent[1], spent[2], key=spent[0], at_us=at_us, actor="test")
            case "hold":
                done = service.hold(conn, member, step.amount, until_us=at_us + step.pick % 9 * DAY_US + 1, **how)
                self.did["hold"].append(done.number)
                return done
            case "commit" if (held := self.one("hold", step.pick)) is not None:
                done = service.commit(conn, held, at_us=at_us, actor="test")
                self.did["spend"].append((f"commit:{held}", member, step.amount))
                return done
            case "void" if (held := self.one("hold", step.pick)) is not None:
                return service.void(conn, held, at_us=at_us)
            case "activate" if award := self.one("earn", step.pick):
                return service.activate(conn, award.key, at_us=at_us, actor="test")
            case "unearn" if award := self.one("earn", step.pick):
                policy = (None, *Returns)[step.pick % 4]
                return service.reverse_earn(conn, award.key, step.amount, policy=policy, **how)
            case "unspend" if spent := self.one("spend", step.pick):
                return service.reverse_spend(conn, spent[0], step.amount, **how)
            case "adjust":
                return service.adjust(conn, member, step.amount if step.pick % 2 else -step.amount, reason="x", **how)
            case "give":
                return service.give(conn, member, other, step.amount, **how)
            case "merge" if step.pick % 4 == 0:
                done = service.merge(conn, member, other, **how)
                self.did["merge"].append(key)
                return done
            case "unmerge" if merged := self.one("merge", step.pick):
                return service.unmerge(conn, merged, **how)
            case "sweep":
                return service.sweep(conn, at_us=at_us)
            case "look":
                return service.balance(conn, TENANT, member, at_us=at_us)
            case "close" if step.pick % 10 == 0:
                day = 1 + len(self.did["close"])
                self.did["close"].append(day)
                return service.close_day(conn, date(2026, 1, 1) + timedelta(days=day), at_us=at_us)
        return None


def run_all(database: Database, crowd: Crowd, work: Sequence[Step]) -> None:
    """Threads take the steps in turn; whatever one raises, that is no refusal, fails the test."""
    failed: list[BaseException] = []

    def thread(first: int) -> None:
        try:
            with psycopg.connect(database.app, autocommit=True) as conn:
                for n in range(first, len(work), THREADS):
                    crowd.do(conn, n, work[n])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=thread, args=(first,)) for first in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if failed:
        raise failed[0]


def replayed(database: Database) -> dict[int, int]:
    """I9: the balance of every member's account, from nothing, by the transfers alone."""
    balances: dict[int, int] = defaultdict(int)
    with superuser(database) as conn:
        for debit, credit, amount in conn.execute("SELECT debit, credit, amount FROM points_transfer"):
            balances[debit] -= amount
            balances[credit] += amount
    assert sum(balances.values()) == 0, "I1: what one account gives another gets"
    return balances


def check(ledger: Ledger) -> None:
    """All invariants, by the ledger's own check and by replaying it here."""
    assert ledger.faults() == []
    balances = replayed(ledger.database)
    with superuser(ledger.database) as conn:
        for account, balance in conn.execute(
            "SELECT account_id, credits - debits FROM points_account WHERE member_id IS NOT NULL"
        ):
            assert balance == balances[account], f"I9: account {account}"


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    with ledger_of(database) as made:
        yield made


def test_the_invariants_hold_after_any_operations_in_any_order(ledger: Ledger) -> None:
    """Few members, so that operations meet."""
    run = iter(range(10**6))

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(work=st.lists(steps, min_size=10, max_size=80))
    def holds(work: list[Step]) -> None:
        crowd = Crowd([ledger.member() for _ in range(3)], f"run{next(run)}")
        run_all(ledger.database, crowd, work)
        check(ledger)

    holds()


@pytest.mark.timeout(300)
def test_b01_ten_thousand_operations_from_eight_threads_leave_every_invariant_true(ledger: Ledger) -> None:
    chance = random.Random(7)
    work = [
        Step(chance.choice(KINDS), chance.randrange(10**6), chance.randint(1, 120), chance.uniform(0, 40))
        for _ in range(10_000)
    ]
    crowd = Crowd([ledger.member() for _ in range(40)], "b01")
    run_all(ledger.database, crowd, work)
    check(ledger)
    # Each kind of operation was done, and most of them were also refused or replayed: the run has tried something.
    assert not {kind for kind in KINDS if not crowd.outcomes[f"{kind} done"]} - {"replay"}
    for refused in ("spend NotEnoughPoints", "replay again", "unearn Conflict", "unspend Conflict", "commit Conflict"):
        assert crowd.outcomes[refused], refused


def test_sixteen_that_spend_from_one_member_at_once_get_exactly_what_there_is(ledger: Ledger) -> None:
    """Leetcode-City #690: no balance is read and written back."""
    member = ledger.member()
    ledger.earn(member, 60)
    ledger.earn(member, 40, days=10)
    accepted: list[int] = []

    def spender(name: int) -> None:
        with psycopg.connect(ledger.database.app, autocommit=True) as conn:
            for n in range(20):
                try:
                    with bound(conn):
                        done = service.spend(conn, member, 5, key=f"{name}:{n}", at_us=NOON_US, actor="test")
                except service.NotEnoughPoints:
                    continue
                accepted.append(done.amount)

    _together([partial(spender, name) for name in range(16)])
    assert sum(accepted) == 100
    assert ledger.balance(member) == 0
    check(ledger)


def test_one_award_sent_by_eight_at_once_is_given_once(ledger: Ledger) -> None:
    member = ledger.member()
    answers: list[Posted] = []

    def sender() -> None:
        with psycopg.connect(ledger.database.app, autocommit=True) as conn:
            for n in range(10):
                with bound(conn):
                    answers.append(service.earn(conn, Award(member, 7, f"earn:{n}", NOON_US, "test")))

    _together([sender] * 8)
    assert Counter(answer.replayed for answer in answers) == {False: 10, True: 70}
    assert len({answer.number for answer in answers}) == 10
    assert ledger.balance(member) == 70
    check(ledger)


def _together(work: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
