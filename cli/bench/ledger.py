"""How fast points are decided: many tills spend from one member until nothing is left, and awards that are sent again.

All clients are driven by one thread through libpq's asynchronous calls, each with one request under way: it costs about
20 µs a request, where a thread a client takes 100 of the cores that the database should have. Each decision is one
transaction, flushed to the disk before its answer.
"""

import re
import selectors
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import UUID, uuid4

import psycopg
from psycopg import pq

from cli.stack.database import APP, OWNER
from cli.stack.postgres import Postgres
from cli.stack.processes import StackError
from cloud import db
from cloud.points.service import sql

TENANT = "bench"
CLIENTS = 16
SHARE = 16
"""One spend in so many is accepted; what is left of the balance decides about the rest."""
PRICE = 5
REPLAYS = 8
"""Times that the batch of awards is sent, as a till does that was offline and never saw the answers."""
AT_US = 1_800_000_000_000_000
PARAMETER = re.compile(r"%\((\w+)\)s")
EARN = {"wallet": "main", "amount": "7", "at_us": str(AT_US), "pending": "false", "active_us": None, "expires_us": None,
        "valid_days": "365", "funder": "", "rule": "1", "reason": "", "actor": "till"}  # fmt: skip
SPEND = {"wallet": "main", "amount": str(PRICE), "at_us": str(AT_US), "receipt": None, "reason": "", "actor": "till"}

Values = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the runs."""

    contended_spends_per_s: int
    """Decisions on one member's balance, 1 in 16 accepted."""
    accepted: int
    """Of the last run: exactly what the balance was good for."""
    overdraft: int
    """Units that were spent beyond the balance, in all runs."""
    earns_per_s: int
    """Awards, each sent eight times and given once."""
    first_earns_per_s: int
    """Awards that are new, each to another member."""
    spends: int
    earns: int
    clients: int


