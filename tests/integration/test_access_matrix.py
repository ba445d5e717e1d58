"""Every route × every role × own and foreign tenant, generated from the application: a new route cannot slip past."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from cloud.access import PUBLIC, STAFF_ROLES, Call, allow, api_routes, deny_by_default, roles_of
from cloud.api import make_app
from cloud.config import Settings
from cloud.places.geojson import write_floor
from cloud.places.models import Plan
from tests.conftest import Database
from tests.integration.cloud_support import (
    CAMPAIGN,
    NOON,
    NOON_US,
    OFFER,
    PLAN,
    SEGMENT,
    Api,
    add_presence,
    add_visit,
    furnish,
    make_caller,
    make_member,
    running_api,
    superuser,
)

CALLERS = (*STAFF_ROLES, "till", "import", "member")
OURS, THEIRS = "acme", "beta"
SECRET = "beta-only"
"""Stands in whatever the other tenant has: it must never be in an answer to us."""

HEARD = {name: PLAN["beacons"][0][name] for name in ("uuid", "major", "minor")} | {"from_us": 0, "to_us": 10_000_000}
SPAN = {"from_us": 0, "to_us": NOON_US + 10**10}
POINT = {"x_m": 1, "y_m": 1, "node": "node-1", "mean_dbm": -60, "sd_db": 2, "n": 20}
WALK = b"x_m,y_m,node,mean_dbm,sd_db,n\n1,1,node-1,-60,2,20\n"
DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
SHOP = Plan.model_validate(PLAN)
FLOOR_0 = write_floor(SHOP, SHOP.floors[0], "metres")
LINE = {"line_no": 1, "sku": "1", "name": "Coffee", "category": "coffee", "qty": 1000, "unit_price": 500, "amount": 500}
RECEIPT = {"receipt_uid": "m-1", "till": "1", "at_us": NOON_US, "kind": "sale", "currency": "EUR", "total": 500,
           "lines": [LINE]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ids:
    """What a tenant has that a request can name."""

    store: str
    campaign: str
    push: int
    member: UUID
    card: str


@dataclass(frozen=True, slots=True)
class Example:
    """A request that is right for its route: what it answers with `own` ids, may answer with `foreign` ones."""

    query: Callable[[Ids], dict[str, Any]] = lambda ids: {}
    body: Callable[[Ids], Any] = lambda ids: None
    own: int = 200
    foreign: frozenset[int] = field(default_factory=lambda: frozenset({404}))
    streams: bool = False
    content: bytes | None = None
    """A body that is no JSON."""
    headers: dict[str, str] = field(default_factory=dict)


ANY_OWN = frozenset({200, 201, 204})
"""The route names no id: it answers with the caller's own, whatever that is."""
REFUSED = frozenset({404, 422})


def _receipt(ids: Ids) -> Any:
    return {"receipts": [RECEIPT | {"store": ids.store}]}


