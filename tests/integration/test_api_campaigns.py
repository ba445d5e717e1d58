"""Segments, offers, campaigns over HTTP, and the result of one counted by hand."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.conftest import Database
from tests.integration.cloud_support import (
    CAMPAIGN,
    NOON,
    OFFER,
    SEGMENT,
    Api,
    add_visit,
    furnish,
    make_caller,
    make_member,
    running_api,
    superuser,
)


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    with running_api(database) as running:
        yield running


@pytest.fixture
def marketer(api: Api, database: Database) -> str:
    furnish(api, database, "acme")
    return make_caller(database, "acme", "marketer")


def test_what_was_put_comes_back(api: Api, marketer: str) -> None:
    tree = {"all": [{"trait": "vip", "op": "eq", "value": True}, {"not": {"any": [{"consent": "profiling"}]}},
                    {"metric": "spend", "op": "gte", "value": 100.0}]}  # fmt: skip
    assert api.post("/v1/segments", marketer, json=SEGMENT | {"segment": "vips", "condition": tree}).is_success
    found = {s["segment"]: s for s in api.get("/v1/segments", marketer).json()}
    assert found.keys() == {"everyone", "vips"}
    assert api.post("/v1/segments", marketer, json=found["vips"]).is_success, "what is read can be put again"
    assert api.get("/v1/offers", marketer).json() == [OFFER]
    assert api.get("/v1/campaigns", marketer).json() == [CAMPAIGN | {"state": "running"}]


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"all": []}
    for _ in range(depth):
        tree = {"not": tree}
    return tree


REFUSED: list[tuple[str, str, dict[str, Any], int]] = [
    ("a segment without a condition", "segments", {"segment": "a", "name": "A"}, 422),
    ("a condition of no kind", "segments", SEGMENT | {"condition": {"x": 1}}, 422),
    ("a condition as deep as a cave", "segments", SEGMENT | {"condition": nested(400)}, 422),
    ("a value with a NUL", "segments",
     SEGMENT | {"condition": {"trait": "a", "op": "eq", "value": "\x00"}}, 422),
    ("an offer of more than all", "offers", OFFER | {"discount_bp": 10_001}, 422),
    ("an offer that outlives its moment", "offers", OFFER | {"ttl_s": 601}, 422),
    ("a campaign without a control group", "campaigns", CAMPAIGN | {"campaign": "b", "control_share": 0.01}, 422),
    ("a campaign of an unknown segment", "campaigns", CAMPAIGN | {"campaign": "b", "segment": "nobody"}, 422),
    ("a campaign in an unknown zone", "campaigns", CAMPAIGN | {"campaign": "b", "zone": "roof"}, 422),
    ("a campaign that has run", "campaigns", CAMPAIGN | {"dwell_s": 5}, 409),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "status"), [pytest.param(*r[1:], id=r[0]) for r in REFUSED])
def test_what_does_not_hold_together_is_refused(
    api: Api, marketer: str, what: str, body: dict[str, Any], status: int
) -> None:
    before = api.get(f"/v1/{what}", marketer).json()
    answer = api.post(f"/v1/{what}", marketer, json=body)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert api.get(f"/v1/{what}", marketer).json() == before


def test_a_draft_may_be_changed_and_started_what_ran_may_not(api: Api, marketer: str) -> None:
    draft = CAMPAIGN | {"campaign": "b"}
    for dwell_s in (10, 30):
        assert api.post("/v1/campaigns", marketer, json=draft | {"dwell_s": dwell_s}).status_code == 204
    assert api.post("/v1/campaigns/b/start", marketer).status_code == 204
    assert api.post("/v1/campaigns/b/stop", marketer).status_code == 204
    assert api.post("/v1/campaigns", marketer, json=draft).status_code == 409
    states = {c["campaign"]: (c["state"], c["dwell_s"]) for c in api.get("/v1/campaigns", marketer).json()}
    assert states == {"b": ("stopped", 30), "coffee-now": ("running", 20)}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("nowhere/start", "POST", 404), ("nowhere/result", "GET", 404), ("coffee-now/explode", "POST", 422),
     ("a%00b/result", "GET", 422), ("a%00b/start", "POST", 422)],
)  # fmt: skip
def test_a_campaign_that_is_not_there(api: Api, marketer: str, path: str, method: str, status: int) -> None:
    assert api.call(method, f"/v1/campaigns/{path}", marketer).status_code == status


class Ledger:
    """Writes decisions and purchases as the service would."""

    def __init__(self, database: Database) -> None:
        self.database, self.receipts = database, 0

    def decide(
        self, outcome: str, arm: str | None, reason: str = "x", member: UUID | None = None, days: int = 0
    ) -> UUID:
        member = member or make_member(self.database, "acme")
        at = NOON + timedelta(days=days)
        with superuser(self.database) as conn:
            visit = add_visit(conn, "acme", member, at)
            conn.execute(
                "INSERT INTO decision (tenant_id, campaign, visit_id, member_id, presence_id, at, outcome, reason, arm)"
                " VALUES ('acme', 'coffee-now', %s, %s, 0, %s, %s, %s, %s)",
                (visit, member, at, outcome, reason, arm),
            )
        return member

    def buys(self, member: UUID, after: timedelta, category: str = "coffee", kind: str = "sale") -> None:
        self.receipts += 1
        with superuser(self.database) as conn:
            conn.execute(
                "WITH r AS (INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total,"
                " member_id) VALUES ('acme', 'main-street', %s, '1', %s, %s, 'EUR', 5, %s) RETURNING receipt_id)"
                " INSERT INTO receipt_line SELECT 'acme', receipt_id, 1, 's', 'n', %s, 1000, 5, 0, 5 FROM r",
                (str(self.receipts), NOON + after, kind, member, category),
            )


HOUR = timedelta(hours=1)


def test_a_result_counts_members_as_assigned_and_purchases_within_two_hours(
    api: Api, marketer: str, database: Database
) -> None:
    ledger = Ledger(database)
    sent = [ledger.decide("sent", "target") for _ in range(4)]
    quiet = ledger.decide("refused", "target", "quiet hours")
    ghosts = [ledger.decide("ghost", "control") for _ in range(2)]
    ledger.decide("refused", None, "no consent")
    ledger.decide("sent", "target", member=sent[0], days=8)  # the same member again is no new member
    ledger.buys(sent[0], HOUR)
    ledger.buys(sent[1], 2 * HOUR)
    ledger.buys(sent[2], 2 * HOUR + timedelta(seconds=1))  # too late
    ledger.buys(sent[3], HOUR, "tea")  # something else
    ledger.buys(quiet, HOUR)  # got no message, counts as assigned
    ledger.buys(ghosts[0], HOUR, kind="return")  # gave it back
    ledger.buys(ghosts[1], -HOUR)  # before
    result = api.get("/v1/campaigns/coffee-now/result", marketer).json()
    assert (result["decided"], result["sent"], result["ghosts"]) == (9, 5, 2)
    assert result["refused"] == {"quiet hours": 1, "no consent": 1}
    assert result["target"] == {"n": 5, "bought": 3, "rate": 0.6}
    assert result["control"] == {"n": 2, "bought": 0, "rate": 0.0}
    assert result["lift_pp"] == 60.0 and result["ci_low_pp"] < 0 < result["ci_high_pp"]
    assert result["verdict"] == "unknown" and "2 members" in result["note"]


def test_a_campaign_without_decisions_has_no_lift(api: Api, marketer: str) -> None:
    result = api.get("/v1/campaigns/coffee-now/result", marketer).json()
    assert (result["decided"], result["lift_pp"], result["verdict"]) == (0, None, "unknown")
    assert result["target"] == result["control"] == {"n": 0, "bought": 0, "rate": None}
