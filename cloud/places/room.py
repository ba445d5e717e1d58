"""A floor as the coverage's arithmetic wants it: places to stand, walls, and spots where a node could hang."""

import numpy as np
import numpy.typing as npt

from cloud.errors import NotFound
from cloud.locate.coverage import Place, Walls, best_place, expected_error
from cloud.locate.radiomap import Grid
from cloud.locate.zones import zone_masks
from cloud.places.models import Coverage, Floor, Plan, Spot
from cloud.places.surveys import node_positions

Floats = npt.NDArray[np.float64]

PLACES_MOST = 2_500
"""Cells of the error map: finer ones show nothing that the arithmetic knows."""
CANDIDATES_MOST = 600
CEILING_M = 2.5
ALONG_MOST = 400
"""Pieces of walls that are counted; a drawing with more is decoration."""


def coverage_of(plan: Plan, store: str, floor_name: str) -> Coverage:
    """The error to expect over a floor. Raises NotFound."""
    floor = next((one for one in plan.floors if one.floor == floor_name), None)
    if floor is None:
        raise NotFound(f"store {store!r} has no floor {floor_name!r}")
    grid = _grid(floor, PLACES_MOST)
    blocks = [one.path for one in plan.obstacles if one.floor == floor_name and one.kind == "block"]
    free = ~zone_masks(grid, blocks).any(axis=0)
    walls, size = walls_of(plan, floor_name), (floor.width_m, floor.depth_m)
    nodes = node_positions(plan.nodes_on(floor_name))
    error = np.full(grid.cells, np.nan)
    error[free] = expected_error(grid.centres[free], nodes, walls, size)
    height = float(np.median(nodes[:, 2])) if len(nodes) else CEILING_M
    spots = _grid(floor, CANDIDATES_MOST).centres
    candidates = np.column_stack([spots, np.full(len(spots), height)])
    best = best_place(grid.centres[free], nodes, candidates, walls, size)
    shown = [[None if np.isnan(e) else round(float(e), 2) for e in row] for row in error.reshape(grid.ny, grid.nx)]
    return Coverage(
        mean_error_m=round(float(error[free].mean()), 3) if free.any() else 0.0,
        p90_error_m=round(float(np.quantile(error[free], 0.9)), 3) if free.any() else 0.0,
        nx=grid.nx,
        ny=grid.ny,
        cell_m=grid.cell_m,
        error_m=shown,
        next_node=_spot(best) if best else None,
    )


def _spot(place: Place) -> Spot:
    return Spot(x_m=round(place.x_m, 2), y_m=round(place.y_m, 2), mean_error_m=round(place.mean_error_m, 3))


def walls_of(plan: Plan, floor: str) -> Walls:
    """The pieces of walls and blocks that a signal loses something in."""
    ends: list[tuple[float, float, float, float]] = []
    loss: list[float] = []
    for one in plan.obstacles:
        if one.floor != floor or one.loss_db == 0:
            continue
        # A way through a block crosses its outline twice: each side has half of the loss.
        block = one.kind == "block"
        path = [*one.path, one.path[0]] if block else one.path
        for a, b in zip(path, path[1:], strict=False):
            ends.append((*a, *b))
            loss.append(one.loss_db / 2 if block else one.loss_db)
    if not ends:
        return Walls.none()
    return Walls(np.array(ends[:ALONG_MOST]), np.array(loss[:ALONG_MOST]))


def _grid(floor: Floor, most: int) -> Grid:
    """Cells of the floor's own size, or as coarse as it takes to have at most so many."""
    cell_m = floor.cell_m
    while (grid := Grid.covering((0.0, 0.0), (floor.width_m, floor.depth_m), cell_m)).cells > most:
        cell_m *= 1.25
    return grid
