"""What the cloud's tests share: tenants, callers, a small store, and the real application answering on its own loop."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
from anyio.from_thread import BlockingPortal, start_blocking_portal
from psycopg.rows import TupleRow

from cloud.access import MEMBER_COOKIE, hash_secret, new_secret
from cloud.api import make_app
from cloud.config import Settings
from tests.conftest import Database

NOON = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)
"""A Tuesday, 12:00 in Berlin, where the store stands: outside the quiet hours."""
NOON_US = int(NOON.timestamp()) * 1_000_000
FROZEN = f"{NOON_US}@0x0.0"
"""The product's clock, standing at NOON."""

STORE = "main-street"
COFFEE_CORNERS = [[4, 0], [8, 0], [8, 4], [4, 4]]
PLAN: dict[str, Any] = {
    "name": "Main Street",
    "tz": "Europe/Berlin",
    "opens": "09:00",
    "closes": "20:30",
    "demo": False,
    "floors": [{"floor": "0", "name": "Ground", "width_m": 8, "depth_m": 8, "cell_m": 1}],
    "zones": [
        {"zone": "coffee", "name": "Coffee", "kind": "shelf", "floor": "0", "polygon": COFFEE_CORNERS,
         "categories": ["coffee"]},
        {"zone": "till", "name": "Till", "kind": "till", "floor": "0", "polygon": [[0, 0], [3, 0], [3, 3]],
         "categories": []},
    ],
    "nodes": [
        {"node": "node-1", "floor": "0", "x_m": 1, "y_m": 1, "z_m": 2.5, "zone": None},
        {"node": "node-2", "floor": "0", "x_m": 7, "y_m": 1, "z_m": 2.5, "zone": "coffee"},
    ],
    "beacons": [
        {"uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 1, "minor": 2, "role": "asset", "label": "Cart 7",
         "floor": None, "x_m": None, "y_m": None},
    ],
}  # fmt: skip
OFFER: dict[str, Any] = {"offer": "ten-off", "name": "Ten off", "title": "10 % off coffee", "body": "Today only.",
         "category": "coffee", "discount_bp": 1000, "ttl_s": 600}  # fmt: skip
SEGMENT: dict[str, Any] = {"segment": "everyone", "name": "Everyone", "condition": {"all": []}}
CAMPAIGN: dict[str, Any] = {
    "campaign": "coffee-now",
    "name": "Coffee now",
    "store": STORE,
    "zone": "coffee",
    "dwell_s": 20,
    "segment": "everyone",
    "offer": "ten-off",
    "control_share": 0.1,
}
CONSENTS = {"in_store_sensing": True, "marketing_push": True, "profiling": True}


def us(at: datetime) -> int:
    """Microseconds since 1970."""
    return round(at.timestamp() * 1e6)


def superuser(database: Database) -> psycopg.Connection[TupleRow]:
    """Past row security: for arranging and for looking."""
    return psycopg.connect(database.admin, autocommit=True)


def make_tenant(database: Database, tenant: str) -> None:
    with superuser(database) as conn:
        conn.execute("INSERT INTO tenant (tenant_id, name) VALUES (%s, %s)", (tenant, tenant))


def make_caller(
    database: Database,
    tenant: str,
    *roles: str,
    kind: str = "staff",
    member: UUID | None = None,
    store: str | None = None,
) -> str:
    """A credential of the tenant with these roles, as signing in would leave it; returns its secret."""
    secret = new_secret()
    with superuser(database) as conn:
        conn.execute(
            "INSERT INTO credential (secret_sha256, tenant_id, kind, member_id, roles, store_id)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (hash_secret(secret), tenant, kind, member, list(roles), store),
        )
    return secret


def make_member(database: Database, tenant: str, consents: Mapping[str, bool] = CONSENTS, **columns: Any) -> UUID:
    """A member with a random card and these answers on consent."""
    values = {"tenant_id": tenant, "card": str(10**11 + secrets.randbelow(10**11))} | columns
    with superuser(database) as conn:
        names = ", ".join(values)
        marks = ", ".join(["%s"] * len(values))
        row = conn.execute(
            f"INSERT INTO member ({names}) VALUES ({marks}) RETURNING member_id".encode(), list(values.values())
        ).fetchone()
        assert row is not None
        for purpose, granted in consents.items():
            say_consent(conn, tenant, row[0], purpose, granted)
    member: UUID = row[0]
    return member


def say_consent(conn: psycopg.Connection[Any], tenant: str, member: UUID, purpose: str, granted: bool) -> None:
    conn.execute(
        "INSERT INTO consent (tenant_id, member_id, purpose, granted, text_version, channel)"
        " VALUES (%s, %s, %s, %s, 'test', 'test')",
        (tenant, member, purpose, granted),
    )


def add_visit(
    conn: psycopg.Connection[Any],
    tenant: str,
    member: UUID,
    started: datetime = NOON,
    lasts: timedelta = timedelta(minutes=20),
    ended: bool = False,
    excluded: bool = False,
    store: str = STORE,
) -> int:
    """A member's visit; returns its id."""
    row = conn.execute(
        "INSERT INTO visit (tenant_id, store_id, member_id, started_at, seen_at, ended_at, excluded)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING visit_id",
        (tenant, store, member, started, started + lasts, started + lasts if ended else None, excluded),
    ).fetchone()
    assert row is not None
    visit: int = row[0]
    return visit


