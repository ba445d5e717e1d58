"""What nodes are told beside their acks: each other's words about the key of the day, and what they are to run.

The ingest process hands over what came on `up/…/keys`, `up/…/config` and `up/…/health`, and publishes what it gets
back. Nothing is remembered between two calls: a lost order is found missing at the node's next heartbeat.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from cloud import db
from cloud.fleet.relay import relay
from contract.errors import ContractError
from contract.orders import Desired, OptOutList, Reported, decode_keys, decode_order, encode_order
from contract.topics import NodeAddress

log = logging.getLogger(__name__)
sql = db.statements("cloud.fleet")


class Order(NamedTuple):
    """To be published, QoS 1, not retained."""

    topic: str
    payload: bytes


class Said(NamedTuple):
    """A message of a node: who, in which stream, what."""

    sender: NodeAddress
    stream: str
    payload: bytes


REQUESTS = ("/keys", "/config")
"""How topics end whose messages are for `answers` alone: they are no batches."""


def answers(conn: Connection[TupleRow], said: Sequence[Said], now_us: int) -> list[Order]:
    """What to publish after these messages: of `keys` and `config`, and the heartbeats of `health`."""
    found = []
    for sender, stream, payload in said:
        if stream == "keys":
            found += keys(conn, sender, payload)
        elif stream == "config":
            reported(conn, sender, payload, now_us)
    # After the reports, so that a node that has just answered is not told again.
    return found + due(conn, {one.sender for one in said if one.stream == "health"})


def keys(conn: Connection[TupleRow], sender: NodeAddress, payload: bytes) -> list[Order]:
    """Pass on what a node said about the key of the day. It is neither kept nor, where it is wrong, buried."""
    try:
        message = decode_keys(payload)
    except ContractError as error:
        log.warning("keys of %s ignored: %s", sender, error.reason)
        return []
    rows = conn.execute(sql.roster, {"tenant": sender.tenant, "store": sender.store}).fetchall()
    nodes: dict[str, bool] = dict(rows)
    return [Order(to.down("keys"), encode_order(sent)) for to, sent in relay(sender, message, nodes)]


def reported(conn: Connection[TupleRow], sender: NodeAddress, payload: bytes, now_us: int) -> None:
    """Note what a node made of the configuration that it is to run."""
    try:
        report = decode_order(payload, Reported)
    except ContractError as error:
        log.warning("config of %s ignored: %s", sender, error.reason)
        return
    if report.state == "refused":
        log.warning("%s refuses configuration %d, runs %d", sender, report.version, report.running)
    values: dict[str, Any] = {
        "tenant": sender.tenant,
        "store": sender.store,
        "node": sender.node,
        "running": report.running,
        "version": report.version,
        "state": report.state,
        "problems": [problem.replace("\x00", "�") for problem in report.problems],
        "opt_outs": report.opt_outs,
        "now": now_us,
    }
    conn.execute(sql.answered, values)


def due(conn: Connection[TupleRow], beats: Collection[NodeAddress]) -> list[Order]:
    """What nodes that just sent a heartbeat are to run, for those that have not answered to it yet."""
    if not beats:
        return []
    rows = conn.execute(sql.due, _columns(beats)).fetchall()
    return [
        Order(
            NodeAddress(tenant, store, node).down("config"),
            encode_order(Desired(version, settings, OptOutList(salt, prefixes or b"", listed) if salt else None)),
        )
        for tenant, store, node, version, settings, salt, listed, prefixes in rows
    ]


def _columns(addresses: Iterable[NodeAddress]) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {"tenants": [], "stores": [], "nodes": []}
    for address in addresses:
        columns["tenants"].append(address.tenant)
        columns["stores"].append(address.store)
        columns["nodes"].append(address.node)
    return columns