def measure(spends: int = 8_000, earns: int = 8_000, runs: int = 3) -> Figures:
    """All of it, some seconds after the server's start. Raises StackError, also when a balance or an award is wrong."""
    with _scratch() as (dsn, admin):
        spent, earned, new = list[float](), list[float](), list[float]()
        overdraft = accepted = 0
        with _Clients(dsn, CLIENTS) as clients, psycopg.connect(admin, autocommit=True) as looking:
            _warm_up(clients, looking)
            for _ in range(runs):
                accepted, per_s, over = _contend(clients, looking, spends)
                spent.append(per_s)
                overdraft += over
                earned.append(_replay(clients, looking, earns, REPLAYS))
                new.append(_replay(clients, looking, earns // REPLAYS, 1))
            if faults := looking.execute("SELECT * FROM points_faults()").fetchall():
                raise StackError(f"the ledger does not add up: {faults[0]}")
    return Figures(
        contended_spends_per_s=round(median(spent)),
        accepted=accepted,
        overdraft=overdraft,
        earns_per_s=round(median(earned)),
        first_earns_per_s=round(median(new)),
        spends=spends,
        earns=earns,
        clients=CLIENTS,
    )


def _warm_up(clients: "_Clients", looking: psycopg.Connection[tuple[object, ...]]) -> None:
    """The first calls of a connection plan the functions' statements."""
    _replay(clients, looking, CLIENTS * REPLAYS * 8, REPLAYS)
    _contend(clients, looking, CLIENTS * SHARE)


def _contend(
    clients: "_Clients", looking: psycopg.Connection[tuple[object, ...]], spends: int
) -> tuple[int, float, int]:
    """One member, everybody spends: how many were accepted, decisions a second, units overdrawn."""
    [member] = _members(looking, 1)
    good_for = spends // SHARE
    clients.run(sql.earn, [EARN | {"member": str(member), "amount": str(good_for * PRICE), "key": f"earn:{member}",
                                   "receipt": None}])  # fmt: skip
    orders = [SPEND | {"member": str(member), "key": f"{member}:{n}"} for n in range(spends)]
    begun = time.monotonic()
    outcomes = clients.run(sql.spend, orders)
    seconds = time.monotonic() - begun
    accepted, short = outcomes.count("done"), outcomes.count("short")
    row = looking.execute("SELECT debits FROM points_account WHERE member_id = %s AND kind = 'active'", (member,))
    used = row.fetchone()
    if accepted + short != spends or used != (accepted * PRICE,):
        raise StackError(f"of {spends} spends {accepted} were accepted, {short} refused; the ledger has {used}")
    if accepted < good_for:
        raise StackError(f"{accepted} spends were accepted, the balance was good for {good_for}")
    return accepted, spends / seconds, max(accepted - good_for, 0) * PRICE


def _replay(clients: "_Clients", looking: psycopg.Connection[tuple[object, ...]], earns: int, times: int) -> float:
    """A batch of awards to many members, sent so many times over by whoever is free: awards a second, as sent."""
    members = _members(looking, earns // times)
    awards = [EARN | {"member": str(m), "key": f"earn:{m}:{times}", "receipt": f"{m}"} for m in members]
    begun = time.monotonic()
    outcomes = clients.run(sql.earn, awards * times)
    seconds = time.monotonic() - begun
    if (outcomes.count("done"), outcomes.count("again")) != (len(awards), len(awards) * (times - 1)):
        raise StackError(f"{len(awards)} awards sent {times} times each: {outcomes.count('done')} were given")
    return len(outcomes) / seconds


def _members(looking: psycopg.Connection[tuple[object, ...]], n: int) -> list[UUID]:
    members = [uuid4() for _ in range(n)]
    looking.execute(
        "INSERT INTO member (tenant_id, member_id, card) SELECT %s, m, (10000000 + row_number() OVER ()"
        " + (SELECT count(*) FROM member))::text FROM unnest(%s::uuid[]) m",
        (TENANT, members),
    )
    return members


class _Clients:
    """Connections as the api has them, bound to the tenant, each with at most one request under way."""

    def __init__(self, dsn: str, n: int) -> None:
        self._conns = [psycopg.connect(dsn, autocommit=True) for _ in range(n)]
        self._prepared: dict[str, tuple[bytes, list[str]]] = {}
        for conn in self._conns:
            conn.execute("SELECT set_config('aisle.tenant', %s, false)", (TENANT,))

    def __enter__(self) -> "_Clients":
        return self

    def __exit__(self, *exc: object) -> None:
        for conn in self._conns:
            conn.close()

    def run(self, statement: str, orders: Sequence[Values]) -> list[str]:
        """The outcome of each order; whoever is free takes the next. Raises StackError."""
        name, names = self._prepare(statement)
        waiting = iter([[_bytes(order[n]) for n in names] for order in orders])
        outcomes: list[str] = []
        under_way = 0
        with selectors.DefaultSelector() as selector:
            for conn in self._conns:
                if (values := next(waiting, None)) is None:
                    break
                _send(conn.pgconn, name, values)
                selector.register(conn.pgconn.socket, selectors.EVENT_READ, conn.pgconn)
                under_way += 1
            while under_way:
                for ready, _ in selector.select():
                    pgconn: pq.abc.PGconn = ready.data
                    pgconn.consume_input()
                    if pgconn.is_busy():
                        continue
                    outcomes.append(_outcome(pgconn))
                    if (values := next(waiting, None)) is None:
                        under_way -= 1
                    else:
                        _send(pgconn, name, values)
        return outcomes

    def _prepare(self, statement: str) -> tuple[bytes, list[str]]:
        if statement not in self._prepared:
            names = list(dict.fromkeys(PARAMETER.findall(statement)))
            numbered = PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", statement)
            name = f"s{len(self._prepared)}".encode()
            for conn in self._conns:
                result = conn.pgconn.prepare(name, numbered.encode())
                if result.status != pq.ExecStatus.COMMAND_OK:
                    raise StackError(result.error_message.decode())
            self._prepared[statement] = name, names
        return self._prepared[statement]


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _send(pgconn: pq.abc.PGconn, name: bytes, values: Sequence[bytes | None]) -> None:
    pgconn.send_query_prepared(name, values)
    while pgconn.flush():
        pass  # a request is smaller than a socket's buffer


def _outcome(pgconn: pq.abc.PGconn) -> str:
    """The first column of the answer, which is all there."""
    outcome = ""
    while (result := pgconn.get_result()) is not None:
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise StackError(result.error_message.decode())
        outcome = (result.get_value(0, 0) or b"").decode()
    return outcome


@contextmanager
def _scratch() -> Iterator[tuple[str, str]]:
    """A migrated database of its own with one tenant: the api's connection string, and the superuser's."""
    folder = Path(tempfile.mkdtemp(prefix="aisle-bench-"))
    folder.chmod(0o711)
    server = Postgres(folder / "postgres")
    try:
        server.start().bootstrap()
        db.migrate(server.dsn(OWNER))
        admin = server.dsn("postgres")
        with psycopg.connect(admin, autocommit=True) as conn:
            conn.execute("INSERT INTO tenant (tenant_id, name) VALUES (%s, %s)", (TENANT, TENANT))
        yield server.dsn(APP), admin
    finally:
        server.destroy()
        shutil.rmtree(folder, ignore_errors=True)
