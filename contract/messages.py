"""The messages between edge and cloud, as values; `codec` turns them into bytes, `asyncapi.yaml` documents them."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from contract.identity import SubjectKind

VERSION = 1
DIGEST_DIGITS = 8
"""Of a payload's digest in an ack: that two batches of one name agree in 32 bits by chance is told as a dead letter."""

MAX_BYTES = 256 * 1024
"""The largest payload taken; a full batch of 5,000 sightings has about 110 KiB."""
MAX_ROWS = 10_000


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What stands before every batch. (tenant, node, epoch, seq) is its name for ever.

    A wiped or cloned card makes a new epoch, so a name can never be used for two different batches unnoticed.
    """

    kind: Literal["sightings", "presence", "crowd", "tags"]
    tenant: str
    store: str
    node: str
    epoch: str
    """32 hexadecimal digits: 128 random bits made with the outbox."""
    seq: int
    """Counts up from 1 within the epoch."""
    boot: str
    """The machine's boot id: instants of one boot may be corrected together."""
    clock: Literal["trusted", "untrusted"]
    """Whether the node believed its clock when it made the batch."""
    t0: int
    """Microseconds since 1970 UTC: the node has told all it heard before. Rows' instants count from here."""
    n: int
    """Number of rows. 0 in a sightings batch says: nothing was heard, do not wait for me."""
    v: int = VERSION


class Column(msgspec.Struct, frozen=True):
    """One column of a bulk stream: its name, its numpy dtype (little-endian) and its unit."""

    name: str
    dtype: str
    unit: str

    @property
    def width(self) -> int:
        """Bytes a value."""
        return int(self.dtype[-1])


SIGHTING_COLUMNS = (
    Column("dt", "<i4", "ms from t0: the end of the window; above 0 only for a newcomer told before it"),
    Column("subject", "<u8", "8-byte subject"),
    Column("kind", "<u1", "SubjectKind"),
    Column("radio", "<u4", "digest of the transmitting address under a daily key, 0 where the subject names the radio"),
    Column("rssi", "<i2", "mean RSSI, 0.1 dBm"),
    Column("peak", "<i1", "strongest RSSI, dBm"),
    Column("count", "<u2", "adverts in the window"),
)
"""A window of sightings: one subject heard by one node. 22 bytes a window. New columns are only ever appended."""


class Sightings(msgspec.Struct, frozen=True):
    """A batch of windows as columns of little-endian bytes, in the order of SIGHTING_COLUMNS."""

    header: Header
    columns: tuple[bytes, ...]


class PresenceRow(msgspec.Struct, frozen=True):
    """A subject began or ended being near a node that has a zone of its own (door, shelf)."""

    subject: str
    """16 hexadecimal digits."""
    kind: int
    """SubjectKind."""
    zone: str
    state: Literal["enter", "exit"]
    dt: int
    """Milliseconds from t0: when the node was sure."""
    since: int
    """Milliseconds from t0: when it really began or ended, told with hindsight."""
    confidence: float
    """0 to 1."""


class Presence(msgspec.Struct, frozen=True):
    """Zone presence as one node sees it."""

    header: Header
    rows: tuple[PresenceRow, ...]


class CrowdRow(msgspec.Struct, frozen=True):
    """How many radios a node heard over a span of time, without naming any; at least k of them."""

    dt: int
    """Milliseconds from t0: the end of the span."""
    span_s: int
    """Seconds: 300, or longer where a span with fewer than k radios was merged into the next."""
    radios: int
    """Distinct radios heard, rotating addresses included."""
    strong: int
    """Those among them heard at -70 dBm or more."""
    source: Literal["ble", "wifi", "stations"] = "ble"
    """What was listened to: adverts, probe requests, or a network that told about its stations. A row of each."""
    devices: int = 0
    """Distinct devices: of probe requests estimated by what they announce, of stations counted; 0 of adverts."""
    devices_strong: int = 0
    """Wi-Fi: the same among frames heard at -70 dBm or more; 0 also where they were fewer than k."""
    frames: int = 0
    """Wi-Fi: frames heard in the span."""


class Crowd(msgspec.Struct, frozen=True):
    """Counts without identity."""

    header: Header
    rows: tuple[CrowdRow, ...]


class TagRow(msgspec.Struct, frozen=True):
    """A thing's RFID tag arrived in a zone, moved from another one, or departed. Members' cards never travel here."""

    epc: str
    """The EPC in lower-case hexadecimal digits, 1 to 62 bytes."""
    state: Literal["arrived", "moved", "departed"]
    zone: str
    """Where it is; on `departed`, where it was last."""
    dt: int
    """Milliseconds from t0: when the node was sure."""
    since: int
    """Milliseconds from t0: its first read in the zone; on `departed` its last."""
    origin: str = ""
    """On `moved`: the zone it came from."""
    rssi: float | None = None
    """Mean of its reads in the zone, dBm."""
    reads: int = 1
    """Reads in the zone that made the node sure."""


