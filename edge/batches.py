"""Rows into batches under the node's name, and those into the outbox."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from contract.clock import Clock
from contract.codec import encode
from contract.messages import Batch, Crowd, CrowdRow, Header, Presence, PresenceRow, Sightings, TagRow, Tags
from contract.topics import NodeAddress, Stream
from edge import windows
from edge.outbox import Note, Outbox
from edge.time_trust import stamp
from edge.windows import Window

Row = TypeVar("Row")

ROWS_MOST = 5_000
"""Windows in one batch, about 110 KiB."""
SMALL_ROWS_MOST = 500
"""Rows in one JSON batch, at most about 100 KiB."""


class Batches:
    """Gives every batch its header.

    `t0` says: this node has told all it heard before. So rows lie before or at it, but for those told early.
    """

    def __init__(self, address: NodeAddress, outbox: Outbox, clock: Clock, boot: str) -> None:
        self._address = address
        self._outbox = outbox
        self._clock = clock
        self._boot = boot

    def sightings(self, end_us: int, closed: list[Window]) -> None:
        """Windows that ended; an empty list says that silence began."""
        for t0_us, part in windows.batches_of(closed, end_us, ROWS_MOST):
            self._put("sightings", t0_us, len(part), partial(_sightings, part, t0_us))

    def early(self, t0_us: int, told: list[Window]) -> None:
        """Newcomers' windows, told before they end: their rows lie after t0."""
        for part in _cut(told, ROWS_MOST):
            self._put("sightings", t0_us, len(part), partial(_sightings, list(part), t0_us))

    def presence(self, t0_us: int, rows: Sequence[PresenceRow]) -> None:
        """Subjects that entered or left a zone."""
        for part in _cut(rows, SMALL_ROWS_MOST):
            self._put("presence", t0_us, len(part), partial(Presence, rows=part))

    def tags(self, t0_us: int, rows: Sequence[TagRow], notes: Sequence[Note]) -> None:
        """Tags that arrived, moved or departed, each with what the next run must know of it."""
        for part, noted in zip(_cut(rows, SMALL_ROWS_MOST), _cut(notes, SMALL_ROWS_MOST), strict=True):
            self._put("tags", t0_us, len(part), partial(Tags, rows=part), noted)

    def crowd(self, end_us: int, row: CrowdRow) -> None:
        """Counts of one span."""
        self._put("crowd", end_us, 1, partial(Crowd, rows=(row,)))

    def _put(
        self, stream: Stream, t0_us: int, n: int, batch: Callable[[Header], Batch], notes: Sequence[Note] = ()
    ) -> None:
        when = stamp(self._clock, t0_us)

        def build(epoch: str, seq: int) -> bytes:
            header = Header(
                kind=stream,  # type: ignore[arg-type]  # the four streams put here are exactly the four kinds
                tenant=self._address.tenant,
                store=self._address.store,
                node=self._address.node,
                epoch=epoch,
                seq=seq,
                boot=self._boot,
                clock="trusted" if when.trusted else "untrusted",
                t0=when.t0_us,
                n=n,
            )
            return encode(batch(header))

        self._outbox.put(stream, when.t0_us, n, build, when.mono_us, notes)


def _sightings(part: list[Window], t0_us: int, header: Header) -> Sightings:
    return Sightings(header, windows.window_columns(part, t0_us))


def _cut(rows: Sequence[Row], most: int) -> list[tuple[Row, ...]]:
    return [tuple(rows[i : i + most]) for i in range(0, len(rows), most)]
