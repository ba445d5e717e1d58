"""The condition tree: what is refused and where, and that nothing of a value ever stands in the SQL."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cloud.conditions.compile import compile_condition
from cloud.conditions.tree import Condition

TREE: TypeAdapter[Condition] = TypeAdapter(Condition)
OPS = ["eq", "ne", "lt", "lte", "gt", "gte"]

traits = st.fixed_dictionaries(
    {
        "trait": st.sampled_from(["age", "city", "vip", "%s", "a'b", '"; DROP TABLE member; --', "", "m.traits"]),
        "op": st.sampled_from(OPS),
        "value": st.one_of(
            st.integers(-(2**70), 2**70),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20),
        ),
    }
)
metrics = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["receipts", "spend", "recency_days", "visits"]),
        "op": st.sampled_from(OPS),
        "value": st.floats(allow_nan=False, allow_infinity=False),
    },
    optional={"days": st.integers(1, 3650)},
)
consents = st.fixed_dictionaries(
    {"consent": st.sampled_from(["in_store_sensing", "marketing_push", "profiling"])},
    optional={"granted": st.booleans()},
)
trees: st.SearchStrategy[dict[str, Any]] = st.recursive(
    traits | metrics | consents,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, max_size=4)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=4)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=12,
)
"""Condition trees as JSON, of every kind of node."""


@given(trees)
def test_a_tree_comes_back_as_it_was_written(tree: dict[str, Any]) -> None:
    read = TREE.validate_python(tree)
    assert TREE.validate_python(TREE.dump_python(read, by_alias=True, mode="json")) == read


@given(trees)
def test_every_value_is_a_parameter(tree: dict[str, Any]) -> None:
    compiled = compile_condition(TREE.validate_python(tree))
    assert "DROP" not in compiled.sql and "'b" not in compiled.sql
    for name in compiled.params:
        assert f"%({name})s" in compiled.sql
    filled = compiled.sql % ({"now": ""} | dict.fromkeys(compiled.params, ""))
    assert "%" not in filled, "no stray placeholder"


REFUSED: list[tuple[str, Any, tuple[str | int, ...]]] = [
    ("not an object", 7, ()),
    ("no kind", {}, ()),
    ("two kinds", {"all": [], "not": {"all": []}}, ()),
    ("an unknown kind", {"xor": []}, ()),
    ("an empty any", {"any": []}, ("any", "any")),
    ("a field too many", {"trait": "a", "op": "eq", "value": 1, "colour": 1}, ("trait", "colour")),
    ("an unknown operator", {"trait": "a", "op": "like", "value": 1}, ("trait", "op")),
    ("an unknown metric", {"metric": "karma", "op": "eq", "value": 1}, ("metric", "metric")),
    ("an unknown purpose", {"consent": "everything"}, ("consent", "consent")),
    ("no days", {"metric": "visits", "op": "eq", "value": 1, "days": 0}, ("metric", "days")),
    ("a list as a value", {"trait": "a", "op": "eq", "value": []}, ("trait", "value")),
    ("deep inside", {"all": [{"not": {"trait": "a", "op": "?", "value": 1}}]},
     ("all", "all", 0, "not", "not", "trait", "op")),
    ("too many parts", {"all": [{"all": []}] * 201}, ("all", "all")),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "path"), [pytest.param(*r[1:], id=r[0]) for r in REFUSED])
def test_what_is_no_condition_is_refused_with_its_path(tree: Any, path: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        TREE.validate_python(tree)
    assert refused.value.errors()[0]["loc"][: len(path)] == path


def test_a_tree_as_deep_as_a_cave_is_refused_not_a_crash() -> None:
    tree: dict[str, Any] = {"all": []}
    for _ in range(900):
        tree = {"not": tree}
    with pytest.raises(ValidationError):
        TREE.validate_python(tree)
