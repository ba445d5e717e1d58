"""Tagged things as the API tells them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Gtin = Annotated[str, Field(pattern=r"^[0-9]{14}$")]


class Stock(BaseModel):
    """Pieces of one article in one zone."""

    zone: str
    gtin: str | None
    """None for tags that name no article."""
    tags: int
    newest_us: int
    """When the last of them came."""


class TagEvent(BaseModel):
    """What one tag did."""

    time_us: int
    """When the node was sure."""
    since_us: int
    """When it happened."""
    node: str
    epc: str
    uri: str
    gtin: str | None
    state: Literal["arrived", "moved", "departed"]
    zone: str
    origin: str
    rssi: float | None
    reads: int


class Location(BaseModel):
    """Where the store is in GS1's world: an SGLN without its extension, or none."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    sgln: Annotated[str, Field(pattern=r"^[0-9]{6,12}\.[0-9]{0,6}$", min_length=13, max_length=13)] | None
