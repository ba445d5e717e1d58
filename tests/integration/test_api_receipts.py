"""Receipts over HTTP: all that add up or none, each once, from a till's own store; coupons once and in time."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON,
    NOON_US,
    Api,
    add_visit,
    make_caller,
    make_member,
    superuser,
)

LINE = {"line_no": 1, "sku": "77", "name": "Coffee", "category": "coffee", "qty": 1000, "unit_price": 500,
        "discount": 50, "amount": 450}  # fmt: skip

WRONG_AMOUNT = "amount is 451, 1000 thousandths × 500 − 50 make 450 minor units (qty 1000 is one piece)"


def receipt(uid: str = "r-1", **changes: Any) -> dict[str, Any]:
    lines = changes.pop("lines", [LINE])
    return {"receipt_uid": uid, "store": "main-street", "till": "1", "at_us": NOON_US, "kind": "sale",
            "currency": "EUR", "total": sum(x["amount"] for x in lines), "lines": lines} | changes  # fmt: skip


@pytest.fixture
def till(api: Api, database: Database) -> str:
    return make_caller(database, "acme", "till", kind="key", store="main-street")


def post(api: Api, till: str, *receipts: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = api.post("/v1/receipts", till, json={"receipts": receipts})
    return answer.status_code, answer.json()


def stored(database: Database) -> int:
    with superuser(database) as conn:
        row = conn.execute("SELECT (SELECT count(*) FROM receipt) + (SELECT count(*) FROM receipt_line)").fetchone()
    assert row is not None
    count: int = row[0]
    return count


# qty in thousandths × unit price ÷ 1000 − discount, halves away from zero.
ADDS_UP = [
    ("one piece", 1000, 500, 50, 450),
    ("2.474 kg at 1.99 is 4.92326", 2474, 199, 0, 492),
    ("half a cent goes up: 0.5 × 1", 500, 1, 0, 1),
    ("half a cent given back goes down", -500, 1, 0, -1),
    ("a return gives its discount back", -1000, 500, 50, -450),
    ("free", 1000, 500, 500, 0),
]


@pytest.mark.parametrize(("qty", "price", "discount", "amount"), [pytest.param(*a[1:], id=a[0]) for a in ADDS_UP])
def test_a_line_is_rounded_half_away_from_zero(
    api: Api, till: str, qty: int, price: int, discount: int, amount: int
) -> None:
    line = LINE | {"qty": qty, "unit_price": price, "discount": discount, "amount": amount}
    kind = "sale" if qty > 0 else "return"
    assert post(api, till, receipt(lines=[line], kind=kind)) == (200, {"stored": 1, "duplicates": 0})
    status, _ = post(api, till, receipt("r-2", lines=[line | {"amount": amount + 1}], kind=kind))
    assert status == 422


SECOND = LINE | {"line_no": 2}
WRONG = [
    ("line amount", receipt("bad", lines=[LINE, SECOND | {"amount": 451}]),
     {"line": 2, "field": "receipts[1].lines.amount", "message": WRONG_AMOUNT}),
    ("total", receipt("bad", total=451), {"field": "receipts[1].total", "message": "total is 451, the lines make 450"}),
    ("unknown store", receipt("bad", store="nowhere"),
     {"field": "receipts[1].store", "message": "unknown store 'nowhere'"}),
    ("line number twice", receipt("bad", lines=[LINE, LINE]),
     {"line": 1, "field": "receipts[1].lines", "message": "line number 1 stands twice"}),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "error"), [pytest.param(*w[1:], id=w[0]) for w in WRONG])
def test_one_mistake_refuses_the_whole_batch_and_names_its_place(
    api: Api, database: Database, bad: dict[str, Any], error: dict[str, Any]
) -> None:
    anywhere = make_caller(database, "acme", "till", kind="key")
    answer = api.post("/v1/receipts", anywhere, json={"receipts": [receipt("good"), bad]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert error in answer.json()["errors"]
    assert stored(database) == 0


BEYOND = [
    ("a NUL in a name", {"lines": [LINE | {"name": "a\x00b"}]}),
    ("a NUL in the store's name", {"store": "a\x00b"}),
    ("more than 64 bits", {"lines": [LINE | {"line_no": n, "qty": 10**9, "unit_price": 10**12, "discount": 0,
                                            "amount": 10**18} for n in range(1, 11)]}),
    ("no lines", {"lines": []}),
    ("a field too many", {"colour": "red"}),
    ("an instant after 2100", {"at_us": 5 * 10**15}),
]  # fmt: skip


@pytest.mark.parametrize("changes", [pytest.param(c, id=name) for name, c in BEYOND])
def test_what_cannot_be_stored_is_the_callers_mistake(api: Api, database: Database, changes: dict[str, Any]) -> None:
    anywhere = make_caller(database, "acme", "till", kind="key")
    status, problem = post(api, anywhere, receipt("good"), receipt("bad", **changes))
    assert (status, problem["status"], stored(database)) == (422, 422, 0)


def test_a_receipt_that_comes_again_changes_nothing(api: Api, database: Database, till: str) -> None:
    again = receipt()
    assert post(api, till, again, again) == (200, {"stored": 1, "duplicates": 1})
    assert post(api, till, receipt("r-2"), again) == (200, {"stored": 1, "duplicates": 1})
    assert stored(database) == 4


def test_a_tills_key_is_good_for_its_own_store(api: Api, database: Database, till: str) -> None:
    status, problem = post(api, till, receipt("good"), receipt("bad", store="side-street"))
    assert (status, problem["detail"]) == (403, "this key is for store 'main-street'")
    assert stored(database) == 0


def _coupon(database: Database, code: str) -> None:
    """A coupon of a new member, good for 12 hours from NOON."""
    member = make_member(database, "acme")
    with superuser(database) as conn:
        visit = add_visit(conn, "acme", member)
        conn.execute(
            "WITH d AS (INSERT INTO decision (tenant_id, campaign, visit_id, member_id, presence_id, at, outcome,"
            " reason, arm) VALUES ('acme', 'c', %(v)s, %(m)s, 0, %(at)s, 'sent', 'x', 'target') RETURNING decision_id)"
            " INSERT INTO coupon (tenant_id, code, decision_id, member_id, offer, expires_at)"
            " SELECT 'acme', %(code)s, decision_id, %(m)s, 'ten-off', %(until)s FROM d",
            {"v": visit, "m": member, "at": NOON, "code": code, "until": NOON + timedelta(hours=12)},
        )


def _used_by(database: Database, code: str) -> str | None:
    with superuser(database) as conn:
        row = conn.execute(
            "SELECT r.receipt_uid FROM coupon c LEFT JOIN receipt r ON r.receipt_id = c.used_receipt_id"
            " WHERE c.code = %s",
            (code,),
        ).fetchone()
    assert row is not None
    uid: str | None = row[0]
    return uid


HALF_DAY_US = 12 * 3600 * 1_000_000
INSTANTS = [("at its end", HALF_DAY_US, "r-1"), ("a moment after", HALF_DAY_US + 1, None)]


@pytest.mark.parametrize(("after_us", "used_by"), [pytest.param(*i[1:], id=i[0]) for i in INSTANTS])
def test_a_coupon_is_good_until_it_expires(
    api: Api, database: Database, till: str, after_us: int, used_by: str | None
) -> None:
    _coupon(database, "AAAA")
    assert post(api, till, receipt(at_us=NOON_US + after_us, coupon_codes=["AAAA", "NONE"]))[0] == 200
    assert _used_by(database, "AAAA") == used_by


def test_a_coupon_is_used_once(api: Api, database: Database, till: str) -> None:
    _coupon(database, "AAAA")
    for uid in ("r-1", "r-2", "r-1"):
        assert post(api, till, receipt(uid, coupon_codes=["AAAA"]))[0] == 200
    assert _used_by(database, "AAAA") == "r-1"


def test_the_newest_receipts_come_first_and_no_more_than_asked_for(api: Api, database: Database, till: str) -> None:
    analyst = make_caller(database, "acme", "analyst")
    for n in range(3):
        post(api, till, receipt(f"r-{n}", at_us=NOON_US + n))
    rows = api.get("/v1/receipts", analyst, params={"store": "main-street", "limit": 2}).json()
    assert [(r["receipt_uid"], r["join_state"], r["confidence"]) for r in rows] == [
        ("r-2", "open", None),
        ("r-1", "open", None),
    ]