# What to send to each route; what its path names is filled in.
EXAMPLES: dict[str, Example] = {
    "POST /v1/api-keys": Example(body=lambda i: {"role": "till", "label": "1", "store": i.store}, own=201),
    "GET /v1/stores": Example(foreign=ANY_OWN),
    # A store's name is the tenant's own: putting a name that another tenant has makes a store of ours.
    "PUT /v1/stores/{store}": Example(body=lambda i: PLAN, own=204, foreign=frozenset({204, 409})),
    "GET /v1/stores/{store}/plan": Example(),
    "GET /v1/stores/{store}/plans": Example(),
    "GET /v1/stores/{store}/rings": Example(),
    "GET /v1/stores/{store}/floors/{floor}/geojson": Example(),
    "PUT /v1/stores/{store}/floors/{floor}/geojson": Example(body=lambda i: FLOOR_0, own=204),
    "GET /v1/stores/{store}/floors/{floor}/coverage": Example(),
    "POST /v1/stores/{store}/images": Example(content=DOT, own=201),
    "GET /v1/stores/{store}/images/{image}": Example(own=404),
    "POST /v1/stores/{store}/surveys": Example(content=WALK, own=201),
    "GET /v1/stores/{store}/surveys": Example(),
    "GET /v1/stores/{store}/findings": Example(),
    "POST /v1/stores/{store}/findings/{finding}/close": Example(own=404),
    "PUT /v1/stores/{store}/floors/{floor}/survey": Example(body=lambda i: {"points": [POINT]}),
    "GET /v1/stores/{store}/heard": Example(query=lambda i: HEARD),
    "GET /v1/stores/{store}/nodes": Example(),
    "POST /v1/stores/{store}/nodes/{node}/claim": Example(own=201),
    "POST /v1/stores/{store}/nodes/{node}/revoke": Example(own=204),
    "GET /v1/stores/{store}/nodes/{node}/config": Example(),
    "PUT /v1/stores/{store}/nodes/{node}/config": Example(body=lambda i: {"settings": {"ble": {"mode": "passive"}}}),
    "POST /v1/stores/{store}/opt-outs": Example(body=lambda i: {"address": "00:11:22:33:44:55"}, own=204),
    # This application holds no authority, and says so.
    "GET /v1/revocations": Example(own=503, foreign=frozenset({503})),
    "GET /v1/stores/{store}/inventory": Example(),
    "GET /v1/stores/{store}/inventory/events": Example(query=lambda i: SPAN),
    "GET /v1/stores/{store}/epcis": Example(query=lambda i: SPAN),
    "PUT /v1/stores/{store}/sgln": Example(body=lambda i: {"sgln": "0614141.00777"}, own=204),
    "GET /v1/stores/{store}/now": Example(),
    "GET /v1/stores/{store}/live": Example(streams=True),
    "GET /v1/stores/{store}/heatmap": Example(query=lambda i: SPAN),
    "GET /v1/stores/{store}/flows": Example(query=lambda i: SPAN),
    "GET /v1/stores/{store}/funnel": Example(query=lambda i: SPAN),
    "GET /v1/stores/{store}/panel": Example(query=lambda i: SPAN),
    "GET /v1/stores/{store}/zones": Example(query=lambda i: SPAN),
    "GET /v1/stores/{store}/tracks": Example(query=lambda i: SPAN),
    "GET /v1/stores/{store}/visits": Example(),
    "GET /v1/stores/{store}/visits/rule": Example(),
    "PUT /v1/stores/{store}/visits/rule": Example(body=lambda i: {"ends_after_s": 10_800}, own=204),
    "GET /v1/stores/{store}/crowd": Example(query=lambda i: {"from_us": NOON_US - 10**9, "to_us": NOON_US}),
    "POST /v1/stores/{store}/crowd/counts": Example(body=lambda i: {"at_us": NOON_US, "people": 12}),
    "GET /v1/dead-letters": Example(foreign=ANY_OWN),
    "GET /v1/progress": Example(foreign=ANY_OWN),
    "GET /v1/progress/queue": Example(foreign=ANY_OWN),
    "POST /v1/members/import": Example(body=lambda i: {"members": []}, own=201, foreign=ANY_OWN),
    "POST /v1/members/{card}/tags": Example(body=lambda i: {"epc": "e28011700000020a"}, own=204),
    "POST /v1/receipts": Example(body=_receipt, foreign=REFUSED),
    "GET /v1/receipts": Example(query=lambda i: {"store": i.store}),
    "GET /v1/receipts/quarantine": Example(foreign=ANY_OWN),
    "POST /v1/receipts/quarantine/retry": Example(foreign=ANY_OWN),
    "POST /v1/receipts/quarantine/{quarantine_id}/retry": Example(body=lambda i: {}, own=404),
    "POST /v1/receipts/quarantine/{quarantine_id}/discard": Example(own=404),
    "GET /v1/receipts/identified": Example(
        query=lambda i: {"store": i.store, "first": "2026-11-01", "last": "2026-11-30"}
    ),
    "GET /v1/segments": Example(foreign=ANY_OWN),
    "POST /v1/segments": Example(body=lambda i: SEGMENT, own=204, foreign=ANY_OWN),
    "GET /v1/offers": Example(foreign=ANY_OWN),
    "POST /v1/offers": Example(body=lambda i: OFFER, own=204, foreign=ANY_OWN),
    "GET /v1/campaigns": Example(foreign=ANY_OWN),
    "POST /v1/campaigns": Example(
        body=lambda i: CAMPAIGN | {"campaign": "new", "store": i.store}, own=204, foreign=REFUSED
    ),
    "POST /v1/campaigns/{campaign}/{action}": Example(own=204),
    "GET /v1/campaigns/{campaign}/result": Example(),
    "POST /v1/members/{card}/adjustments": Example(
        body=lambda i: {"amount": 5, "reason": "sorry"}, headers={"Idempotency-Key": "1"}, own=201
    ),
    "GET /v1/points/adjustments": Example(foreign=ANY_OWN),
    "POST /v1/points/adjustments/{adjustment}/{decision}": Example(own=404),
    "GET /v1/points/liability": Example(foreign=ANY_OWN),
    "GET /v1/points/breakage": Example(foreign=ANY_OWN),
    "GET /app/v1/points": Example(foreign=ANY_OWN),
    "GET /app/v1/points/history": Example(foreign=ANY_OWN),
    "DELETE /app/v1/session": Example(own=204, foreign=ANY_OWN),
    "GET /app/v1/me": Example(foreign=ANY_OWN),
    "GET /app/v1/consents": Example(foreign=ANY_OWN),
    "PUT /app/v1/consents": Example(
        body=lambda i: {"purpose": "profiling", "granted": True}, own=204, foreign=ANY_OWN
    ),
    "POST /app/v1/devices": Example(own=201, foreign=ANY_OWN),
    "GET /app/v1/wifi": Example(foreign=ANY_OWN),
    "GET /app/v1/offers": Example(foreign=ANY_OWN),
    "POST /app/v1/pushes/{push_id}": Example(body=lambda i: {"state": "shown"}, own=204),
    "GET /app/v1/stream": Example(streams=True, foreign=ANY_OWN),
}  # fmt: skip


