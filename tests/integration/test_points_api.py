"""Points over HTTP: what members see of theirs, adjustments that need a second person, and what analysts are told."""

from collections.abc import Iterator
from typing import Any

import pytest

from cloud.points import service
from tests.conftest import Database
from tests.integration.cloud_support import NOON_US, Api, make_caller, make_member, running_api
from tests.integration.points_support import DAY_US, TENANT, Ledger, ledger_of


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    with ledger_of(database) as made:
        yield made
        assert made.faults() == []


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    with running_api(database) as running:
        yield running


def test_b11_the_history_lists_every_movement_and_ends_at_the_shown_balance(ledger: Ledger, api: Api) -> None:
    member = ledger.member()
    key = make_caller(ledger.database, TENANT, "member", kind="member", member=member)
    assert api.get("/app/v1/points", key).json() == {"scale": 2, "wallets": []}
    earned = ledger.earn(member, 500, days=30, at_us=NOON_US - 20 * DAY_US, receipt="r-1", rule="one-per-euro")
    ledger.earn(member, 40, days=5, at_us=NOON_US - 10 * DAY_US)  # expires before the spend
    spent = ledger.spend(member, 120, at_us=NOON_US - 4 * DAY_US, receipt="r-2")
    ledger.earn(member, 70, pending=True, active_us=NOON_US - DAY_US, days=60, at_us=NOON_US - 3 * DAY_US)
    ledger.earn(member, 30, pending=True, active_us=NOON_US + DAY_US)
    ledger.unearn(earned, 100, at_us=NOON_US - DAY_US)
    ledger.unspend(spent, 20, at_us=NOON_US)
    ledger.call(service.adjust, member, 15, key="a", at_us=NOON_US, reason="sorry", actor="ann")

    [wallet] = api.get("/app/v1/points", key).json()["wallets"]
    lines = api.get("/app/v1/points/history", key).json()
    assert lines[0]["balance"] == wallet["balance"] == wallet["available"] == 500 - 120 + 70 - 100 + 20 + 15
    assert wallet["pending"] == 30 == sum(line["pending"] for line in lines)
    running = 0
    for line in reversed(lines):
        running += line["amount"]
        assert line["balance"] == running
    first = lines[-1]
    assert (first["kind"], first["receipt"], first["rule"]) == ("earn", "r-1", "one-per-euro")
    assert first["expires_us"] == NOON_US + 10 * DAY_US
    kinds = {"earn", "spend", "activate", "expire", "reverse_earn", "reverse_spend", "adjust"}
    assert {line["kind"] for line in lines} == kinds
    assert sum(due["amount"] for due in wallet["expiries"]) + 15 == wallet["balance"], "the adjustment never expires"
    page = api.get("/app/v1/points/history", key, params={"limit": 3, "before": lines[1]["movement"]}).json()
    assert page == lines[2:5]


def test_one_member_sees_nothing_of_another(ledger: Ledger, api: Api) -> None:
    mine, theirs = ledger.member(), ledger.member()
    ledger.earn(theirs, 500)
    key = make_caller(ledger.database, TENANT, "member", kind="member", member=mine)
    assert api.get("/app/v1/points", key).json()["wallets"] == []
    assert api.get("/app/v1/points/history", key).json() == []


