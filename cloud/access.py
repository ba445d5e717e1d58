"""Who may call what: every route names its roles, every transaction is bound to a tenant, the rest is denied."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from cloud.errors import NoHeader, NotAllowed, NotSignedIn

STAFF_ROLES = ("admin", "analyst", "marketer", "technician")
STAFF_COOKIE = "aisle_session"
MEMBER_COOKIE = "aisle_member"

PUBLIC = frozenset({"/livez", "/readyz", "/v1/session", "/app/v1/session", "/v1/claim", "/v1/claim/renew"})
"""API routes that answer without a credential: signing in, and a node's way to one. Everything else names its roles."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credential was checked."""

    tenant: str
    kind: str
    """staff, member or key."""
    roles: frozenset[str]
    login: str | None
    member_id: UUID | None
    store: str | None
    """The only store that a machine's key is good for."""
    secret_sha256: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """What a route works with: the caller, and a transaction that sees the caller's tenant only."""

    principal: Principal
    conn: Connection[TupleRow]

    @property
    def tenant(self) -> str:
        return self.principal.tenant

    @property
    def member_id(self) -> UUID:
        """The member that is calling. Only for routes of the role `member`."""
        if self.principal.member_id is None:
            raise NotAllowed("this is for members")
        return self.principal.member_id


class Allow:
    """A dependency that opens the call's transaction for callers with one of the roles, and refuses all others."""

    def __init__(self, *roles: str) -> None:
        self.roles = frozenset(roles)

    def __call__(self, request: Request) -> Iterator[Call]:
        secret = secret_of(request, member="member" in self.roles)
        pool: ConnectionPool[Connection[TupleRow]] = request.app.state.pool
        with pool.connection() as conn:
            principal = authenticate(conn, secret)
            if not principal.roles & self.roles:
                raise NotAllowed(f"this needs the role {' or '.join(sorted(self.roles))}")
            conn.execute("SELECT set_config('aisle.tenant', %s, true)", (principal.tenant,))
            yield Call(principal, conn)


def allow(*roles: str) -> Allow:
    """`Annotated[Call, allow("analyst")]`: one transaction a request, committed before the answer is sent."""
    return Depends(Allow(*roles), scope="function")  # type: ignore[no-any-return]


@contextmanager
def in_tenant(pool: ConnectionPool[Connection[TupleRow]], principal: Principal) -> Iterator[Connection[TupleRow]]:
    """A transaction of its own for a stream's next look. Raises NotSignedIn once the credential was revoked."""
    with pool.connection() as conn:
        if conn.execute("SELECT 1 FROM credential_of(%s)", (principal.secret_sha256,)).fetchone() is None:
            raise NotSignedIn("the session has ended")
        conn.execute("SELECT set_config('aisle.tenant', %s, true)", (principal.tenant,))
        yield conn


def authenticate(conn: Connection[TupleRow], secret: str) -> Principal:
    """The holder of a secret. Raises NotSignedIn."""
    digest = hash_secret(secret)
    row = conn.execute("SELECT * FROM credential_of(%s)", (digest,)).fetchone()
    if row is None:
        raise NotSignedIn("the session has ended or the key is unknown")
    tenant, kind, _account, member_id, roles, store, login = row
    return Principal(tenant, kind, frozenset(roles), login, member_id, store, digest)


def new_secret() -> str:
    """256 random bits for a session or a key; only `hash_secret` of it is stored."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """SHA-256: enough for 256 random bits, and fast. Passwords are another matter (Argon2id)."""
    return hashlib.sha256(secret.encode()).digest()


def secret_of(request: Request, *, member: bool) -> str:
    """The caller's secret: a bearer token, else the cookie of staff or of members."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token
    cookie = request.cookies.get(MEMBER_COOKIE if member else STAFF_COOKIE)
    if not cookie:
        raise NotSignedIn("sign in, or send Authorization: Bearer KEY")
    # SameSite=Strict keeps foreign pages from sending the cookie; a header that a form cannot set is the second lock.
    if request.method not in ("GET", "HEAD") and request.headers.get("x-aisle") != "1":
        raise NoHeader("a request with a cookie that changes something needs the header X-Aisle: 1")
    return cookie


def roles_of(route: APIRoute) -> frozenset[str] | None:
    """The roles that a route names, None for a route without any."""
    found = [d.call.roles for d in route.dependant.dependencies if isinstance(d.call, Allow)]
    return found[0] if found else None


def api_routes(app: FastAPI) -> list[APIRoute]:
    """Every route of the API, those of included routers too: `app.routes` holds the routers, not their routes."""
    found = [context.original_route for context in iter_route_contexts(app.routes)]
    return [route for route in found if isinstance(route, APIRoute)]


def deny_by_default(app: FastAPI) -> None:
    """Refuse to start with a route that names no role and is not in PUBLIC."""
    for route in api_routes(app):
        if roles_of(route) is None and route.path not in PUBLIC:
            raise RuntimeError(f"route {route.path} names no role and is not public")
