"""A store's plan as it enters and leaves: floors, zones, nodes, beacons; checked against itself."""

from typing import Annotated, Literal, Self
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Metres = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
Point = tuple[Metres, Metres]


def _known_tz(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone of the IANA database, for example Europe/Berlin")
    return ZoneInfo(name).key


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Floor(_Model):
    floor: Name
    name: str = Field(max_length=200)
    width_m: float = Field(gt=0, le=1000)
    depth_m: float = Field(gt=0, le=1000)
    cell_m: float = Field(default=0.5, ge=0.1, le=10)


class Zone(_Model):
    zone: Name
    name: str = Field(max_length=200)
    kind: Literal["street", "entrance", "aisle", "shelf", "till", "fitting", "staff"]
    floor: Name
    polygon: list[Point] = Field(min_length=3, max_length=200)
    categories: list[str] = Field(default=[], max_length=200)


class Node(_Model):
    node: Name
    floor: Name
    x_m: Metres
    y_m: Metres
    z_m: Metres = 2.5
    zone: Name | None = None


class Beacon(_Model):
    uuid: UUID
    major: int = Field(ge=0, le=65535)
    minor: int = Field(ge=0, le=65535)
    role: Literal["fixed", "asset", "staff"]
    label: str = Field(max_length=200)
    floor: Name | None = None
    x_m: Metres | None = None
    y_m: Metres | None = None


class Plan(_Model):
    """The whole of a store. Putting it again replaces it; what nodes told and people did stays."""

    name: str = Field(max_length=200)
    tz: Annotated[str, AfterValidator(_known_tz)]
    opens: str = Field(default="09:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    closes: str = Field(default="21:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    demo: bool = False
    floors: list[Floor] = Field(min_length=1, max_length=1)
    """One floor a store so far."""
    zones: list[Zone] = Field(max_length=500)
    nodes: list[Node] = Field(max_length=500)
    beacons: list[Beacon] = Field(default=[], max_length=20_000)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        floors = {f.floor: f for f in self.floors}
        zones = {z.zone for z in self.zones}
        for kind, names in (("zone", [z.zone for z in self.zones]), ("node", [n.node for n in self.nodes])):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{kind} {min(twice)!r} stands twice")
        for zone in self.zones:
            if zone.floor not in floors:
                raise ValueError(f"zone {zone.zone!r} is on floor {zone.floor!r}, which is not in floors")
        for node in self.nodes:
            if node.floor not in floors:
                raise ValueError(f"node {node.node!r} is on floor {node.floor!r}, which is not in floors")
            if node.zone is not None and node.zone not in zones:
                raise ValueError(f"node {node.node!r} has zone {node.zone!r}, which is not in zones")
        return self


class Store(_Model):
    store: str
    name: str
    tz: str
    demo: bool


class SurveyPoint(_Model):
    """What one node heard of the surveyor's tag at one place."""

    x_m: Metres
    y_m: Metres
    node: Name
    mean_dbm: float = Field(ge=-120, le=20)
    sd_db: float = Field(ge=0, le=40)
    n: int = Field(ge=1)


class Survey(_Model):
    points: list[SurveyPoint] = Field(min_length=1, max_length=200_000)


class Fitted(_Model):
    """How well the survey was fitted."""

    places: int
    nodes: int
    sd_db: float
    """Mean standard deviation of the RSSI that the map does not explain."""


class Heard(BaseModel):
    """What one node heard of a beacon in a span."""

    node: str
    mean_dbm: float
    sd_db: float
    """Of one packet, estimated from the windows' means; 0 where there was but one window."""
    n: int
    """Packets."""
