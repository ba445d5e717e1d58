"""Tags told by nodes, in a real database: once each, never backwards in time, counted by zone and article, as EPCIS."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from cloud.inventory.store import store_tags
from contract.epc import encode, sgtin
from contract.messages import Header, TagRow, Tags
from contract.topics import NodeAddress
from tests.conftest import Database
from tests.integration.cloud_support import NOON, NOON_US, STORE, Api, furnish, make_caller

GTIN, OTHER_GTIN = "80614141123458", "00614141123452"
NODE, OTHER_NODE = NodeAddress("acme", STORE, "node-1"), NodeAddress("acme", STORE, "node-2")
SPAN = {"from_us": NOON_US - 10**10, "to_us": NOON_US + 10**10}


def piece(serial: int, gtin: str = GTIN) -> str:
    return encode(sgtin(gtin, 7, str(serial))).hex()


def row(
    state: Any, zone: str, second: float, epc: str = piece(1), origin: str = "", since: float | None = None
) -> TagRow:
    """A change that was sure so many seconds after noon."""
    began = second if since is None else since
    return TagRow(epc, state, zone, round(second * 1_000), round(began * 1_000), origin, -60.5, 3)


def batch(rows: Sequence[TagRow], node: NodeAddress = NODE, t0: int = NOON_US) -> Tags:
    header = Header("tags", node.tenant, node.store, node.node, "a" * 32, 1, "boot", "trusted", t0, len(rows))
    return Tags(header, tuple(rows))


@pytest.fixture
def conn(api: Api, database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    """Ingest's connection."""
    with psycopg.connect(database.service, autocommit=True) as connection:
        yield connection


def stock(api: Api, key: str, **query: str) -> list[tuple[str, str | None, int]]:
    answer = api.get(f"/v1/stores/{STORE}/inventory", key, params=query)
    assert answer.status_code == 200, answer.text
    return [(one["zone"], one["gtin"], one["tags"]) for one in answer.json()]


def test_tags_are_counted_by_zone_and_article(api: Api, analyst: str, conn) -> None:
    store_tags(
        conn,
        [
            batch([row("arrived", "coffee", n, piece(n)) for n in range(3)]),
            batch([row("arrived", "coffee", 5, piece(7, OTHER_GTIN)), row("arrived", "till", 6, piece(8))]),
            batch([row("arrived", "coffee", 7, "e28011700000020f1c7d8a11")], OTHER_NODE),
        ],
    )
    assert stock(api, analyst) == [
        ("coffee", OTHER_GTIN, 1),
        ("coffee", GTIN, 3),
        ("coffee", None, 1),
        ("till", GTIN, 1),
    ]
    assert stock(api, analyst, gtin=GTIN) == [("coffee", GTIN, 3), ("till", GTIN, 1)]
    assert stock(api, analyst, zone="till") == [("till", GTIN, 1)]
    assert stock(api, analyst, gtin=OTHER_GTIN, zone="till") == []


def test_a_tag_moves_and_is_gone(api: Api, analyst: str, conn) -> None:
    store_tags(conn, [batch([row("arrived", "coffee", 0)])])
    store_tags(conn, [batch([row("moved", "till", 60, origin="coffee")])])
    assert stock(api, analyst) == [("till", GTIN, 1)]
    store_tags(conn, [batch([row("departed", "till", 700, since=100)])])
    assert stock(api, analyst) == []


def test_in_whatever_order_batches_come_the_place_is_the_newest(api: Api, analyst: str, conn) -> None:
    draw = random.Random(1)
    for turn in range(12):
        epc = piece(turn)
        story = [
            batch([row("arrived", "coffee", 0, epc)]),
            batch([row("moved", "till", 60, epc, "coffee")]),
            batch([row("moved", "coffee", 90, epc, "till"), row("departed", "coffee", 700, epc, since=100)]),
            batch([row("arrived", "till", 900, epc)]),
        ]
        for one in draw.sample(story, 4):
            store_tags(conn, [one])
        assert stock(api, analyst) == [("till", GTIN, turn + 1)]


def test_what_comes_late_brings_no_tag_back(api: Api, analyst: str, conn) -> None:
    store_tags(conn, [batch([row("departed", "coffee", 700, since=100)])])
    store_tags(conn, [batch([row("arrived", "coffee", 0)])])
    assert stock(api, analyst) == []


def test_events_of_one_instant_are_taken_in_their_order(api: Api, analyst: str, conn) -> None:
    store_tags(conn, [batch([row("departed", "coffee", 10), row("arrived", "till", 10)])])
    assert stock(api, analyst) == [("till", GTIN, 1)]


def test_of_two_nodes_that_read_a_tag_the_one_that_has_it_still_is_believed(api: Api, analyst: str, conn) -> None:
    store_tags(conn, [batch([row("arrived", "coffee", 0)]), batch([row("arrived", "till", 30)], OTHER_NODE)])
    assert stock(api, analyst) == [("till", GTIN, 1)]
    store_tags(conn, [batch([row("departed", "till", 640, since=40)], OTHER_NODE)])
    assert stock(api, analyst) == [("coffee", GTIN, 1)]
    store_tags(conn, [batch([row("departed", "coffee", 700, since=100)])])
    assert stock(api, analyst) == []


