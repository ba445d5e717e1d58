"""What the ledger's tests share: a tenant's ledger, its members, and the ledger's own word on what does not add up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

from cloud.points import service
from cloud.points.models import Returns
from cloud.points.service import Award, Posted
from tests.conftest import Database
from tests.integration.cloud_support import NOON_US, make_member, make_tenant

DAY_US = 86_400_000_000
TENANT = "acme"


@dataclass(slots=True)
class Ledger:
    """The ledger of TENANT, as the api works with it: one transaction a call."""

    database: Database
    conn: psycopg.Connection[TupleRow]
    n: int = 0

    def key(self) -> str:
        self.n += 1
        return f"k{self.n}"

    def member(self) -> UUID:
        return make_member(self.database, TENANT, {})

    def earn(self, member: UUID, amount: int, days: int | None = None, at_us: int = NOON_US, **how: Any) -> str:
        """An award that expires after so many days; returns its key."""
        key = how.pop("key", None) or self.key()
        with bound(self.conn):
            service.earn(self.conn, Award(member, amount, key, at_us, "test", valid_days=days, **how))
        return str(key)

    def spend(self, member: UUID, amount: int, at_us: int = NOON_US, key: str | None = None, **how: Any) -> str:
        key = key or self.key()
        with bound(self.conn):
            service.spend(self.conn, member, amount, key=key, at_us=at_us, actor="test", **how)
        return key

    def unearn(self, earned: str, amount: int, at_us: int = NOON_US, policy: Returns | None = None) -> int:
        """A return of goods that earned; returns what was taken back."""
        with bound(self.conn):
            done = service.reverse_earn(
                self.conn, earned, amount, key=self.key(), at_us=at_us, actor="test", policy=policy
            )
        return done.amount

    def unspend(self, spent: str, amount: int, at_us: int = NOON_US, key: str | None = None) -> Posted:
        with bound(self.conn):
            return service.reverse_spend(self.conn, spent, amount, key=key or self.key(), at_us=at_us, actor="test")

    def call(self, operation: Any, *args: Any, **how: Any) -> Any:
        """Any other operation of the service, in a transaction of its own."""
        with bound(self.conn):
            return operation(self.conn, *args, **how)

    def balance(self, member: UUID, at_us: int = NOON_US) -> int:
        with bound(self.conn):
            wallets = service.balance(self.conn, TENANT, member, at_us=at_us).wallets
        return {wallet.wallet: wallet.balance for wallet in wallets}.get("main", 0)

    def lots(self, member: UUID) -> list[tuple[int, int | None]]:
        """What remains of each open lot, and the day from NOON_US on which it expires."""
        with bound(self.conn):
            rows = self.conn.execute(
                "SELECT remaining, (us(expires_at) - %s) / %s FROM points_lot JOIN points_account USING (tenant_id,"
                " account_id) WHERE member_id = %s AND open ORDER BY expires_at NULLS LAST, lot_id",
                (NOON_US, DAY_US, member),
            ).fetchall()
        return [(remaining, day) for remaining, day in rows]

    def faults(self) -> list[tuple[str, str, str]]:
        with bound(self.conn):
            return service.faults(self.conn)


@contextmanager
def bound(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """A transaction for TENANT."""
    with conn.transaction():
        service.bind(conn, TENANT)
        yield


@contextmanager
def ledger_of(database: Database) -> Iterator[Ledger]:
    make_tenant(database, TENANT)
    with psycopg.connect(database.app, autocommit=True) as conn:
        yield Ledger(database, conn)
