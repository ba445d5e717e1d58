"""Segments, offers and campaigns over HTTP."""

import secrets
from typing import Annotated, Literal

import psycopg
from fastapi import APIRouter
from psycopg.types.json import Jsonb

from cloud import db
from cloud.access import Call, allow
from cloud.campaigns import service
from cloud.campaigns.models import Campaign, CampaignRow, Offer, Result, Segment
from cloud.errors import Conflict, Invalid, NotFound

router = APIRouter(prefix="/v1", tags=["campaigns"])
sql = db.statements("cloud.campaigns")

Reader = Annotated[Call, allow("analyst", "marketer", "admin")]
Marketer = Annotated[Call, allow("marketer", "admin")]


@router.get("/segments")
def segments(call: Reader) -> list[Segment]:
    """All segments."""
    rows = call.conn.execute(sql.segments, {"tenant": call.tenant})
    return [Segment.model_validate({"segment": s, "name": n, "condition": c}) for s, n, c in rows]


@router.post("/segments", status_code=204)
def put_segment(segment: Segment, call: Marketer) -> None:
    """Make or change a segment."""
    condition = Jsonb(segment.model_dump(by_alias=True)["condition"])
    call.conn.execute(sql.put_segment, {"tenant": call.tenant, **segment.model_dump(), "condition": condition})


@router.get("/offers")
def offers(call: Reader) -> list[Offer]:
    """All offers."""
    rows = call.conn.execute(sql.offers, {"tenant": call.tenant})
    return [Offer(**dict(zip(Offer.model_fields, row, strict=True))) for row in rows]


@router.post("/offers", status_code=204)
def put_offer(offer: Offer, call: Marketer) -> None:
    """Make or change an offer."""
    call.conn.execute(sql.put_offer, {"tenant": call.tenant, **offer.model_dump()})


@router.get("/campaigns")
def campaigns(call: Reader) -> list[CampaignRow]:
    """All campaigns."""
    rows = call.conn.execute(sql.campaigns, {"tenant": call.tenant})
    return [CampaignRow(**dict(zip(CampaignRow.model_fields, row, strict=True))) for row in rows]


@router.post("/campaigns", status_code=204)
def put_campaign(campaign: Campaign, call: Marketer) -> None:
    """Make a campaign, or change it while it is a draft."""
    values = campaign.model_dump() | {"tenant": call.tenant, "salt": secrets.token_hex(8)}
    try:
        row = call.conn.execute(sql.put_campaign, values).fetchone()
    except psycopg.errors.ForeignKeyViolation as error:
        raise Invalid(f"the campaign names something that is not there: {error.diag.message_detail}") from None
    if row is None:
        raise Conflict(f"campaign {campaign.campaign!r} has run; what ran cannot be changed, make a new one")


@router.post("/campaigns/{campaign}/{action}", status_code=204)
def start_or_stop(campaign: str, action: Literal["start", "stop"], call: Marketer) -> None:
    """Start or stop a campaign."""
    key = {"tenant": call.tenant, "campaign": campaign}
    if call.conn.execute(sql.campaign_state, key).fetchone() is None:
        raise NotFound(f"no campaign {campaign!r}")
    call.conn.execute(sql.set_state, key | {"state": "running" if action == "start" else "stopped"})


@router.get("/campaigns/{campaign}/result")
def result(campaign: str, call: Reader) -> Result:
    """What the campaign did, lift first."""
    return service.result(call.conn, call.tenant, campaign)
