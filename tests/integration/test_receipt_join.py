"""Receipts find their visit: by the member's card, else by who stood at the till; each join keeps how sure it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from cloud.receipts.join import join_receipts
from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON,
    Api,
    add_presence,
    add_visit,
    furnish,
    make_caller,
    make_member,
    running_api,
    superuser,
    told_until,
)

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Scene:
    api: Api
    database: Database
    conn: psycopg.Connection[Any]
    member: UUID

    def receipt(self, member: UUID | None = None, at: datetime = NOON, uid: str = "r-1") -> int:
        row = self.conn.execute(
            "INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total, member_id)"
            " VALUES ('acme', 'main-street', %s, '1', %s, 'sale', 'EUR', 100, %s) RETURNING receipt_id",
            (uid, at, member),
        ).fetchone()
        assert row is not None
        receipt: int = row[0]
        return receipt

    def visitor(self, entered: timedelta, left: timedelta | None, zone: str = "till", **how: Any) -> int:
        """A new member's visit that was in a zone from NOON + entered to NOON + left; returns the visit."""
        visit = add_visit(self.conn, "acme", make_member(self.database, "acme"), NOON - 10 * MINUTE, 11 * MINUTE, **how)
        add_presence(self.conn, "acme", visit, zone, NOON + entered, None if left is None else NOON + left)
        return visit

    def join(self, told: timedelta = 5 * MINUTE) -> list[tuple[int, int, float, str]]:
        """What was joined once the story is told up to NOON + told: receipt, visit, confidence, reason."""
        told_until(self.conn, "acme", NOON + told)
        with psycopg.connect(self.database.service) as conn:
            join_receipts(conn)
        return [
            (r, v, round(c, 4), why)
            for r, v, c, why in self.conn.execute(
                "SELECT receipt_id, visit_id, confidence, reason FROM receipt_visit ORDER BY receipt_id"
            )
        ]

    def states(self) -> list[str]:
        return [s for (s,) in self.conn.execute("SELECT join_state FROM receipt ORDER BY receipt_id")]


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    with running_api(database) as api, superuser(database) as conn:
        furnish(api, database, "acme")
        yield Scene(api, database, conn, make_member(database, "acme"))


def test_the_card_of_the_visiting_member_joins(scene: Scene) -> None:
    visit = add_visit(scene.conn, "acme", scene.member, NOON - 10 * MINUTE)
    receipt = scene.receipt(scene.member)
    assert scene.join(timedelta()) == [(receipt, visit, 0.98, "card of the visiting member")]
    assert scene.states() == ["joined"]


# The visit lasts from `began` to `ended`, both from NOON, when the receipt was printed.
CARDS = [
    ("left nine minutes before", -20 * MINUTE, -9 * MINUTE, True),
    ("left eleven minutes before", -20 * MINUTE, -11 * MINUTE, False),
    ("came later", MINUTE, 5 * MINUTE, False),
    ("came that moment", timedelta(), 5 * MINUTE, True),
]


@pytest.mark.parametrize(("began", "ended", "joins"), [pytest.param(*c[1:], id=c[0]) for c in CARDS])
def test_a_card_joins_the_members_visit_of_that_minute(
    scene: Scene, began: timedelta, ended: timedelta, joins: bool
) -> None:
    add_visit(scene.conn, "acme", scene.member, NOON + began, ended - began, ended=True)
    scene.receipt(scene.member)
    assert bool(scene.join()) is joins


def test_a_card_never_joins_the_visit_of_somebody_else_at_the_till(scene: Scene) -> None:
    scene.visitor(-MINUTE, SECOND)
    scene.receipt(scene.member)
    assert scene.join() == []


def test_alone_at_the_till_joins_by_place_and_time(scene: Scene) -> None:
    visit = scene.visitor(-MINUTE, 5 * SECOND)
    receipt = scene.receipt()
    assert scene.join() == [(receipt, visit, 0.75, "alone at the till")]


