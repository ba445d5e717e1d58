"""The ledger's operations, each a part of the caller's transaction, which is bound to a tenant.

Every amount is positive and in programme units, every instant the caller's, in microseconds. Keys make operations
happen once: the same key with the same content gives the same answer, with another content it raises KeyReused. A
refusal writes nothing, and its key may be tried again. What is locked is the member's account, until the caller's
transaction ends.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection

from cloud import db
from cloud.errors import Conflict, Invalid, NotFound
from cloud.points.models import AdjustmentRow, Balances, Due, Movement, Returns, Statement, WalletBalance

sql = db.statements("cloud.points")

MAIN = "main"
SWEEP = 500
"""Accounts whose due lots one transaction of the sweep changes: some tenths of a second."""


class NotEnoughPoints(Conflict):
    """There are not enough points."""

    available: int = 0


class KeyReused(Invalid):
    """That key stood for something else before."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What an operation did."""

    number: int
    """Of the operation; of the hold or adjustment where one was made."""
    amount: int
    """Units that were moved. A return may move less than it asked, by its policy."""
    replayed: bool
    """It had been done before; this is the answer from then."""
    waiting: bool = False
    """An adjustment that a second person must approve."""


@dataclass(frozen=True, slots=True)
class Award:
    """Points for a member."""

    member: UUID
    amount: int
    key: str
    """`earn:<receipt>:<rule and version>`."""
    at_us: int
    actor: str
    wallet: str = MAIN
    pending: bool = False
    """Not spendable before `active_us`, or before `activate` where that is None."""
    active_us: int | None = None
    expires_us: int | None = None
    valid_days: int | None = None
    """Expiry counted from when they become spendable, where `expires_us` is None. Both None: never."""
    funder: str = ""
    """The partner who pays for them; '' is the house."""
    receipt: str | None = None
    rule: str | None = None
    reason: str = ""


def bind(conn: Connection[Any], tenant: str) -> None:
    """Bind a transaction of the worker to a tenant, as the api's are."""
    conn.execute(sql.bind, {"tenant": tenant})


def earn(conn: Connection[Any], award: Award) -> Posted:
    """Award points. Raises NotFound for an unknown member or wallet, KeyReused."""
    return _done(conn, sql.earn, {name: getattr(award, name) for name in Award.__slots__})


def activate(conn: Connection[Any], earn_key: str, *, at_us: int, actor: str) -> Posted:
    """Make the pending points of an award spendable. Raises NotFound."""
    return _done(conn, sql.activate, {"earn": earn_key, "at_us": at_us, "actor": actor})


def spend(
    conn: Connection[Any],
    member: UUID,
    amount: int,
    *,
    key: str,
    at_us: int,
    actor: str,
    wallet: str = MAIN,
    receipt: str | None = None,
    reason: str = "",
) -> Posted:
    """Spend points, those that expire first. Raises NotEnoughPoints, KeyReused."""
    values = {"member": member, "amount": amount, "key": key, "at_us": at_us, "actor": actor, "wallet": wallet}
    return _done(conn, sql.spend, values | {"receipt": receipt, "reason": reason})


def hold(
    conn: Connection[Any],
    member: UUID,
    amount: int,
    *,
    key: str,
    at_us: int,
    until_us: int,
    actor: str,
    wallet: str = MAIN,
    receipt: str | None = None,
) -> Posted:
    """Reserve points until an instant; the answer's number names the hold. Raises NotEnoughPoints, KeyReused."""
    values = {"member": member, "amount": amount, "key": key, "at_us": at_us, "actor": actor, "wallet": wallet}
    return _done(conn, sql.hold, values | {"receipt": receipt, "until_us": until_us})


def commit(conn: Connection[Any], hold: int, *, at_us: int, actor: str, receipt: str | None = None) -> Posted:
    """Spend what is held. Raises NotFound, and Conflict for a hold that was voided or has timed out."""
    return _done(conn, sql.commit, {"hold": hold, "at_us": at_us, "actor": actor, "receipt": receipt})


