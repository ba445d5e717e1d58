"""A stand-in for the cloud's documented API with plausible data, for the tests of the two web pages alone."""

import asyncio
import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

from tests.e2e.fake_data import (
    MINUTE_US,
    NODES,
    NOON_US,
    OFFER,
    OPENED_US,
    PLAN,
    RESULTS,
    ZONES,
    K,
    node_row,
    presence,
    track,
    visit_row,
    zone_row,
    zones_now,
)

WEB = Path(__file__).parents[2] / "cloud" / "web"

LOGIN = {"login": "anna", "password": "a-good-password"}
CARD = "4000123412341234"
CODE = "AB12-CD34"


@dataclass
class Fake:
    """What the fake service holds, and what a page did to it."""

    roles: list[str] = field(default_factory=lambda: ["analyst", "marketer"])
    started_s: float = field(default_factory=time.monotonic)
    offers: list[dict[str, Any]] = field(default_factory=list)
    reports: list[tuple[str, str]] = field(default_factory=list)
    """(push_id, state) in the order in which the page told them."""
    consents: dict[str, bool] = field(
        default_factory=lambda: {"in_store_sensing": True, "marketing_push": True, "profiling": False}
    )
    refuse_consents: bool = False
    away: bool = False
    """Answer every API request as a gateway without a service behind it."""
    empty: bool = False
    """Nothing has happened in the store yet."""
    heads: list[int] = field(default_factory=list)
    """Counted heads, as they were told."""
    asked: list[str] = field(default_factory=list)
    """API paths with their queries, as they were asked."""

    def now_us(self) -> int:
        return NOON_US + int((time.monotonic() - self.started_s) * 1e6)

    def push(self, **changes: Any) -> dict[str, Any]:
        """A new offer, told to every open stream."""
        now = self.now_us()
        offer = OFFER | {"sent_us": now, "expires_us": now + 10 * MINUTE_US} | changes
        self.offers.insert(0, offer)
        return offer


