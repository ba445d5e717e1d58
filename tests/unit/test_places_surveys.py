"""A walk's file is a survey or says why not; of its map, a later plan keeps the rows of nodes that did not move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import Invalid
from cloud.locate.radiomap import RadioMap
from cloud.places.models import Floor, Node, Survey, SurveyPoint
from cloud.places.surveys import carried_over, fit, floor_grid, node_positions, read_survey

HEAD = b"x_m,y_m,node,mean_dbm,sd_db,n\n"
FLOOR = Floor(floor="0", name="G", width_m=8, depth_m=6, cell_m=1)
NODES = [Node(node=f"n-{i}", floor="0", x_m=x, y_m=y) for i, (x, y) in enumerate([(1, 1), (7, 1), (4, 5)])]
POINTS = [
    SurveyPoint(x_m=x, y_m=y, node=node.node, mean_dbm=-60 - abs(x - node.x_m) - abs(y - node.y_m), sd_db=2, n=20)
    for x in (1, 3, 5, 7)
    for y in (1, 3, 5)
    for node in NODES
]


def read(data: bytes, media_type: str) -> Survey | None:
    try:
        return read_survey(data, media_type)
    except Invalid as error:
        assert error.problems and all(one.field for one in error.problems)
        return None


media_types = st.sampled_from(["text/csv", "application/json", "image/png"])


@given(st.binary(max_size=200), media_types, st.sampled_from([b"", HEAD, b'{"points": [']))
def test_any_bytes_are_a_survey_or_a_reason(data: bytes, media_type: str, head: bytes) -> None:
    assert isinstance(read(head + data, media_type), Survey | None)


cells = st.floats() | st.integers() | st.text(max_size=5)


@given(st.lists(st.lists(cells, max_size=8), max_size=4))
def test_any_table_is_a_survey_or_a_reason(rows: list[list[object]]) -> None:
    table = "\n".join(",".join(map(str, row)) for row in rows)
    assert isinstance(read(HEAD + table.encode("utf-8", "replace"), "text/csv"), Survey | None)


def test_a_file_with_a_mark_of_its_byte_order_is_read() -> None:
    survey = read_survey(b"\xef\xbb\xbf" + HEAD + b"1,2,door,-60.5,2,20\r\n", "text/csv")
    assert survey.points == [SurveyPoint(x_m=1, y_m=2, node="door", mean_dbm=-60.5, sd_db=2, n=20)]


def test_only_nodes_that_moved_lose_what_was_measured() -> None:
    places, measured = fit(FLOOR, NODES, Survey(points=POINTS))
    assert places == 12
    stood = {node.node: (node.x_m, node.y_m, node.z_m) for node in NODES}
    moved = [NODES[0], NODES[1].model_copy(update={"x_m": 6.0}), NODES[2].model_copy(update={"x_m": 4.02})]
    new = Node(node="n-9", floor="0", x_m=2, y_m=2)
    mapped = carried_over(measured, stood, FLOOR, [*moved, new])
    assert mapped is not None and mapped.measured == 2
    carried = RadioMap.from_bytes(mapped.radio_map)
    law = RadioMap.from_path_loss(floor_grid(FLOOR), node_positions([*moved, new]))
    source = (measured.mean_dbm[0], law.mean_dbm[1], measured.mean_dbm[2], law.mean_dbm[3])
    assert np.array_equal(carried.mean_dbm, np.stack(source))
    assert carried.heard is not None and measured.heard is not None
    assert np.array_equal(carried.heard[0], measured.heard[0])


@pytest.mark.parametrize(
    ("floor", "nodes"),
    [
        (FLOOR.model_copy(update={"width_m": 9.0}), NODES),
        (FLOOR.model_copy(update={"cell_m": 0.5}), NODES),
        (FLOOR, [node.model_copy(update={"z_m": 5.0}) for node in NODES]),
        (FLOOR, []),
    ],
    ids=["wider", "finer", "all moved", "no nodes"],
)
def test_where_nothing_holds_there_is_no_map(floor: Floor, nodes: list[Node]) -> None:
    _, measured = fit(FLOOR, NODES, Survey(points=POINTS))
    stood = {node.node: (node.x_m, node.y_m, node.z_m) for node in NODES}
    assert carried_over(measured, stood, floor, nodes) is None