class Tags(msgspec.Struct, frozen=True):
    """What an RFID reader of the node saw change."""

    header: Header
    rows: tuple[TagRow, ...]


Batch = Sightings | Presence | Crowd | Tags


class Rejection(msgspec.Struct, frozen=True):
    """A batch that the cloud will not store, and why: the node must not send it again."""

    seq: int
    reason: str


class Ack(msgspec.Struct, frozen=True):
    """What the database holds. A node deletes exactly these batches, of those it sent: ranges, never "up to"."""

    epoch: str
    stored: tuple[tuple[int, int], ...] = ()
    """Ranges of seq, both ends included."""
    rejected: tuple[Rejection, ...] = ()
    digests: str = ""
    """DIGEST_DIGITS for each batch in `stored`, in that order: what `codec.digest_of` its payload begins with. On a
    copied card another batch may have the name; a node deletes only the one that is stored. Early clouds sent none."""

    def names(self, seq: int, digest: str) -> bool:
        """Whether the batch of this number, with the payload of this digest (hexadecimal), is stored."""
        at = 0
        for first, last in self.stored:
            if first <= seq <= last:
                at += (seq - first) * DIGEST_DIGITS
                return not self.digests or self.digests[at : at + DIGEST_DIGITS] == digest[:DIGEST_DIGITS]
            at += max(last - first + 1, 0) * DIGEST_DIGITS
        return False


def ranges(seqs: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as ascending ranges, both ends included: [1, 2, 3, 7] gives ((1, 3), (7, 7))."""
    found: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if found and found[-1][1] == seq - 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return tuple(found)


class Status(msgspec.Struct, frozen=True):
    """A node's retained state; the broker publishes `offline` as the node's will."""

    state: Literal["online", "offline"]
    boot: str
    at: int
    """Microseconds since 1970 UTC: when the session began."""


class SourceHealth(msgspec.Struct, frozen=True):
    """How one radio, reader or feed of a node is."""

    state: Literal["ok", "silent", "down"]
    """`silent`: it works as far as can be told and hears nothing; `down`: it cannot be used, `detail` says why."""
    heard: int = 0
    """Adverts, frames, reads or events since start."""
    per_s: float = 0.0
    """The same a second, since the last heartbeat."""
    restarts: int = 0
    """Times it was opened again because it fell silent or broke."""
    detail: str = ""
    """What is wrong, or the mode it runs in; names no device that was heard."""


class Health(msgspec.Struct, frozen=True):
    """A node's heartbeat, every 30 s. It names no device."""

    at: int
    """Microseconds since 1970 UTC."""
    boot: str
    version: str
    config: str
    """The first 12 hexadecimal digits of the configuration file's SHA-256: what the node really runs."""
    uptime_s: float
    clock: Literal["trusted", "untrusted"]
    adverts: int
    """BLE adverts heard since start."""
    adverts_per_s: float
    windows: int
    """Windows accepted into the outbox since start."""
    outbox_rows: int
    outbox_oldest_s: float
    """Age of the oldest batch that is not stored yet, seconds."""
    dropped: int
    """Windows given up because the outbox was full, since it was made."""
    reconnects: int
    rss_mb: float
    restarts: int
    """Times the BLE watchdog restarted the scan."""
    mode: Literal["normal", "safe"] = "normal"
    """`safe`: the configuration on the node is broken; it runs on the last one that was good."""
    config_version: int = 0
    """The desired configuration that it follows, by the cloud's count; 0 for the file it was installed with."""
    sources: dict[str, SourceHealth] = {}
    """By name: `ble`, `wifi`, `rfid.door`, …"""
    outbox_mb: float = 0.0
    dropped_by: dict[str, int] = {}
    """Events given up for want of room, by class: `visits` (presence, tags), `counts` (crowds), `windows`."""
    ack_lag_s: float | None = None
    """From putting a batch into the outbox to the cloud's ack, the last one; None before the first."""
    cert_days: float | None = None
    """Until the node's certificate ends; None without one."""
    clock_step_s: float | None = None
    """The last step of the machine's clock that was noticed; None without one."""
    temperature_c: float | None = None
    throttled: int | None = None
    """Bits of `vcgencmd get_throttled`: 0 under-voltage, 1 capped, 2 throttled, 3 soft limit; 16 to 19 since boot."""
    load: float = 0.0
    """Of the last minute, a core."""
    disk_free_mb: float | None = None
    """Where the outbox lies."""
    wifi_dbm: int | None = None
    """How strongly the node's own uplink hears its access point."""


def subject_kind(value: int) -> SubjectKind | None:
    """The kind that a column value stands for, None if this build knows no such kind."""
    try:
        return SubjectKind(value)
    except ValueError:
        return None