def problem(status: int, title: str) -> JSONResponse:
    """An RFC 9457 answer."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": title}
    return JSONResponse(body, status, media_type="application/problem+json")


def need_staff(request: Request) -> None:
    if "aisle_session" not in request.cookies:
        raise HTTPException(401, "log in")


def need_member(request: Request) -> None:
    if "aisle_member" not in request.cookies:
        raise HTTPException(401, "sign in")


def event(name: str, data: object, id_: str = "") -> str:
    """One server-sent event."""
    return f"{f'id: {id_}' + chr(10) if id_ else ''}event: {name}\ndata: {json.dumps(data)}\n\n"


def staff_routes(fake: Fake) -> APIRouter:
    """What the console asks."""
    api = APIRouter(prefix="/v1", dependencies=[Depends(need_staff)])

    def now() -> dict[str, Any]:
        at_us = fake.now_us()
        people, zones = zones_now(at_us, fake.empty)
        return {"at_us": at_us, "people": people, "zones": zones, "nodes_online": 5, "nodes": 6}

    @api.get("/session")
    def session() -> dict[str, Any]:
        return {"tenant": "demo", "login": LOGIN["login"], "roles": fake.roles}

    @api.delete("/session", status_code=204)
    def end(response: Response) -> None:
        response.delete_cookie("aisle_session")

    @api.get("/stores")
    def stores() -> list[dict[str, Any]]:
        south = {"store": "south", "name": "South Gate", "tz": "Europe/Berlin", "demo": True}
        return [{name: PLAN[name] for name in ("store", "name", "tz", "demo")}, south]

    @api.get("/stores/{store}/plan")
    def plan(store: str) -> dict[str, Any]:
        if store != "north":
            raise HTTPException(404, "no such plan")
        return PLAN

    @api.get("/stores/{store}/now")
    def now_(store: str) -> dict[str, Any]:
        return now()

    @api.get("/stores/{store}/live")
    async def live(store: str) -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            while True:
                yield event("now", now())
                await asyncio.sleep(0.5)

        return StreamingResponse(events(), media_type="text/event-stream")

    @api.get("/stores/{store}/heatmap")
    def heatmap(store: str, floor: str, from_us: int, to_us: int) -> Response:
        grid, visits = presence(max(from_us, OPENED_US), to_us)
        suppressed = fake.empty or visits < K
        if suppressed:
            grid[:] = 0
        meta = {
            "nx": grid.shape[1],
            "ny": grid.shape[0],
            "cell_m": 0.5,
            "visits": 0 if suppressed else visits,
            "k": K,
            "unit": "s",
            "from_us": max(from_us, OPENED_US),
            "to_us": to_us,
            "suppressed": suppressed,
            "told_until_us": fake.now_us() // (60 * MINUTE_US) * 60 * MINUTE_US,
            "panel_share": 0.34,
            "panel_low": 0.3,
            "panel_high": 0.38,
            "weight": 2.9,
        }
        headers = {"X-Aisle-Grid": json.dumps(meta)}
        return Response(grid.astype("<f4").tobytes(), media_type="application/octet-stream", headers=headers)

    @api.get("/stores/{store}/zones")
    def zones(store: str, from_us: int, to_us: int) -> list[dict[str, Any]]:
        return [] if fake.empty else [zone_row(i) for i in range(len(ZONES))]

    @api.get("/stores/{store}/tracks")
    def tracks(store: str, from_us: int, to_us: int) -> list[dict[str, Any]]:
        return [] if fake.empty else [{"label": "Trolley 7", "points": track(to_us)}]

    @api.get("/stores/{store}/crowd")
    def crowd(store: str, from_us: int, to_us: int, step: int) -> dict[str, Any]:
        few: dict[str, Any] = {"estimate": None, "less_than": None, "low": None, "high": None}
        slots = [few | {"at_us": at_us} for at_us in range(from_us, to_us, step * 1_000_000)]
        if not fake.empty:
            slots[-2] |= {"estimate": 41.6, "low": 33.2, "high": 52.8}
        calibrated = bool(fake.heads)
        of = "people" if calibrated else "devices"
        return {"of": of, "drift": False, "calibration": {"calibrated": calibrated}, "occupancy": slots}

    @api.post("/stores/{store}/crowd/counts")
    async def count_heads(store: str, request: Request) -> dict[str, Any]:
        fake.heads.append((await request.json())["people"])
        return {"calibrated": True}

    @api.get("/stores/{store}/nodes")
    def nodes(store: str) -> list[dict[str, Any]]:
        now_us = fake.now_us()
        return [node_row(i, node, now_us) for i, (node, _, _) in enumerate(NODES)]

    @api.post("/stores/{store}/nodes/{node}/claim", status_code=201)
    def claim(store: str, node: str) -> dict[str, Any]:
        return {"code": "ABCD-EFGH-JKMN-PQRS", "expires_at_us": fake.now_us() + 15 * MINUTE_US}

    @api.get("/stores/{store}/visits")
    def visits(store: str, limit: int = 50) -> list[dict[str, Any]]:
        return [] if fake.empty else [visit_row(i, fake.now_us()) for i in range(14)]

    @api.get("/dead-letters")
    def dead_letters(limit: int = 100) -> list[dict[str, Any]]:
        topic = "aisle/v1/up/demo/north/n5/sightings"
        late = "t0 lies 3 days before the node's previous batch"
        short = "column rssi holds 38 bytes, 40 are expected for 20 rows"
        return [
            {
                "at_us": fake.now_us() - i * 37 * MINUTE_US,
                "node": "n5",
                "topic": topic,
                "reason": reason,
                "detail": detail,
                "bytes": 812,
            }
            for i, (reason, detail) in enumerate([("BadColumns", short), ("BadColumns", short), ("BadHeader", late)])
        ]

    @api.get("/campaigns")
    def campaigns() -> list[dict[str, Any]]:
        common = {"store": "north", "dwell_s": 60, "segment": "all-with-consent", "control_share": 0.1}
        return (
            []
            if fake.empty
            else [
                {
                    "campaign": "face",
                    "name": "Face care, beside the shelf",
                    "zone": "cosmetics",
                    "offer": "face-10",
                    "state": "running",
                    **common,
                },
                {
                    "campaign": "bread",
                    "name": "Bread after five",
                    "zone": "bakery",
                    "offer": "bread-20",
                    "state": "stopped",
                    **common,
                },
            ]
        )

    @api.post("/campaigns/{campaign}/stop", status_code=204)
    @api.post("/campaigns/{campaign}/start", status_code=204)
    def switch(campaign: str) -> None:
        pass

    @api.get("/campaigns/{campaign}/result")
    def result(campaign: str) -> dict[str, Any]:
        return RESULTS[campaign]

    return api


def member_routes(fake: Fake) -> APIRouter:
    """What the member's page asks."""
    api = APIRouter(prefix="/app/v1", dependencies=[Depends(need_member)])

    @api.delete("/session", status_code=204)
    def end(response: Response) -> None:
        response.delete_cookie("aisle_member")

    @api.get("/me")
    def me() -> dict[str, Any]:
        return {"card": CARD, "name": "Maria", "since_us": NOON_US - 400 * 24 * 60 * MINUTE_US}

    @api.get("/offers")
    def offers() -> list[dict[str, Any]]:
        day_us = 24 * 60 * MINUTE_US
        earlier = OFFER | {
            "push_id": "p-0",
            "title": "Two breads for one",
            "body": "Until eight in the evening.",
            "state": "used",
            "sent_us": NOON_US - day_us,
            "expires_us": NOON_US - day_us + 10 * MINUTE_US,
        }
        return [*fake.offers, earlier, earlier | {"push_id": "p-00", "title": "Oat milk, 15% off", "state": "expired"}]

    @api.get("/stream")
    async def stream() -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            told = len(fake.offers)
            yield event("ping", {"at_us": fake.now_us()})
            while True:
                for offer in fake.offers[: len(fake.offers) - told]:
                    yield event("offer", offer, offer["push_id"])
                told = len(fake.offers)
                await asyncio.sleep(0.05)

        return StreamingResponse(events(), media_type="text/event-stream")

    @api.post("/pushes/{push_id}", status_code=204)
    async def report(push_id: str, request: Request) -> None:
        state = (await request.json())["state"]
        fake.reports.append((push_id, state))
        for offer in fake.offers:
            if offer["push_id"] == push_id:
                offer["state"] = state

    @api.get("/consents")
    def consents() -> list[dict[str, Any]]:
        texts = {
            "in_store_sensing": (
                "Notice me in the store",
                "Receivers in the store recognise your card's tag while you are there.",
            ),
            "marketing_push": ("Send me offers", "At most one offer a visit, never at night, on this phone only."),
            "profiling": ("Fit offers to what I buy", "Your receipts are used to choose offers that suit you."),
        }
        return [
            {"purpose": p, "title": title, "text": text, "granted": fake.consents[p]}
            for p, (title, text) in texts.items()
        ]

    @api.put("/consents")
    async def consent(request: Request) -> Response:
        if fake.refuse_consents:
            return problem(500, "the ledger is not writable")
        body = await request.json()
        fake.consents[body["purpose"]] = body["granted"]
        return JSONResponse(body)

    return api


