"""Tag events as EPCIS 2.0: the words fit the zones, and the ids are the hashes that GS1's own generator computes."""

import json
import random
import warnings
from typing import Any

import pytest
from epcis_event_hash_generator import hash_generator, json_to_py  # type: ignore[import-untyped]  # has no types

from cloud.inventory.epcis import CONTEXT, Document, Site, TagChange, digital_link, document, object_event
from contract.epc import Epc, decode, encode, sgtin

NOON_US = 1_795_604_400_123_456  # 2026-11-25 11:00:00.123456 UTC, 12:00 in Berlin
EPC = bytes.fromhex("3074257bf7194e4000001a85")
PLAIN = Site("acme", "main-street", "Europe/Berlin", None)
NAMED = Site("acme", "main-street", "Europe/Berlin", "0614141.00777")


def change(state: Any = "arrived", zone: str = "jeans", kind: str | None = "shelf", epc: bytes = EPC) -> TagChange:
    return TagChange(NOON_US, epc, state, zone, kind)


def generators_ids(told: Document) -> list[str]:
    """The ids that GS1's generator, working offline with its own copy of the context, gives the events."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how it opens its copy of the context
        events = json_to_py.event_list_from_epcis_document_str(json.dumps(told))
    ids: list[str] = hash_generator.epcis_hashes_from_events(events)
    return ids


def test_an_arrival_on_a_shelf_is_stocking() -> None:
    assert object_event(change(), NAMED) == {
        "eventID": "ni:///sha-256;8810e55419ecaf637bebee15e8fbd8070916d55540e9631480a93b62c2dc616c?ver=CBV2.0",
        "type": "ObjectEvent",
        "eventTime": "2026-11-25T11:00:00.123Z",
        "eventTimeZoneOffset": "+01:00",
        "epcList": ["urn:epc:id:sgtin:0614141.812345.6789"],
        "action": "OBSERVE",
        "bizStep": "stocking",
        "disposition": "sellable_accessible",
        "readPoint": {"id": "urn:epc:id:sgln:0614141.00777.jeans"},
        "bizLocation": {"id": "urn:epc:id:sgln:0614141.00777.jeans"},
    }


@pytest.mark.parametrize(
    ("state", "kind", "step", "disposition"),
    [
        ("arrived", "shelf", "stocking", "sellable_accessible"),
        ("moved", "aisle", "stocking", "sellable_accessible"),
        ("moved", "staff", "storing", "sellable_not_accessible"),
        ("moved", "entrance", "entering_exiting", "unknown"),
        ("moved", "fitting", "other", "sellable_accessible"),
        ("arrived", "till", "other", "sellable_accessible"),
        ("arrived", None, "other", "sellable_accessible"),
        ("departed", "shelf", "other", "unknown"),
    ],
)
def test_the_words_say_no_more_than_was_seen(state: str, kind: str | None, step: str, disposition: str) -> None:
    event = object_event(change(state, kind=kind), PLAIN)
    assert (event["bizStep"], event["disposition"]) == (step, disposition)
    assert event["readPoint"] == {"id": "https://acme.invalid/stores/main-street/zones/jeans"}
    assert ("bizLocation" in event) == (state != "departed")


def test_a_document_has_the_form_of_epcis_2() -> None:
    told = document([change(), change("departed")], PLAIN, NOON_US)
    assert (told["@context"], told["type"], told["schemaVersion"]) == ([CONTEXT], "EPCISDocument", "2.0")
    assert told["creationDate"] == "2026-11-25T11:00:00.123Z"
    assert [event["action"] for event in told["epcisBody"]["eventList"]] == ["OBSERVE", "OBSERVE"]
    assert document([], PLAIN, 0)["epcisBody"] == {"eventList": []}


def test_a_tag_of_no_known_scheme_goes_by_its_bits() -> None:
    epc = bytes.fromhex("e28011700000020f1c7d8a11")
    told = document([change(epc=epc)], PLAIN, 0)
    (event,) = told["epcisBody"]["eventList"]
    assert event["epcList"] == ["urn:epc:raw:96.xE28011700000020F1C7D8A11"]
    assert generators_ids(told) == [event["eventID"]]


def test_summer_and_winter_have_their_own_offset() -> None:
    july = TagChange(NOON_US - 130 * 86_400_000_000, EPC, "arrived", "jeans", "shelf")
    assert object_event(july, PLAIN)["eventTimeZoneOffset"] == "+02:00"
    new_york = Site("acme", "5th", "America/New_York", None)
    assert object_event(change(), new_york)["eventTimeZoneOffset"] == "-05:00"


@pytest.mark.parametrize("site", [PLAIN, NAMED, Site("acme", "m", "Asia/Kolkata", "061414100777.")])
def test_every_id_is_the_one_of_gs1s_generator(site: Site) -> None:
    draw = random.Random(site.tz)
    changes = []
    for _ in range(400):
        serial = draw.choice([str(draw.randrange(1 << 38)), "32a/b", '%<>?&"', "!()*+,:;='-._", "007"])
        epc = draw.choice(
            [
                sgtin("80614141123458", draw.randint(6, 12), serial),
                Epc("sscc-96", 0, "0614141", "1234567890"),
                Epc("sgln-96", 0, "0614141", "12345", draw.choice(["0", "400"])),
                Epc("sgln-195", 0, "061414112345", "", "a/b"),
                Epc("grai-96", 0, "0614141", "12345", "400"),
                Epc("grai-170", 0, "0614141", "12345", "32a/b"),
                Epc("giai-96", 0, "0614141", "5678"),
                Epc("giai-202", 0, "0614141", "32a/b+"),
            ]
        )
        zone = draw.choice(["jeans", "400", "a-zone-with-a-name-too-long-for-an-extension"])
        kind = draw.choice(["shelf", "staff", "entrance", "till", None])
        state: Any = draw.choice(["arrived", "moved", "departed"])
        changes.append(TagChange(draw.randrange(NOON_US), encode(epc), state, zone, kind))
    told = document(changes, site, 0)
    assert generators_ids(told) == [event["eventID"] for event in told["epcisBody"]["eventList"]]


@pytest.mark.parametrize(
    ("epc", "link"),
    [
        (decode(EPC), "https://id.gs1.org/01/80614141123458/21/6789"),
        (Epc("sscc-96", 0, "0614141", "1234567890"), "https://id.gs1.org/00/106141412345678908"),
        (Epc("sgln-96", 0, "0614141", "12345", "0"), "https://id.gs1.org/414/0614141123452"),
        (Epc("sgln-96", 0, "0614141", "12345", "400"), "https://id.gs1.org/414/0614141123452/254/400"),
        (Epc("grai-96", 0, "0614141", "12345", "400"), "https://id.gs1.org/8003/00614141123452400"),
        (Epc("giai-96", 0, "0614141", "5678"), "https://id.gs1.org/8004/06141415678"),
    ],
)
def test_digital_links_are_those_of_the_standard(epc: Epc, link: str) -> None:
    assert digital_link(epc) == link