def named_routes() -> dict[str, APIRoute]:
    """`METHOD /path` of every route that is not public."""
    app = make_app(Settings({"AISLE_APP_DSN": "postgresql://nowhere"}), pages=False)
    return {
        f"{method} {route.path}": route
        for route in api_routes(app)
        for method in sorted(route.methods or ())
        if roles_of(route) is not None
    }


ROUTES = named_routes()


@dataclass(frozen=True, slots=True)
class Scene:
    """Two tenants that have the same kinds of things, and a caller of ours for each role."""

    api: Api
    database: Database
    ours: Ids
    theirs: Ids

    def caller(self, role: str) -> str:
        """Fresh each time: one request of the matrix signs its caller out."""
        kind = "member" if role == "member" else "key" if role in ("till", "import") else "staff"
        return make_caller(self.database, OURS, role, kind=kind, member=self.ours.member if role == "member" else None)

    def send(self, name: str, key: str | None, ids: Ids) -> tuple[int, str]:
        """The request of a route with these ids: status and answer."""
        method, path = name.split(" ")
        example = EXAMPLES[name]
        named = {"store": ids.store, "node": "node-1", "campaign": ids.campaign, "card": ids.card, "push_id": ids.push}
        named |= {"floor": "0", "action": "start", "image": "0" * 64, "decision": "approve"}
        path = path.format(**named, finding=0, quarantine_id=0, adjustment=0)
        body = example.body(ids)
        how: dict[str, Any] = {"json": body} if body is not None else {}
        if example.content is not None:
            how = {"content": example.content}
        if example.streams and key is not None:
            status, events = self.api.events(path, key)
            return status, "".join(events)
        answer = self.api.call(method, path, key, params=example.query(ids), headers=example.headers, **how)
        return answer.status_code, answer.text