def test_an_adjustment_needs_a_reason_a_key_and_above_the_threshold_a_second_person(ledger: Ledger, api: Api) -> None:
    member = make_member(ledger.database, TENANT, {}, card="10000001")
    ann, bob = (make_caller(ledger.database, TENANT, "marketer") for _ in "ab")
    path = "/v1/members/10000001/adjustments"

    def adjust(key: str, body: dict[str, Any]) -> Any:
        return api.post(path, ann, json=body, headers={"idempotency-key": key})

    small = adjust("1", {"amount": 500, "reason": "sorry"})
    assert (small.status_code, small.json()["state"]) == (201, "posted")
    assert adjust("1", {"amount": 500, "reason": "sorry"}).json() == small.json()
    assert adjust("1", {"amount": 501, "reason": "sorry"}).status_code == 422
    assert adjust("2", {"amount": 5}).status_code == 422
    assert adjust("2", {"amount": 0, "reason": "sorry"}).status_code == 422
    assert adjust("2", {"amount": -501, "reason": "sorry"}).status_code == 409
    assert api.post(path, ann, json={"amount": 5, "reason": "sorry"}).status_code == 422, "no key"
    assert api.post("/v1/members/99999999/adjustments", ann, json={"amount": 5, "reason": "sorry"},
                    headers={"idempotency-key": "3"}).status_code == 404  # fmt: skip

    large = adjust("4", {"amount": 250_000, "reason": "rule-missing", "note": "the campaign did not fire"}).json()
    assert large["state"] == "waiting" and ledger.balance(member) == 500
    [row] = api.get("/v1/points/adjustments", bob).json()
    assert (row["adjustment"], row["card"], row["amount"]) == (large["adjustment"], "10000001", 250_000)
    decision = f"/v1/points/adjustments/{large['adjustment']}"
    assert api.post(f"{decision}/approve", ann).status_code == 409
    assert api.post(f"{decision}/approve", bob).status_code == 204
    assert api.post(f"{decision}/approve", bob).status_code == 204
    assert api.post(f"{decision}/reject", bob).status_code == 409
    assert api.post("/v1/points/adjustments/999/approve", bob).status_code == 404
    assert api.post(f"/v1/points/adjustments/{2**70}/approve", bob).status_code == 422
    assert ledger.balance(member) == 250_500


def test_b06_liability_is_told_apart_by_who_pays_and_b10_manual_credits_by_reason(ledger: Ledger, api: Api) -> None:
    member = ledger.member()
    ledger.call(service.put_wallet, "bakery", "Bakery", "bakery")
    earned = ledger.earn(member, 1_000)
    ledger.earn(member, 300, funder="dairy")
    ledger.earn(member, 200, wallet="bakery", pending=True)
    ledger.unearn(earned, 100)
    ledger.spend(member, 400)
    for amount, reason in ((50, "sorry"), (60, "rule-missing"), (70, "sorry"), (-10, "mistake")):
        ledger.call(service.adjust, member, amount, key=ledger.key(), at_us=NOON_US, reason=reason, actor="ann")
    told = api.get("/v1/points/liability", make_caller(ledger.database, TENANT, "analyst")).json()
    rows = {(row["wallet"], row["funder"]): (row["issued"], row["outstanding"], row["cost"]) for row in told["rows"]}
    assert rows == {
        ("main", ""): (900, 900 - 400 + 180 - 10, 670),
        ("main", "dairy"): (300, 300, 300),
        ("bakery", "bakery"): (200, 200, 200),
    }
    assert told["adjusted"] == 170
    assert told["manual_share"] == 3 / 6
    assert told["manual_reasons"][0] == {"reason": "sorry", "credits": 2, "amount": 120}


def test_b09_breakage_is_what_expired_of_what_was_issued_by_month_of_issue(ledger: Ledger, api: Api) -> None:
    member = ledger.member()
    month_us = 31 * DAY_US
    for n, expired in ((4, 180), (3, 100), (2, 200)):
        issued_us = NOON_US - n * month_us
        ledger.earn(member, 1_000, days=10, at_us=issued_us)
        spent = ledger.spend(member, 1_000 - expired + 50, at_us=issued_us)
        ledger.unspend(spent, 50, at_us=issued_us + 20 * DAY_US)  # 50 of grace, which expire too
        ledger.call(service.sweep, at_us=issued_us + 60 * DAY_US)
    ledger.earn(member, 2_000, days=365)
    told = api.get("/v1/points/breakage", make_caller(ledger.database, TENANT, "analyst")).json()
    assert [(c["issued"], c["redeemed"], c["expired"], c["open"], c["unusual"]) for c in told["cohorts"]] == [
        (1_000, 820, 180, 0, False), (1_000, 900, 100, 0, True), (1_000, 800, 200, 0, False),
        (2_000, 0, 0, 2_000, False),
    ]  # fmt: skip
    assert told["share"] == pytest.approx(0.16)
    assert told["low"] < 0.16 < told["high"] < 0.25
    assert (told["open"], told["expected_to_expire"]) == (2_000, 320)
