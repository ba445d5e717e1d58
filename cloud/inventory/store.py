"""What nodes told of tags, into the database, within ingest's transaction: the events, and where each tag is now."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from psycopg import Connection

from cloud import db
from contract.epc import decode
from contract.messages import Header, TagRow, Tags

sql = db.statements("cloud.inventory")


def store_tags(conn: Connection[Any], batches: Sequence[Tags]) -> None:
    """Stores the rows of batches that are new by the ledger. All at once and in one order, so that two transactions
    never wait for each other."""
    told = sorted(((batch.header, row) for batch in batches for row in batch.rows), key=_order)
    if not told:
        return
    conn.execute(
        sql.store_events,
        {
            "tenant": [header.tenant for header, _ in told],
            "store": [header.store for header, _ in told],
            "time": [_us(header, row.dt) for header, row in told],
            "since": [_us(header, row.since) for header, row in told],
            "node": [header.node for header, _ in told],
            "epc": [bytes.fromhex(row.epc) for _, row in told],
            "state": [row.state for _, row in told],
            "zone": [row.zone for _, row in told],
            "origin": [row.origin for _, row in told],
            "rssi": [row.rssi for _, row in told],
            "reads": [row.reads for _, row in told],
        },
    )
    last = {(header.tenant, header.store, row.epc, header.node): (header, row) for header, row in told}
    conn.execute(
        sql.place_tags,
        {
            "tenant": [tenant for tenant, _, _, _ in last],
            "store": [store for _, store, _, _ in last],
            "epc": [bytes.fromhex(epc) for _, _, epc, _ in last],
            "node": [node for _, _, _, node in last],
            "zone": [None if row.state == "departed" else row.zone for _, row in last.values()],
            "gtin": [gtin_of(epc) for _, _, epc, _ in last],
            "since": [_us(header, row.since) for header, row in last.values()],
            "told": [_us(header, row.dt) for header, row in last.values()],
        },
    )


@lru_cache(maxsize=65_536)
def gtin_of(epc: str) -> str | None:
    """The article that a tag's EPC (hexadecimal) names."""
    found = decode(bytes.fromhex(epc))
    return found.gtin if found is not None else None


def _order(told: tuple[Header, TagRow]) -> tuple[str, str, str, str, int]:
    header, row = told
    return header.tenant, header.store, row.epc, header.node, _us(header, row.dt)


def _us(header: Header, ms: int) -> int:
    return header.t0 + ms * 1_000
