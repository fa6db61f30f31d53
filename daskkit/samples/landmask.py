"""Sample `landmask`: land area by distance from the sea.

How much of the land lies how far inland? A stencil with a halo: land is eroded cell by
cell, and what is left after d steps lies more than d cells from the sea. Items are
bands of rows that carry their data with them, one bit a cell, with enough rows of their
neighbours to need no exchange. The kernel is NumPy that lets other threads run, so that
this sample is about moving data and memory, not about slow Python. The vectorised form
erodes the whole grid at once: its half a gigabyte doesn't fit into any cache, so that
it gains nothing over the bands.

Data: global-land-mask (MIT), made from NOAA's GLOBE elevation model.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from daskkit.records import Workload
from daskkit.samples import datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "SIZES",
    "SUMMARY",
    "Band",
    "Grid",
    "add_areas",
    "cell_area_m2",
    "make_bands",
    "make_workload",
    "measure_band",
    "measure_grid",
]

SUMMARY: Final = "land area by distance from the sea (stencil with halo on a grid)"

#: Radius of the sphere with the Earth's surface, in metres (GRS 80; Moritz 2000,
#: Journal of Geodesy 74, 128-133).
EARTH_RADIUS_M: Final = 6_371_007.181


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid of the whole Earth and how it is cut."""

    #: Rows from pole to pole, and columns around the Earth.
    n_rows: int
    n_columns: int
    #: How many cells from the sea to look: the halo's width.
    depth: int
    #: Rows of a band, halo not counted.
    band_rows: int


#: Cells measure one arc minute (1.9 km at the equator) in full, four in small.
SIZES: Final[Mapping[str, Grid]] = {
    "small": Grid(n_rows=2_700, n_columns=5_400, depth=24, band_rows=90),
    "full": Grid(n_rows=10_800, n_columns=21_600, depth=32, band_rows=180),
}


