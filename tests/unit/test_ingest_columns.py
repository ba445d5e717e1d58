"""Many batches become one COPY's rows: the same rows as one at a time, whatever the numbers."""

import struct
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.columns import DAY_US, POSTGRES_EPOCH_US, ROW, copy_rows, windows
from contract.codec import column_bytes
from contract.messages import SIGHTING_COLUMNS, Header, Sightings

T0 = 1_790_000_000_000_000


def batch(rows: list[tuple[int, ...]], t0: int = T0) -> Sightings:
    header = Header("sightings", "acme", "main-street", "node-1", "a" * 32, 1, "", "trusted", t0, len(rows))
    values: list[Any] = list(zip(*rows, strict=True)) or [()] * len(SIGHTING_COLUMNS)
    return Sightings(header, tuple(column_bytes(c, list(v)) for c, v in zip(SIGHTING_COLUMNS, values, strict=True)))


def whole(dtype: str) -> st.SearchStrategy[int]:
    info = np.iinfo(np.dtype(dtype))
    return st.integers(int(info.min), int(info.max))


rows = st.lists(st.tuples(*(whole(column.dtype) for column in SIGHTING_COLUMNS)), max_size=6)
instants = st.integers(T0, T0 + 40 * DAY_US)


@given(st.lists(st.tuples(rows, instants, st.integers(1, 2**31 - 1)), min_size=1, max_size=5))
def test_each_row_is_what_its_batch_says(parts: list[tuple[list[tuple[int, ...]], int, int]]) -> None:
    made = copy_rows([batch(some, t0) for some, t0, _ in parts], [key for _, _, key in parts])
    expected = []
    for some, t0, key in parts:
        for dt, subject, kind, radio, rssi, peak, count in some:
            time = t0 + dt * 1_000 - POSTGRES_EPOCH_US
            fields = [(8, "q", time), (8, "Q", subject), (4, "i", key), (4, "I", radio), (2, "h", rssi)]
            fields += [(2, "h", min(count, 32_767)), (2, "h", peak), (2, "h", kind)]
            expected.append(struct.pack(">h", 8) + b"".join(struct.pack(f">i{f}", n, v) for n, f, v in fields))
    assert bytes(made.data) == b"".join(expected)
    days = {(t0 + dt * 1_000) // DAY_US for some, t0, _ in parts for dt, *_ in some}
    assert set(made.days) == days


def test_a_day_between_two_is_not_made_for_nothing() -> None:
    row = (0, 1, 1, 0, -600, -55, 4)
    made = copy_rows([batch([row]), batch([row], T0 + 9 * DAY_US)], [1, 1])
    assert [day - T0 // DAY_US for day in made.days] == [0, 9]


def test_a_row_of_copy_has_no_gaps() -> None:
    assert ROW.itemsize == 2 + 8 * 4 + 8 + 8 + 4 + 4 + 2 * 4


def test_the_locator_reads_levels_in_dbm() -> None:
    read = windows(batch([(-1_500, 2**63, 1, 7, -605, -55, 4)]))
    assert (read.time_us.tolist(), read.subject.tolist()) == ([T0 - 1_500_000], [2**63])
    assert read.rssi_dbm.tolist() == [np.float32(-60.5)]
