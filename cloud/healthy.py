"""`python -m cloud.healthy ingest|locate|worker`: exit 0 while that process, here, holds its database connection.

For a container's health check: these processes answer no requests, but each is connected for as long as it works.
"""

import sys

import psycopg

from cloud.config import ConfigError, from_environment

CONNECTED = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = %s AND datname = current_database() AND client_addr IS NOT DISTINCT FROM inet_client_addr()
"""
"""Connections from this machine under the name that `cloud.db.connect` gives them."""


def is_connected(dsn: str, process: str) -> bool:
    """Whether the process has a connection from this address. Raises psycopg.OperationalError without a database."""
    with psycopg.connect(dsn, connect_timeout=3) as conn:
        row = conn.execute(CONNECTED, (f"aisle {process}",)).fetchone()
    return bool(row and row[0])


def main() -> int:
    """0 healthy, 1 not, 2 wrong use."""
    if len(sys.argv) != 2 or sys.argv[1] not in ("ingest", "locate", "worker"):
        print("usage: python -m cloud.healthy ingest|locate|worker", file=sys.stderr)
        return 2
    try:
        return 0 if is_connected(from_environment().service_dsn, sys.argv[1]) else 1
    except (ConfigError, psycopg.OperationalError) as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
