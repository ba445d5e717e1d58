"""What is said of a database from what was seen of it: each thing that can be wrong is told, with a way to mend it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cloud.database.check import Finding, Level, examine, size
from cloud.database.facts import Day, Facts, Hearing, Role, Server, Store, Table, Waiting
from cloud.database.path import on_timescale

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SETTINGS = {
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "max_wal_size": "1024",
    "shared_buffers": "32768",
    "max_connections": "200",
    "autovacuum": "on",
}
FILES = ("0003_ingest.sql", "0003_ingest.plain.sql", "0014_days.sql", "0014_days.plain.sql")
ROLES = [Role(name, True, False) for name in ("aisle_owner", "aisle_app", "aisle_service")]
TABLES = [Table("member", 20 << 20, 1000, True, True), Table("sighting", 0, 0, False, False)]
DAYS = [
    Day(table, NOW.date() + timedelta(days=n), 30 << 20, 250_000)
    for table in ("sighting", "position")
    for n in range(-29, 3)
]
GOOD = Facts(
    NOW,
    Server("18.6", 180006, "aisle_service", True, None, None, None, SETTINGS, 12, 1_000_000, 1 << 30),
    FILES,
    FILES,
    ROLES,
    TABLES,
    DAYS,
    [],
    Waiting(3, 0, 0),
    {},
    [Store("acme/main", False, NOW, 0.4)],
    [Hearing("acme/main/door", 5000, 5100.0)],
    [],
)

Change = Callable[[Facts], Facts]


def server(**changed: Any) -> Change:
    return lambda facts: replace(facts, server=facts.server._replace(**changed))


def setting(name: str, value: str) -> Change:
    return lambda facts: replace(facts, server=facts.server._replace(settings=SETTINGS | {name: value}))


def facts_with(**changed: Any) -> Change:
    return lambda facts: replace(facts, **changed)


def bad(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, str(finding.level)) for finding in findings if finding.level is not Level.PASS]


def test_a_good_database_passes_and_each_row_says_what_was_found() -> None:
    findings = examine(GOOD)
    assert bad(findings) == []
    assert all(finding.found and not finding.fix for finding in findings)
    told = {finding.check: finding.found for finding in findings}
    assert told["days of sighting"] == "32, 2026-10-22 to 2026-11-22, 960 MB; 2 made ahead"
    assert told["load"].startswith("about 250,000 windows on 2026-11-19, 250,000 a store, 30 MB")
    assert told["sizes"] == "sighting 960 MB, position 960 MB, member 20 MB"


WRONG: list[tuple[str, Change, str, str]] = [
    ("an old server", server(number=140010), "server", "FAIL"),
    ("a user that sees nothing", server(sees_all=False), "user", "FAIL"),
    ("commits that do not wait", setting("synchronous_commit", "off"), "durability", "FAIL"),
    ("no sync at all", setting("fsync", "off"), "durability", "FAIL"),
    ("a log of 8 GB", setting("max_wal_size", "8192"), "recovery", "WARN"),
    ("little memory", setting("shared_buffers", "1024"), "memory", "WARN"),
    ("nearly no connection left", server(connections=170), "connections", "WARN"),
    ("no vacuum", setting("autovacuum", "off"), "vacuum", "FAIL"),
    ("rows never frozen", server(transactions_old=1_200_000_000), "freezing", "FAIL"),
    ("no table of migrations", facts_with(applied=None, days=[]), "migrations", "FAIL"),
    ("a file not applied", facts_with(known=(*FILES, "0015_x.sql")), "migrations", "FAIL"),
    ("a newer build's file", facts_with(applied=(*FILES, "0099_x.sql")), "migrations", "WARN"),
    ("a role missing", facts_with(roles=ROLES[:2]), "roles", "FAIL"),
    ("a mighty role", facts_with(roles=[*ROLES[:2], Role("aisle_service", True, True)]), "roles", "FAIL"),
    ("an open table", facts_with(tables=[*TABLES, Table("x", 0, 0, False, True)]), "row security", "FAIL"),
    ("open windows", facts_with(tables=[TABLES[0], Table("sighting", 0, 0, True, True)]), "row security", "FAIL"),
    ("half an index", facts_with(invalid_indexes=["visit_x_idx"]), "indexes", "WARN"),
    ("a full queue", facts_with(waiting=Waiting(5_000, 0, 0)), "queue", "WARN"),
    ("triggers undecided", facts_with(waiting=Waiting(0, 2, 0)), "worker", "WARN"),
    ("dead letters", facts_with(letters={"BadTime": 2}), "dead letters", "WARN"),
    ("a store that nobody holds", facts_with(stores=[Store("acme/main", False, NOW, None)]), "stores", "WARN"),
    ("a holder that hangs", facts_with(stores=[Store("acme/main", False, NOW, 60.0)]), "stores", "WARN"),
    ("a deaf node", facts_with(hearing=[Hearing("acme/main/door", 12, 5100.0)]), "nodes", "WARN"),
    ("a job that fails", facts_with(failed_jobs=[("policy of sighting", 3)]), "jobs", "WARN"),
    ("days not dropped", facts_with(days=[*DAYS, Day("position", date(2026, 9, 1), 1, 1)]), "days of position", "WARN"),
]


@pytest.mark.parametrize(("change", "check", "level"), [pytest.param(*w[1:], id=w[0]) for w in WRONG])
def test_what_is_wrong_is_told_with_what_mends_it(change: Change, check: str, level: str) -> None:
    findings = examine(change(GOOD))
    assert (check, level) in bad(findings)
    assert all(finding.fix for finding in findings if finding.level is not Level.PASS)


def test_days_that_nobody_made_ahead_are_missed_but_not_where_chunks_make_themselves() -> None:
    late = replace(GOOD, days=[day for day in DAYS if day.day <= NOW.date()])
    assert bad(examine(late)) == [("days of sighting", "WARN"), ("days of position", "WARN")]
    chunks = tuple(file.replace(".plain", ".timescale") for file in FILES)
    timescale = late.server._replace(timescale="2.23.0", licence="timescale")
    assert bad(examine(replace(late, applied=chunks, known=chunks, server=timescale))) == []


PATHS = [
    ("no extension anywhere", {}, FILES, "PASS", "the server has no TimescaleDB"),
    ("not created here", {"timescale_available": "2.23.0"}, FILES, "PASS", "not created in this database"),
    ("created in time", {"timescale": "2.23.0", "licence": "timescale"}, (), "PASS", "hypertables"),
    ("created too late", {"timescale": "2.23.0", "licence": "timescale"}, FILES, "WARN", "after the tables"),
    ("the Apache edition", {"timescale": "2.23.0", "licence": "apache"}, FILES, "PASS", "neither columnstore nor"),
    ("a licence taken away", {"timescale": "2.23.0", "licence": "apache"}, ("0003_ingest.timescale.sql",), "FAIL",
     "stand still"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "applied", "level", "words"), [pytest.param(*p[1:], id=p[0]) for p in PATHS])
def test_the_path_is_told_and_why(changed: dict[str, Any], applied: tuple[str, ...], level: str, words: str) -> None:
    seen = replace(GOOD, applied=applied, server=GOOD.server._replace(**changed))
    path = next(finding for finding in examine(seen) if finding.check == "path")
    assert (str(path.level), words in path.found) == (level, True), path


TWINS = [
    ((), None, False),
    ((), "timescale", True),
    ((), "apache", False),
    (("0001_access.sql",), "timescale", True),
    (("0001_access.sql", "0003_ingest.plain.sql"), "timescale", False),
    (("0003_ingest.timescale.sql",), None, True),
]


@pytest.mark.parametrize(("applied", "licence", "timescale"), TWINS)
def test_the_first_twin_decides_the_path_for_good(
    applied: tuple[str, ...], licence: str | None, timescale: bool
) -> None:
    assert on_timescale(applied, licence) == timescale


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (2048, "2 kB"), (3 << 20, "3 MB"), (1_610_612_736, "1.5 GB"), (1_047_552, "1023 kB")],
)
def test_sizes_are_for_people(count: int, told: str) -> None:
    assert size(count) == told