class Band(NamedTuple):
    """One item: some rows of the grid with their halo."""

    #: Number of the first row that isn't halo, from the north.
    first_row: int
    #: Land (1) or sea, eight cells a byte (`numpy.packbits` along the rows); `depth`
    #: rows of halo above and below.
    packed: NDArray[np.uint8]


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is an area for each distance.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`.

    Returns
    -------
    Workload
        The answer is an int64 array of length depth + 1: land in square metres that
        lies more than 0, 1, 2, ... cells from the sea, a diagonal neighbour counting
        as one cell away. Areas of cells are whole square metres, so that sums don't
        depend on their order and are compared exactly.

    Raises
    ------
    BackendUnavailableError
        If global-land-mask isn't installed.

    Notes
    -----
    Distances count cells, which become narrow towards the poles: this is a measure of
    the grid, not geodesy.
    """
    grid = SIZES[size]
    land = datasets.read_land(step=21_600 // grid.n_rows)
    return Workload(
        name="landmask",
        func=functools.partial(measure_band, grid),
        items=make_bands(grid, land),
        combine=functools.partial(add_areas, grid),
        vectorized=functools.partial(measure_grid, grid),
    )


def make_bands(grid: Grid, land: NDArray[np.bool_]) -> list[Band]:
    """Return a map of land as bands with their halos.

    Beyond the poles there is land, so that a pole is no coast.

    Parameters
    ----------
    grid : Grid
        Sizes of the map and of the bands.
    land : numpy.ndarray of bool, shape (n_rows, n_columns)
        True on land.

    Returns
    -------
    list of Band
        From north to south. Their arrays are views of one packed map.
    """
    halo = np.ones((grid.depth, grid.n_columns), dtype=np.bool_)
    packed = np.packbits(np.concatenate([halo, land, halo]), axis=1)
    starts = range(0, grid.n_rows, grid.band_rows)
    return [Band(i, packed[i : i + grid.band_rows + 2 * grid.depth]) for i in starts]


def measure_band(grid: Grid, band: Band) -> NDArray[np.int64]:
    """Return how much land of a band lies more than d cells from the sea.

    Parameters
    ----------
    grid : Grid
        The grid that the band belongs to.
    band : Band
        Rows with their halo.

    Returns
    -------
    numpy.ndarray of int64, shape (depth + 1,)
        Square metres for each d from 0 to `Grid.depth`; never rising.
    """
    land = _unpack(grid, band.packed)
    # The Earth is round: what leaves on the right comes in on the left.
    land = np.concatenate([land[:, -grid.depth :], land, land[:, : grid.depth]], axis=1)
    n_rows = len(land) - 2 * grid.depth
    rows = range(band.first_row, band.first_row + n_rows)
    area = np.array([cell_area_m2(grid, row) for row in rows], dtype=np.int64)
    left = np.empty(grid.depth + 1, dtype=np.int64)
    spare = np.empty_like(land)
    for d in range(grid.depth + 1):
        margin = grid.depth - d
        core = land[margin : margin + n_rows, margin : margin + grid.n_columns]
        left[d] = area @ np.count_nonzero(core, axis=1)
        if margin:
            land = _erode(land, spare)
    return left


def add_areas(grid: Grid, areas: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the sum of the bands' areas; zeros for none.

    Parameters
    ----------
    grid : Grid
        The grid that they belong to.
    areas : list of numpy.ndarray of int64, shape (depth + 1,)
        In any order, themselves sums or not.

    Returns
    -------
    numpy.ndarray of int64, shape (depth + 1,)
        Square metres.
    """
    total = np.zeros(grid.depth + 1, dtype=np.int64)
    for area in areas:
        total += area
    return total


def measure_grid(grid: Grid, items: Sequence[Band]) -> NDArray[np.int64]:
    """Return what the loop returns, from the whole grid at once.

    Parameters
    ----------
    grid : Grid
        The grid that the bands belong to.
    items : sequence of Band
        Neighbouring bands, from north to south.

    Returns
    -------
    numpy.ndarray of int64, shape (depth + 1,)
        Square metres for each distance.

    Notes
    -----
    Computes on one core and holds the unpacked grid twice, 0.5 GB for ``"full"``.
    """
    if not items:
        return add_areas(grid, [])
    depth = grid.depth
    cores = [band.packed[depth : len(band.packed) - depth] for band in items]
    above, below = items[0].packed[:depth], items[-1].packed[-depth:]
    whole = np.concatenate([above, *cores, below])
    return measure_band(grid, Band(items[0].first_row, whole))


def cell_area_m2(grid: Grid, row: int) -> int:
    """Return the area of a cell on the sphere, rounded to whole square metres.

    Parameters
    ----------
    grid : Grid
        Rows and columns.
    row : int
        The cell's row, from the north.

    Returns
    -------
    int
        ``R**2 * width * (sin(north) - sin(south))``, angles in radians.

    References
    ----------
    Snyder, J. P. (1987). Map projections: a working manual. US Geological Survey
    Professional Paper 1395, p. 77 (the cylindrical equal-area projection).
    """
    # math.sin, not numpy.sin: the latter's last digit may depend on a row's place in
    # the array.
    north = math.pi / 2 - math.pi * row / grid.n_rows
    south = math.pi / 2 - math.pi * (row + 1) / grid.n_rows
    width = 2 * math.pi / grid.n_columns
    return round(EARTH_RADIUS_M**2 * width * (math.sin(north) - math.sin(south)))


def _unpack(grid: Grid, packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.unpackbits(packed, axis=1, count=grid.n_columns).view(np.bool_)


def _erode(land: NDArray[np.bool_], spare: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the land whose eight neighbours are land; one cell less on each side.

    Overwrites `land` with the result and `spare`, an array of at least its size: on
    the whole grid, new arrays for each step took twice the time (page faults).
    """
    n_rows, n_columns = land.shape
    above_below = spare[: n_rows - 2, :n_columns]
    np.logical_and(land[:-2], land[1:-1], out=above_below)
    np.logical_and(above_below, land[2:], out=above_below)
    inner = land[: n_rows - 2, : n_columns - 2]
    np.logical_and(above_below[:, :-2], above_below[:, 1:-1], out=inner)
    np.logical_and(inner, above_below[:, 2:], out=inner)
    return inner
