"""The pages tell the truth: links lead somewhere, and every setting, topic, route, command and named test is there."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest

from cli.__main__ import FAMILIES
from cloud.access import api_routes
from cloud.api import make_app
from cloud.config import Settings
from contract.topics import ORDERS, STREAMS

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {"node_modules", "build", "dist"}


def pages(folder: Path) -> Iterator[Path]:
    """Every page below a folder but those of others: installed, cached or hidden ones."""
    yield from sorted(folder.glob("*.md"))
    for below in sorted(folder.iterdir()):
        if below.is_dir() and below.name not in SKIPPED and not below.name.startswith("."):
            yield from pages(below)


PAGES = list(pages(ROOT))
DOCS = "\n".join(p.read_text() for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|TBD|lorem ipsum|coming soon)\b", re.IGNORECASE)

PATH_OF_A_BEACON = (
    "simulators/adverts.py",
    "edge/sources/ble.py",
    "edge/frames/advert.py",
    "edge/frames/eddystone.py",
    "edge/sightings.py",
    "edge/windows.py",
    "edge/outbox.py",
    "edge/uplink.py",
    "contract/codec.py",
    "cloud/ingest/worker.py",
    "cloud/ingest/store.py",
    "cloud/ingest/columns.py",
    "cloud/locate/store.py",
    "cloud/locate/engine.py",
    "cloud/locate/filter.py",
    "cloud/locate/zones.py",
    "cloud/offers/decide.py",
    "cloud/offers/gate.py",
    "cloud/push/routes.py",
    "cloud/web/app/main.js",
)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"(https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / unquote(path)).resolve() if path else page
        assert file.exists(), target
        assert ROOT in [file, *file.parents], f"{target} leads out of the tree"
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_is_left_half_done(page: Path) -> None:
    assert UNFINISHED.findall(page.read_text()) == []


def test_one_beacon_can_be_followed_in_order() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## Follow one beacon")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. \[([^\]]+)\]\(([^)]+)\): (.+)$", section, re.MULTILINE)
    assert [link for _, link, _ in steps] == list(PATH_OF_A_BEACON)
    for name, link, sentence in steps:
        assert name == link
        assert (ROOT / link).is_file(), link
        assert sentence.endswith("."), f"{link}: one sentence each"


def test_the_readme_says_what_is_proven_and_what_is_not() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.partition("## Proven, and designed but not yet proven")[2].partition("\n## ")[0]
    for part in ("Raspberry Pi", "TimescaleDB", "docker-compose.yml", "iOS or Android", "Wi-Fi", "RFID", "camera"):
        assert part in table, part


def test_every_setting_of_the_cloud_is_named() -> None:
    code = (ROOT / "cloud" / "config.py").read_text()
    settings = set(re.findall(r"AISLE_[A-Z_]*[A-Z]", code)) - {"AISLE_BROKER_"}
    settings |= {f"AISLE_BROKER_{part}" for part in ("CA", "CERT", "KEY")}
    assert "AISLE_SERVICE_DSN" in settings
    assert {name for name in settings if f"`{name}`" not in DOCS} == set()


def test_every_setting_that_the_pages_name_is_read_by_something() -> None:
    sources = [ROOT / "docker-compose.yml", ROOT / "firmware_configs" / "broker" / "certs.sh"]
    for folder in ("cloud", "edge", "simulators", "tests"):
        sources += [p for p in (ROOT / folder).rglob("*.py") if "node_modules" not in p.parts]
    code = "\n".join(p.read_text() for p in sources)
    parts = {f"AISLE_BROKER_{part}" for part in ("CA", "CERT", "KEY")}  # put together in the code
    named = set(re.findall(r"`(AISLE_[A-Z_]+)`", DOCS)) - parts
    assert {name for name in named if name not in code} == set()


def test_every_topic_is_named() -> None:
    for name in STREAMS:
        assert f"`up/…/{name}`" in DOCS, name
    for name in ORDERS:
        assert f"`down/…/{name}`" in DOCS, name
    assert "`status/…`" in DOCS


def test_every_route_prefix_is_named() -> None:
    app = make_app(Settings({}), pages=False)
    prefixes = {"/".join(r.path.split("/")[: 4 if r.path.startswith("/app/") else 3]) for r in api_routes(app)}
    assert len(prefixes) > 10
    assert {prefix for prefix in prefixes if f"`{prefix}`" not in DOCS} == set()


def test_every_command_is_named_in_the_order_of_help() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `\./aisle (\w+)` \|", readme, re.MULTILINE)
    assert rows == [*FAMILIES, "lock"]


def test_the_readme_marks_what_is_not_built_yet_and_nothing_else() -> None:
    rows = dict(re.findall(r"^\| `\./aisle (\w+)` \| (.*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE))
    for name, family in FAMILIES.items():
        _, marked, later = rows[name].partition("; *not built yet*")
        if find_spec(family.module) is None:
            assert marked and not later, f"./aisle {name} is not built yet"
        else:
            promised = ", ".join(getattr(import_module(family.module), "LATER", {}))
            assert later.removeprefix(": ") == promised, f"./aisle {name} in README.md, and LATER in {family.module}"


def test_every_command_that_a_page_shows_exists() -> None:
    shown = {name for page in PAGES for name in re.findall(r"\./aisle ([a-z]+)", page.read_text())}
    assert shown <= {*FAMILIES, "lock"}


def test_every_test_that_a_page_names_exists() -> None:
    names = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(file.read_text())
        names |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert set(re.findall(r"`(test_\w+)`", DOCS)) - names == set()


def test_every_table_of_the_database_is_in_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    applied = "\n".join(file.read_text() for file in sorted((ROOT / "cloud" / "migrations").glob("*.sql")))
    made, dropped = (set(re.findall(rf"^{verb} TABLE (\w+)", applied, re.MULTILINE)) for verb in ("CREATE", "DROP"))
    tables = made - dropped
    assert {table for table in tables if f"`{table}`" not in page} == set()


def test_decisions_are_numbered_without_gaps_and_have_their_four_parts() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in found] == list(range(1, len(found) + 1))
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    for page in found:
        assert re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE) == [
            "Context",
            "Decision",
            "Alternatives",
            "Consequences",
        ], page.name
        assert f"({page.name})" in index, page.name


def test_every_dead_letters_reason_has_advice() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for file in ("contract/errors.py", "cloud/ingest/store.py"):
        classes = [n for n in ast.parse((ROOT / file).read_text()).body if isinstance(n, ast.ClassDef)]
        reasons = {
            c.name for c in classes for base in c.bases if isinstance(base, ast.Name) if base.id == "ContractError"
        }
        assert {reason for reason in reasons if f"`{reason}`" not in page} == set()
