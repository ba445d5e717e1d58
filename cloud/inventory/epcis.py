"""What tags did, as EPCIS 2.0 events in JSON-LD, each with the hash of its content for an id (CBV 2.0, section 8.9.2).

Pure: rows to documents. The words are those of GS1's Core Business Vocabulary and say no more than was seen: a thing at
the till is not "sold", and one that is not read any more is in an `unknown` disposition.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NotRequired, TypedDict
from zoneinfo import ZoneInfo

from contract.epc import Epc, check_digit, decode, uri_of

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
MEDIA_TYPE = "application/ld+json"

_CBV = "https://ref.gs1.org/cbv/"
_DIGITAL_LINK = "https://id.gs1.org"
_EXTENSION_MOST = 20
"""Characters of an SGLN's extension (GS1 General Specifications, AI 254)."""

_WORDS = {
    "staff": ("storing", "sellable_not_accessible"),
    "shelf": ("stocking", "sellable_accessible"),
    "aisle": ("stocking", "sellable_accessible"),
    "entrance": ("entering_exiting", "unknown"),
    "street": ("entering_exiting", "unknown"),
}
"""Business step and disposition by the kind of zone that a thing came to."""
_ELSEWHERE = ("other", "sellable_accessible")
"""Fitting rooms, tills, zones that the plan does not have: somebody carried it there."""
_GONE = ("other", "unknown")


@dataclass(frozen=True, slots=True)
class TagChange:
    """What one tag did."""

    since_us: int
    epc: bytes
    state: Literal["arrived", "moved", "departed"]
    zone: str
    kind: str | None
    """The zone's kind, None if the plan has no such zone any more."""


@dataclass(frozen=True, slots=True)
class Site:
    """The store that the zones belong to."""

    tenant: str
    store: str
    tz: str
    sgln: str | None
    """COMPANY.LOCATION, 12 digits together; the zones are its extensions."""

    def place(self, zone: str) -> str:
        """A zone's id: an SGLN, or an address of a domain that does not exist, for ours is not known here."""
        if self.sgln is None:
            return f"https://{self.tenant}.invalid/stores/{self.store}/zones/{zone}"
        return f"urn:epc:id:sgln:{self.sgln}.{_extension(zone)}"


class Place(TypedDict):
    """A read point or business location."""

    id: str


class ObjectEvent(TypedDict):
    """EPCIS 2.0, 7.4.1.2, as far as we tell it."""

    eventID: str
    type: str
    eventTime: str
    eventTimeZoneOffset: str
    epcList: list[str]
    action: str
    bizStep: str
    disposition: str
    readPoint: Place
    bizLocation: NotRequired[Place]


class Body(TypedDict):
    """A document's events."""

    eventList: list[ObjectEvent]


# "@context" is no Python name.
Document = TypedDict(
    "Document",
    {"@context": list[str], "type": str, "schemaVersion": str, "creationDate": str, "epcisBody": Body},
)


def document(changes: Iterable[TagChange], site: Site, created_us: int) -> Document:
    """An EPCISDocument of the changes, in their order."""
    return {
        "@context": [CONTEXT],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": _utc(created_us),
        "epcisBody": {"eventList": [object_event(change, site) for change in changes]},
    }


def object_event(change: TagChange, site: Site) -> ObjectEvent:
    """One observation: what, when, where, why. A thing that is gone is at no business location that we know of."""
    gone = change.state == "departed"
    step, disposition = _GONE if gone else _WORDS.get(change.kind or "", _ELSEWHERE)
    place = Place(id=site.place(change.zone))
    event = ObjectEvent(
        eventID="",
        type="ObjectEvent",
        eventTime=_utc(change.since_us),
        eventTimeZoneOffset=_offset(change.since_us, site.tz),
        epcList=[uri_of(change.epc)],
        action="OBSERVE",
        bizStep=step,
        disposition=disposition,
        readPoint=place,
    )
    if not gone:
        event["bizLocation"] = place
    event["eventID"] = _hash_id(event, change, site)
    return event


def _hash_id(event: ObjectEvent, change: TagChange, site: Site) -> str:
    """The event's content in CBV's order, names and values run together, GS1 ids as Digital Links; its SHA-256."""
    epc = decode(change.epc)
    place = _place_link(site, change.zone)
    said = [
        "eventType=ObjectEvent",
        f"eventTime={event['eventTime']}",
        f"eventTimeZoneOffset={event['eventTimeZoneOffset']}",
        f"epcListepc={digital_link(epc) if epc is not None else event['epcList'][0]}",
        "action=OBSERVE",
        f"bizStep={_CBV}BizStep-{event['bizStep']}",
        f"disposition={_CBV}Disp-{event['disposition']}",
        f"readPointid={place}",
        f"bizLocationid={place}" if "bizLocation" in event else "",
    ]
    return f"ni:///sha-256;{hashlib.sha256(''.join(said).encode()).hexdigest()}?ver=CBV2.0"


def digital_link(epc: Epc) -> str:
    """The canonical GS1 Digital Link of an EPC: AI and value, serial behind."""
    company, reference, serial = epc.company, epc.reference, _escaped(epc.serial)
    match epc.scheme.partition("-")[0]:
        case "sgtin":
            return f"{_DIGITAL_LINK}/01/{epc.gtin}/21/{serial}"
        case "sscc":
            return f"{_DIGITAL_LINK}/00/{_checked(reference[0] + company + reference[1:])}"
        case "sgln":
            return _sgln_link(company + reference, serial)
        case "grai":
            return f"{_DIGITAL_LINK}/8003/0{_checked(company + reference)}{serial}"
        case _:
            return f"{_DIGITAL_LINK}/8004/{company}{_escaped(reference)}"


def _place_link(site: Site, zone: str) -> str:
    if site.sgln is None:
        return site.place(zone)
    return _sgln_link(site.sgln.replace(".", ""), _escaped(_extension(zone)))


def _sgln_link(digits: str, extension: str) -> str:
    link = f"{_DIGITAL_LINK}/414/{_checked(digits)}"
    return link if extension == "0" else f"{link}/254/{extension}"


def _extension(zone: str) -> str:
    """A zone's name as an SGLN's extension; one that is too long is cut and told apart by its digest."""
    if len(zone) <= _EXTENSION_MOST:
        return zone
    return f"{zone[:12]}.{hashlib.sha256(zone.encode()).hexdigest()[:7]}"


def _checked(digits: str) -> str:
    return f"{digits}{check_digit(int(digits))}"


def _escaped(text: str) -> str:
    """What a Digital Link may not hold as it is (GS1 Digital Link: URI syntax, table 7-1)."""
    return text.translate(_ESCAPES)


_ESCAPES = {ord(char): f"%{ord(char):02X}" for char in '"%&/<>?!()*+,:'}


def _utc(us: int) -> str:
    """To the millisecond, as the hash has it."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=us // 1_000)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _offset(us: int, tz: str) -> str:
    """What the store's clocks were ahead of UTC: `+01:00`."""
    local = datetime.fromtimestamp(us / 1e6, ZoneInfo(tz))
    return local.strftime("%z")[:3] + ":" + local.strftime("%z")[3:5]
