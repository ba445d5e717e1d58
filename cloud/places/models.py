"""A store's plan as it enters and leaves: floors, zones, nodes, beacons, rings; metres from each floor's corner."""

from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Metres = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
Point = tuple[Metres, Metres]
ImageName = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RingName = Literal["city", "neighbourhood", "street", "store", "zone", "shelf"]
Purpose = Literal["promo", "proximity", "service", "survey"]
Channel = Literal["app", "web-push", "e-mail", "messenger", "sms", "screen"]


def _known_tz(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone of the IANA database, for example Europe/Berlin")
    return ZoneInfo(name).key


def _absent(value: Any) -> bool:
    """What a plan need not have is left out of it when it has not."""
    return value is None or value == []


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Fix(_Model):
    """A spot that is known in the picture and in the store."""

    x_px: float = Field(ge=0, le=100_000, allow_inf_nan=False)
    """From the picture's left edge."""
    y_px: float = Field(ge=0, le=100_000, allow_inf_nan=False)
    """From the picture's upper edge, downwards."""
    x_m: Metres
    y_m: Metres


class Picture(_Model):
    """An uploaded picture under a floor; two spots give its scale, its turn and its place."""

    image: ImageName
    fixes: tuple[Fix, Fix]


class Floor(_Model):
    floor: Name
    name: str = Field(max_length=200)
    width_m: float = Field(gt=0, le=1000)
    depth_m: float = Field(gt=0, le=1000)
    cell_m: float = Field(default=0.5, ge=0.1, le=10)
    picture: Picture | None = Field(default=None, exclude_if=_absent)


class Zone(_Model):
    zone: Name
    name: str = Field(max_length=200)
    kind: Literal["street", "entrance", "aisle", "shelf", "till", "fitting", "staff"]
    floor: Name
    polygon: list[Point] = Field(min_length=3, max_length=200)
    categories: list[str] = Field(default=[], max_length=200)
    """The planogram: what is sold here, by the categories of receipt lines."""


class Antenna(_Model):
    """An antenna of a node's RFID reader, by the port it hangs on."""

    port: int = Field(ge=1, le=64)
    x_m: Metres
    y_m: Metres
    z_m: Metres = 2.5
    zone: Name | None = None


class Node(_Model):
    node: Name
    floor: Name
    x_m: Metres
    y_m: Metres
    z_m: Metres = 2.5
    zone: Name | None = None
    antennas: list[Antenna] = Field(default=[], max_length=64, exclude_if=_absent)


class Obstacle(_Model):
    """What nobody walks through: a wall along a line, or a block (a counter, a gondola) within an outline."""

    kind: Literal["wall", "block"]
    floor: Name
    path: list[Point] = Field(min_length=2, max_length=200)
    loss_db: float = Field(default=0.0, ge=0, le=60)
    """What a signal loses on its way through: some 3 dB a plaster wall, 6 brick, 12 concrete, 20 metal."""


class Beacon(_Model):
    uuid: UUID
    major: int = Field(ge=0, le=65535)
    minor: int = Field(ge=0, le=65535)
    role: Literal["fixed", "asset", "staff"]
    label: str = Field(max_length=200)
    floor: Name | None = None
    x_m: Metres | None = None
    y_m: Metres | None = None


class Cap(_Model):
    """So many contacts in a rolling span."""

    most: int = Field(ge=1, le=1000)
    hours: float = Field(gt=0, le=24 * 366)


class Ring(_Model):
    """How near somebody is, and what may then be said to them by what."""

    ring: RingName
    radius_m: float = Field(gt=0, le=20_000)
    purposes: list[Purpose] = Field(max_length=10)
    channels: list[Channel] = Field(max_length=10)
    caps: list[Cap] = Field(default=[], max_length=5)


class Location(_Model):
    """Where on Earth the first floor's corner (0, 0) lies, and where its y axis points; the same for all floors."""

    lat: float = Field(ge=-85, le=85, allow_inf_nan=False)
    lon: float = Field(ge=-180, le=180, allow_inf_nan=False)
    bearing_deg: float = Field(default=0.0, ge=0, lt=360)
    """Of the y axis, clockwise from north."""


class Plan(_Model):
    """The whole of a store. Putting it again makes a new version; what nodes told and people did stays."""

    name: str = Field(max_length=200)
    tz: Annotated[str, AfterValidator(_known_tz)]
    opens: str = Field(default="09:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    closes: str = Field(default="21:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    demo: bool = False
    location: Location | None = Field(default=None, exclude_if=_absent)
    floors: list[Floor] = Field(min_length=1, max_length=20)
    zones: list[Zone] = Field(max_length=500)
    nodes: list[Node] = Field(max_length=500)
    beacons: list[Beacon] = Field(default=[], max_length=20_000)
    obstacles: list[Obstacle] = Field(default=[], max_length=2_000, exclude_if=_absent)
    rings: list[Ring] = Field(default=[], max_length=6, exclude_if=_absent)
    """Those that differ from the usual ones, `GET …/rings`."""

    def in_order(self) -> "Plan":
        """The same plan, floors, zones and nodes by name, beacons by label: equal plans are then equal texts."""
        return self.model_copy(
            update={
                "floors": sorted(self.floors, key=lambda one: one.floor),
                "zones": sorted(self.zones, key=lambda one: one.zone),
                "nodes": sorted(self.nodes, key=lambda one: one.node),
                "beacons": sorted(self.beacons, key=lambda one: (one.label, one.major, one.minor, one.uuid.int)),
            }
        )

    def nodes_on(self, floor: str) -> list[Node]:
        """In the order of their names, which is the order of a radio map's rows."""
        return sorted((node for node in self.nodes if node.floor == floor), key=lambda one: one.node)


class Version(BaseModel):
    """A version of a plan, without the plan."""

    version: int
    valid_from_us: int
    """0 for the first: it also counts for what was before it."""
    valid_until_us: int | None
    """None for the last; equal to `valid_from_us` for one that was corrected by a later one from the same instant."""
    made_us: int
    made_by: str | None
    now: bool
    """Whether it is the one that is valid now."""


class Store(_Model):
    store: str
    name: str
    tz: str
    demo: bool


class Uploaded(BaseModel):
    """A picture that was taken in; `image` is how a floor names it."""

    image: str
    media_type: str
    width_px: int
    height_px: int
    bytes: int
    """What is kept: without what a camera or an editor wrote into the file."""


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


class SurveyTaken(BaseModel):
    """A survey that is kept."""

    survey: int
    floor: str
    version: int
    """The version of the plan that it was walked on."""
    taken_us: int
    taken_by: str | None
    places: int
    nodes: int
    sd_db: float


class Heard(BaseModel):
    """What one node heard of a beacon in a span."""

    node: str
    mean_dbm: float
    sd_db: float
    """Of one packet, estimated from the windows' means; 0 where there was but one window."""
    n: int
    """Packets."""


class Spot(BaseModel):
    """Where one more node would help most."""

    x_m: float
    y_m: float
    mean_error_m: float
    """The floor's mean expected error with that node."""


class Coverage(BaseModel):
    """The error to expect on a floor, from where its nodes hang and the walls between."""

    mean_error_m: float
    p90_error_m: float
    nx: int
    ny: int
    cell_m: float
    error_m: list[list[float | None]]
    """Rows from y = 0; null where nobody can stand."""
    next_node: Spot | None
    """None where one more node would change nothing, or there is no room for one."""


class Finding(BaseModel):
    """Something wrong that nobody asked about: a beacon, a radio map, a plan that could not be applied."""

    finding: int
    kind: Literal["beacon-cloned", "beacon-elsewhere", "map-aged", "plan-refused"]
    about: str
    """A beacon as uuid/major/minor, a node, or the instant of a plan."""
    says: str
    evidence: dict[str, Any]
    first_us: int
    last_us: int
    closed_us: int | None
    closed_by: str | None