def _people(scene_api: Api, database: Database, tenant: str, store: str, campaign: str) -> Ids:
    admin = furnish(scene_api, database, tenant, store)
    other = CAMPAIGN | {"campaign": campaign, "store": store, "name": f"{tenant}-only"}
    assert scene_api.post("/v1/campaigns", admin, json=other).status_code == 204
    for kind, what in (("segments", SEGMENT), ("offers", OFFER)):
        assert scene_api.post(f"/v1/{kind}", admin, json=what | {"name": f"{tenant}-only"}).status_code == 204
    plan = PLAN | {"name": f"{tenant}-only"}
    assert scene_api.put(f"/v1/stores/{store}", admin, json=plan).status_code == 204
    card = {OURS: "10000001", THEIRS: "20000002"}[tenant]
    member = make_member(database, tenant, name=f"{tenant}-only", card=card)
    till = make_caller(database, tenant, "till", kind="key")
    receipt = RECEIPT | {"store": store, "receipt_uid": f"{tenant}-only"}
    assert scene_api.post("/v1/receipts", till, json={"receipts": [receipt]}).json() == {"stored": 1, "duplicates": 0}
    return Ids(store, campaign, _push(database, tenant, store, member), member, card)


def _push(database: Database, tenant: str, store: str, member: UUID) -> int:
    """A decision with all that follows from it, and a dead letter."""
    with superuser(database) as conn:
        visit = add_visit(conn, tenant, member, store=store)
        presence = add_presence(conn, tenant, visit, "coffee", store=store)
        row = conn.execute(
            "WITH d AS (INSERT INTO decision (tenant_id, campaign, visit_id, member_id, presence_id, at, outcome,"
            "  reason, arm) VALUES (%(t)s, %(c)s, %(v)s, %(m)s, %(p)s, %(at)s, 'sent', 'x', 'target')"
            "  RETURNING decision_id),"
            " c AS (INSERT INTO contact (tenant_id, member_id, decision_id, visit_id, purpose, at)"
            "  SELECT %(t)s, %(m)s, decision_id, %(v)s, 'proximity', %(at)s FROM d RETURNING contact_id),"
            " k AS (INSERT INTO coupon (tenant_id, code, decision_id, member_id, offer, expires_at)"
            "  SELECT %(t)s, %(t)s || '-only', decision_id, %(m)s, 'ten-off', %(at)s + interval '12 hours' FROM d)"
            " INSERT INTO push (tenant_id, member_id, contact_id, decision_id, offer, title, body, coupon, why,"
            "  sent_at, expires_at) SELECT %(t)s, %(m)s, contact_id, decision_id, 'ten-off', %(t)s || '-only', '',"
            "  %(t)s || '-only', '', %(at)s, %(at)s + interval '10 minutes' FROM d, c RETURNING push_id",
            {"t": tenant, "c": CAMPAIGN["campaign"], "v": visit, "m": member, "p": presence, "at": NOON},
        ).fetchone()
        conn.execute(
            "INSERT INTO dead_letter (tenant_id, node, topic, reason, detail, payload, digest)"
            " VALUES (%s, 'node-1', %s, 'x', %s, '', '')",
            (tenant, tenant, f"{tenant}-only"),
        )
    assert row is not None
    push: int = row[0]
    return push


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    with running_api(database) as api:
        ours = _people(api, database, OURS, "main-street", "ours-again")
        yield Scene(api, database, ours, _people(api, database, THEIRS, "side-street", "theirs-again"))


