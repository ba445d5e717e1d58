"""The app's inbox, its live stream, and what the app reports back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from cloud.access import Call, Principal, allow, in_tenant
from cloud.errors import NotFound
from cloud.hub import Hub
from cloud.push import service
from cloud.push.models import InboxItem, Mark

router = APIRouter(prefix="/app/v1", tags=["app"])

Member = Annotated[Call, allow("member")]


@router.get("/offers")
def offers(call: Member, request: Request, since: Annotated[int, Query(ge=0)] = 0) -> list[InboxItem]:
    """What the member was sent, newest first."""
    return service.inbox(call.conn, call.tenant, call.member_id, request.app.state.clock.now_us(), since)


@router.post("/pushes/{push_id}", status_code=204)
def mark(push_id: int, said: Mark, call: Member, request: Request) -> None:
    """The app says that it showed an offer, or what the member did with it. Saying it again changes nothing."""
    now_us = request.app.state.clock.now_us()
    if not service.mark(call.conn, call.tenant, call.member_id, push_id, said, now_us):
        raise NotFound(f"no push {push_id}")


@router.get("/stream")
def stream(
    call: Member, request: Request, last_event_id: Annotated[int | None, Header()] = None
) -> EventSourceResponse:
    """Offers as they are sent (`offer`), from after Last-Event-ID, or from now on."""
    after = last_event_id if last_event_id is not None else _newest(call, request)
    return EventSourceResponse(_offers(request, call.principal, after), ping=20)


def _newest(call: Call, request: Request) -> int:
    items = service.inbox(call.conn, call.tenant, call.member_id, request.app.state.clock.now_us())
    return items[0].push_id if items else 0


async def _offers(request: Request, principal: Principal, after: int) -> AsyncIterator[ServerSentEvent]:
    hub: Hub = request.app.state.hub
    member = principal.member_id
    assert member is not None
    async with hub.waiting(f"{principal.tenant}/{member}") as event:
        yield ServerSentEvent(event="ready", data="{}")
        while True:
            event.clear()
            new = await run_in_threadpool(_since, request, principal, after)
            for item in reversed(new):
                after = item.push_id
                yield ServerSentEvent(event="offer", id=str(item.push_id), data=item.model_dump_json())
            if not new:
                await _either(event, request)


def _since(request: Request, principal: Principal, after: int) -> list[InboxItem]:
    """In a transaction of its own; a session that was ended meanwhile ends the stream."""
    assert principal.member_id is not None
    with in_tenant(request.app.state.pool, principal) as conn:
        return service.inbox(conn, principal.tenant, principal.member_id, request.app.state.clock.now_us(), after)


async def _either(event: asyncio.Event, request: Request) -> None:
    """Until woken; looks after the session once a minute."""
    try:
        await asyncio.wait_for(event.wait(), 60)
    except TimeoutError:
        if await request.is_disconnected():
            raise asyncio.CancelledError from None
