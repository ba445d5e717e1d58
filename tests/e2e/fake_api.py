"""A stand-in for the cloud's documented API with plausible data, for the tests of the two web pages alone."""

import asyncio
import base64
import hashlib
import json
import math
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

WEB = Path(__file__).parents[2] / "cloud" / "web"

MINUTE_US = 60_000_000
NOON_US = 1_778_587_200_000_000
"""2026-05-12 12:00 UTC, 14:00 in the store: the fake service's clock starts here."""
OPENED_US = NOON_US - 2 * 24 * 60 * MINUTE_US
"""Where the data begins."""
K = 5

LOGIN = {"login": "anna", "password": "a-good-password"}
CARD = "4000123412341234"
CODE = "AB12-CD34"

ZONES: list[tuple[str, str, str, list[tuple[float, float]]]] = [
    ("street", "Street", "street", [(0, 0), (24, 0), (24, 1.6), (0, 1.6)]),
    ("door", "Entrance", "entrance", [(9.5, 1.6), (14.5, 1.6), (14.5, 4), (9.5, 4)]),
    ("cosmetics", "Cosmetics", "shelf", [(0.5, 5), (7, 5), (7, 9), (0.5, 9)]),
    ("bakery", "Bakery", "shelf", [(0.5, 10), (7, 10), (7, 15.5), (0.5, 15.5)]),
    ("drinks", "Drinks", "shelf", [(8.5, 9), (15.5, 9), (15.5, 15.5), (8.5, 15.5)]),
    ("household", "Household", "aisle", [(17, 8), (23.5, 8), (23.5, 15.5), (17, 15.5)]),
    ("tills", "Tills", "till", [(16, 2), (23.5, 2), (23.5, 6.5), (16, 6.5)]),
    ("fitting", "Fitting room", "fitting", [(0.5, 2), (3.5, 2), (3.5, 4.6), (0.5, 4.6)]),
]
NODES = [("n1", 12.0, 1.7), ("n2", 0.4, 7.0), ("n3", 0.4, 13.0), ("n4", 12.0, 15.6), ("n5", 23.6, 12.0), ("n6", 23.6, 4.0)]
PLAN: dict[str, Any] = {
    "store": "north", "name": "North Street", "tz": "Europe/Berlin", "opens": "09:00", "closes": "21:00", "demo": True,
    "floors": [{"floor": "0", "name": "Ground floor", "width_m": 24.0, "depth_m": 16.0, "cell_m": 0.5}],
    "zones": [
        {"zone": zone, "name": name, "kind": kind, "floor": "0", "polygon": polygon, "categories": []}
        for zone, name, kind, polygon in ZONES
    ],
    "nodes": [{"node": node, "floor": "0", "x_m": x, "y_m": y, "z_m": 2.6, "zone": None} for node, x, y in NODES],
    "beacons": [],
}  # fmt: skip
HOT = [(12, 3, 1.5, 3.0), (3.5, 7, 1.8, 5.0), (4, 13, 1.6, 2.2), (12, 12, 2.4, 3.2), (20, 11, 2.2, 1.6), (19, 4, 1.3, 8.0)]
"""Where people are: x, y, spread in metres, weight."""

OFFER: dict[str, Any] = {
    "push_id": "p-1", "title": "10% off face care", "body": "You are beside it: any face cream, today only.",
    "offer": "face-10", "coupon": "FACE10-7K2M", "state": "sent",
    "why": "You looked at Cosmetics for more than a minute, and you allowed offers from this store.",
}  # fmt: skip


@dataclass
class Fake:
    """What the fake service holds, and what a page did to it."""

    started_s: float = field(default_factory=time.monotonic)
    offers: list[dict[str, Any]] = field(default_factory=list)
    reports: list[tuple[str, str]] = field(default_factory=list)
    """(push_id, state) in the order in which the page told them."""
    consents: dict[str, bool] = field(default_factory=lambda: {"in_store_sensing": True, "marketing_push": True, "profiling": False})
    refuse_consents: bool = False
    away: bool = False
    """Answer every API request as a gateway without a service behind it."""
    empty: bool = False
    """Nothing has happened in the store yet."""
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


def count(n: int) -> dict[str, Any]:
    return {"n": n, "less_than": None} if n == 0 or n >= K else {"n": None, "less_than": K}


