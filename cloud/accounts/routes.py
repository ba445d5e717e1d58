"""Sign in and out, and keys for machines."""

import time
from collections import defaultdict, deque
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import BaseModel, Field

from cloud import access, db
from cloud.access import STAFF_COOKIE, Call, allow, hash_secret, new_secret
from cloud.accounts.passwords import verify
from cloud.errors import NotSignedIn, TooMany
from cloud.places.service import store_row

router = APIRouter(prefix="/v1", tags=["accounts"])
sql = db.statements("cloud.accounts")

MOST_FAILURES, FAILURE_WINDOW_S = 10, 900.0


class SignIn(BaseModel):
    login: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class SignedIn(BaseModel):
    tenant: str
    login: str
    roles: list[str]


class NewKey(BaseModel):
    role: Literal["till", "import"]
    label: str = Field(max_length=200)
    store: str | None = None


class Key(BaseModel):
    key: str
    """Shown once."""


class Failures:
    """Failed sign-ins of late, by login: after ten within a quarter of an hour the door stays shut for a while."""

    def __init__(self) -> None:
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)

    def check(self, login: str) -> None:
        """Raises TooMany."""
        times = self._times.get(login, deque())  # asking makes no entry: anybody may ask, with any name
        while times and times[0] < time.monotonic() - FAILURE_WINDOW_S:
            times.popleft()
        if len(times) >= MOST_FAILURES:
            raise TooMany("too many failed sign-ins; wait a quarter of an hour")

    def count(self, login: str) -> None:
        self._times[login].append(time.monotonic())


@router.post("/session")
def sign_in(body: SignIn, request: Request, response: Response) -> SignedIn:
    """Sign in; the session is a cookie."""
    failures: Failures = request.app.state.failures
    failures.check(body.login)
    conn: Connection[TupleRow]
    with request.app.state.pool.connection() as conn:
        row = conn.execute(sql.account_of, {"login": body.login}).fetchone()
        if not verify(body.password, row[2] if row else None) or row is None:
            failures.count(body.login)
            raise NotSignedIn("login or password is wrong")
        tenant, account_id, _, roles = row
        secret = new_secret()
        conn.execute("SELECT set_config('aisle.tenant', %s, true)", (tenant,))
        conn.execute(
            sql.open_session,
            {"secret": hash_secret(secret), "tenant": tenant, "account_id": account_id, "roles": roles},
        )
    set_cookie(request, response, STAFF_COOKIE, secret)
    return SignedIn(tenant=tenant, login=body.login, roles=roles)


@router.get("/session")
def who_am_i(request: Request) -> SignedIn:
    """Who is signed in; 401 for nobody."""
    with request.app.state.pool.connection() as conn:
        principal = access.authenticate(conn, request.cookies.get(STAFF_COOKIE, ""))
    return SignedIn(tenant=principal.tenant, login=principal.login or "", roles=sorted(principal.roles))


@router.delete("/session", status_code=204)
def sign_out(request: Request, response: Response) -> None:
    """End the session, here and for every copy of the cookie."""
    with request.app.state.pool.connection() as conn:
        principal = access.authenticate(conn, access.secret_of(request, member=False))
        conn.execute("SELECT set_config('aisle.tenant', %s, true)", (principal.tenant,))
        conn.execute(sql.revoke, {"secret": principal.secret_sha256})
    response.delete_cookie(STAFF_COOKIE)


@router.post("/api-keys", status_code=201)
def make_key(body: NewKey, call: Annotated[Call, allow("admin")]) -> Key:
    """A key for a till or an importer, shown this once. 404 for a store that is not there."""
    if body.store is not None:
        store_row(call.conn, call.tenant, body.store)
    secret = new_secret()
    values = {"secret": hash_secret(secret), "tenant": call.tenant, "roles": [body.role]}
    call.conn.execute(sql.make_key, values | {"store": body.store, "label": body.label})
    return Key(key=secret)


def set_cookie(request: Request, response: Response, name: str, secret: str, max_age_s: int = 43_200) -> None:
    """A session cookie that scripts cannot read and other sites cannot send."""
    secure = request.app.state.settings.secure_cookies
    response.set_cookie(name, secret, max_age=max_age_s, httponly=True, samesite="strict", secure=secure)


__all__ = ["Failures", "router", "set_cookie"]
