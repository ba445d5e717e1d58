"""Nodes and their health, dead letters, and the pipeline's own counts."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from cloud import db
from cloud.access import STAFF_ROLES, Call, allow
from cloud.places.models import Name
from cloud.places.service import store_row

router = APIRouter(prefix="/v1", tags=["fleet"])
sql = db.statements("cloud.fleet")


class NodeState(BaseModel):
    node: str
    state: str
    last_seen_us: int | None
    zone: str | None
    health: dict[str, Any] | None
    stored_batches: int
    dead_letters: int
    config_desired: int
    """The version of the configuration that it is to run; 0 for the file it was installed with."""
    config_running: int | None
    """The version that it says it runs; None while it never said."""
    config_state: Literal["applied", "refused"] | None
    config_problems: list[str]
    """Why it refused the desired one."""
    drift: bool
    """Whether it runs another configuration than it is to."""
    drift_since_us: int | None
    certificate_until_us: int | None
    """When the last certificate ends that it was issued here; None if it has none of ours in force."""


class DeadLetter(BaseModel):
    at_us: int
    node: str
    topic: str
    reason: str
    detail: str
    bytes: int
    times: int


class Progress(BaseModel):
    events_stored: int
    batches_stored: int
    dead_letters: int
    positions: int
    visits: int
    receipts: int
    receipts_joined: int
    offers_decided: int
    ghosts: int
    pushes: int
    pushes_delivered: int
    """Shown on a screen, as the app reported."""


class Queue(BaseModel):
    queue: int
    """Batches not located and triggers passed but not decided: 0 when the story is told."""


@router.get("/stores/{store}/nodes")
def nodes(store: Name, call: Annotated[Call, allow(*STAFF_ROLES)]) -> list[NodeState]:
    """A store's nodes and what they last said of themselves."""
    store_row(call.conn, call.tenant, store)
    rows = call.conn.execute(sql.nodes, {"tenant": call.tenant, "store": store})
    return [NodeState(**dict(zip(NodeState.model_fields, row, strict=True))) for row in rows]


@router.get("/dead-letters")
def dead_letters(
    call: Annotated[Call, allow("technician", "analyst", "admin")], limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[DeadLetter]:
    """What nodes sent that could not be stored, newest first."""
    rows = call.conn.execute(sql.dead_letters, {"tenant": call.tenant, "limit": limit})
    return [DeadLetter(**dict(zip(DeadLetter.model_fields, row, strict=True))) for row in rows]


@router.get("/progress")
def progress(call: Annotated[Call, allow("admin")]) -> Progress:
    """Counts of all that the pipeline has done for the tenant."""
    row = call.conn.execute(sql.progress, {"tenant": call.tenant}).fetchone()
    assert row is not None
    return Progress(**dict(zip(Progress.model_fields, row, strict=True)))


@router.get("/progress/queue")
def queue(call: Annotated[Call, allow("admin")]) -> Queue:
    """What is still to be done."""
    row = call.conn.execute(sql.queue, {"tenant": call.tenant}).fetchone()
    assert row is not None
    return Queue(queue=row[0])
