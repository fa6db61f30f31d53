"""Sample `fractal`: the Mandelbrot set, in tiles of uneven cost.

How fast does each point of the plane escape to infinity? Computed pixel by pixel in
plain Python. A tile is a strip of rows; strips through the middle of the set cost some
thirty times those at its edges, so that equal shares of the rows are unequal shares of
the work. The vectorised form iterates all pixels at once and drops those that have
escaped. The compiled form is the loop once more, made into machine code by Numba.

No data; nothing to license.

References
----------
Mandelbrot, B. B. (1980). Fractal aspects of the iteration of z -> lambda z (1 - z) for
complex lambda and z. Annals of the New York Academy of Sciences 357, 249-259.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from daskkit.records import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

Number = TypeVar("Number", float, "NDArray[np.float64]")

__all__ = [
    "SIZES",
    "SUMMARY",
    "Picture",
    "compile_tile",
    "compute_escapes",
    "compute_tile",
    "count_steps",
    "make_workload",
    "stack_tiles",
]

SUMMARY: Final = "Mandelbrot set, pixel by pixel (tiles of uneven cost)"

# The corner of the plane that is shown, three units wide and two high.
_LEFT: Final = -2.25
_TOP: Final = 1.0
_WIDTH_UNITS: Final = 3.0
_HEIGHT_UNITS: Final = 2.0


@dataclasses.dataclass(frozen=True)
class Picture:
    """The grid of pixels that all tiles belong to."""

    #: Pixels from left to right.
    width: int
    #: Pixels from top to bottom.
    height: int
    #: Rows of a tile.
    rows: int
    #: Steps after which a point counts as inside.
    limit: int


SIZES: Final[Mapping[str, Picture]] = {
    "small": Picture(width=240, height=160, rows=4, limit=256),
    "full": Picture(width=960, height=640, rows=4, limit=256),
}


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is a picture of step counts.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`.

    Returns
    -------
    Workload
        The answer is an int32 array of shape (height, width). Loop and vectorised form
        do the same operations on the same floats, so that the counts are compared
        exactly.
    """
    picture = SIZES[size]
    starts = range(0, picture.height, picture.rows)
    return Workload(
        name="fractal",
        func=functools.partial(compute_tile, picture),
        items=[range(i, min(i + picture.rows, picture.height)) for i in starts],
        combine=functools.partial(stack_tiles, picture),
        vectorized=functools.partial(compute_escapes, picture),
        compiled=functools.partial(compile_tile, picture),
    )


def count_steps(re: float, im: float, limit: int) -> int:
    """Return after how many steps of z -> z**2 + c the point c leaves the circle.

    Parameters
    ----------
    re, im : float
        Real and imaginary part of c.
    limit : int
        Steps after which to give up.

    Returns
    -------
    int
        The first ``n`` with ``abs(z[n]) > 2``, from ``z[0] = 0``; `limit` if there is
        none below.

    Examples
    --------
    >>> count_steps(0.0, 0.0, 100), count_steps(1.0, 0.0, 100)
    (100, 3)
    """
    x = y = 0.0
    for n in range(limit):
        xx = x * x
        yy = y * y
        if xx + yy > 4.0:  # noqa: PLR2004 - the square of the circle's radius
            return n
        y = 2.0 * x * y + im
        x = xx - yy + re
    return limit


def compute_tile(picture: Picture, rows: range) -> NDArray[np.int32]:
    """Return the step counts of some rows of the picture.

    Parameters
    ----------
    picture : Picture
        The whole grid.
    rows : range
        Rows of this tile, from the top.

    Returns
    -------
    numpy.ndarray of int32, shape (len(rows), width)
    """
    limit = picture.limit
    real = [_re(picture, column) for column in range(picture.width)]
    counts = [
        [count_steps(re, _im(picture, row), limit) for re in real] for row in rows
    ]
    return np.array(counts, dtype=np.int32).reshape(-1, picture.width)


def compile_tile(picture: Picture) -> Callable[[range], NDArray[np.int32]]:
    """Return `compute_tile`, compiled by Numba, for the rows of a picture.

    Parameters
    ----------
    picture : Picture
        The whole grid.

    Returns
    -------
    callable
        ``func(rows)``; it releases the GIL.

    Notes
    -----
    Takes a second: the compiler works here, not in the first call.
    """
    import numba

    steps = numba.njit("int64(float64, float64, int64)", nogil=True)(count_steps)

    def count_grid(
        real: NDArray[np.float64], imaginary: NDArray[np.float64], limit: int
    ) -> NDArray[np.int32]:
        counts = np.empty((imaginary.size, real.size), np.int32)
        for i in range(imaginary.size):
            for j in range(real.size):
                counts[i, j] = steps(real[j], imaginary[i], limit)
        return counts

    signature = "int32[:, :](float64[:], float64[:], int64)"
    count = numba.njit(signature, nogil=True)(count_grid)
    real = _re(picture, np.arange(picture.width, dtype=np.float64))

    def compute(rows: range) -> NDArray[np.int32]:
        imaginary = _im(picture, np.asarray(rows, dtype=np.float64))
        counts: NDArray[np.int32] = count(real, imaginary, picture.limit)
        return counts

    return compute


def stack_tiles(picture: Picture, tiles: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Return tiles put below one another.

    Parameters
    ----------
    picture : Picture
        The whole grid, for its width.
    tiles : list of numpy.ndarray of int32
        In order from the top, themselves stacked or not.

    Returns
    -------
    numpy.ndarray of int32, shape (rows of all tiles, width)
        No rows for no tiles.
    """
    nothing = np.empty((0, picture.width), dtype=np.int32)
    return np.concatenate([nothing, *tiles])


def compute_escapes(picture: Picture, items: Sequence[range]) -> NDArray[np.int32]:
    """Return the step counts of all tiles, iterated at once in NumPy.

    Parameters
    ----------
    picture : Picture
        The whole grid.
    items : sequence of range
        Rows of each tile.

    Returns
    -------
    numpy.ndarray of int32, shape (rows of all tiles, width)

    Notes
    -----
    Computes on one core. Points that escaped are removed in each step: the work is
    the loop's, and nothing overflows.
    """
    numbers = np.array([row for rows in items for row in rows], dtype=np.float64)
    imaginary, real = np.meshgrid(
        _im(picture, numbers),
        _re(picture, np.arange(picture.width, dtype=np.float64)),
        indexing="ij",
    )
    re, im = real.ravel(), imaginary.ravel()
    counts = np.full(re.size, picture.limit, dtype=np.int32)
    index = np.arange(re.size)
    x, y = np.zeros_like(re), np.zeros_like(im)
    for n in range(picture.limit):
        xx, yy = x * x, y * y
        inside = xx + yy <= 4.0  # noqa: PLR2004 - as in count_steps
        if not inside.all():
            counts[index[~inside]] = n
            index, re, im = index[inside], re[inside], im[inside]
            x, y, xx, yy = x[inside], y[inside], xx[inside], yy[inside]
        y = 2.0 * x * y + im
        x = xx - yy + re
    return counts.reshape(real.shape)


# For numbers and arrays alike, since both forms have to see the same floats.
def _re(picture: Picture, column: Number) -> Number:
    """Return the real part at the middle of a column of pixels."""
    return _LEFT + (column + 0.5) * (_WIDTH_UNITS / picture.width)


def _im(picture: Picture, row: Number) -> Number:
    """Return the imaginary part at the middle of a row of pixels."""
    return _TOP - (row + 0.5) * (_HEIGHT_UNITS / picture.height)
