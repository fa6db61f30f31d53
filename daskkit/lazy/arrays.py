"""`map_blocks`, `reduce_blocks` and `monte_carlo`, lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.graphs.work import build_work
from daskkit.lazy.arguments import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask.delayed import Delayed
    from numpy.random import Generator
    from numpy.typing import ArrayLike, NDArray

    from daskkit.arrays.streams import Seed

__all__ = ["map_blocks", "monte_carlo", "reduce_blocks"]


def map_blocks(
    func: Callable[[NDArray[Any]], Any],
    array: ArrayLike,
    axis: int | tuple[int, ...] = 0,
    overlap: Any = 0,
    *,
    boundary: Any = None,
    blocks: Any = None,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **eager: Any,
) -> Delayed:
    """Return the array of what `func` makes of each block, as a lazy Dask object.

    Parameters
    ----------
    func, array, axis, overlap, boundary, blocks
        As for `daskkit.map_blocks`. `array` must not be changed before the result is
        computed.
    npartitions, batch_size, name, **eager
        As for `map`; items are blocks.

    Returns
    -------
    dask.delayed.Delayed
        Its value is the array; ``dask.array.from_delayed`` makes a Dask array of it.

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Notes
    -----
    Computes nothing. The last task puts the blocks together, so that all of them have
    to fit into the memory of one worker; for larger results there is
    `dask.array.map_overlap`, whose boundaries are the same.

    Examples
    --------
    >>> import numpy as np
    >>> import daskkit as dk
    >>> roots = dk.lazy.map_blocks(np.sqrt, [1, 4, 9])
    >>> roots.sum().compute(scheduler="synchronous")
    np.float64(6.0)
    """
    refuse("map_blocks", eager)
    from daskkit.arrays.mapping import make_map_work

    work = make_map_work(func, array, axis, overlap, boundary=boundary, blocks=blocks)
    return build_work(work, npartitions=npartitions, batch_size=batch_size, name=name)


def reduce_blocks(
    func: Callable[[NDArray[Any]], Any],
    array: ArrayLike,
    combine: Callable[[list[Any]], Any],
    axis: int | tuple[int, ...] = 0,
    *,
    blocks: Any = None,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **eager: Any,
) -> Delayed:
    """Return ``combine([func(block) for each block])`` as a lazy Dask object.

    Parameters
    ----------
    func, array, combine, axis, blocks
        As for `daskkit.reduce_blocks`.
    npartitions, batch_size, name, **eager
        As for `map`; items are blocks.

    Returns
    -------
    dask.delayed.Delayed

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Notes
    -----
    Computes nothing. The parts are combined in the order of the blocks, by the last
    task, so that sums don't depend on how the work was cut.

    Examples
    --------
    >>> import numpy as np
    >>> import daskkit as dk
    >>> largest = dk.lazy.reduce_blocks(np.max, [[3, 1], [4, 1], [5, 9]], max)
    >>> int(largest.compute(scheduler="synchronous"))
    9
    """
    refuse("reduce_blocks", eager)
    from daskkit.arrays.mapping import make_reduce_work

    work = make_reduce_work(func, array, combine, axis, blocks=blocks)
    return build_work(work, npartitions=npartitions, batch_size=batch_size, name=name)


def monte_carlo(
    func: Callable[[Generator, int], Any],
    n: int,
    *,
    seed: Seed = None,
    combine: Callable[[list[Any]], Any] | None = None,
    block_size: int | None = None,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **eager: Any,
) -> Delayed:
    """Return what `func` makes of `n` random draws, as a lazy Dask object.

    Parameters
    ----------
    func, n, seed, combine, block_size
        As for `daskkit.monte_carlo`. Without a seed entropy is drawn now: one object
        has the same value each time it is computed.
    npartitions, batch_size, name, **eager
        As for `map`; items are blocks of draws. The numbers don't depend on them.

    Returns
    -------
    dask.delayed.Delayed

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Examples
    --------
    >>> import daskkit as dk
    >>> def draw(rng, size):
    ...     return rng.normal(size=size)
    >>> draws = dk.lazy.monte_carlo(draw, 1000, seed=1)
    >>> bool((draws.compute() == dk.monte_carlo(draw, 1000, seed=1)).all())
    True
    """
    refuse("monte_carlo", eager)
    from daskkit.arrays.streams import make_monte_carlo_work

    work = make_monte_carlo_work(
        func, n, seed=seed, combine=combine, block_size=block_size
    )
    return build_work(work, npartitions=npartitions, batch_size=batch_size, name=name)
