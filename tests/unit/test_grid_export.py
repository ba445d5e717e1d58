"""A grid as a picture, a table and polygons: what a standard reader makes of them is the grid."""

import csv
import io
import json

import cv2
import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from cloud.analytics import export

GRIDS = np_st.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 1, 7.25, 3600])
)


def pixels(png: bytes) -> npt.NDArray[np.uint8]:
    """(height, width, 4): blue, green, red, opacity, as OpenCV reads them."""
    read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    return np.asarray(read, np.uint8)


@given(GRIDS)
def test_a_picture_is_read_by_others_with_north_up_and_empty_cells_see_through(grid: npt.NDArray[np.float32]) -> None:
    picture = pixels(export.png(grid))
    scale = picture.shape[0] // grid.shape[0]
    assert picture.shape == (grid.shape[0] * scale, grid.shape[1] * scale, 4)
    middles = picture[scale // 2 :: scale, scale // 2 :: scale]
    assert np.array_equal(middles[:, :, 3] == 255, grid[::-1] > 0)


def test_more_is_lighter() -> None:
    picture = pixels(export.png(np.array([[1, 4, 9, 16]], np.float32)))
    step = picture.shape[1] // 4
    blue, green, red = (picture[0, step // 2 :: step, channel].astype(float) for channel in range(3))
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # ITU-R BT.709
    assert (np.diff(luma) > 20).all()


@given(GRIDS, st.sampled_from([0.1, 0.5, 1.0, 4.0]))
def test_a_table_and_polygons_hold_each_cell_that_is_not_empty(grid: npt.NDArray[np.float32], cell_m: float) -> None:
    rows = list(csv.DictReader(io.StringIO(export.csv(grid, cell_m, "s"))))
    back = np.zeros_like(grid)
    for row in rows:
        back[round(float(row["y_m"]) / cell_m), round(float(row["x_m"]) / cell_m)] = float(row["seconds"])
    assert np.array_equal(back, grid)
    features = json.loads(export.geojson(grid, cell_m, "s"))["features"]
    assert len(features) == len(rows)
    for feature, row in zip(features, rows, strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1] == [float(row["x_m"]), float(row["y_m"])]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:], strict=False)) / 2
        assert np.isclose(area, cell_m**2), "counter-clockwise"
