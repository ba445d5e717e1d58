"""Members as they are imported and as they see themselves."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Purpose = Literal["in_store_sensing", "marketing_push", "profiling"]
Card = Annotated[str, Field(pattern=r"^[0-9]{8,19}$")]


class NewMember(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    card: Card
    name: str = Field(default="", max_length=200)
    traits: dict[str, str | int | float | bool] = Field(default={}, max_length=100)
    consents: dict[Purpose, bool] = {}
    staff: bool = False
    """Staff are never counted, never offered anything."""


class Import(BaseModel):
    members: list[NewMember] = Field(max_length=5_000)


class Imported(BaseModel):
    """What to hand to the member: shown this once."""

    member_id: UUID
    card: str
    activation_code: str
    token_key_hex: str | None
    """None for a member who was known before: their devices go on as they are."""


class ImportResult(BaseModel):
    members: list[Imported]


class Activation(BaseModel):
    card: Card
    code: str = Field(max_length=100)
    bearer: bool = False
    """Native apps ask for a bearer token instead of the cookie."""


class Session(BaseModel):
    member_id: UUID
    name: str
    token: str | None = None


class Me(BaseModel):
    card: str
    name: str
    since_us: int


class ConsentText(BaseModel):
    purpose: Purpose
    title: str
    text: str
    granted: bool


class ConsentChange(BaseModel):
    purpose: Purpose
    granted: bool


class Device(BaseModel):
    token_key_hex: str
    """16 bytes. The holder broadcasts contract.identity.member_token of it, a new one every 15 minutes."""


class MemberTag(BaseModel):
    """A member's RFID or NFC card."""

    epc: Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}){4,62}$")]
    """Its EPC (or the chip's number) in hexadecimal, as readers give it. Only a digest is kept."""


class WifiLogin(BaseModel):
    token: str
    """16 hexadecimal digits: the user name with which the member logs in to the store's Wi-Fi."""
