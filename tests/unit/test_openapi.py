"""The API's description says for every route who may call it, how, and what a refusal looks like."""

import asyncio
from typing import Any

import httpx
import pytest

from cloud.access import PUBLIC, api_routes, roles_of
from cloud.api import make_app
from cloud.config import Settings

APP = make_app(Settings({"AISLE_APP_DSN": "postgresql://nowhere"}), pages=False)
SCHEMA: dict[str, Any] = APP.openapi()
ROUTES = [(method, route) for route in api_routes(APP) for method in sorted(route.methods or ())]


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=[f"{method} {route.path}" for method, route in ROUTES])
def test_each_route_names_its_roles_its_credentials_and_its_refusals(method: str, route: Any) -> None:
    operation = SCHEMA["paths"][route.path][method.lower()]
    assert " " in operation["summary"], "a sentence, not the name of a function"
    roles = roles_of(route)
    if roles is None:
        assert route.path in PUBLIC and operation["security"] == []
        return
    assert operation["x-roles"] == sorted(roles)
    ways = {name for way in operation["security"] for name in way}
    assert "key" in ways and ("member" in ways) == ("member" in roles)
    assert ("staff" in ways) == bool(roles & {"admin", "analyst", "marketer", "technician"})
    assert "application/problem+json" in operation["responses"]["403"]["content"]
    headers = {each["name"] for each in operation.get("parameters", [])}
    assert ("X-Aisle" in headers) == (method != "GET" and ways != {"key"})


def test_fields_say_their_units() -> None:
    line = SCHEMA["components"]["schemas"]["Line"]["properties"]
    assert "Thousandths" in line["qty"]["description"]
    assert "minor units" in line["unit_price"]["description"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("PATCH", "/v1/stores", 405)])
def test_a_path_that_does_not_exist_is_refused_like_everything_else(method: str, path: str, status: int) -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://aisle") as client:
            return await client.request(method, path)

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"] == f"{method} {path}"
