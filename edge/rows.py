"""What the parts of a pipeline tell, as rows of the contract. Instants become milliseconds from the batch's t0."""

from typing import Literal

from contract.identity import SubjectKind, subject_hex
from contract.messages import PresenceRow, TagRow
from edge.clients import ClientTransition
from edge.inventory import TagEvent
from edge.presence import Transition

CARD_CONFIDENCE = 0.9
"""A card is read within a metre or two of its antenna, and seldom by another one."""

_LONG_AGO_MS = -(2**31 - 1)
"""The contract's rows have 32 bits: what lay longer ago, before a node that was off for a month, is told as 24 days."""


def presence_row(zone: str, t0_us: int, transition: Transition) -> PresenceRow:
    """A subject came to the node's own zone, or left it."""
    return PresenceRow(
        subject=subject_hex(transition.subject),
        kind=transition.kind,
        zone=zone,
        state=transition.state,
        dt=_ms(transition.at_us, t0_us),
        since=_ms(transition.since_us, t0_us),
        confidence=transition.confidence,
    )


def client_row(t0_us: int, transition: ClientTransition) -> PresenceRow:
    """A member's device came to an access point's zone, or left it."""
    return PresenceRow(
        subject=subject_hex(transition.subject),
        kind=SubjectKind.CLIENT,
        zone=transition.zone,
        state=transition.state,
        dt=_ms(transition.at_us, t0_us),
        since=_ms(transition.since_us, t0_us),
        confidence=transition.confidence,
    )


def card_rows(subject: int, t0_us: int, event: TagEvent) -> list[PresenceRow]:
    """A member's card at an antenna: arriving enters its zone, departing leaves it, a move does both."""
    dt, since = _ms(event.at_us, t0_us), _ms(event.since_us, t0_us)

    def row(zone: str, state: Literal["enter", "exit"]) -> PresenceRow:
        return PresenceRow(subject_hex(subject), SubjectKind.TAG, zone, state, dt, since, CARD_CONFIDENCE)

    match event.state:
        case "arrived":
            return [row(event.zone, "enter")]
        case "moved":
            return [row(event.origin, "exit"), row(event.zone, "enter")]
        case "departed":
            return [row(event.zone, "exit")]


def tag_row(t0_us: int, event: TagEvent) -> TagRow:
    """A thing's tag arrived, moved or departed."""
    return TagRow(
        epc=event.epc.hex(),
        state=event.state,
        zone=event.zone,
        dt=_ms(event.at_us, t0_us),
        since=_ms(event.since_us, t0_us),
        origin=event.origin,
        rssi=event.rssi,
        reads=event.reads,
    )


def _ms(at_us: int, t0_us: int) -> int:
    return max((at_us - t0_us) // 1_000, _LONG_AGO_MS)
