"""Signing in and out, keys for machines, and what a cookie may do."""

from collections.abc import Iterator

import pytest

from cloud.access import hash_secret
from cloud.accounts.routes import FAILURE_WINDOW_S, MOST_FAILURES, Failures
from cloud.accounts.service import found_tenant
from cloud.errors import TooMany
from tests.conftest import Database
from tests.integration.cloud_support import FROZEN, NOON_US, PLAN, Api, make_caller, running_api, superuser

PASSWORD = "correct horse battery staple"


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    found_tenant(database.owner, "acme", "Acme", {"anna@acme": (PASSWORD, ["admin", "analyst"])})
    with running_api(database) as running:
        yield running


def sign_in(api: Api, password: str = PASSWORD, login: str = "anna@acme") -> tuple[int, str]:
    answer = api.post("/v1/session", json={"login": login, "password": password})
    return answer.status_code, answer.cookies.get("aisle_session") or ""


def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(api: Api, database: Database) -> None:
    answer = api.post("/v1/session", json={"login": "anna@acme", "password": PASSWORD})
    assert answer.json() == {"tenant": "acme", "login": "anna@acme", "roles": ["admin", "analyst"]}
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age=43200" in cookie
    secret = answer.cookies["aisle_session"]
    assert api.get("/v1/session", headers={"cookie": f"aisle_session={secret}"}).json() == answer.json()
    with superuser(database) as conn:
        kept = conn.execute("SELECT secret_sha256 FROM credential").fetchall()
    assert kept == [(hash_secret(secret),)], "only the hash is kept"


WRONG = [("a wrong password", "anna@acme", "x"), ("an unknown login", "bob@acme", PASSWORD), ("nothing", "", "")]


@pytest.mark.parametrize(("login", "password"), [pytest.param(*w[1:], id=w[0]) for w in WRONG])
def test_every_wrong_sign_in_is_answered_alike(api: Api, login: str, password: str) -> None:
    answer = api.post("/v1/session", json={"login": login, "password": password})
    assert answer.status_code == 401
    assert answer.json()["detail"] == "login or password is wrong"
    assert "set-cookie" not in answer.headers


def test_a_login_with_a_nul_is_a_mistake_not_a_crash(api: Api) -> None:
    assert sign_in(api, login="a\x00b")[0] == 422


def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(api: Api) -> None:
    _, secret = sign_in(api)
    headers = {"cookie": f"aisle_session={secret}", "x-aisle": "1"}
    assert api.get("/v1/stores", headers=headers).status_code == 200
    assert api.call("DELETE", "/v1/session", headers=headers).status_code == 204
    assert api.get("/v1/stores", headers=headers).status_code == 401
    assert api.get("/v1/session", headers=headers).status_code == 401


def test_a_cookie_alone_changes_nothing_a_key_does(api: Api) -> None:
    _, secret = sign_in(api)
    cookie = {"cookie": f"aisle_session={secret}"}
    assert api.put("/v1/stores/main-street", json=PLAN, headers=cookie).status_code == 403
    assert api.put("/v1/stores/main-street", json=PLAN, headers=cookie | {"x-aisle": "1"}).status_code == 204
    assert api.get("/v1/stores", headers=cookie).json()[0]["store"] == "main-street"


ENDS = [
    ("expired", "UPDATE credential SET expires_at = now()"),
    ("revoked", "UPDATE credential SET revoked_at = now()"),
    ("account disabled", "UPDATE account SET disabled_at = now()"),
]


@pytest.mark.parametrize("change", [pytest.param(c, id=name) for name, c in ENDS])
def test_a_session_ends(api: Api, database: Database, change: str) -> None:
    _, secret = sign_in(api)
    with superuser(database) as conn:
        conn.execute(change.encode())
    assert api.get("/v1/stores", secret).status_code == 401


def test_after_ten_wrong_tries_the_right_password_waits_too(api: Api) -> None:
    app_failures: Failures = api.app.state.failures
    for _ in range(MOST_FAILURES):
        app_failures.count("anna@acme")
    assert sign_in(api)[0] == 429
    assert sign_in(api, login="bob@acme")[0] == 401, "others are not locked out"


def test_failures_are_forgotten_after_a_quarter_of_an_hour_and_asking_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("cloud.accounts.routes.time.monotonic", lambda: now[0])
    failures = Failures()
    for _ in range(MOST_FAILURES):
        failures.count("anna")
    with pytest.raises(TooMany):
        failures.check("anna")
    now[0] += FAILURE_WINDOW_S + 1
    failures.check("anna")
    failures.check("never seen")
    assert list(failures._times) == ["anna"]


def test_a_key_is_shown_once_and_is_good_for_what_it_says(api: Api, database: Database) -> None:
    admin = make_caller(database, "acme", "admin")
    assert api.put("/v1/stores/main-street", admin, json=PLAN).status_code == 204
    answer = api.post("/v1/api-keys", admin, json={"role": "till", "label": "Till 1", "store": "main-street"})
    assert answer.status_code == 201
    key = answer.json()["key"]
    assert api.get("/v1/stores", key).status_code == 403
    assert api.post("/v1/receipts", key, json={"receipts": []}).status_code == 422, "allowed in, told what is missing"


KEYS = [
    ("a store that is not there", {"role": "till", "label": "1", "store": "nowhere"}, 404),
    ("a role of staff", {"role": "admin", "label": "1"}, 422),
    ("no role", {"label": "1"}, 422),
]


@pytest.mark.parametrize(("body", "status"), [pytest.param(*k[1:], id=k[0]) for k in KEYS])
def test_a_key_that_cannot_be_made(api: Api, database: Database, body: dict[str, str], status: int) -> None:
    answer = api.post("/v1/api-keys", make_caller(database, "acme", "admin"), json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_founding_again_leaves_the_accounts_as_they_are(api: Api, database: Database) -> None:
    found_tenant(database.owner, "acme", "Acme", {"anna@acme": ("another", ["admin"])})
    assert sign_in(api)[0] == 200


def test_every_answer_tells_the_products_time_and_readiness_asks_the_database(api: Api) -> None:
    assert FROZEN.startswith(str(NOON_US))
    for path, status in (("/livez", 200), ("/readyz", 200), ("/v1/stores", 401)):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["x-aisle-now"]) == (status, str(NOON_US))
