"""Tagged goods, members' cards and phones that look for Wi-Fi: from a pty and a datagram to the product's answers."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cli.stack.cloud import LocalCloud
from cli.stack.store import SimulatedStore, node_addresses
from contract.clock import SimulatedClock
from contract.epc import decode
from edge.crowd import SPAN_US, K
from simulators import scenario_files as scenarios
from simulators.probes import handsets
from simulators.tagged import Handled, Piece, card_prefix, holds_card, pieces
from simulators.world import Day, World, card
from tests.integration.edge_support import eventually

pytestmark = pytest.mark.timeout(300)

SEED = 7
TUESDAY = date(2026, 11, 17)
SPEED = 5.0
PATIENCE_S = 180.0
"""Spans of crowds end once a minute at SPEED; a busy machine starts six nodes in half of one."""

WIFI_CROWDS = "SELECT node, us(time), span_s, radios, devices, frames FROM crowd WHERE source = 'wifi' ORDER BY time"
AT_THE_TILL = """
SELECT card, source, us(entered_at) FROM presence JOIN visit USING (visit_id) JOIN member USING (member_id)
WHERE zone = 'till' AND card = ANY(%s)"""
BATCHES = "SELECT node, kind, count(*) FROM batch GROUP BY node, kind"

Rows = list[tuple[Any, ...]]
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Look:
    """What the product told once everything was stored."""

    stock: list[dict[str, Any]]
    events: list[dict[str, Any]]
    crowds: Rows
    at_till: Rows
    """Card, source and beginning of each stay at the till of a member with an RFID card."""
    batches: Counter[tuple[str, str]]
    """By node and kind."""
    summary: dict[str, Any]
    lost: int


@dataclass(frozen=True)
class Truth:
    """What there is to find."""

    world: World
    day: Day
    goods: dict[str, Piece]
    """By EPC."""
    cards: dict[str, int]
    """Numbers of the cards that have a tag, and who holds them."""


@pytest.fixture(scope="module")
def truth() -> Truth:
    world = World(scenarios.load("corner-store"), SEED)
    day, tagged = world.day(TUESDAY), world.scenario.tagged
    assert tagged is not None
    goods = {piece.epc.hex(): piece for piece in pieces(world.scenario, SEED, day)}
    members = [(person.member, person.index) for person in day.people if person.member is not None]
    return Truth(world, day, goods, {card(m): index for m, index in members if holds_card(tagged, SEED, m)})


@pytest.fixture(scope="module")
def look(stack_folder: Path, truth: Truth) -> Look:
    """The simulated store on a cloud of its own, live until all that is looked for has happened."""
    scenario = truth.world.scenario
    # The busiest hour.
    clock = SimulatedClock(scenario.instant_us(TUESDAY, "11:03"), time.time_ns() // 1_000, SPEED)
    cloud = LocalCloud(stack_folder / "tagged", "acme", node_addresses(scenario, "acme"), clock=clock.spec())
    store = SimulatedStore(cloud, "corner-store", SEED, clock.spec())
    with cloud:
        cloud.start()
        store.set_up()
        store.write_files()
        leave_tokens_at_home(store.folder / "members.json", truth)
        store.start()
        with store.staff() as api, psycopg.connect(cloud.postgres.dsn("postgres"), autocommit=True) as conn:
            eventually(lambda: happened(conn, api, truth), "all that is looked for happens", PATIENCE_S)
            store.stop_nodes()  # before their readers are unplugged: else everything departs
            summary = store.stop_people()
            store.drain(api)
            stored = api.get("/v1/progress").json()["events_stored"]
            return Look(
                stock=api.get("/v1/stores/corner-store/inventory").json(),
                events=events(api, truth),
                crowds=rows(conn, WIFI_CROWDS),
                at_till=rows(conn, AT_THE_TILL, list(truth.cards)),
                batches=Counter({(node, kind): count for node, kind, count in rows(conn, BATCHES)}),
                summary=summary,
                lost=store.accepted() - stored,
            )


def happened(conn: Connection, api: httpx.Client, truth: Truth) -> bool:
    return (
        bool(rows(conn, WIFI_CROWDS))
        and bool(rows(conn, AT_THE_TILL, list(truth.cards)))
        and any(True for _ in bought_and_gone(events(api, truth), truth))
    )


def rows(conn: Connection, query: str, *values: object) -> Rows:
    return conn.execute(query.encode(), values).fetchall()


def events(api: httpx.Client, truth: Truth) -> list[dict[str, Any]]:
    """What readers told of tags, oldest first."""
    opens_us, closes_us = truth.world.scenario.hours_us(TUESDAY)
    span = {"from_us": opens_us, "to_us": closes_us, "limit": 10_000}
    found: list[dict[str, Any]] = api.get("/v1/stores/corner-store/inventory/events", params=span).json()
    return found


def leave_tokens_at_home(members: Path, truth: Truth) -> None:
    """Phones of members with a card send tokens that the product does not know: only the card tells who they are."""
    known = json.loads(members.read_text())
    for member in known:
        if member["card"] in truth.cards:
            member["token_key_hex"] = "00" * 16
    members.write_text(json.dumps(known))


def bought_and_gone(told: list[dict[str, Any]], truth: Truth) -> Iterator[tuple[dict[str, Any], Handled]]:
    """Departures from the shelf of what somebody bought."""
    for event in told:
        for handled in truth.goods[event["epc"]].handled:
            is_after = handled.taken_us <= event["time_us"]
            if event["state"] == "departed" and event["zone"] == handled.zone and handled.back_us is None and is_after:
                yield event, handled


def test_goods_are_counted_in_their_zone(look: Look, truth: Truth) -> None:
    assert {event["epc"] for event in look.events} <= set(truth.goods), "nothing but goods is told as a tag"
    seen: dict[tuple[str, str], str | None] = {}
    for event in look.events:
        seen[event["epc"], event["node"]] = None if event["state"] == "departed" else event["zone"]
    there = {epc: zone for (epc, _), zone in seen.items() if zone is not None}
    first_us, last_us = look.summary["from_us"], look.summary["to_us"]
    untouched = {
        epc
        for epc, piece in truth.goods.items()
        if piece.lies(first_us) and not any(first_us <= each.taken_us < last_us for each in piece.handled)
    }
    assert len(untouched) >= 10
    assert {epc for epc in untouched if there.get(epc) != "cosmetics"} == set()
    counted = Counter((zone, decode(bytes.fromhex(epc)).gtin) for epc, zone in there.items())  # type: ignore[union-attr]
    assert {(row["zone"], row["gtin"]): row["tags"] for row in look.stock} == counted


def test_what_somebody_buys_departs_from_its_shelf(look: Look, truth: Truth) -> None:
    event, handled = next(bought_and_gone(look.events, truth))
    (left_us,) = [stop.to_us for stop in truth.day.people[handled.person].stops if stop.zone == handled.zone]
    assert event["node"] == "cosmetics"
    # Last read in its place or in the hand, until its buyer is some steps away.
    assert handled.taken_us - 10_000_000 <= event["since_us"] <= left_us + 10_000_000


def test_a_members_card_is_presence_at_the_till_and_never_a_tag(look: Look, truth: Truth) -> None:
    tagged = truth.world.scenario.tagged
    assert tagged is not None
    stays = [stay for stay in truth.day.intervals() if stay.zone == "till"]
    for number, source, entered_us in look.at_till:
        own = [stay for stay in stays if stay.person == truth.cards[number]]
        # The antenna reads a step beyond the zone's edge; it may not have read the card at once.
        assert any(stay.enter_us - 5_000_000 <= entered_us <= stay.exit_us + 5_000_000 for stay in own)
        assert source == "node", "nobody else could tell who that is"
    assert look.batches["tills", "presence"] > 0, "that node has no zone of its own: it vouches for cards only"
    assert not any(bytes.fromhex(event["epc"]).startswith(card_prefix(tagged)) for event in look.events)
    assert look.summary["cards_enrolled"] >= 1


def test_phones_that_look_for_wifi_are_a_crowd_on_the_clocks_grid(look: Look, truth: Truth) -> None:
    node, end_us, span_s, radios, devices, frames = look.crowds[0]
    assert (node, end_us % SPAN_US, span_s) == ("back", 0, SPAN_US // 1_000_000)
    along = sum(
        bool(truth.day.enters_us[phone.person] < end_us and truth.day.leaves_us[phone.person] > end_us - SPAN_US)
        for phone in handsets(truth.world.scenario, SEED, truth.day)
    )
    assert K <= devices <= along
    assert devices <= radios < frames <= look.summary["wifi_frames"]


def test_nothing_of_it_is_lost(look: Look) -> None:
    assert look.lost == 0
    assert look.batches["cosmetics", "tags"] > 0 and look.batches["back", "crowd"] > 0
