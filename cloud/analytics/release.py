"""What may be told of a day on a floor: every figure is of k people or more, and no two can be subtracted to fewer.

A floor is cut once and for all into tiles of some metres, a day into hours. A day's seconds in a tile form a table: a
row for each block of cells in it, a column for each span of hours. Told are

* the columns: an hour's sum, joined with the hours after it until k people were in the tile,
* the rows, when the day is over: the sums of the blocks of a fixed quadtree, split as long as every quarter in which
  anybody was had k people,
* what is left of tiles in which fewer than k people are still untold, pooled with tiles around until k are together,

and never an entry. Every map of every span and zoom is made of these sums alone. So nothing about fewer than k people
can be had from any number of maps. Take an entry of a row and a column, with a few people in it. The row has k people,
so somebody was in that row in another column; the column has k people, so somebody was in that column in another row.
Move a second from these two to the entry and to the entry where they cross: all sums are what they were, and the entry
is not. (Tested as that: another day that differs there and is told alike.)

Pure: positions in, arrays out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.analytics.kfloor import K_COUNT

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TILE_M = 4.0
"""About the edge of a tile: in a store with 30 recognised people an hour, most tiles have five of them."""
STOP_S, STOP_M = 15.0, 2.0
"""Who stands for so long in a block of such an edge has stopped: positions are about a metre and a half off."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """A floor's cells and the tiles that they form; both begin at the floor's corner and never move."""

    nx: int
    ny: int
    level: int
    """A tile is 2**level cells wide."""

    @classmethod
    def of(cls, nx: int, ny: int, cell_m: float) -> "Tiling":
        return cls(nx, ny, max(round(np.log2(TILE_M / cell_m)), 0))

    @property
    def top(self) -> int:
        """The level of the block that is the whole floor."""
        return max(int(np.ceil(np.log2(max(self.nx, self.ny)))), self.level)

    def width(self, level: int) -> int:
        """Blocks of that level in a row of the square that holds the floor."""
        return 1 << (self.top - level)

    def block(self, cell: Ints, level: int) -> Ints:
        """The number of the block of that level that each cell lies in."""
        return (cell // self.nx >> level) * self.width(level) + (cell % self.nx >> level)

    def cells(self, level: int) -> Ints:
        """How many of the floor's cells each block of that level has."""
        every = np.arange(self.nx * self.ny)
        return np.bincount(self.block(every, level), minlength=self.width(level) ** 2)


@dataclass(frozen=True, slots=True)
class Walked:
    """Where people were on one day: parallel arrays, one entry a position."""

    hour: Ints
    """Of the local day, from 0."""
    cell: Ints
    """Row-major, row 0 at y = 0."""
    person: Ints
    """0, 1, …: somebody who comes twice is one."""
    seconds: Floats

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Walked":
        return Walked(self.hour[chosen], self.cell[chosen], self.person[chosen], self.seconds[chosen])


@dataclass(slots=True)
class Hours:
    """A day's columns as far as they were told: seconds in each tile and hour."""

    seconds: Floats
    """(hours, tiles); a span of several hours has its mean in each."""
    told: Ints
    """For each tile the first hour that is not told yet."""
    closed: int = 0
    """Hours of the day that are over and were looked at."""

    @classmethod
    def none(cls, tiling: Tiling, hours: int) -> "Hours":
        tiles = tiling.width(tiling.level) ** 2
        return cls(np.zeros((hours, tiles)), np.zeros(tiles, np.int64))

    def close(self, walked: Walked, tiling: Tiling, until: int, k: int = K_COUNT) -> None:
        """Tell the hours before `until`. What was told stays told, whatever is known of it now."""
        tile = tiling.block(walked.cell, tiling.level)
        for hour in range(self.closed, until):
            due = (walked.hour >= self.told[tile]) & (walked.hour <= hour)
            waiting = np.bincount(tile[due], walked.seconds[due], minlength=self.told.size)
            enough = people(tile[due], walked.person[due], self.told.size) >= k
            first = np.full(self.told.size, hour)
            np.minimum.at(first, tile[due], walked.hour[due])
            for one in np.flatnonzero(enough).tolist():
                self.seconds[first[one] : hour + 1, one] = waiting[one] / (hour + 1 - first[one])
            self.told[enough | (waiting == 0)] = hour + 1  # that nobody was there may be told
        self.closed = max(self.closed, until)


@dataclass(frozen=True, slots=True)
class Places:
    """A day's rows, told when it is over."""

    seconds: npt.NDArray[np.float32]
    """(ny, nx); a block that is told as a whole has its mean in each cell."""
    people: npt.NDArray[np.float32]
    """People in each tile in the hours that were told; 0 where nothing was."""


