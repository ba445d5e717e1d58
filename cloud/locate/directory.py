"""Who a subject is: tokens of consenting members and registered beacons; everyone else stays unknown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from contract.identity import SubjectKind, client_token, member_token, token_slot


@dataclass(frozen=True, slots=True)
class Person:
    """Whose visit it is: a member, or an enrolled beacon (an asset, a staff badge)."""

    member_id: UUID | None
    beacon_id: int | None
    excluded: bool
    """Staff and assets: tracked where enrolled, never counted."""


@dataclass(slots=True)
class Directory:
    """Resolves subjects by the 15-minute slot of their sighting. A member without consent is not in it."""

    keys: Mapping[bytes, Person] = field(default_factory=dict)
    """Token key to member."""
    beacons: Mapping[int, Person] = field(default_factory=dict)
    """contract.identity.beacon_subject to enrolled beacon; fixed beacons are not persons and not in it."""
    tags: Mapping[int, Person] = field(default_factory=dict)
    """contract.identity.tag_subject to the card's holder."""
    _slots: dict[int, dict[int, Person]] = field(default_factory=dict)
    _clients: dict[int, Person] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._clients = {client_token(key): person for key, person in self.keys.items()}

    def resolve(self, kind: int, subject: int, at_us: int) -> Person | None:
        """The person behind a subject, None if it is nobody's business."""
        match kind:
            case SubjectKind.TOKEN:
                slot = token_slot(at_us)
                near = (slot, slot - 1, slot + 1)  # a phone's clock may be some minutes off
                return next((found for each in near if (found := self._tokens(each).get(subject))), None)
            case SubjectKind.BEACON:
                return self.beacons.get(subject)
            case SubjectKind.TAG:
                return self.tags.get(subject)
            case SubjectKind.CLIENT:
                return self._clients.get(subject)
            case _:
                return None

    def _tokens(self, slot: int) -> dict[int, Person]:
        if slot not in self._slots:
            if len(self._slots) >= 6:
                del self._slots[min(self._slots, key=lambda known: -abs(known - slot))]
            self._slots[slot] = {member_token(key, slot): person for key, person in self.keys.items()}
        return self._slots[slot]
