"""Members over HTTP: imported once per card, signed in by code on three devices, and masters of their consents."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from cloud import db
from cloud.locate.site import load_directory
from cloud.members.consents import TEXT_VERSION, TEXTS
from contract.identity import SubjectKind, tag_subject
from tests.conftest import Database
from tests.integration.cloud_support import (
    Api,
    make_caller,
    make_tenant,
    member_headers,
    running_api,
    superuser,
)

CARD = "4000123412341234"


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    make_tenant(database, "acme")
    with running_api(database) as running:
        yield running


@pytest.fixture
def importer(database: Database) -> str:
    return make_caller(database, "acme", "import", kind="key")


def bring(api: Api, importer: str, **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/members/import", importer, json={"members": [{"card": CARD, "name": "Ada"} | fields]})
    assert answer.status_code == 201, answer.text
    member: dict[str, Any] = answer.json()["members"][0]
    return member


def activate(api: Api, code: str, card: str = CARD, **fields: Any) -> Any:
    return api.post("/app/v1/session", json={"card": card, "code": code} | fields)


def test_an_imported_member_signs_in_and_sees_the_card(api: Api, importer: str) -> None:
    member = bring(api, importer)
    assert len(bytes.fromhex(member["token_key_hex"])) == 16
    answer = activate(api, member["activation_code"])
    assert answer.json() == {"member_id": member["member_id"], "name": "Ada", "token": None}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    me = api.get("/app/v1/me", headers=member_headers(answer.cookies["aisle_member"])).json()
    assert (me["card"], me["name"]) == (CARD, "Ada")


def test_a_native_app_gets_a_bearer_token_and_no_cookie(api: Api, importer: str) -> None:
    answer = activate(api, bring(api, importer)["activation_code"], bearer=True)
    assert "set-cookie" not in answer.headers
    token = answer.json()["token"]
    assert api.get("/app/v1/me", token).status_code == 200
    assert api.call("DELETE", "/app/v1/session", token).status_code == 204
    assert api.get("/app/v1/me", token).status_code == 401


def test_a_code_admits_three_devices(api: Api, importer: str) -> None:
    code = bring(api, importer)["activation_code"]
    assert [activate(api, code).status_code for _ in range(4)] == [200, 200, 200, 401]


WRONG = [("code", "0" * 16, CARD, 401), ("card", None, "4000123412341299", 401), ("no card", None, "abc", 422)]


@pytest.mark.parametrize(("code", "card", "status"), [pytest.param(*w[1:], id=w[0]) for w in WRONG])
def test_a_wrong_code_and_a_wrong_card_are_answered_alike(
    api: Api, importer: str, code: str | None, card: str, status: int
) -> None:
    right = bring(api, importer)["activation_code"]
    answer = activate(api, code or right, card)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["detail"] == "card number or code is wrong, or the code was used up"


def test_guessing_a_cards_code_is_stopped_after_ten_tries(api: Api, importer: str) -> None:
    code = bring(api, importer)["activation_code"]
    assert [activate(api, f"guess {n}").status_code for n in range(11)] == [401] * 10 + [429]
    assert activate(api, code).status_code == 429


def test_two_tenants_may_have_the_same_card(api: Api, importer: str, database: Database) -> None:
    make_tenant(database, "beta")
    ours = bring(api, importer)
    theirs = bring(api, make_caller(database, "beta", "import", kind="key"), name="Bea")
    names = [activate(api, m["activation_code"]).json()["name"] for m in (ours, theirs)]
    assert names == ["Ada", "Bea"]


def test_importing_a_card_again_keeps_the_member_and_adds_traits(api: Api, importer: str, database: Database) -> None:
    first = bring(api, importer, traits={"city": "Bonn", "age": 30})
    again = bring(api, importer, name="Ada L.", traits={"age": 31})
    assert again["member_id"] == first["member_id"]
    assert activate(api, first["activation_code"]).status_code == 401, "the new code replaces the old"
    with superuser(database) as conn:
        assert conn.execute("SELECT name, traits FROM member").fetchall() == [("Ada L.", {"city": "Bonn", "age": 31})]


REFUSED = [
    ("a card that is no number", {"card": "x"}),
    ("a consent that does not exist", {"consents": {"everything": True}}),
    ("a trait with a NUL", {"traits": {"city": "a\x00b"}}),
    ("a nested trait", {"traits": {"city": {"x": 1}}}),
    ("a NUL in the name", {"name": "\x00"}),
]


@pytest.mark.parametrize("fields", [pytest.param(f, id=name) for name, f in REFUSED])
def test_an_import_with_a_mistake_is_refused_whole(
    api: Api, importer: str, database: Database, fields: dict[str, Any]
) -> None:
    members = [{"card": "11112222"}, {"card": CARD} | fields]
    assert api.post("/v1/members/import", importer, json={"members": members}).status_code == 422
    with superuser(database) as conn:
        assert conn.execute("SELECT 1 FROM member").fetchall() == []


def test_every_purpose_is_a_no_until_the_member_says_yes(api: Api, importer: str) -> None:
    token = activate(api, bring(api, importer)["activation_code"], bearer=True).json()["token"]
    found = api.get("/app/v1/consents", token).json()
    assert [(c["purpose"], c["granted"]) for c in found] == [(purpose, False) for purpose in TEXTS]
    assert all(c["title"] and len(c["text"]) > 40 for c in found)


def test_consents_are_a_ledger_and_the_newest_word_rules(api: Api, importer: str, database: Database) -> None:
    member = bring(api, importer, consents={"in_store_sensing": True, "marketing_push": False})
    token = activate(api, member["activation_code"], bearer=True).json()["token"]
    for purpose, granted in (("in_store_sensing", False), ("profiling", True), ("in_store_sensing", True)):
        said = api.put("/app/v1/consents", token, json={"purpose": purpose, "granted": granted})
        assert said.status_code == 204
    now = {c["purpose"]: c["granted"] for c in api.get("/app/v1/consents", token).json()}
    assert now == {"in_store_sensing": True, "marketing_push": False, "profiling": True}
    with superuser(database) as conn:
        rows = conn.execute(
            "SELECT purpose, granted, channel, text_version FROM consent ORDER BY consent_id"
        ).fetchall()
    assert len(rows) == 5 and {version for *_, version in rows} == {TEXT_VERSION}
    assert [channel for *_, channel, _ in rows] == ["import"] * 2 + ["app"] * 3


def test_revoking_is_told_to_the_processes_that_sense_and_they_find_no_key(
    api: Api, importer: str, database: Database
) -> None:
    member = bring(api, importer, consents={"in_store_sensing": True})
    token = activate(api, member["activation_code"], bearer=True).json()["token"]
    sensed = db.statements("cloud.members").sensed
    with psycopg.connect(database.service, autocommit=True) as conn:
        conn.execute("LISTEN aisle_consent")
        (row,) = conn.execute(sensed, {"tenant": "acme"}).fetchall()
        assert bytes(row[3]).hex() == member["token_key_hex"]
        assert api.put("/app/v1/consents", token, json={"purpose": "in_store_sensing", "granted": False}).is_success
        assert [n.payload for n in conn.notifies(timeout=1, stop_after=1)] == ["acme"]
        assert conn.execute(sensed, {"tenant": "acme"}).fetchall() == []


def test_another_device_gets_a_key_of_its_own(api: Api, importer: str, database: Database) -> None:
    member = bring(api, importer, consents={"in_store_sensing": True})
    token = activate(api, member["activation_code"], bearer=True).json()["token"]
    key = api.post("/app/v1/devices", token).json()["token_key_hex"]
    with psycopg.connect(database.service) as conn:
        keys = {bytes(r[3]).hex() for r in conn.execute(db.statements("cloud.members").sensed, {"tenant": "acme"})}
    assert keys == {key, member["token_key_hex"]}


def test_a_card_and_the_wifi_login_are_the_members_as_long_as_they_consent(
    api: Api, database: Database, importer: str
) -> None:
    member = bring(api, importer, consents={"in_store_sensing": True})
    epc = "E28011700000020A7C3B9D51"
    assert api.post(f"/v1/members/{CARD}/tags", importer, json={"epc": epc}).status_code == 204
    assert api.post("/v1/members/10000000/tags", importer, json={"epc": epc}).status_code == 404
    assert api.post(f"/v1/members/{CARD}/tags", importer, json={"epc": "E2801"}).status_code == 422
    session = activate(api, member["activation_code"]).cookies["aisle_member"]
    login = api.get("/app/v1/wifi", headers=member_headers(session)).json()["token"]
    with superuser(database) as conn:
        directory = load_directory(conn, "acme", "main-street")
        ada = directory.resolve(SubjectKind.TAG, tag_subject(bytes.fromhex(epc)), 0)
        assert ada is not None and str(ada.member_id) == member["member_id"]
        assert directory.resolve(SubjectKind.CLIENT, int(login, 16), 0) == ada
    no = {"purpose": "in_store_sensing", "granted": False}
    assert api.put("/app/v1/consents", headers=member_headers(session), json=no).status_code == 204
    with superuser(database) as conn:
        directory = load_directory(conn, "acme", "main-street")
        assert directory.resolve(SubjectKind.TAG, tag_subject(bytes.fromhex(epc)), 0) is None
        assert directory.resolve(SubjectKind.CLIENT, int(login, 16), 0) is None
