"""Zones by five minutes: sums made as visits end and receipts are joined say the same as counting it all anew."""

import json
import random
import statistics
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import TupleRow

from cloud import db
from cloud.locate.directory import Person
from cloud.locate.journal import Journal
from cloud.locate.story import Entered, Left, Revised, Story, Track
from cloud.receipts.join import join_receipts
from tests.conftest import Database
from tests.integration.cloud_support import NOON, NOON_US, make_member, make_tenant, superuser, told_until

STORE = "main-street"
CATEGORIES = {"coffee": ["coffee"], "door": [], "wine": ["wine", "cheese"]}
MINUTE = timedelta(minutes=1)
S = 1_000_000
BUCKET_US = 300 * S


@pytest.fixture
def admin(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    """Past row security, with a store of three zones."""
    make_tenant(database, "acme")
    with superuser(database) as conn:
        conn.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', %s, 'S', 'UTC')", (STORE,))
        conn.execute(
            "INSERT INTO floor (tenant_id, store_id, floor, name, width_m, depth_m, cell_m)"
            " VALUES ('acme', %s, '0', 'Ground', 8, 8, 1)",
            (STORE,),
        )
        for zone, categories in CATEGORIES.items():
            conn.execute(
                "INSERT INTO zone (tenant_id, store_id, zone, floor, name, kind, polygon, categories)"
                " VALUES ('acme', %s, %s, '0', %s, 'shelf', '[]', %s)",
                (STORE, zone, zone, categories),
            )
        zones = [
            {"zone": zone, "name": zone, "kind": "shelf", "categories": list(categories)}
            for zone, categories in CATEGORIES.items()
        ]
        conn.execute(
            "INSERT INTO plan VALUES ('acme', %s, 1, 'epoch', %s, 'epoch', NULL, true)",
            (STORE, json.dumps({"zones": zones})),
        )
        yield conn


@pytest.fixture
def service(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    with psycopg.connect(database.service, autocommit=True) as conn:
        yield conn


@dataclass(slots=True)
class Visit:
    """The truth of a visit: stays as (presence, zone, from, to), microseconds."""

    number: int
    person: Person
    stays: list[tuple[int, str, int, int]] = field(default_factory=list)
    over: bool = True
    bought: list[tuple[int, str]] = field(default_factory=list)
    """When, what category."""

    @property
    def begun_us(self) -> int:
        return min(at for _, _, at, _ in self.stays) - S

    @property
    def end_us(self) -> int:
        return max(to for *_, to in self.stays)

    def track(self) -> Track:
        return Track(self.person, self.number, 0, self.begun_us, self.end_us)


def journal(conn: psycopg.Connection[Any]) -> Journal:
    return Journal(conn, "acme", STORE)


def tell(conn: psycopg.Connection[Any], visit: Visit, revise_us: int = 0) -> None:
    """Write a visit's story down, as the locator would over time: it begins, goes on, and ends if it is over."""
    scribe = journal(conn)
    begins = Story(began=[visit.track()])
    begins.entered = [Entered(p, visit.number, zone, "fused", at, 0.9) for p, zone, at, _ in visit.stays]
    later = Story(left=[Left(p, to) for p, _, _, to in visit.stays])
    later.revised = [Revised(p, at + revise_us) for p, _, at, _ in visit.stays] if revise_us else []
    later.ended = [visit.track()] if visit.over else []
    for story in (begins, later):
        with conn.transaction():
            scribe.write(story, [] if visit.over else [visit.track()], visit.end_us)


def pay(conn: psycopg.Connection[Any], visit: Visit) -> None:
    """A receipt with the member's card for each thing that was bought."""
    for n, (at_us, category) in enumerate(visit.bought):
        conn.execute(
            "WITH r AS (INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total,"
            " member_id) VALUES ('acme', %s, %s, '1', at_us(%s), 'sale', 'EUR', 5, %s) RETURNING receipt_id)"
            " INSERT INTO receipt_line SELECT 'acme', receipt_id, 1, 's', 'n', %s, 1000, 5, 0, 5 FROM r",
            (STORE, f"{visit.number}-{n}", at_us, visit.person.member_id, category),
        )


Figures = tuple[int, float | None, float | None, float | None]
"""Visits, mean and median dwell in seconds, conversion."""


def table(database: Database, from_us: int, to_us: int) -> dict[str, Figures]:
    """The zone table, as an analyst of the tenant gets it."""
    sql = db.statements("cloud.analytics").zone_table
    with psycopg.connect(database.app) as conn:
        conn.execute("SELECT set_config('aisle.tenant', 'acme', true)")
        key = {"tenant": "acme", "store": STORE, "from_us": from_us, "to_us": to_us}
        return {row[0]: row[3:] for row in conn.execute(sql, key)}


def by_hand(visits: list[Visit], from_us: int, to_us: int) -> dict[str, Figures]:
    """The same from the truth."""
    found = {}
    for zone, categories in CATEGORIES.items():
        dwells, converted = [], 0
        for visit in visits:
            stays = [(at, to) for _, z, at, to in visit.stays if z == zone]
            if visit.person.excluded or not stays:
                continue
            first_us = min(at for at, _ in stays)
            if from_us <= first_us // BUCKET_US * BUCKET_US < to_us:
                dwells.append(sum(to - at for at, to in stays) / S)
                converted += any(category in categories and at >= first_us for at, category in visit.bought)
        mean, median = (statistics.fmean(dwells), statistics.median(dwells)) if dwells else (None, None)
        rate = converted / len(dwells) if categories and dwells else None
        found[zone] = (len(dwells), mean, median, rate)
    return found


def assert_close(told: Figures, wanted: Figures) -> None:
    """Equal to the precision of a dwell that is kept in four bytes."""
    assert [figure is None for figure in told] == [figure is None for figure in wanted]
    for a, b in zip(told, wanted, strict=True):
        assert a is None or a == pytest.approx(b, rel=1e-5)


def random_visits(database: Database, seed: int, count: int) -> list[Visit]:
    """Visits over two hours: some go on, some are staff's, some come back to a zone, some buy something."""
    draw = random.Random(seed)
    members = [make_member(database, "acme", {}) for _ in range(count)]
    visits, presence = [], 0
    for number, member in enumerate(members, 1):
        visit = Visit(number, Person(member, None, excluded=draw.random() < 0.1), over=draw.random() < 0.8)
        at_us = NOON_US + draw.randrange(7_200) * S
        for _ in range(draw.randint(1, 6)):
            presence += 1
            to_us = at_us + draw.randint(5, 240) * S
            visit.stays.append((presence, draw.choice(list(CATEGORIES)), at_us, to_us))
            at_us = to_us + draw.randint(1, 200) * S
        for _ in range(draw.choice([0, 0, 1, 2])):
            visit.bought.append((draw.randint(visit.begun_us, visit.end_us), draw.choice(["coffee", "wine", "milk"])))
        visits.append(visit)
    return visits


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sums_by_five_minutes_say_what_counting_anew_says(database: Database, admin, service, seed: int) -> None:
    visits = random_visits(database, seed, 120)
    half = len(visits) // 2
    for visit in visits:
        tell(service, visit)
    for visit in visits[:half]:  # joined in two goes, as a till's receipts come
        pay(admin, visit)
    told_until(admin, "acme", NOON + timedelta(hours=6), STORE)
    for later in (visits[half:], []):
        with service.transaction():
            join_receipts(service)
        for visit in later:
            pay(admin, visit)
    assert admin.execute("SELECT count(*) FROM receipt_visit").fetchone() == (sum(len(v.bought) for v in visits),)
    for begin, length in ((0, 24), (0, 6), (5, 7), (3, 1), (20, 40)):
        span = NOON_US + begin * BUCKET_US, NOON_US + (begin + length) * BUCKET_US
        told, wanted = table(database, *span), by_hand(visits, *span)
        for zone in CATEGORIES:
            assert_close(told[zone], wanted[zone])
    assert sum(figures[0] for figures in table(database, *span).values()) > 0


def test_a_receipt_that_comes_before_the_visit_is_over_counts_once(database: Database, admin, service) -> None:
    member = make_member(database, "acme", {})
    stay = (1, "coffee", NOON_US, NOON_US + 60 * S)
    visit = Visit(1, Person(member, None, excluded=False), [stay], over=False, bought=[(NOON_US + 50 * S, "coffee")])
    tell(service, visit)
    pay(admin, visit)
    told_until(admin, "acme", NOON + 10 * MINUTE, STORE)
    with service.transaction():
        join_receipts(service)
    span = NOON_US, NOON_US + BUCKET_US
    assert table(database, *span)["coffee"] == (1, 60.0, 60.0, 1.0)
    with service.transaction():
        journal(service).write(Story(ended=[visit.track()]), [], NOON_US + BUCKET_US)
    assert table(database, *span)["coffee"] == (1, 60.0, 60.0, 1.0)
    assert admin.execute("SELECT visits, converted FROM zone_5min").fetchall() == [(1, 1)]


def test_a_second_receipt_of_a_visit_converts_nothing_twice(database: Database, admin, service) -> None:
    member = make_member(database, "acme", {})
    visit = Visit(1, Person(member, None, excluded=False), [(1, "wine", NOON_US, NOON_US + 60 * S)])
    tell(service, visit)
    told_until(admin, "acme", NOON + 10 * MINUTE, STORE)
    for n, category in enumerate(("wine", "cheese")):
        visit.bought = [(NOON_US + (40 + n) * S, category)]
        visit.number += 1  # the receipt's name
        pay(admin, visit)
        with service.transaction():
            join_receipts(service)
    assert admin.execute("SELECT converted FROM zone_5min").fetchall() == [(1,)]


def test_an_entry_that_is_told_anew_moves_the_dwell_with_it(database: Database, admin, service) -> None:
    member = make_member(database, "acme", {})
    visit = Visit(1, Person(member, None, excluded=False), [(1, "door", NOON_US, NOON_US + 60 * S)])
    tell(service, visit, revise_us=10 * S)
    assert table(database, NOON_US, NOON_US + BUCKET_US)["door"] == (1, 50.0, 50.0, None)


def test_what_was_not_committed_is_not_counted(database: Database, admin, service) -> None:
    member = make_member(database, "acme", {})
    visit = Visit(1, Person(member, None, excluded=False), [(1, "door", NOON_US, NOON_US + 60 * S)], over=False)
    tell(service, visit)
    with pytest.raises(RuntimeError), service.transaction():
        journal(service).write(Story(ended=[visit.track()]), [], NOON_US + BUCKET_US)
        raise RuntimeError("power cut")
    assert admin.execute("SELECT count(*) FROM zone_5min").fetchone() == (0,)


def test_the_locator_and_the_workers_write_the_same_rows_at_once(database: Database, admin) -> None:
    """In one order of the rows: neither waits for the other both ways."""
    members = [make_member(database, "acme", {}) for _ in range(40)]
    stays = [(zone, NOON_US + k * BUCKET_US) for k in range(8) for zone in CATEGORIES]
    visits = []
    for number, member in enumerate(members, 1):
        order = random.Random(number).sample(stays, len(stays))
        own = [(number * 100 + n, zone, at, at + 9 * S) for n, (zone, at) in enumerate(order)]
        visits.append(Visit(number, Person(member, None, excluded=False), own))
    with psycopg.connect(database.service, autocommit=True) as conn:
        for visit in visits:
            visit.over = False
            tell(conn, visit)
            visit.bought = [(visit.end_us, c) for c in ("coffee", "wine")]
            pay(admin, visit)
    told_until(admin, "acme", NOON + timedelta(hours=6), STORE)
    errors: list[Exception] = []

    def run(work: Any) -> None:
        try:
            with psycopg.connect(database.service, autocommit=True) as conn:
                work(conn)
        except Exception as error:
            errors.append(error)

    def locate(conn: psycopg.Connection[Any]) -> None:
        for first in range(0, len(visits), 4):
            with conn.transaction():
                ended = Story(ended=[visit.track() for visit in visits[first : first + 4]])
                journal(conn).write(ended, [], NOON_US + 72 * BUCKET_US)

    def join(conn: psycopg.Connection[Any]) -> None:
        for _ in range(10):
            with conn.transaction():
                join_receipts(conn)

    threads = [threading.Thread(target=run, args=(work,)) for work in (locate, join, join)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    total = admin.execute("SELECT sum(visits), sum(converted) FROM zone_5min").fetchone()
    assert total == (40 * 3, 40 * 2)


def test_no_tenant_sees_the_zones_of_another(database: Database, admin, service) -> None:
    member: UUID = make_member(database, "acme", {})
    tell(service, Visit(1, Person(member, None, excluded=False), [(1, "door", NOON_US, NOON_US + 60 * S)]))
    with psycopg.connect(database.app) as conn:
        for tenant, rows in (("", 0), ("beta", 0), ("acme", 1)):
            conn.execute("SELECT set_config('aisle.tenant', %s, true)", (tenant,))
            assert conn.execute("SELECT count(*) FROM zone_5min").fetchone() == (rows,)
