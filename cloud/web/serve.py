"""The pages: static ES modules as they are, under a policy that allows nothing inline but the import map."""

import base64
import hashlib
import json
import re
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HERE = Path(__file__).parent
IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)


class SecurityHeaders:
    """Puts the policy and its companions on every answer."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def content_security_policy() -> str:
    """Own scripts only, and the import maps of the two pages by their hashes."""
    maps = [
        m for page in ("console", "app") for m in IMPORT_MAP.findall((HERE / page / "index.html").read_text("utf-8"))
    ]
    hashes = " ".join(
        sorted({f"'sha256-{base64.b64encode(hashlib.sha256(m.encode()).digest()).decode()}'" for m in maps})
    )
    return (
        f"default-src 'self'; script-src 'self' {hashes}; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def mount_pages(app: FastAPI) -> None:
    """Serve /console/, /app/, /docs/, /shared/ and the third-party modules listed in modules.json."""
    modules = {entry["url"]: HERE / entry["file"] for entry in json.loads((HERE / "modules.json").read_text()).values()}

    @app.get("/", include_in_schema=False)
    def home() -> Response:
        return RedirectResponse("/console/")

    @app.get("/modules/{name:path}", include_in_schema=False)
    def module(name: str) -> Response:
        file = modules.get(f"/modules/{name}")
        if file is None or not file.is_file():
            return Response("no such module; ./aisle installs them", 404)
        return FileResponse(file, media_type="text/css" if file.suffix == ".css" else "text/javascript")

    for page in ("console", "app", "docs", "shared"):
        app.mount(f"/{page}", StaticFiles(directory=HERE / page, html=page != "shared"), name=page)
    app.add_middleware(SecurityHeaders, policy=content_security_policy())
