"""A grid as a picture, a table and a map, for other programs. Pure."""

import json
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.float32]

TOP_QUANTILE = 0.998
"""The scale ends at this quantile of what is not empty, like the console's: one till does not bleach the rest."""
SIDE_PX = 1200
"""About the longer side of a picture."""
STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], float)
"""sRGB at even steps of the scale: from dark to light in even steps of lightness, also for who sees no red."""


def png(values: Grid) -> bytes:
    """8-bit RGBA, north up: row 0 of the grid, at y = 0, is the picture's lowest. Empty cells are see-through.

    The square root spreads the quiet parts: presence is heavy-tailed.
    """
    filled = values[values > 0]
    top = float(np.quantile(filled, TOP_QUANTILE)) if filled.size else 1.0
    level = np.sqrt(np.clip(values / top, 0, 1))
    steps = np.linspace(0, 1, len(STOPS))
    colour = np.stack([np.interp(level, steps, STOPS[:, channel]) for channel in range(3)], axis=-1)
    pixels = np.dstack([colour, np.where(values > 0, 255, 0)]).round().astype(np.uint8)[::-1]
    scale = max(SIDE_PX // max(values.shape), 1)
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + width * 4), np.uint8)  # each line's first byte names its filter: 0, none
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    """PNG (RFC 2083) 3.2: length, type, data, CRC of type and data."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def csv(values: Grid, cell_m: float, unit: str) -> str:
    """A line for each cell that is not empty: its lower left corner, its edge, metres, and the value."""
    lines = [f"x_m,y_m,cell_m,{'seconds' if unit == 's' else unit}"]
    lines += [f"{x:.6g},{y:.6g},{cell_m:.6g},{value:.6g}" for x, y, value in _filled(values, cell_m)]
    return "\r\n".join(lines) + "\r\n"


def geojson(values: Grid, cell_m: float, unit: str) -> str:
    """A polygon for each cell that is not empty. Coordinates are metres on the floor, x then y, not degrees.

    A floor has no place on the globe here; whoever lays it on a map moves and turns it.
    """
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [_square(x, y, cell_m)]},
            "properties": {"value": round(value, 3), "unit": unit},
        }
        for x, y, value in _filled(values, cell_m)
    ]
    return json.dumps({"type": "FeatureCollection", "coordinates_are": "metres on the floor", "features": features})


def _filled(values: Grid, cell_m: float) -> Iterator[tuple[float, float, float]]:
    for row, column in zip(*(index.tolist() for index in np.nonzero(values)), strict=True):
        yield round(column * cell_m, 6), round(row * cell_m, 6), float(values[row, column])


def _square(x: float, y: float, edge: float) -> list[list[float]]:
    """Counter-clockwise and closed (RFC 7946, 3.1.6)."""
    right, upper = round(x + edge, 6), round(y + edge, 6)
    return [[x, y], [right, y], [right, upper], [x, upper], [x, y]]
