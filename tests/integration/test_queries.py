"""Every named statement is planned on a migrated database, as the role that runs it: typos and missing grants show."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cli.stack.database import APP, SERVICE, DatabaseServer
from cloud import db

CLOUD = Path(db.__file__).parent
PARAMETER = re.compile(r"%\((\w+)\)s")
SERVICE_PACKAGES = {"cloud.database", "cloud.ingest", "cloud.locate", "cloud.offers"}
SERVICE_STATEMENTS = {
    "cloud.analytics": {
        "stores_to_tell",
        "lock_store_days",
        "store_day_told",
        "floors",
        "told_hours",
        "put_heat_day",
        "visit_rule",
        "walked",
        "stays",
        "put_store_day",
        "put_flow",
    },
    "cloud.receipts": {
        "open_receipts",
        "visit_by_card",
        "visits_at_till",
        "join_visit",
        "set_join_state",
        "count_conversions",
        "begin_import",
        "import_goes_on",
        "import_is_done",
    },
    "cloud.members": {"sensed", "sensed_tags"},
    "cloud.points": {"tenants", "bind", "sweep", "close_day", "faults"},
    "cloud.places": {
        "due_plans",
        "set_applied",
        "found",
        "hung_nodes",
        "registered_heard",
        "registered",
        "keep_fixed_levels",
        "forget_fixed_levels",
        "mapped_floors",
        "fixed_beacons",
        "floor_nodes",
        "fixed_levels",
    },
    "cloud.inventory": {"store_events", "place_tags", "forget_events", "forget_gone"},
}


def statements() -> list[tuple[str, str, str]]:
    """Package, name and text of each."""
    found = []
    for file in sorted(CLOUD.rglob("queries.sql")):
        package = ".".join(["cloud", *file.parent.relative_to(CLOUD).parts])
        found += [(package, name, text) for name, text in vars(db.statements(package)).items()]
    return found


def as_positional(text: str) -> str:
    """psycopg's named parameters as the server's numbered ones."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    return PARAMETER.sub(number, text).replace("%%", "%")


@pytest.fixture(scope="module")
def roles(postgres: DatabaseServer, template: str) -> Iterator[dict[str, str]]:
    """One migrated database for all statements: planning changes nothing."""
    postgres.create_database("aisle_planned", template)
    yield {role: postgres.dsn(role, "aisle_planned") for role in (APP, SERVICE)}
    postgres.drop_database("aisle_planned")


@pytest.mark.parametrize(("package", "name", "text"), [pytest.param(*s, id=f"{s[0]}.{s[1]}") for s in statements()])
def test_statement_is_planned_for_the_role_that_runs_it(
    roles: dict[str, str], package: str, name: str, text: str
) -> None:
    service = package in SERVICE_PACKAGES or name in SERVICE_STATEMENTS.get(package, set())
    if text.startswith("--"):
        text = text.split("\n", 1)[1]
    with psycopg.connect(roles[SERVICE if service else APP]) as conn:
        if "COPY" in text:
            table = re.search(r"COPY (\w+)", text)
            assert table is not None
            columns = text[text.index("(") : text.index(")") + 1]
            conn.execute(f"SELECT {columns.strip('()')} FROM {table[1]} LIMIT 0".encode())
        else:
            conn.execute(b"EXPLAIN (GENERIC_PLAN) " + as_positional(text).encode())


def test_there_are_statements_of_every_domain() -> None:
    assert {package for package, _, _ in statements()} >= {
        "cloud.ingest",
        "cloud.locate",
        "cloud.offers",
        "cloud.places",
    }
