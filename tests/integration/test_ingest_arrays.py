"""Arrays packed by us are read by PostgreSQL as what they were."""

from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.ingest.arrays import Array, bigints, blobs, integers, texts, uuids
from tests.conftest import Database

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
BATCHES = st.lists(
    st.tuples(WORDS, st.binary(max_size=40), st.uuids(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**31 - 1)),
    max_size=6,
)


@pytest.fixture
def conn(database: Database):
    with psycopg.connect(database.service, autocommit=True) as connection:
        yield connection


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
def test_a_column_comes_back_as_it_went(conn, rows: list[tuple[str, bytes, UUID, int, int]]) -> None:
    words, data, ids, large, small = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 5
    packed = texts(words), blobs(data), uuids([one.hex for one in ids]), bigints(large), integers(small)
    assert conn.execute("SELECT %s, %s, %s, %s, %s", packed).fetchone() == (words, data, ids, large, small)


def test_an_array_says_what_it_is_of() -> None:
    assert {kind.oid for kind in Array.__subclasses__()} == {1001, 1007, 1009, 1016, 2951}