def staff_routes(fake: Fake) -> APIRouter:
    """What the console asks."""
    api = APIRouter(prefix="/v1", dependencies=[Depends(need_staff)])

    def now() -> dict[str, Any]:
        wave = 1 + 0.3 * math.sin(fake.now_us() / 4e6)
        people = [0, 2, 9, 4, 12, 5, 8, 0] if not fake.empty else [0] * len(ZONES)
        zones = [{"zone": zone[0], **count(round(n * wave))} for zone, n in zip(ZONES, people, strict=True)]
        return {"at_us": fake.now_us(), "people": count(round(sum(people) * wave)), "zones": zones, "nodes_online": 5, "nodes": 6}

    @api.get("/session")
    def session() -> dict[str, Any]:
        return {"tenant": "demo", "login": LOGIN["login"], "roles": ["analyst", "marketer"]}

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
            "nx": grid.shape[1], "ny": grid.shape[0], "cell_m": 0.5, "visits": 0 if suppressed else visits, "k": K, "unit": "s",
            "from_us": max(from_us, OPENED_US), "to_us": to_us, "suppressed": suppressed,
        }  # fmt: skip
        headers = {"X-Aisle-Grid": json.dumps(meta)}
        return Response(grid.astype("<f4").tobytes(), media_type="application/octet-stream", headers=headers)

    @api.get("/stores/{store}/zones")
    def zones(store: str, from_us: int, to_us: int) -> list[dict[str, Any]]:
        if fake.empty:
            return []
        figures = [(None, None, None, None), (412, 14.0, 9.0, None), (168, 161.5, 118.0, 0.31), (96, 84.0, 61.0, 0.44), (203, 95.2, 70.0, 0.52),
                   (71, 66.0, 48.0, 0.22), (288, 140.0, 122.0, 0.97), (None, None, None, None)]  # fmt: skip
        return [
            {"zone": z[0], "name": z[1], "kind": z[2], "visits": f[0], "less_than": K if f[0] is None else None,
             "mean_dwell_s": f[1], "median_dwell_s": f[2], "conversion": f[3]}
            for z, f in zip(ZONES, figures, strict=True)
        ]  # fmt: skip

    @api.get("/stores/{store}/tracks")
    def tracks(store: str, from_us: int, to_us: int) -> list[dict[str, Any]]:
        if fake.empty:
            return []
        turns = [i / 40 * 2 * math.pi for i in range(36)]
        points = [[to_us - (36 - i) * 4_000_000, 12 + 6 * math.cos(a), 9 + 3.5 * math.sin(a), 0.9] for i, a in enumerate(turns)]
        return [{"label": "Trolley 7", "points": points}]

    @api.get("/stores/{store}/nodes")
    def nodes(store: str) -> list[dict[str, Any]]:
        now_us = fake.now_us()
        return [node_row(i, node, now_us) for i, (node, _, _) in enumerate(NODES)]

    @api.get("/stores/{store}/visits")
    def visits(store: str, limit: int = 50) -> list[dict[str, Any]]:
        return [] if fake.empty else [visit_row(i, fake.now_us()) for i in range(14)]

    @api.get("/dead-letters")
    def dead_letters(limit: int = 100) -> list[dict[str, Any]]:
        topic = "aisle/v1/up/demo/north/n5/sightings"
        late = "t0 lies 3 days before the node's previous batch"
        short = "column rssi holds 38 bytes, 40 are expected for 20 rows"
        return [
            {"at_us": fake.now_us() - i * 37 * MINUTE_US, "node": "n5", "topic": topic, "reason": reason, "detail": detail, "bytes": 812}
            for i, (reason, detail) in enumerate([("BadColumns", short), ("BadColumns", short), ("BadHeader", late)])
        ]

    @api.get("/campaigns")
    def campaigns() -> list[dict[str, Any]]:
        common = {"store": "north", "dwell_s": 60, "segment": "all-with-consent", "control_share": 0.1}
        return [] if fake.empty else [
            {"campaign": "face", "name": "Face care, beside the shelf", "zone": "cosmetics", "offer": "face-10", "state": "running", **common},
            {"campaign": "bread", "name": "Bread after five", "zone": "bakery", "offer": "bread-20", "state": "stopped", **common},
        ]  # fmt: skip

    @api.post("/campaigns/{campaign}/stop", status_code=204)
    @api.post("/campaigns/{campaign}/start", status_code=204)
    def switch(campaign: str) -> None:
        pass

    @api.get("/campaigns/{campaign}/result")
    def result(campaign: str) -> dict[str, Any]:
        return RESULTS[campaign]

    return api


