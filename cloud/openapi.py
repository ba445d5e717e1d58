"""The API's own description: who may call what and how, what refusals look like, and sentences instead of names."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cloud.access import MEMBER_COOKIE, PUBLIC, STAFF_COOKIE, STAFF_ROLES, api_routes, roles_of

ABOUT = """\
Stores, members, receipts, offers and what they were worth.

Sign in with `POST /v1/session` (staff) or `POST /app/v1/session` (members): both set a cookie, and a request with a
cookie that changes something needs the header `X-Aisle: 1`. Machines send `Authorization: Bearer KEY`; staff make keys
with `POST /v1/api-keys`. Every answer has `X-Aisle-Now`, the product's time. Refusals are problem+json (RFC 9457).
"""
SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A machine's key, or a member's token."},
    "staff": {"type": "apiKey", "in": "cookie", "name": STAFF_COOKIE, "description": "Staff, signed in."},
    "member": {"type": "apiKey", "in": "cookie", "name": MEMBER_COOKIE, "description": "A member's device, signed in."},
}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong in this request."},
        "errors": {
            "type": "array",
            "description": "One for each mistake in what was sent.",
            "items": {
                "type": "object",
                "required": ["message"],
                "properties": {
                    "message": {"type": "string"},
                    "field": {"type": "string"},
                    "line": {"type": "integer"},
                },
            },
        },
    },
}
REFUSALS = {
    "401": "Sign in first.",
    "403": "This role may not do that, or the header X-Aisle is missing.",
    "404": "There is no such thing in this tenant.",
    "422": "The request does not have the expected form, or does not hold together.",
}
X_AISLE = {
    "name": "X-Aisle",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "const": "1"},
    "description": "Needed with a cookie; a bearer token does without.",
}


def describe(app: FastAPI) -> None:
    """Makes `/openapi.json` say all that; call it once every route is there."""
    roles = {(method, route.path): roles_of(route) for route in api_routes(app) for method in route.methods or ()}

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title="Aisle", version=app.version, description=ABOUT, routes=app.routes)
            components = made.setdefault("components", {})
            components["securitySchemes"] = SCHEMES
            components.setdefault("schemas", {})["Problem"] = PROBLEM
            for path, methods in made["paths"].items():
                for method, operation in methods.items():
                    _complete(operation, method, path, roles.get((method.upper(), path)))
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]  # FastAPI's documented way of extending its schema


def _complete(operation: dict[str, Any], method: str, path: str, roles: frozenset[str] | None) -> None:
    sentence, _, rest = str(operation.get("description", "")).partition("\n")
    operation["summary"] = sentence.rstrip(".") or operation.get("summary", "")
    operation["description"] = rest.strip()
    if roles is None:
        assert path in PUBLIC
        operation["security"] = []
        codes = {"422"} if "requestBody" in operation else set()
    else:
        cookies = [*(["staff"] if roles & set(STAFF_ROLES) else []), *(["member"] if "member" in roles else [])]
        operation["security"] = [{name: []} for name in ("key", *cookies)]
        operation["x-roles"] = sorted(roles)
        codes = set(REFUSALS) if "{" in path or method != "get" else {"401", "403", "422"}
        if method != "get" and cookies:
            operation.setdefault("parameters", []).append(X_AISLE)
    for code in sorted(codes):
        operation["responses"][code] = {
            "description": REFUSALS[code],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
