"""The shapes of node.toml, section by section: types, limits, defaults, and the words that errors use for them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_NAME_WORDS = "a name (a-z, 0-9 and -, at most 63)"
_DBM = "dBm, a whole or decimal number from -110 to 0"

Name = Annotated[str, Meta(pattern=_NAME, description=_NAME_WORDS)]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Dbm = Annotated[float, Meta(ge=-110, le=0, description=_DBM)]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """[node]: who this node is."""

    tenant: Name
    store: Name
    node: Name
    zone: Name | None = None
    clock: Text | None = None


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """[uplink]: the broker."""

    host: Text
    port: Annotated[int, Meta(ge=1, le=65535, description="a port, 1 to 65535")] = 1883
    username: Text | None = None
    password_file: Text | None = None
    ca_file: Text | None = None
    cert_file: Text | None = None
    key_file: Text | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600, description="whole seconds, 5 to 3600")] = 20


class Ble(msgspec.Struct, frozen=True, kw_only=True):
    """[ble]: how Bluetooth is listened to."""

    mode: Annotated[Literal["active", "passive"], Meta(description='"active" or "passive"')] = "active"
    adapter: Text | None = None
    backend: (
        Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description='"package.module:Class"')] | None
    ) = None
    watchdog_s: Annotated[float, Meta(ge=1, le=3600, description="seconds, 1 to 3600")] = 90.0


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """[windows]: the grid of time on which sightings are told."""

    seconds: Annotated[float, Meta(ge=0.1, le=60, description="seconds, 0.1 to 60")] = 1.0

    @property
    def length_us(self) -> int:
        return round(self.seconds * 1_000) * 1_000


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """[presence]: when somebody is in this node's own zone."""

    enter_dbm: Dbm = -67.0
    exit_dbm: Dbm = -75.0
    enter_s: Annotated[float, Meta(ge=0, le=60, description="seconds, 0 to 60")] = 1.0
    away_s: Annotated[float, Meta(ge=1, le=600, description="seconds, 1 to 600")] = 10.0


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """[outbox]: what is kept until the cloud has it."""

    path: Text = "/var/lib/aisle/outbox.db"
    max_mb: Annotated[float, Meta(ge=1, le=100_000, description="MiB, 1 to 100000")] = 256.0
    synchronous: Annotated[Literal["full", "normal"], Meta(description='"full" or "normal"')] = "full"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """[health]: the heartbeat."""

    every_s: Annotated[float, Meta(ge=1, le=3600, description="seconds, 1 to 3600")] = 30.0


class Wifi(msgspec.Struct, frozen=True, kw_only=True):
    """[wifi]: requests of phones for networks, counted and forgotten. Off unless an interface is named."""

    interface: (
        Annotated[str, Meta(pattern=r"^[^\s/:]{1,15}$", description="an interface's name, at most 15 characters")]
        | None
    ) = None
    hop: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=233)], ...],
        Meta(max_length=64, description="a list of channels; an empty one stays where it is"),
    ] = (1, 6, 11)
    dwell_s: Annotated[float, Meta(ge=0.1, le=3600, description="seconds on a channel, 0.1 to 3600")] = 5.0
    aggregate_only: Annotated[bool, Meta(description="true: a count is all that this node makes of it")] = True
    watchdog_s: Annotated[float, Meta(ge=1, le=3600, description="seconds, 1 to 3600")] = 120.0
    backend: (
        Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description='"package.module:function"')] | None
    ) = None


Port = Annotated[int, Meta(ge=1, le=255, description="an antenna port, 1 to 255")]


class Llrp(msgspec.Struct, frozen=True, kw_only=True):
    """[[llrp]]: a reader on the network."""

    name: Name
    host: Text
    port: Annotated[int, Meta(ge=1, le=65535, description="a port, 1 to 65535")] = 5084
    antennas: Annotated[tuple[Port, ...], Meta(description="a list of antenna ports, each 1 to 255")] = ()
    """Ports that are read; none are all."""
    tx_power_dbm: Annotated[float, Meta(ge=0, le=36, description="dBm, 0 to 36")] | None = None
    """The strongest transmit power; without it the reader's own setting stays."""
    session: Annotated[int, Meta(ge=0, le=3, description="a Gen2 session, 0 to 3")] = 1
    """0: every tag all the time. 1: each every few seconds, which leaves time for many. 2, 3: once while in reach."""
    population: Annotated[int, Meta(ge=1, le=65535, description="tags, 1 to 65535")] = 32
    """Tags in reach of an antenna, about."""
    mode: Annotated[int, Meta(ge=0, le=65535, description="a number of the reader's table of RF modes")] | None = None
    report_every: Annotated[int, Meta(ge=1, le=10_000, description="tags, 1 to 10000")] = 1
    """Tags the reader gathers before it reports them."""
    keepalive_s: Annotated[float, Meta(ge=0.1, le=600, description="seconds, 0.1 to 600")] = 10.0
    timeout_s: Annotated[float, Meta(ge=0.1, le=120, description="seconds, 0.1 to 120")] = 10.0
    """How long to wait for the connection, and for each answer."""
    rospec_file: Text | None = None
    """JSON of a ROSpec to use instead of the one made from these settings."""
    reader_config_file: Text | None = None
    """JSON of a SetReaderConfig to use instead of ours."""