def tell_places(walked: Walked, tiling: Tiling, hours: Hours, k: int = K_COUNT) -> Places:
    """The rows of a day whose columns were told.

    Each tile's rows add up to its columns, also if somebody's positions were erased in between.
    """
    tile = tiling.block(walked.cell, tiling.level)
    in_columns = walked.hour < hours.told[tile]
    rows, rest = walked.only(in_columns), walked.only(~in_columns)
    here = people(tile[in_columns], rows.person, hours.told.size)
    shape = _split(rows, tiling, here, k)
    whole = np.bincount(tiling.block(np.arange(shape.size), tiling.level), shape, minlength=hours.told.size)
    columns = hours.seconds.sum(axis=0)
    flat = np.where(whole > 0, 0.0, columns / np.maximum(tiling.cells(tiling.level), 1))
    factor = columns / np.where(whole > 0, whole, 1.0)
    of = tiling.block(np.arange(shape.size), tiling.level)
    seconds = shape * factor[of] + flat[of] + pool_upward(rest.cell, rest.person, rest.seconds, tiling, tiling.level, k)
    told = np.where((here >= k) & (columns > 0), here, 0)
    return Places(seconds.reshape(tiling.ny, tiling.nx).astype(np.float32), told.astype(np.float32))


def _split(walked: Walked, tiling: Tiling, here: Ints, k: int) -> Floats:
    """Seconds a cell, each leaf of the tiles' quadtrees at its mean; 0 in tiles with fewer than k people."""
    every = np.arange(tiling.nx * tiling.ny)
    splits = here >= k
    mean = np.zeros(here.size)
    for level in range(tiling.level, -1, -1):
        block, blocks = tiling.block(walked.cell, level), tiling.width(level) ** 2
        total = np.bincount(block, walked.seconds, minlength=blocks)
        own = total / np.maximum(tiling.cells(level), 1)
        if level < tiling.level:
            # Every quarter may be told by itself, or none: three would tell, by subtraction, what the fourth is.
            few = (total > 0) & (people(block, walked.person, blocks) < k)
            spoilt = np.zeros(splits.size, bool)
            spoilt[_parents(tiling, level)[few]] = True
            splits = (splits & ~spoilt)[_parents(tiling, level)]
            mean = mean[_parents(tiling, level)]
        mean = np.where(splits, own, mean)
    return mean[tiling.block(every, 0)]


def _parents(tiling: Tiling, level: int) -> Ints:
    """For each block of a level the number of the block around it."""
    y, x = np.divmod(np.arange(tiling.width(level) ** 2), tiling.width(level))
    return (y >> 1) * tiling.width(level + 1) + (x >> 1)


def pool_upward(cell: Ints, person: Ints, amount: Floats, tiling: Tiling, level: int, k: int = K_COUNT) -> Floats:
    """Amounts a cell: each block of `level`, joined with those around it until k people are together, at the mean.

    What is left when the block is the whole floor is not told at all.
    """
    told = np.zeros(tiling.nx * tiling.ny)
    base = tiling.block(np.arange(told.size), level)
    area = tiling.cells(level)
    for wider in range(level, tiling.top + 1):
        if not cell.size:
            break
        block, blocks = tiling.block(cell, wider), tiling.width(wider) ** 2
        enough = people(block, person, blocks) >= k
        out = enough[block]
        if not out.any():
            continue
        bases, first = np.unique(tiling.block(cell[out], level), return_index=True)
        around = block[out][first]
        cells = np.bincount(around, area[bases], minlength=blocks)
        share = np.bincount(block[out], amount[out], minlength=blocks) / np.maximum(cells, 1)
        by_base = np.zeros(area.size)
        by_base[bases] = share[around]
        told += by_base[base]
        cell, person, amount = cell[~out], person[~out], amount[~out]
    return told


def people(block: Ints, person: Ints, blocks: int) -> Ints:
    """How many different people there are in each block."""
    if not block.size:
        return np.zeros(blocks, np.int64)
    several = int(person.max()) + 1
    pair = np.sort(block * several + person)  # np.unique hashes, which takes ten times as long
    return np.bincount(pair[np.r_[True, pair[1:] != pair[:-1]]] // several, minlength=blocks)


def first_stops(
    visit: Ints,
    time_us: Ints,
    cell: Ints,
    tiling: Tiling,
    level: int,
    stands_s: float = STOP_S,
) -> Ints:
    """For each visit (numbered from 0) the cell where it first stood still; -1 where it never did.

    Positions in the order of visit and time.
    """
    found = np.full(int(visit.max(initial=-1)) + 1, -1)
    if not visit.size:
        return found
    block = tiling.block(cell, level)
    begins = np.flatnonzero(np.r_[True, (visit[1:] != visit[:-1]) | (block[1:] != block[:-1])])
    ends = np.r_[begins[1:], visit.size] - 1
    stood = (time_us[ends] - time_us[begins]) >= stands_s * 1e6
    at = begins[stood][::-1]  # backwards: the first of a visit is written last
    found[visit[at]] = cell[at]
    return found
