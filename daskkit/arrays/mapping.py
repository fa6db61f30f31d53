"""`map_blocks` and `reduce_blocks`: a function of the blocks of an array."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Unpack

from daskkit.arguments import check_callable, name_of
from daskkit.arrays.arguments import make_cut, to_array
from daskkit.arrays.assembly import ArrayWork, execute_into_array, join
from daskkit.arrays.halo import read_block, trim
from daskkit.run.work import Work, execute

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from daskkit.arrays.blocks import Cut
    from daskkit.run.work import Options

__all__ = ["make_map_work", "make_reduce_work", "map_blocks", "reduce_blocks"]


def map_blocks(
    func: Callable[[NDArray[Any]], Any],
    array: ArrayLike,
    axis: int | tuple[int, ...] = 0,
    overlap: Any = 0,
    *,
    boundary: Any = None,
    blocks: Any = None,
    **options: Unpack[Options],
) -> NDArray[Any]:
    """Return the array of what `func` makes of each block of an array, in parallel.

    Blocks are cut in each process from one shared copy of the array, and results are
    written straight into the array that is returned: neither is sent.

    Parameters
    ----------
    func : callable
        ``func(block)``, of an array that can't be written to. It returns an array of as
        many axes, and of the block's length along those that are cut; other axes may
        change their length, and the dtype may change. What it returns for the first
        block decides for all: other dtypes are cast as NumPy's assignment does, if the
        kind stays the same and no text is cut off.
    array : array_like
        Anything that `numpy.asarray` takes, of at least one axis.
    axis : int or tuple of int, default 0
        Along which axes it is cut.
    overlap : int, tuple or dict, default 0
        How many cells of its neighbours a block gets on each side, its halo, which is
        cut off what `func` returns: one number, a tuple of one for each of `axis`, or a
        dict by axis.
    boundary : {None, "reflect", "periodic", "nearest"} or number, default None
        What the halo is beyond the array: nothing, so that blocks at the edge are
        smaller; the array mirrored (the cell at the edge first), going on at its other
        end, or the cell at its edge; or this number. As `overlap`, also by axis.
    blocks : int, tuple or dict, optional
        How many blocks there are along each axis, also by axis; never more than rows.
        By default blocks of at most 4 MiB, and 64 of these if they still have 64 KiB;
        that depends on sizes alone.
    **options
        `where`, `batch_size`, `progress`, `retries`, `timeout` and `name`, as for
        `daskkit.map`.

    Returns
    -------
    numpy.ndarray
        An ordinary array, writable; in Fortran order if the first result is.

    Raises
    ------
    ArgumentError
        If an argument can't be used, or `func` returns what doesn't fit.
    Exception
        What `func` raised, with a note that names the block; otherwise as
        `daskkit.map`.

    See Also
    --------
    reduce_blocks : for results that are not blocks of an array.

    Notes
    -----
    Computes at once, as `daskkit.map` does. The result doesn't depend on the number of
    workers, and not on the blocks either if `func` looks no further than `overlap`.
    Halos mean what they do in `dask.array.map_overlap`, but may be larger than a block,
    and than the array.

    Examples
    --------
    >>> import numpy as np
    >>> import daskkit as dk
    >>> dk.map_blocks(np.sqrt, [1, 4, 9])
    array([1., 2., 3.])
    >>> def smooth(x):
    ...     return np.convolve(x, [0.25, 0.5, 0.25], mode="same")
    >>> dk.map_blocks(smooth, np.arange(6.0), overlap=1, boundary="nearest", blocks=3)
    array([0.25, 1.  , 2.  , 3.  , 4.  , 4.75])
    """
    work = make_map_work(func, array, axis, overlap, boundary=boundary, blocks=blocks)
    return execute_into_array(work, **options)


def reduce_blocks(
    func: Callable[[NDArray[Any]], Any],
    array: ArrayLike,
    combine: Callable[[list[Any]], Any],
    axis: int | tuple[int, ...] = 0,
    *,
    blocks: Any = None,
    **options: Unpack[Options],
) -> Any:
    """Return ``combine([func(block) for each block])``, in parallel.

    Parameters
    ----------
    func : callable
        ``func(block)`` returns a part of the answer: anything.
    array : array_like
        As for `map_blocks`.
    combine : callable
        ``combine(parts)`` makes the answer of a list of parts. It has to be
        associative, and to take its own answers, as for `daskkit.map_reduce`.
    axis, blocks, **options
        As for `map_blocks`.

    Returns
    -------
    object
        What `combine` returns.

    Raises
    ------
    ArgumentError
        If an argument can't be used.
    Exception
        As `map_blocks`, or what `combine` raised.

    Notes
    -----
    Computes at once. The parts are combined in the order of the blocks, in this
    process, so that sums of floating-point numbers don't depend on the number of
    workers.

    Examples
    --------
    >>> import numpy as np
    >>> import daskkit as dk
    >>> int(dk.reduce_blocks(np.max, [[3, 1], [4, 1], [5, 9]], max, blocks=2))
    9
    """
    work = make_reduce_work(func, array, combine, axis, blocks=blocks)
    return execute(work, **options)


def make_map_work(
    func: Callable[[NDArray[Any]], Any],
    array: ArrayLike,
    axis: int | tuple[int, ...] = 0,
    overlap: Any = 0,
    *,
    boundary: Any = None,
    blocks: Any = None,
) -> ArrayWork:
    """Return what `map_blocks` does as plain data.

    Parameters
    ----------
    func, array, axis, overlap, boundary, blocks
        As for `map_blocks`.

    Returns
    -------
    ArrayWork

    Examples
    --------
    >>> from daskkit.run.work import execute
    >>> work = make_map_work(abs, [-1, 2, -3], blocks=3)
    >>> work.items, work.func(0), execute(work)
    (range(0, 3), array([1]), array([1, 2, 3]))
    """
    check_callable(func, "func", "func(block)")
    whole = to_array(array)
    cut = make_cut(whole, axis, overlap, boundary, blocks)
    return ArrayWork(
        name=name_of(func),
        func=_OfBlock(func, whole, cut, is_trimmed=True),
        items=range(cut.n_blocks),
        finish=functools.partial(join, cut),
        describe=lambda _, number: cut.describe(number),
        cut=cut,
    )


def make_reduce_work(
    func: Callable[[NDArray[Any]], Any],
    array: ArrayLike,
    combine: Callable[[list[Any]], Any],
    axis: int | tuple[int, ...] = 0,
    *,
    blocks: Any = None,
) -> Work:
    """Return what `reduce_blocks` does as plain data.

    Parameters
    ----------
    func, array, combine, axis, blocks
        As for `reduce_blocks`.

    Returns
    -------
    Work
        Its items are the numbers of blocks, its results the parts.

    Examples
    --------
    >>> make_reduce_work(len, [1, 2, 3], sum, blocks=2).func(1)
    2
    """
    check_callable(func, "func", "func(block)")
    check_callable(combine, "combine", "combine(list_of_parts)")
    whole = to_array(array)
    cut = make_cut(whole, axis, 0, None, blocks)
    return Work(
        name=name_of(func),
        func=_OfBlock(func, whole, cut, is_trimmed=False),
        items=range(cut.n_blocks),
        finish=combine,
        describe=lambda _, number: cut.describe(number),
    )


@dataclasses.dataclass(frozen=True)
class _OfBlock:
    """A function of an array's block as a function of the block's number."""

    func: Callable[[NDArray[Any]], Any]
    array: NDArray[Any]
    cut: Cut
    is_trimmed: bool

    def __call__(self, number: int) -> Any:
        block = read_block(self.array, self.cut, number)
        result = self.func(block)
        if not self.is_trimmed:
            return result
        return trim(result, block, self.cut, number)