def void(conn: Connection[Any], hold: int, *, at_us: int) -> Posted:
    """Give back what is held. Raises NotFound, and Conflict for a hold that was committed."""
    return _done(conn, sql.void, {"hold": hold, "at_us": at_us})


def reverse_earn(
    conn: Connection[Any],
    earn_key: str,
    amount: int,
    *,
    key: str,
    at_us: int,
    actor: str,
    policy: Returns | None = None,
    receipt: str | None = None,
) -> Posted:
    """Take back points of an award for returned goods, by the given policy or the tenant's.

    Raises NotFound, KeyReused, and Conflict where less is left to take back.
    """
    values = {"earn": earn_key, "amount": amount, "key": key, "at_us": at_us, "actor": actor}
    return _done(conn, sql.reverse_earn, values | {"policy": policy and str(policy), "receipt": receipt})


def reverse_spend(
    conn: Connection[Any], spend_key: str, amount: int, *, key: str, at_us: int, actor: str, receipt: str | None = None
) -> Posted:
    """Give spent points back into their lots. `commit:<hold>` is the key of a committed hold.

    Raises NotFound, KeyReused, and Conflict where less is left to give back.
    """
    values = {"spend": spend_key, "amount": amount, "key": key, "at_us": at_us, "actor": actor}
    return _done(conn, sql.reverse_spend, values | {"receipt": receipt})


def adjust(
    conn: Connection[Any],
    member: UUID,
    amount: int,
    *,
    key: str,
    at_us: int,
    reason: str,
    actor: str,
    note: str = "",
    expires_us: int | None = None,
    wallet: str = MAIN,
) -> Posted:
    """Credit (above zero) or debit by hand; above the policy's amount it waits for `decide`.

    Raises NotFound, NotEnoughPoints, KeyReused.
    """
    values = {"member": member, "amount": amount, "key": key, "at_us": at_us, "actor": actor, "wallet": wallet}
    return _done(conn, sql.adjust, values | {"reason": reason, "note": note, "expires_us": expires_us})


def decide(conn: Connection[Any], adjustment: int, *, approve: bool, at_us: int, actor: str) -> Posted:
    """Approve or reject. Raises NotFound, NotEnoughPoints; Conflict if it was decided otherwise, or `actor` asked."""
    return _done(conn, sql.decide, {"adjustment": adjustment, "approve": approve, "at_us": at_us, "actor": actor})


def give(
    conn: Connection[Any],
    giver: UUID,
    taker: UUID,
    amount: int,
    *,
    key: str,
    at_us: int,
    actor: str,
    wallet: str = MAIN,
    reason: str = "",
) -> Posted:
    """Points go from one member to another and keep their expiry. Raises NotFound, NotEnoughPoints, KeyReused."""
    values = {"from": giver, "into": taker, "amount": amount, "key": key, "at_us": at_us, "actor": actor}
    return _done(conn, sql.give, values | {"wallet": wallet, "reason": reason})


def merge(conn: Connection[Any], absorbed: UUID, survivor: UUID, *, key: str, at_us: int, actor: str) -> Posted:
    """All of one member's points, holds and debts become another's. Raises NotFound, KeyReused."""
    values = {"from": absorbed, "into": survivor, "key": key, "at_us": at_us, "actor": actor}
    return _done(conn, sql.merge, values)


def unmerge(conn: Connection[Any], merge_key: str, *, key: str, at_us: int, actor: str) -> Posted:
    """What is left of what a merge moved goes back. Raises NotFound, KeyReused; Conflict while something is held."""
    return _done(conn, sql.unmerge, {"merge": merge_key, "key": key, "at_us": at_us, "actor": actor})


def sweep(conn: Connection[Any], *, at_us: int) -> int:
    """Time out holds, activate and expire what is due, of the next SWEEP members; returns how many things changed.

    Call it until it returns 0, each time in a transaction of its own. Nothing waits for it: spends and balances see
    what is due for their member by themselves.
    """
    row = conn.execute(sql.sweep, {"at_us": at_us, "accounts": SWEEP}).fetchone()
    return int(row[0]) if row else 0


