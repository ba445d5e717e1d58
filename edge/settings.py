"""The shapes of node.toml, section by section: types, limits, defaults, and the words that errors use for them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$(?!\n)"
_NAME_WORDS = "a name (a-z, 0-9 and -, at most 63)"
_DBM = "dBm, a whole or decimal number from -110 to 0"

Name = Annotated[str, Meta(pattern=_NAME, description=_NAME_WORDS)]
Text = Annotated[str, Meta(min_length=1, description="a text that is not empty")]
Dbm = Annotated[float, Meta(ge=-110, le=0, description=_DBM)]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port, 1 to 65535")]
AntennaPort = Annotated[int, Meta(ge=1, le=255, description="an antenna port, 1 to 255")]
_PORT = r"([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
Listen = Annotated[
    str,
    Meta(
        pattern=rf"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):{_PORT}$(?!\n)",
        description='an address and a port up to 65535, "127.0.0.1:8089"',
    ),
]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """[node]: who this node is."""

    tenant: Name
    store: Name
    node: Name
    zone: Name | None = None
    tz: Text | None = None
    """The store's time zone, an IANA name: its days begin at local midnight."""
    clock: Text | None = None


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """[uplink]: the broker."""

    host: Text
    port: Port = 1883
    username: Text | None = None
    password_file: Text | None = None
    ca_file: Text | None = None
    cert_file: Text | None = None
    key_file: Text | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600, description="whole seconds, 5 to 3600")] = 20


class Ble(msgspec.Struct, frozen=True, kw_only=True):
    """[ble]: how Bluetooth is listened to."""

    mode: Annotated[Literal["active", "passive", "off"], Meta(description='"active", "passive" or "off"')] = "active"
    adapter: Text | None = None
    backend: (
        Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$(?!\n)", description='"package.module:Class"')]
        | None
    ) = None
    watchdog_s: Annotated[float, Meta(ge=1, le=3600, description="seconds, 1 to 3600")] = 90.0
    reboot_after_s: Annotated[float, Meta(ge=600, le=604_800, description="seconds, 600 to 604800")] | None = None
    """Bluetooth could not be used for so long: the machine may be rebooted, at most once a day. Without it, never."""


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


class Privacy(msgspec.Struct, frozen=True, kw_only=True):
    """[privacy]: what is told of devices that are nobody's."""

    pseudonyms: Annotated[bool, Meta(description="true or false")] = False
    """Devices with an address of their own under the store's key of the day; without it they only count."""


class Wifi(msgspec.Struct, frozen=True, kw_only=True):
    """[wifi]: requests of phones for networks, counted and forgotten. Off unless an interface is named."""

    interface: (
        Annotated[str, Meta(pattern=r"^[^\s/:]{1,15}$(?!\n)", description="an interface's name, at most 15 characters")]
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
        Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$(?!\n)", description='"package.module:function"')]
        | None
    ) = None


class Llrp(msgspec.Struct, frozen=True, kw_only=True):
    """[[llrp]]: a reader on the network."""

    name: Name
    host: Text
    port: Port = 5084
    antennas: Annotated[tuple[AntennaPort, ...], Meta(description="a list of antenna ports, each 1 to 255")] = ()
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


