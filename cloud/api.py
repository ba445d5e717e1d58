"""The api process: every route, in one place, on one pool of connections."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

import psycopg
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg_pool import ConnectionPool, PoolTimeout
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.access import deny_by_default
from cloud.accounts import routes as account_routes
from cloud.analytics import routes as analytics_routes
from cloud.campaigns import routes as campaign_routes
from cloud.config import Settings
from cloud.crowd import routes as crowd_routes
from cloud.errors import AisleError, NotFound, Problem
from cloud.fleet import node_routes
from cloud.fleet import routes as fleet_routes
from cloud.hub import Hub
from cloud.inventory import routes as inventory_routes
from cloud.members import routes as member_routes
from cloud.openapi import describe
from cloud.places import routes as place_routes
from cloud.points import routes as point_routes
from cloud.push import routes as push_routes
from cloud.receipts import routes as receipt_routes
from cloud.visits import routes as visit_routes
from cloud.web.serve import mount_pages
from contract.clock import Clock

log = logging.getLogger(__name__)

ROUTERS = (
    account_routes.router,
    place_routes.router,
    fleet_routes.router,
    node_routes.router,
    node_routes.public,
    inventory_routes.router,
    member_routes.router,
    receipt_routes.router,
    visit_routes.router,
    campaign_routes.router,
    push_routes.router,
    analytics_routes.router,
    crowd_routes.router,
    point_routes.router,
)


def make_app(settings: Settings, *, pages: bool = True) -> FastAPI:
    """The application; refuses to be made with a route that names no role."""
    app = FastAPI(title="Aisle", version="1", lifespan=_lifespan, docs_url=None, redoc_url=None)
    app.state.settings = settings
    app.state.clock = settings.clock
    app.state.failures = account_routes.Failures()
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/livez", livez, methods=["GET"], tags=["health"])
    app.add_api_route("/readyz", readyz, methods=["GET"], tags=["health"])
    app.add_exception_handler(AisleError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_form)
    app.add_exception_handler(psycopg.DataError, _refuse_content)
    app.add_exception_handler(psycopg.OperationalError, _away)
    app.add_exception_handler(PoolTimeout, _away)
    app.add_exception_handler(HTTPException, _no_route)
    deny_by_default(app)
    describe(app)
    app.add_middleware(NowHeader, clock=settings.clock)
    if pages:
        mount_pages(app)
    return app


def serve(settings: Settings) -> None:
    """Run until SIGTERM."""
    host, port = settings.http
    config = uvicorn.Config(
        make_app(settings), host=host, port=port, log_level="warning", timeout_graceful_shutdown=2, server_header=False
    )
    uvicorn.Server(config).run()


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    pool = ConnectionPool(
        settings.app_dsn, min_size=2, max_size=16, timeout=5, open=False, check=ConnectionPool.check_connection
    )
    pool.open()
    app.state.pool = pool
    app.state.hub = Hub(settings.app_dsn)
    listening = asyncio.create_task(app.state.hub.run())
    log.info("api is ready")
    yield
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    pool.close()


class NowHeader:
    """Every answer tells the product's time, which in a simulated run is not the browser's."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_now(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Aisle-Now"] = str(self._clock.now_us())
            await send(message)

        await self._app(scope, receive, send_with_now if scope["type"] == "http" else send)


def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


def readyz(request: Request) -> dict[str, str]:
    """The database answers too."""
    with request.app.state.pool.connection() as conn:
        conn.execute("SELECT 1")
    return {"status": "ok"}


def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, AisleError)
    return _problem(error.status, error.title, error.detail, error.problems)


def _refuse_form(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = tuple(
        Problem(message=e["msg"], field=".".join(str(part) for part in e["loc"] if part != "body"))
        for e in error.errors()
    )
    mistakes = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
    return _problem(422, "The request does not have the expected form", mistakes, found)


def _refuse_content(_request: Request, error: Exception) -> Response:
    """What passes the form but not the database: a NUL in a text, a number beyond 64 bits."""
    return _problem(422, "The request holds a value that cannot be stored", str(error).splitlines()[0], ())


def _no_route(request: Request, error: Exception) -> Response:
    """A path or method that does not exist, told like every other refusal."""
    assert isinstance(error, HTTPException)
    title = {404: NotFound.__doc__, 405: "That method is not known here."}.get(error.status_code) or str(error.detail)
    return _problem(error.status_code, title.rstrip("."), f"{request.method} {request.url.path}", (), error.headers)


def _away(_request: Request, error: Exception) -> Response:
    log.warning("database away: %s", str(error).strip().splitlines()[-1])
    return _problem(503, "The database is away", "try again in some seconds", ())


def _problem(
    status: int,
    title: str,
    detail: str,
    problems: tuple[Problem, ...],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """RFC 9457."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    errors = [{"message": p.message, "field": p.field, "line": p.line} for p in problems]
    content = body | ({"errors": [{k: v for k, v in e.items() if v is not None} for e in errors]} if errors else {})
    return JSONResponse(content, status, headers, media_type="application/problem+json")
