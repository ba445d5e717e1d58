"""The peer of ingest: `mq-bridge`, MQTT to PostgreSQL's COPY in Rust, one JSON object a message, as most systems work.

A child process of its own (`python -m cli.bench.ingest_peers`, settings as JSON on stdin), since its threads live in
the process. It is no part of the product: without the package there is no figure.
"""

import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from urllib.parse import unquote, urlsplit

import psycopg

from cli.bench.publishers import Told
from cli.stack.processes import StackError
from contract.topics import ALL_UP

TABLE = "peer_sighting"
MAKE = f"""
DROP TABLE IF EXISTS {TABLE};
CREATE TABLE {TABLE} (time_us bigint, node text, seq bigint, subject text, kind int, radio text, rssi int, count int);
GRANT INSERT, SELECT ON {TABLE} TO aisle_service"""
COLUMNS = ("time_us", "node", "seq", "subject", "kind", "radio", "rssi", "count")
READY_S = 30.0
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ends:
    """Where the peer reads and writes: URLs with user and password."""

    broker: str
    database: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One run of the peer."""

    rows_per_s: float
    """From the first publish to the last row in the table."""
    cpu_us_per_row: float
    """Of its process and its database backends."""


def installed() -> bool:
    """Whether the peer can be measured here."""
    return importlib.util.find_spec("mq_bridge") is not None


def measure(
    ends: Ends, admin_dsn: str, rows: int, publish: Callable[[], Told], cpu_us_of: Callable[[list[int]], float]
) -> Stored:
    """`publish` sends so many rows once the peer is ready. Raises StackError if they do not all arrive."""
    with psycopg.connect(admin_dsn, autocommit=True) as conn:
        conn.execute(MAKE.encode())
        before = _backends(conn)
        with subprocess.Popen(
            [sys.executable, "-m", "cli.bench.ingest_peers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            try:
                assert child.stdin is not None and child.stdout is not None
                print(json.dumps(asdict(ends)), file=child.stdin, flush=True)
                if child.stdout.readline() != "ready\n":
                    raise StackError("mq-bridge did not start")
                used_us = cpu_us_of([child.pid])
                told = publish()
                done = _until(conn, rows)
                pids = [child.pid, *(_backends(conn) - before)]
                used_us = cpu_us_of(pids) - used_us
            finally:
                child.kill()
    return Stored(rows / (done - told.begun), used_us / rows)


def _until(conn: psycopg.Connection[psycopg.rows.TupleRow], rows: int) -> float:
    """When the last row was there, monotonic seconds."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = conn.execute(f"SELECT count(*) FROM {TABLE}".encode()).fetchone()
        now = time.monotonic()
        if found is not None and found[0] >= rows:
            return now
        if now > deadline:
            raise StackError(f"mq-bridge stored {found[0] if found else 0} of {rows} rows")
        time.sleep(0.02)


def _backends(conn: psycopg.Connection[psycopg.rows.TupleRow]) -> set[int]:
    found = conn.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchall()
    return {pid for (pid,) in found}


def _route(ends: Ends) -> dict[str, object]:
    """COPY, and the broker told after it, as our worker does. 2,000 at once and no pause after an empty look: the
    fastest of nine settings that were tried; with its defaults it stores a quarter of that."""
    broker = urlsplit(ends.broker)
    values = ", ".join(f"${{payload:{column}}}" for column in COLUMNS)
    return {
        "input": {
            "mqtt": {
                "url": f"tcp://{broker.hostname}:{broker.port}",
                "username": unquote(broker.username or ""),
                "password": unquote(broker.password or ""),
                "topic": ALL_UP,
                "client_id": "peer",
                "clean_session": True,
                "queue_capacity": 2_000,
                "max_inflight": 2_000,
            }
        },
        "output": {
            "sqlx": {
                "url": ends.database,
                "table": TABLE,
                "insert_query": f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) VALUES ({values})",
                "bulk_copy": True,
            }
        },
        "batch_size": 2_000,
        "empty_batch_delay_ms": 0,
    }


def main() -> None:
    """Run the route until we are killed."""
    ends = Ends(**json.loads(sys.stdin.readline()))
    route = importlib.import_module("mq_bridge").Route.from_config(_route(ends))
    route.start()
    print("ready", flush=True)
    route.join()


if __name__ == "__main__":
    main()