def test_two_at_the_till_halve_the_confidence_and_the_nearer_in_time_is_chosen(scene: Scene) -> None:
    scene.visitor(-2 * MINUTE, -30 * SECOND)
    near = scene.visitor(-MINUTE, 5 * SECOND)
    receipt = scene.receipt()
    assert scene.join() == [(receipt, near, 0.375, "nearest in time of 2 at the till")]


def test_one_who_was_at_the_till_twice_is_no_rival_of_oneself(scene: Scene) -> None:
    visit = scene.visitor(-50 * SECOND, -20 * SECOND)
    add_presence(scene.conn, "acme", visit, "till", NOON - 10 * SECOND, NOON + 5 * SECOND)
    add_presence(scene.conn, "acme", visit, "till", NOON - 9 * SECOND, NOON + 4 * SECOND, source="node")
    receipt = scene.receipt()
    assert scene.join() == [(receipt, visit, 0.75, "alone at the till")]


NOT_THERE: list[tuple[str, timedelta, timedelta | None, dict[str, Any]]] = [
    ("left the till a minute and a second before", -5 * MINUTE, -61 * SECOND, {}),
    ("came to the till 21 seconds after", 21 * SECOND, None, {}),
    ("stood elsewhere", -MINUTE, SECOND, {"zone": "coffee"}),
    ("works there", -MINUTE, SECOND, {"excluded": True}),
]


@pytest.mark.parametrize(("entered", "left", "how"), [pytest.param(*n[1:], id=n[0]) for n in NOT_THERE])
def test_who_was_not_at_the_till_is_not_joined(
    scene: Scene, entered: timedelta, left: timedelta | None, how: dict[str, Any]
) -> None:
    scene.visitor(entered, left, **how)
    scene.receipt()
    assert scene.join() == []


def test_a_visit_that_has_its_receipt_is_no_rival(scene: Scene) -> None:
    one, other = scene.visitor(-MINUTE, 2 * SECOND), scene.visitor(-MINUTE, 9 * SECOND)
    first, second = scene.receipt(), scene.receipt(at=NOON + 10 * SECOND, uid="r-2")
    assert scene.join() == [
        (first, one, 0.375, "nearest in time of 2 at the till"),
        (second, other, 0.75, "alone at the till"),
    ]


def test_the_search_waits_for_the_story_and_ends_after_half_an_hour(scene: Scene) -> None:
    scene.receipt()
    assert (scene.join(-SECOND), scene.states()) == ([], ["open"])
    visit = scene.visitor(-MINUTE, 5 * SECOND)
    assert scene.join(59 * SECOND) == [], "who else stood there is not known before a minute has been told"
    assert [v for _, v, *_ in scene.join(60 * SECOND)] == [visit]
    scene.receipt(at=NOON - 5 * MINUTE, uid="r-2")
    scene.join(25 * MINUTE - SECOND)
    assert scene.states() == ["joined", "open"]
    scene.join(25 * MINUTE)
    assert scene.states() == ["joined", "unmatched"]


def test_a_visit_with_two_receipts_is_listed_once_with_the_surer_one(scene: Scene) -> None:
    visit = add_visit(scene.conn, "acme", scene.member, NOON - 10 * MINUTE)
    add_presence(scene.conn, "acme", visit, "coffee", NOON - 5 * MINUTE, NOON - 4 * MINUTE)
    add_presence(scene.conn, "acme", visit, "coffee", NOON - 2 * MINUTE, NOON - MINUTE)
    scene.receipt(scene.member)
    scene.receipt(scene.member, NOON + SECOND, "r-2")
    assert len(scene.join()) == 2
    analyst = make_caller(scene.database, "acme", "analyst")
    (row,) = scene.api.get("/v1/stores/main-street/visits", analyst).json()
    assert row["receipt"] == {"receipt_uid": "r-1", "total": 100, "currency": "EUR", "confidence": 0.98,
                              "reason": "card of the visiting member"}  # fmt: skip
    assert row["zones"] == [{"zone": "coffee", "dwell_s": 120}]
    assert len(row["member"]) == 5, "the end of a card number, not the card"