def test_the_tags_of_a_node_that_was_taken_away_are_no_stock(api: Api, analyst: str, conn, database: Database) -> None:
    store_tags(conn, [batch([row("arrived", "coffee", 0)])])
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("UPDATE node SET retired_at = now() WHERE node = 'node-1'")
    assert stock(api, analyst) == []


def test_the_same_events_again_are_stored_once(api: Api, analyst: str, conn) -> None:
    story = [batch([row("arrived", "coffee", 0), row("moved", "till", 60, origin="coffee")])]
    store_tags(conn, story)
    store_tags(conn, story)
    store_tags(conn, [])
    assert len(api.get(f"/v1/stores/{STORE}/inventory/events", analyst, params=SPAN).json()) == 2


def test_events_are_told_in_a_span_of_time_oldest_first(api: Api, analyst: str, conn) -> None:
    rows = [row("arrived", "coffee", n, piece(n), since=n - 1) for n in range(5)]
    store_tags(conn, [batch(rows)])
    path = f"/v1/stores/{STORE}/inventory/events"
    span = {"from_us": NOON_US + 1_000_000, "to_us": NOON_US + 4_000_000}
    told = api.get(path, analyst, params=span).json()
    assert [one["time_us"] - NOON_US for one in told] == [1_000_000, 2_000_000, 3_000_000]
    assert told[0] == {
        "time_us": NOON_US + 1_000_000, "since_us": NOON_US, "node": "node-1", "epc": piece(1), "gtin": GTIN,
        "uri": "urn:epc:id:sgtin:0614141.812345.1", "state": "arrived", "zone": "coffee", "origin": "",
        "rssi": -60.5, "reads": 3,
    }  # fmt: skip
    assert len(api.get(path, analyst, params=span | {"limit": 2}).json()) == 2


def test_the_same_as_an_epcis_document(api: Api, analyst: str, conn, database: Database) -> None:
    store_tags(conn, [batch([row("arrived", "coffee", 0), row("departed", "coffee", 700, since=100)])])
    path = f"/v1/stores/{STORE}/epcis"
    answer = api.get(path, analyst, params=SPAN)
    assert answer.headers["content-type"] == "application/ld+json"
    arrived, departed = answer.json()["epcisBody"]["eventList"]
    assert arrived["eventTime"] == NOON.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert departed["eventTime"] == (NOON + timedelta(seconds=100)).isoformat(timespec="milliseconds")[:-6] + "Z"
    assert (arrived["eventTimeZoneOffset"], arrived["bizStep"]) == ("+01:00", "stocking")
    assert arrived["bizLocation"] == {"id": f"https://acme.invalid/stores/{STORE}/zones/coffee"}
    technician = make_caller(database, "acme", "technician")
    assert api.put(f"/v1/stores/{STORE}/sgln", technician, json={"sgln": "0614141.00777"}).status_code == 204
    named = api.get(path, analyst, params=SPAN).json()["epcisBody"]["eventList"]
    assert named[0]["readPoint"] == {"id": "urn:epc:id:sgln:0614141.00777.coffee"}
    assert named[0]["eventID"] != arrived["eventID"]
    for wrong in ("0614141", "0614141.0077", "06141.0000777", "0614141.00777.x", "x614141.00777"):
        assert api.put(f"/v1/stores/{STORE}/sgln", technician, json={"sgln": wrong}).status_code == 422


def test_another_tenant_sees_and_names_nothing_of_it(api: Api, conn, database: Database) -> None:
    store_tags(conn, [batch([row("arrived", "coffee", 0)])])
    other = furnish(api, database, "beta", "side-street")
    for path in ("inventory", "inventory/events", "epcis"):
        assert api.get(f"/v1/stores/{STORE}/{path}", other, params=SPAN).status_code == 404
    assert api.put(f"/v1/stores/{STORE}/sgln", other, json={"sgln": None}).status_code == 404
    with psycopg.connect(database.app, autocommit=True) as app:
        app.execute("SELECT set_config('aisle.tenant', 'beta', false)")
        for table in ("tag_event", "tag_place"):
            assert app.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)


def test_a_marketer_and_a_till_read_no_stock(api: Api, database: Database) -> None:
    for role, kind in (("marketer", "staff"), ("till", "key")):
        key = make_caller(database, "acme", role, kind=kind)
        assert api.get(f"/v1/stores/{STORE}/inventory", key).status_code == 403


def test_a_count_that_cannot_be_is_refused_by_the_database(conn) -> None:
    bad = TagRow(piece(1), "arrived", "coffee", 0, 0, reads=-1)
    with pytest.raises(psycopg.IntegrityError):
        store_tags(conn, [batch([bad])])


def test_transactions_that_tell_of_the_same_tags_at_once_do_not_block_each_other_for_good(
    api: Api, analyst: str, conn, database: Database
) -> None:
    """Whatever the order of the batches, rows are locked in one order, so none of them is a deadlock's victim."""
    start = Barrier(2)

    def tell(serials: Sequence[int]) -> None:
        with psycopg.connect(database.service, autocommit=True) as own:
            start.wait()
            for turn in range(30):
                rows = [batch([row("arrived", "coffee", turn, piece(n))]) for n in serials]
                with own.transaction():
                    store_tags(own, rows)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(tell, order) for order in (range(40), range(39, -1, -1))]:
            done.result(60)
    assert stock(api, analyst) == [("coffee", GTIN, 40)]