def page_policy(index: Path) -> str:
    """The Content-Security-Policy of a page: its import map is allowed by hash, nothing else inline is."""
    found = re.search(r'<script type="importmap">(.*?)</script>', index.read_text(), re.DOTALL)
    assert found, f"{index} has no import map"
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; "
        "manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def serve_files(app: FastAPI) -> None:
    """The pages as the cloud serves them: folders, shared files, and third-party modules by one table."""
    modules = {entry["url"]: WEB / entry["file"] for entry in json.loads((WEB / "modules.json").read_text()).values()}

    @app.get("/modules/{name}")
    def module(name: str) -> FileResponse:
        return FileResponse(modules[f"/modules/{name}"], media_type="text/javascript")

    @app.get("/{folder}/{path:path}")
    def file(folder: str, path: str) -> Response:
        if folder not in ("console", "app", "shared") or ".." in path:
            raise HTTPException(404, "no such page")
        found = WEB / folder / (path or "index.html")
        if not found.is_file():
            raise HTTPException(404, "no such file")
        types = {".js": "text/javascript", ".webmanifest": "application/manifest+json"}
        headers = {"Content-Security-Policy": page_policy(found)} if found.name == "index.html" else {}
        return FileResponse(
            found, media_type=types.get(found.suffix), headers=headers | {"X-Content-Type-Options": "nosniff"}
        )


def make_app(fake: Fake) -> FastAPI:
    """The fake service as an ASGI application."""
    app = FastAPI(openapi_url=None)

    @app.middleware("http")
    async def gate(request: Request, following: Any) -> Response:
        path = request.url.path
        if path.startswith(("/v1/", "/app/v1/")):
            fake.asked.append(f"{path}?{request.url.query}")
            if fake.away:
                return problem(503, "no service")
            if request.method not in ("GET", "HEAD") and request.headers.get("x-aisle") != "1":
                return problem(403, "X-Aisle is missing")
        answer: Response = await following(request)
        return answer

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail))

    @app.post("/v1/session")
    async def log_in(request: Request) -> Response:
        if await request.json() != LOGIN:
            return problem(401, "wrong login or password")
        response = JSONResponse({"tenant": "demo", "login": LOGIN["login"], "roles": fake.roles})
        response.set_cookie("aisle_session", "s", httponly=True, samesite="strict")
        return response

    @app.post("/app/v1/session")
    async def sign_in(request: Request) -> Response:
        body = await request.json()
        if (body["card"], body["code"]) != (CARD, CODE):
            return problem(401, "wrong card or code")
        response = JSONResponse({"member_id": "m1", "name": "Maria"})
        response.set_cookie("aisle_member", "m", httponly=True, samesite="strict")
        return response

    app.include_router(staff_routes(fake))
    app.include_router(member_routes(fake))
    serve_files(app)
    return app


@contextmanager
def running(fake: Fake, port: int = 0) -> Iterator[str]:
    """The fake service on a loopback port; gives its address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(make_app(fake), log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="fake-api")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