def test_every_route_has_an_example_here_and_every_example_a_route() -> None:
    missing, stale = sorted(ROUTES.keys() - EXAMPLES.keys()), sorted(EXAMPLES.keys() - ROUTES.keys())
    assert not missing, f"add to EXAMPLES an Example with query, body and status for: {', '.join(missing)}"
    assert not stale, f"take from EXAMPLES what is no route any more: {', '.join(stale)}"
    assert len(ROUTES) >= 30, "the application's routes are not found: deny_by_default would see none either"


def test_without_a_credential_every_route_says_sign_in(scene: Scene) -> None:
    for name in ROUTES:
        status, _ = scene.send(name, None, scene.ours)
        assert status == 401, f"{name} without a credential: {status}"
        status, _ = scene.send(name, "not-a-secret", scene.ours)
        assert status == 401, f"{name} with an unknown secret: {status}"


@pytest.mark.parametrize("role", CALLERS)
def test_a_role_may_call_exactly_the_routes_that_name_it(scene: Scene, role: str) -> None:
    for name, route in ROUTES.items():
        named = roles_of(route) or frozenset()
        status, text = scene.send(name, scene.caller(role), scene.ours)
        wanted = EXAMPLES[name].own if role in named else 403
        assert status == wanted, f"{name} as {role}: {status}, expected {wanted}: {text[:300]}"
        assert SECRET not in text, f"{name} as {role} tells of another tenant"


@pytest.mark.parametrize("role", CALLERS)
def test_another_tenants_ids_give_nothing_of_that_tenant(scene: Scene, role: str) -> None:
    before = _everything_of(scene.database, THEIRS)
    for name, route in ROUTES.items():
        if role not in (roles_of(route) or ()):
            continue
        status, text = scene.send(name, scene.caller(role), scene.theirs)
        assert status in EXAMPLES[name].foreign, f"{name} as {role} with foreign ids: {status}: {text[:300]}"
        assert SECRET not in text, f"{name} as {role} tells of another tenant"
    assert _everything_of(scene.database, THEIRS) == before, "something of the other tenant was changed"


def _everything_of(database: Database, tenant: str) -> dict[str, list[Any]]:
    """All rows of a tenant, by table."""
    with superuser(database) as conn:
        tables = conn.execute(
            "SELECT DISTINCT table_name FROM information_schema.columns JOIN information_schema.tables"
            " USING (table_schema, table_name)"
            " WHERE table_schema = 'public' AND column_name = 'tenant_id' AND table_type = 'BASE TABLE'"
        ).fetchall()
        return {
            table: sorted(
                map(str, conn.execute(f"SELECT * FROM {table} WHERE tenant_id = %s".encode(), (tenant,)).fetchall())
            )
            for (table,) in tables
        }


def test_a_route_that_names_no_role_is_refused_at_the_start() -> None:
    for app in (FastAPI(), make_app(Settings({"AISLE_APP_DSN": "postgresql://nowhere"}), pages=False)):
        app.get("/v1/forgotten")(lambda: {})
        with pytest.raises(RuntimeError, match="/v1/forgotten names no role"):
            deny_by_default(app)
    router = APIRouter(prefix="/v1")
    router.get("/forgotten")(lambda: {})
    app = FastAPI()
    app.include_router(router)
    with pytest.raises(RuntimeError, match="/v1/forgotten names no role"):
        deny_by_default(app)


def test_a_route_that_names_its_roles_is_taken() -> None:
    app = FastAPI()

    @app.get("/v1/kept")
    def kept(call: Annotated[Call, allow("admin")]) -> None:
        """Only its signature matters."""

    deny_by_default(app)
    assert [roles_of(route) for route in api_routes(app)] == [frozenset({"admin"})]


def test_public_is_only_signing_in_claiming_a_node_and_being_alive() -> None:
    assert PUBLIC == {"/livez", "/readyz", "/v1/session", "/app/v1/session", "/v1/claim", "/v1/claim/renew"}
