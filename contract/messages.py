"""The messages between edge and cloud, as values; `codec` turns them into bytes, `asyncapi.yaml` documents them."""

from typing import Literal

import msgspec

from contract.identity import SubjectKind

VERSION = 1

MAX_BYTES = 256 * 1024
"""The largest payload taken; a full batch of 5,000 sightings has about 110 KiB."""
MAX_ROWS = 10_000


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What stands before every batch. (tenant, node, epoch, seq) is its name for ever.

    A wiped or cloned card makes a new epoch, so a name can never be used for two different batches unnoticed.
    """

    kind: Literal["sightings", "presence", "crowd"]
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
    Column("dt", "<i4", "ms from t0 (so never positive): the end of the window"),
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


class Crowd(msgspec.Struct, frozen=True):
    """Counts without identity."""

    header: Header
    rows: tuple[CrowdRow, ...]


Batch = Sightings | Presence | Crowd


class Rejection(msgspec.Struct, frozen=True):
    """A batch that the cloud will not store, and why: the node must not send it again."""

    seq: int
    reason: str


class Ack(msgspec.Struct, frozen=True):
    """What the database holds. A node deletes exactly these batches: ranges, never "up to"."""

    epoch: str
    stored: tuple[tuple[int, int], ...] = ()
    """Ranges of seq, both ends included."""
    rejected: tuple[Rejection, ...] = ()


class Status(msgspec.Struct, frozen=True):
    """A node's retained state; the broker publishes `offline` as the node's will."""

    state: Literal["online", "offline"]
    boot: str
    at: int
    """Microseconds since 1970 UTC: when the session began."""


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


def subject_kind(value: int) -> SubjectKind | None:
    """The kind that a column value stands for, None if this build knows no such kind."""
    try:
        return SubjectKind(value)
    except ValueError:
        return None
