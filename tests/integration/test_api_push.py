"""The member's inbox: what was sent, live and again after a break, and what the app reports back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON,
    NOON_US,
    OFFER,
    Api,
    add_visit,
    furnish,
    make_caller,
    make_member,
    running_api,
    superuser,
)

MINUTE_US = 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class Scene:
    api: Api
    database: Database
    member: UUID
    key: str

    def push(self, ago: timedelta = timedelta(minutes=1), member: UUID | None = None) -> int:
        """A push sent that long before NOON, good for ten minutes, written as the service writes it."""
        values: dict[str, Any] = {
            "m": member or self.member,
            "at": NOON - ago,
            "offer": OFFER["offer"],
            "title": OFFER["title"],
        }
        with psycopg.connect(self.database.service, autocommit=True) as conn:
            visit = add_visit(conn, "acme", values["m"], NOON - ago)
            row = conn.execute(
                "WITH d AS (INSERT INTO decision (tenant_id, campaign, visit_id, member_id, presence_id, at, outcome,"
                " reason, arm) VALUES ('acme', 'c', %(v)s, %(m)s, 0, %(at)s, 'sent', 'x', 'target')"
                " RETURNING decision_id),"
                " c AS (INSERT INTO contact (tenant_id, member_id, decision_id, visit_id, purpose, at)"
                " SELECT 'acme', %(m)s, decision_id, %(v)s, 'proximity', %(at)s FROM d RETURNING contact_id),"
                " k AS (INSERT INTO coupon (tenant_id, code, decision_id, member_id, offer, expires_at)"
                " SELECT 'acme', 'K' || %(v)s::text, decision_id, %(m)s, %(offer)s, %(at)s + interval '12 hours'"
                " FROM d)"
                " INSERT INTO push (tenant_id, member_id, contact_id, decision_id, offer, title, body, coupon, why,"
                " sent_at, expires_at) SELECT 'acme', %(m)s, contact_id, decision_id, %(offer)s, %(title)s, 'b',"
                " 'K' || %(v)s::text, 'w', %(at)s, %(at)s + interval '10 minutes' FROM d, c RETURNING push_id",
                values | {"v": visit},
            ).fetchone()
            assert row is not None
            conn.execute("SELECT pg_notify('aisle_push', %s)", (f"acme/{values['m']}/{row[0]}",))
        push: int = row[0]
        return push

    def inbox(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get("/app/v1/offers", self.key, params=query).json()
        return found

    def say(self, push: int, state: str, at_us: int | None = None) -> int:
        body = {"state": state} | ({} if at_us is None else {"at_us": at_us})
        return self.api.post(f"/app/v1/pushes/{push}", self.key, json=body).status_code

    def instants(self, push: int) -> tuple[Any, ...]:
        with superuser(self.database) as conn:
            row = conn.execute(
                "SELECT us(shown_at), us(clicked_at), us(dismissed_at) FROM push WHERE push_id = %s", (push,)
            ).fetchone()
        assert row is not None
        return row


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    with running_api(database) as api:
        furnish(api, database, "acme")
        member = make_member(database, "acme")
        yield Scene(api, database, member, make_caller(database, "acme", "member", kind="member", member=member))


def test_the_inbox_holds_what_was_sent_newest_first(scene: Scene) -> None:
    old, new = scene.push(timedelta(minutes=11)), scene.push()
    items = scene.inbox()
    assert [(i["push_id"], i["state"]) for i in items] == [(new, "sent"), (old, "expired")]
    assert items[0]["expires_us"] - items[0]["sent_us"] == 10 * MINUTE_US
    assert {"title": OFFER["title"], "why": "w", "offer": "ten-off"}.items() <= items[0].items()
    assert [i["push_id"] for i in scene.inbox(since=old)] == [new]


def test_somebody_elses_push_is_neither_seen_nor_marked(scene: Scene) -> None:
    other = scene.push(member=make_member(scene.database, "acme"))
    assert scene.inbox() == []
    assert scene.say(other, "shown") == 404
    assert scene.instants(other) == (None, None, None)


STATES = [("shown", "shown"), ("clicked", "clicked"), ("dismissed", "dismissed")]


@pytest.mark.parametrize(("said", "state"), STATES)
def test_what_the_app_reports_is_kept_the_first_time(scene: Scene, said: str, state: str) -> None:
    push = scene.push()
    assert scene.say(push, said, NOON_US - 5) == 204
    first = scene.instants(push)
    assert NOON_US - 5 in first
    assert scene.say(push, said, NOON_US - 2) == 204
    assert scene.instants(push) == first, "saying it again changes nothing"
    assert scene.inbox()[0]["state"] == state


def test_a_click_is_a_showing_too(scene: Scene) -> None:
    push = scene.push()
    scene.say(push, "clicked", NOON_US - 7)
    assert scene.instants(push) == (NOON_US - 7, NOON_US - 7, None)


CLOCKS = [
    ("none", None, NOON_US),
    ("right", NOON_US - 3, NOON_US - 3),
    ("an hour ahead", NOON_US + 60 * MINUTE_US, NOON_US),
    ("an hour behind", NOON_US - 60 * MINUTE_US, NOON_US),
]


@pytest.mark.parametrize(("said_us", "kept_us"), [pytest.param(*c[1:], id=c[0]) for c in CLOCKS])
def test_a_device_whose_clock_is_wrong_is_believed_that_it_happened_now(
    scene: Scene, said_us: int | None, kept_us: int
) -> None:
    push = scene.push()
    assert scene.say(push, "shown", said_us) == 204
    assert scene.instants(push)[0] == kept_us


def test_a_used_coupon_shows(scene: Scene) -> None:
    push = scene.push()
    code = scene.inbox()[0]["coupon"]
    till = make_caller(scene.database, "acme", "till", kind="key")
    line = {"line_no": 1, "sku": "1", "name": "C", "category": "coffee", "qty": 1000, "unit_price": 5, "amount": 5}
    receipt = {"receipt_uid": "r", "store": "main-street", "till": "1", "at_us": NOON_US, "kind": "sale",
               "currency": "EUR", "total": 5, "coupon_codes": [code], "lines": [line]}  # fmt: skip
    assert scene.api.post("/v1/receipts", till, json={"receipts": [receipt]}).is_success
    assert [(i["push_id"], i["state"]) for i in scene.inbox()] == [(push, "used")]


def test_the_stream_tells_of_an_offer_when_it_is_sent(scene: Scene) -> None:
    scene.push()
    pushed: list[int] = []

    def then(events: int) -> None:
        if events == 1:  # the stream is ready
            pushed.append(scene.push())

    status, events = scene.api.events("/app/v1/stream", scene.key, 2, then=then)
    assert status == 200
    assert "event: ready" in events[0]
    assert f"id: {pushed[0]}" in events[1] and "event: offer" in events[1] and OFFER["title"] in events[1]


def test_the_stream_goes_on_after_the_last_event_that_was_heard(scene: Scene) -> None:
    first, second, third = (scene.push(timedelta(minutes=m)) for m in (3, 2, 1))
    _, events = scene.api.events("/app/v1/stream", scene.key, 3, headers={"last-event-id": str(first)})
    text = "".join(events)
    assert f"id: {first}\r" not in text
    assert text.index(f"id: {second}\r") < text.index(f"id: {third}\r"), "in the order they were sent"
