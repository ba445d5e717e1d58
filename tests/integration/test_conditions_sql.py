"""Conditions on real members: every tree runs; what is absent, revoked or empty means what is documented."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg.types.json import Jsonb

from cloud.offers.decide import in_segment
from tests.conftest import Database
from tests.integration.cloud_support import (
    NOON,
    add_visit,
    make_member,
    make_tenant,
    say_consent,
    superuser,
)
from tests.unit.test_conditions import trees

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Scene:
    conn: psycopg.Connection[Any]
    """The service role's, as the worker asks."""
    member: UUID
    nobody: UUID
    """A member without traits or receipts, who has agreed to profiling and to nothing else."""

    def holds(self, tree: dict[str, Any], member: UUID | None = None) -> bool:
        return in_segment(self.conn, "acme", member or self.member, tree, NOON)


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    make_tenant(database, "acme")
    traits = Jsonb({"age": 40, "city": "Köln", "vip": True, "score": 1.5})
    member = make_member(
        database, "acme", {"marketing_push": True, "in_store_sensing": True, "profiling": True}, traits=traits
    )
    with superuser(database) as conn:
        say_consent(conn, "acme", member, "in_store_sensing", False)
        conn.execute("INSERT INTO store (tenant_id, store_id, name, tz) VALUES ('acme', 'main-street', 'M', 'UTC')")
        for n, (ago, kind, total) in enumerate([(2, "sale", 900), (2, "return", -300), (10, "sale", 100)]):
            conn.execute(
                "INSERT INTO receipt (tenant_id, store_id, receipt_uid, till, at, kind, currency, total, member_id)"
                " VALUES ('acme', 'main-street', %s, '1', %s, %s, 'EUR', %s, %s)",
                (str(n), NOON - ago * DAY, kind, total, member),
            )
        add_visit(conn, "acme", member, NOON - 3 * DAY)
    nobody = make_member(database, "acme", {"profiling": True})
    with psycopg.connect(database.service, autocommit=True) as conn:
        yield Scene(conn, member, nobody)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees)
def test_every_tree_runs_and_not_is_the_opposite(scene: Scene, tree: dict[str, Any]) -> None:
    for member in (scene.member, scene.nobody):
        assert scene.holds({"not": tree}, member) is not scene.holds(tree, member)
        assert scene.holds({"all": [tree]}, member) is scene.holds({"any": [tree]}, member)


def trait(name: str, op: str, value: Any) -> dict[str, Any]:
    return {"trait": name, "op": op, "value": value}


def metric(name: str, op: str, value: float, days: int = 90) -> dict[str, Any]:
    return {"metric": name, "op": op, "value": value, "days": days}


HOLDS = [
    (trait("age", "gte", 40), True),
    (trait("age", "gt", 40), False),
    (trait("age", "lt", 40.5), True),
    (trait("age", "eq", "40"), False),  # another type is no equal
    (trait("age", "ne", "40"), False),  # and no comparison at all
    (trait("city", "eq", "Köln"), True),
    (trait("vip", "eq", True), True),
    (trait("vip", "eq", 1), False),
    (trait("vip", "ne", False), True),
    (trait("absent", "eq", 1), False),
    (trait("absent", "ne", 1), False),  # absent: every comparison is false, ne too
    ({"not": trait("absent", "eq", 1)}, True),
    ({"not": trait("absent", "ne", 1)}, True),
    ({"consent": "marketing_push"}, True),
    ({"consent": "in_store_sensing"}, False),  # the newest word rules
    ({"consent": "in_store_sensing", "granted": False}, True),
    ({"all": []}, True),
    ({"any": [trait("absent", "eq", 1), trait("vip", "eq", True)]}, True),
    ({"all": [trait("absent", "eq", 1), trait("vip", "eq", True)]}, False),
    (metric("receipts", "eq", 2), True),  # a return is no purchase
    (metric("receipts", "eq", 1, days=5), True),
    (metric("spend", "eq", 700), True),  # 900 − 300 + 100
    (metric("spend", "eq", 600, days=5), True),
    (metric("recency_days", "eq", 2), True),
    (metric("visits", "eq", 1), True),
    (metric("visits", "eq", 0, days=2), True),
]


@pytest.mark.parametrize(("tree", "holds"), HOLDS, ids=lambda value: str(value))
def test_a_condition_means_what_is_documented(scene: Scene, tree: dict[str, Any], holds: bool) -> None:
    assert scene.holds(tree) is holds


NOTHING = [
    (metric("receipts", "eq", 0), True),
    (metric("spend", "eq", 0), True),
    (metric("recency_days", "gt", 0), False),  # never: no number, no comparison
    ({"not": metric("recency_days", "lte", 30)}, True),
    ({"consent": "marketing_push"}, False),  # no word is a no
    ({"consent": "marketing_push", "granted": False}, True),
]


@pytest.mark.parametrize(("tree", "holds"), NOTHING, ids=lambda value: str(value))
def test_a_member_without_a_history_has_zeroes_and_no_recency(scene: Scene, tree: dict[str, Any], holds: bool) -> None:
    assert scene.holds(tree, scene.nobody) is holds


@pytest.mark.parametrize("name", ["receipts", "spend", "recency_days", "visits"])
def test_who_does_not_agree_to_profiling_is_not_chosen_by_any_figure(
    scene: Scene, database: Database, name: str
) -> None:
    assert scene.holds(metric(name, "gte", 0))
    with superuser(database) as conn:
        say_consent(conn, "acme", scene.member, "profiling", False)
    assert not any(scene.holds(metric(name, op, 0)) for op in ("eq", "ne", "lt", "gte"))
    assert scene.holds(trait("vip", "eq", True)), "what the member told is another matter"


def test_a_member_of_another_tenant_is_in_no_segment(scene: Scene) -> None:
    assert not in_segment(scene.conn, "beta", scene.member, {"all": []}, NOON)