RESULTS: dict[str, dict[str, Any]] = {
    "face": {
        "decided": 412, "sent": 371, "ghosts": 41, "shown": 342, "clicked": 180, "used": 96,
        "refused": {"no_consent": 120, "cap_visit": 38, "quiet_hours": 4, "segment": 61},
        "target": {"n": 371, "bought": 141, "rate": 0.38}, "control": {"n": 41, "bought": 11, "rate": 0.268},
        "lift_pp": 11.2, "ci_low_pp": -3.6, "ci_high_pp": 23.8,
        "verdict": "Leans positive, not yet sure.", "note": "Wilson intervals, Newcombe's difference.",
    },
    "bread": {
        "decided": 3120, "sent": 2801, "ghosts": 319, "shown": 2600, "clicked": 900, "used": 655, "refused": {},
        "target": {"n": 2801, "bought": 1232, "rate": 0.44}, "control": {"n": 319, "bought": 108, "rate": 0.339},
        "lift_pp": 10.1, "ci_low_pp": 4.6, "ci_high_pp": 15.4, "verdict": "The offer makes more people buy.", "note": None,
    },
}  # fmt: skip


def presence(from_us: int, to_us: int) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """Seconds of presence per cell over a period, and how many visits it holds: busier towards the afternoon."""
    ys, xs = np.mgrid[0.25:16:0.5, 0.25:24:0.5]
    grid = np.zeros(xs.shape, np.float32)
    hours = max(0, to_us - from_us) / 3.6e9
    hour = (to_us / 3.6e9 + 2) % 24
    busy = 0.15 + math.exp(-(((hour - 14) / 3) ** 2))
    for i, (x, y, spread, weight) in enumerate(HOT):
        share = 1 + 0.6 * math.sin(hour * 1.7 + i * 2)
        grid += (weight * share * busy * hours * 60 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * spread**2))).astype(np.float32)
    return grid, round(hours * 60 * busy)


def node_row(i: int, node: str, now_us: int) -> dict[str, Any]:
    offline = node == "n5"
    health = {
        "at": now_us - 9_000_000, "boot": "b" * 32, "version": "0.1.0", "config": "9f2c41aa07be", "uptime_s": 93_784.0 + i * 40,
        "clock": "trusted", "adverts": 4_210_332, "adverts_per_s": 41.5 + i, "windows": 918_233, "outbox_rows": 214 if offline else i % 2,
        "outbox_oldest_s": 431.0 if offline else 0.8 * (i % 2), "dropped": 0, "reconnects": i, "rss_mb": 41.2 + i / 3, "restarts": 0,
    }  # fmt: skip
    return {
        "node": node, "state": "offline" if offline else "online", "last_seen_us": now_us - (431 if offline else 4 + i) * 1_000_000,
        "zone": "door" if node == "n1" else None, "health": None if node == "n6" else health, "stored_batches": 48_120 + 77 * i,
        "dead_letters": 3 if offline else 0,
    }  # fmt: skip


def visit_row(i: int, now_us: int) -> dict[str, Any]:
    started = now_us - (i * 11 + 3) * MINUTE_US
    receipt = {"receipt_uid": f"r{i}", "total": 2395 + 310 * i, "currency": "EUR", "confidence": 0.98 - 0.03 * (i % 7),
               "reason": "card shown at the till" if i % 2 else "till dwell 42 s before the receipt"}  # fmt: skip
    return {
        "visit_id": i, "started_us": started, "ended_us": None if i == 0 else started + (7 + i % 5) * MINUTE_US,
        "member": f"•••• {1234 + 77 * i}" if i % 3 else None,
        "zones": [{"zone": zone, "dwell_s": 30 + 25 * ((i + j) % 6)} for j, zone in enumerate(["door", "cosmetics", "drinks", "tills"][: 2 + i % 3])],
        "receipt": receipt if i % 4 not in (0, 3) else None,
    }  # fmt: skip


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
        earlier = OFFER | {"push_id": "p-0", "title": "Two breads for one", "body": "Until eight in the evening.", "state": "used",
                           "sent_us": NOON_US - day_us, "expires_us": NOON_US - day_us + 10 * MINUTE_US}  # fmt: skip
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
            "in_store_sensing": ("Notice me in the store", "Your card's tag or app is recognised by receivers in the store while you are there."),
            "marketing_push": ("Send me offers", "At most one offer a visit, never at night, on this phone only."),
            "profiling": ("Fit offers to what I buy", "Your receipts are used to choose offers that suit you."),
        }
        return [{"purpose": p, "title": title, "text": text, "granted": fake.consents[p]} for p, (title, text) in texts.items()]

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
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
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
        return FileResponse(found, media_type=types.get(found.suffix), headers=headers | {"X-Content-Type-Options": "nosniff"})


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
        response = JSONResponse({"tenant": "demo", "login": LOGIN["login"], "roles": ["analyst", "marketer"]})
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
