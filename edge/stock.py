"""What a node notes of the tags that it told of, so that its next run can tell which of them are gone.

A thing that is sold or carried off while the node is down would else stay in stock for ever: the next run never heard
of it. Members' cards are not noted: no identifier of a person lies on the disk.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from edge.inventory import Place, TagEvent
from edge.outbox import Note


class _Noted(msgspec.Struct, frozen=True, array_like=True):
    zone: str
    antenna: str
    at_us: int
    rssi: float | None
    reads: int


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Noted).decode


def notes(events: Iterable[TagEvent]) -> list[Note]:
    """What to note with events when they are told, one each."""
    return [(event.epc, None if event.state == "departed" else _encode(_noted(event))) for event in events]


def places(noted: Mapping[bytes, bytes]) -> Iterator[Place]:
    """Where an earlier run left its tags; what cannot be read is left aside."""
    for epc, value in noted.items():
        try:
            found = _decode(value)
        except (msgspec.MsgspecError, ValueError):
            continue
        yield Place(epc, found.zone, found.antenna, found.at_us, found.rssi, found.reads)


def _noted(event: TagEvent) -> _Noted:
    return _Noted(event.zone, event.antenna, event.at_us, event.rssi, event.reads)