def close_day(conn: Connection[Any], day: date, *, at_us: int) -> Statement:
    """The day's statement, chained to the one before; made at the first call. Raises Conflict for a skipped day."""
    row = conn.execute(sql.close_day, {"day": day, "at_us": at_us}).fetchone()
    if row is None:
        raise Conflict(f"a later day than {day} is closed already")
    return Statement(**dict(zip(Statement.model_fields, row, strict=True)))


def faults(conn: Connection[Any]) -> list[tuple[str, str, str]]:
    """Invariant, tenant and detail of whatever does not add up, of the tenants that this connection sees."""
    return conn.execute(sql.faults).fetchall()


def erase(conn: Connection[Any], member: UUID) -> None:
    """Nobody knows any more whose these points were; every amount stays."""
    conn.execute(sql.erase, {"member": member})


def put_wallet(conn: Connection[Any], wallet: str, name: str, funder: str = "") -> None:
    """Make a wallet beside `main`; `funder` is the partner who pays for all that is in it, and stays as it was made."""
    conn.execute(sql.put_wallet, {"wallet": wallet, "name": name, "funder": funder})


def balance(conn: Connection[Any], tenant: str, member: UUID, *, at_us: int) -> Balances:
    """What a member has. What has come due by then is written first, so that it equals the end of the history."""
    conn.execute(sql.refresh, {"member": member, "at_us": at_us})
    values = {"tenant": tenant, "member": member, "at_us": at_us}
    scale, tz = conn.execute(sql.policy, values).fetchone() or (2, "UTC")
    due: dict[tuple[str, bool], list[Due]] = {}
    for wallet, pending, day, amount in conn.execute(sql.due, values | {"tz": tz}):
        due.setdefault((wallet, pending), []).append(Due(day=day, amount=amount))
    wallets = [
        WalletBalance(
            wallet=wallet,
            name=name,
            balance=total,
            available=max(total - held, 0),
            held=held,
            pending=pending,
            expiries=due.get((wallet, False), []),
            activations=due.get((wallet, True), []),
        )
        for wallet, name, total, held, pending in conn.execute(sql.balances, values)
    ]
    return Balances(scale=scale, wallets=wallets)


def history(
    conn: Connection[Any], tenant: str, member: UUID, *, at_us: int, before: int | None = None, limit: int = 100
) -> list[Movement]:
    """Every movement of a member's points, newest first, those before a movement. The first has the shown balance."""
    conn.execute(sql.refresh, {"member": member, "at_us": at_us})
    values = {"tenant": tenant, "member": member, "before": before, "limit": limit}
    rows = conn.execute(sql.history, values)
    return [Movement(**dict(zip(Movement.model_fields, row, strict=True))) for row in rows]


def adjustments(
    conn: Connection[Any], tenant: str, state: Literal["waiting", "posted", "rejected"], limit: int
) -> list[AdjustmentRow]:
    """What staff asked for, newest first."""
    rows = conn.execute(sql.adjustments, {"tenant": tenant, "state": state, "limit": limit})
    return [AdjustmentRow(**dict(zip(AdjustmentRow.model_fields, row, strict=True))) for row in rows]


def _done(conn: Connection[Any], statement: str, values: dict[str, Any]) -> Posted:
    """Run an operation and tell its outcome as a value or an error."""
    row = conn.execute(statement, values).fetchone()
    assert row is not None
    outcome, number, moved, available = row
    if outcome in ("done", "again", "waiting"):
        return Posted(number, moved, outcome == "again", outcome == "waiting")
    if outcome == "short":
        error = NotEnoughPoints(f"{available} may be spent")
        error.available = available
        raise error
    if outcome == "unknown":
        raise NotFound("no such member, wallet, operation or hold")
    if outcome == "reused":
        raise KeyReused("the key was used with another content")
    if outcome == "beyond":
        raise Conflict(f"only {available} are left to undo")
    if outcome == "same":
        raise Conflict("a second person must approve it")
    raise Conflict("it was resolved before, or something of it is held")