class UhfSerial(msgspec.Struct, frozen=True, kw_only=True):
    """[[uhf]]: a module on a serial port. Its one antenna is `NAME/1`."""

    name: Name
    port: Text
    """A serial port, such as /dev/serial/by-id/…, which stays the same when others are plugged in."""
    baud: Annotated[int, Meta(ge=9_600, le=921_600, description="a speed, 9600 to 921600")] = 115_200
    region: Annotated[
        Literal["eu", "us", "cn900", "cn800", "kr"], Meta(description='"eu", "us", "cn900", "cn800" or "kr"')
    ] = "eu"
    power_dbm: Annotated[float, Meta(ge=0, le=33, description="dBm, 0 to 33")] = 20.0
    session: Annotated[int, Meta(ge=0, le=3, description="0 to 3")] = 0
    """S0: a tag answers in every round. In S2 and S3 it is quiet for seconds once read, which suits stock-taking."""
    q: Annotated[int, Meta(ge=0, le=15, description="0 to 15")] = 4
    """2^Q slots a round: about as many as tags lie in the field."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """[inventory]: when a tag is in a zone, moves, and is gone."""

    reads: Annotated[int, Meta(ge=1, le=100, description="1 to 100")] = 2
    """So many reads at an antenna before it counts: a single one may be a reflection or a bit error."""
    stay_db: Annotated[float, Meta(ge=0, le=40, description="dB, 0 to 40")] = 6.0
    """By so much another antenna must hear a tag better, as long as its own does not miss it."""
    hold_s: Annotated[float, Meta(ge=0, le=3600, description="seconds, 0 to 3600")] = 0.5
    """From then on its own antenna misses it (or from USUAL_GAPS on, if that is later)."""
    fall_db_per_s: Annotated[float, Meta(ge=0, le=1000, description="dB a second, 0 to 1000")] = 8.0
    """How fast the offset falls while it is missed, below zero too."""
    departed_s: Annotated[float, Meta(ge=1, le=86_400, description="seconds, 1 to 86400")] = 600.0
    """Unread for so long: gone. With window = "smurf" that decides, and this is the longest it may take."""
    window: Annotated[Literal["fixed", "smurf"], Meta(description='"fixed" or "smurf"')] = "fixed"
    rounds_per_s: Annotated[float, Meta(ge=0.1, le=1000, description="rounds a second, 0.1 to 1000")] = 5.0
    """Rounds in which a tag may answer; for window = "smurf", which judges by the share that it does answer."""
    cards: tuple[
        Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{2}){1,31}$(?!\n)", description="hexadecimal bytes")], ...
    ] = ()
    """EPCs that begin so are members' cards: people, not things."""
    most: Annotated[int, Meta(ge=1, le=1_000_000, description="tags, 1 to 1000000")] = 20_000
    """Tags kept track of at once, about 0.7 kB each. Others are not seen until there is room."""
    zones: Annotated[dict[str, Name], Meta(description='`"READER/PORT" = "zone"` for each antenna')] = {}
    """Where each antenna reads: `"door/1" = "entrance"`. Reads of an antenna without a zone are left aside."""


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """[http]: where posts are received. Loopback, unless somebody decides otherwise."""

    listen: Listen = "127.0.0.1:8089"
    cert_file: Text | None = None
    key_file: Text | None = None
    max_mb: Annotated[float, Meta(ge=0.01, le=64, description="MiB, 0.01 to 64")] = 8.0


class Meraki(msgspec.Struct, frozen=True, kw_only=True):
    """[meraki]: the Scanning API of one network."""

    validator: Text
    secret_file: Text
    path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9/_-]*$(?!\n)", description='a path, "/meraki"')] = "/meraki"
    passers_by: Annotated[bool, Meta(description="true or false")] = False
    aps: Annotated[dict[str, Name], Meta(description='`"MAC" = "zone"` for each access point')] = {}


class Portal(msgspec.Struct, frozen=True, kw_only=True):
    """[portal]: the captive portal's hook on [http]."""

    secret_file: Text


class Radius(msgspec.Struct, frozen=True, kw_only=True):
    """[radius]: the accounting server that access points report to."""

    secret_file: Text
    listen: Listen = "127.0.0.1:1813"
    nas: Annotated[dict[str, Name], Meta(description='`"NAME or MAC" = "zone"` for each access point')] = {}


class Hostapd(msgspec.Struct, frozen=True, kw_only=True):
    """[hostapd]: `control` for an access point on this machine, `listen` for lines of others."""

    control: Annotated[list[str], Meta(description='control sockets, ["/var/run/hostapd/wlan0"]')] = []
    poll_s: Annotated[float, Meta(ge=1, le=600, description="seconds, 1 to 600")] = 10.0
    listen: Listen | None = None
    peers: Annotated[list[str], Meta(description='addresses that lines are taken from, ["192.168.1.2"]')] = []
    aps: Annotated[dict[str, Name], Meta(description='`"INTERFACE or HOST/INTERFACE" = "zone"`')] = {}


class Raddec(msgspec.Struct, frozen=True, kw_only=True):
    """[raddec]: raddecs of other readers in, ours out."""

    listen: Listen | None = None
    peers: Annotated[list[str], Meta(description='addresses that raddecs are taken from, ["192.168.1.9"]')] = []
    receivers: Annotated[list[str], Meta(description='identifiers of readers, ["001bc50940810000"]')] = []
    mqtt_host: Text | None = None
    mqtt_port: Port = 1883
    mqtt_username: Text | None = None
    mqtt_password_file: Text | None = None
    mqtt_listen: Text | None = None
    export_udp: Listen | None = None
    export_topic: Text | None = None
    export_receiver: (
        Annotated[str, Meta(pattern=r"^([0-9a-f]{12}|[0-9a-f]{16})$(?!\n)", description="12 or 16 hexadecimal digits")]
        | None
    ) = None


class HomeAssistant(msgspec.Struct, frozen=True, kw_only=True):
    """[home_assistant]: the broker that Home Assistant listens to."""

    host: Text
    port: Port = 1883
    username: Text | None = None
    password_file: Text | None = None
    prefix: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_-]+$(?!\n)", description='the discovery prefix, "homeassistant"')
    ] = "homeassistant"
