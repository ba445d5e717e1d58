"""`python -m cloud migrate | ingest | locate | worker | api`: one process each, settings from the environment."""

import logging
import secrets
import sys
from collections.abc import Callable

from cloud.config import ConfigError, Settings, from_environment

HELP = """usage: python -m cloud COMMAND

  migrate   bring the database to this build's schema (AISLE_OWNER_DSN)
  ingest    MQTT to database; run as many as you like (AISLE_SERVICE_DSN, AISLE_BROKER)
  locate    windows to positions, zones, visits; each store is held by one (AISLE_SERVICE_DSN)
  worker    triggers, receipts to join (AISLE_SERVICE_DSN)
  api       HTTP and the pages (AISLE_APP_DSN, AISLE_HTTP=127.0.0.1:8000)
  found     TENANT LOGIN: make a tenant with an administrator, whose password is printed once (AISLE_OWNER_DSN)

A simulated run sets AISLE_CLOCK=START_US@REAL_USxSPEED."""


def _migrate(settings: Settings) -> None:
    from cloud.db import migrate

    for file in migrate(settings.owner_dsn):
        logging.info("applied %s", file)


def _ingest(settings: Settings) -> None:
    from cloud.ingest.worker import Ingest

    Ingest(settings).run()


def _locate(settings: Settings) -> None:
    from cloud.locate.worker import Locate

    Locate(settings, settings.clock).run()


def _worker(settings: Settings) -> None:
    from cloud.worker import Worker

    Worker(settings, settings.clock).run()


def _api(settings: Settings) -> None:
    from cloud.api import serve

    serve(settings)


def _found(settings: Settings, tenant: str, login: str) -> None:
    from cloud.accounts.service import found_tenant

    password = secrets.token_urlsafe(12)
    if found_tenant(settings.owner_dsn, tenant, tenant, {login: (password, ["admin"])}):
        print(f"tenant {tenant}, administrator {login}, password {password} (shown this once)")
    else:
        print(f"login {login} exists already; nothing was changed", file=sys.stderr)


# Each process imports only what it runs.
COMMANDS: dict[str, Callable[[Settings], None]] = {
    "migrate": _migrate,
    "ingest": _ingest,
    "locate": _locate,
    "worker": _worker,
    "api": _api,
}


def main() -> int:
    """Run the command named on the command line; 2 for a wrong command or setting."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    founding = len(sys.argv) == 4 and sys.argv[1] == "found"
    if not founding and (len(sys.argv) != 2 or sys.argv[1] not in COMMANDS):
        print(HELP)
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else 2
    try:
        if founding:
            _found(from_environment(), *sys.argv[2:])
        else:
            COMMANDS[sys.argv[1]](from_environment())
    except ConfigError as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