def add_presence(
    conn: psycopg.Connection[Any],
    tenant: str,
    visit: int,
    zone: str,
    entered: datetime = NOON,
    left: datetime | None = None,
    store: str = STORE,
    source: str = "fused",
) -> int:
    """A stay in a zone; returns its id."""
    row = conn.execute(
        "INSERT INTO presence (tenant_id, store_id, visit_id, zone, source, entered_at, left_at, confidence)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, 0.9) RETURNING presence_id",
        (tenant, store, visit, zone, source, entered, left),
    ).fetchone()
    assert row is not None
    presence: int = row[0]
    return presence


def told_until(conn: psycopg.Connection[Any], tenant: str, until: datetime, store: str = STORE) -> None:
    """How far the locator has told the store's story."""
    conn.execute("UPDATE store SET located_until = %s WHERE tenant_id = %s AND store_id = %s", (until, tenant, store))


@dataclass(frozen=True, slots=True)
class Api:
    """The application as its callers see it. `key` is a credential's secret, sent as a bearer token."""

    portal: BlockingPortal
    client: httpx.AsyncClient
    app: Any

    def call(self, method: str, path: str, key: str | None = None, **how: Any) -> httpx.Response:
        """One request and its whole answer. A streamed answer never ends: use `first_event`."""
        headers = ({"authorization": f"Bearer {key}"} if key else {}) | how.pop("headers", {})
        self.client.cookies.clear()
        return self.portal.call(lambda: self.client.request(method, path, headers=headers, **how))

    def get(self, path: str, key: str | None = None, **how: Any) -> httpx.Response:
        return self.call("GET", path, key, **how)

    def post(self, path: str, key: str | None = None, **how: Any) -> httpx.Response:
        return self.call("POST", path, key, **how)

    def put(self, path: str, key: str | None = None, **how: Any) -> httpx.Response:
        return self.call("PUT", path, key, **how)

    def events(
        self,
        path: str,
        key: str,
        wanted: int = 1,
        headers: Mapping[str, str] | None = None,
        then: Callable[[int], None] = lambda _: None,
    ) -> tuple[int, list[str]]:
        """The status and the first events of a stream, which is then hung up; `then(n)` runs after the n-th."""
        return self.portal.call(self._events, path, key, wanted, dict(headers or {}), then)

    async def _events(
        self, path: str, key: str, wanted: int, more: dict[str, str], then: Callable[[int], None]
    ) -> tuple[int, list[str]]:
        enough, status, got = asyncio.Event(), [0], list[str]()
        headers = {"host": "test", "authorization": f"Bearer {key}"} | more
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
                 "query_string": b"", "root_path": "", "scheme": "http", "server": ("test", 80),
                 "client": ("test", 1), "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}  # fmt: skip

        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await enough.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            body = message.get("body", b"").decode()
            if status[0] == 200 and "event:" in body:
                got.append(body)
                await asyncio.to_thread(then, len(got))
            if len(got) >= wanted:
                enough.set()

        running = asyncio.create_task(self.app(scope, receive, send))
        hung_up = asyncio.create_task(enough.wait())
        await asyncio.wait({running, hung_up}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        hung_up.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            if not running.done():
                running.cancel()
            await running
        return status[0], got


@contextlib.contextmanager
def running_api(database: Database, clock: str | None = FROZEN, app: Any = None) -> Iterator[Api]:
    """The real application, its pool and its listener, on a loop of its own thread."""
    environment = {"AISLE_APP_DSN": database.app} | ({"AISLE_CLOCK": clock} if clock else {})
    app = app or make_app(Settings(environment), pages=False)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(app.router.lifespan_context(app)):
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
        with portal.wrap_async_context_manager(client):
            yield Api(portal, client, app)


def furnish(api: Api, database: Database, tenant: str, store: str = STORE) -> str:
    """A tenant with a store, segment, offer and running campaign, all made over HTTP; returns its admin's key."""
    make_tenant(database, tenant)
    admin = make_caller(database, tenant, "admin")
    nodes = [node | {"node": node["node"]} for node in PLAN["nodes"]]
    campaign = CAMPAIGN | {"store": store}
    for answer in (
        api.put(f"/v1/stores/{store}", admin, json=PLAN | {"nodes": nodes}),
        api.post("/v1/segments", admin, json=SEGMENT),
        api.post("/v1/offers", admin, json=OFFER),
        api.post("/v1/campaigns", admin, json=campaign),
        api.post(f"/v1/campaigns/{campaign['campaign']}/start", admin),
    ):
        assert answer.status_code == 204, answer.text
    return admin


def member_headers(key: str) -> dict[str, str]:
    """A member's cookie as the app's pages send it."""
    return {"cookie": f"{MEMBER_COOKIE}={key}", "x-aisle": "1"}
