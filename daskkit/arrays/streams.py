"""`monte_carlo`: random numbers in blocks, each with a stream of its own."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from daskkit.arguments import check_callable, check_whole, name_of
from daskkit.arrays.assembly import ArrayWork, execute_into_array, join
from daskkit.arrays.blocks import AxisCut, Cut
from daskkit.arrays.masks import is_masked
from daskkit.errors import ArgumentError
from daskkit.loop import short_repr
from daskkit.run.work import Work, execute
from daskkit.transport.wire import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator, SeedSequence

    from daskkit.run.work import Options

__all__ = ["make_monte_carlo_work", "monte_carlo"]

# Enough to keep tens of workers busy to the end; making a stream takes 20 us.
_N_BLOCKS = 256

Seed = int | Sequence[int] | np.random.SeedSequence | None


def monte_carlo(
    func: Callable[[Generator, int], Any],
    n: int,
    *,
    seed: Seed = None,
    combine: Callable[[list[Any]], Any] | None = None,
    block_size: int | None = None,
    **options: Unpack[Options],
) -> Any:
    """Return what `func` makes of `n` random draws, in parallel and reproducibly.

    The draws are cut into blocks, each with a random stream of its own. The same seed
    gives the same numbers on any number of workers, and without any.

    Parameters
    ----------
    func : callable
        ``func(rng, size)`` makes `size` draws, with a `numpy.random.Generator`.
    n : int
        How many draws there are in all, at least 1.
    seed : int, sequence of int or numpy.random.SeedSequence, optional
        None takes fresh entropy from the system. Of a `SeedSequence` its next children
        are used, without counting them: pass a child of it (``spawn(1)[0]``) to each
        of several calls.
    combine : callable, optional
        ``combine(results)`` makes the answer of the list of all blocks' results. By
        default these have to be arrays whose first axis has length `size`, and are
        joined along it.
    block_size : int, optional
        Draws in a block; the last one may have fewer. By default there are 256 blocks,
        or `n` if that is less, of sizes that differ by one at most. The numbers depend
        on it.
    **options
        `where`, `batch_size`, `progress`, `retries`, `timeout` and `name`, as for
        `daskkit.map`.

    Returns
    -------
    numpy.ndarray or object
        All draws, in order; or what `combine` returned.

    Raises
    ------
    ArgumentError
        If an argument can't be used, or without `combine` a result can't be joined.
    Exception
        What `func` raised, with a note that names the block; otherwise as
        `daskkit.map`.

    Notes
    -----
    Computes at once. Block *i* of *m* draws from
    ``numpy.random.default_rng(numpy.random.SeedSequence(seed).spawn(m)[i])``.

    References
    ----------
    "Parallel random number generation" in NumPy's reference; O'Neill, M. E. (2015),
    Developing a seed_seq alternative.

    Examples
    --------
    >>> import daskkit as dk
    >>> def count_hits(rng, size):
    ...     x, y = rng.random((2, size))
    ...     return int((x * x + y * y <= 1).sum())
    >>> 4 * dk.monte_carlo(count_hits, 100_000, seed=1, combine=sum) / 100_000
    3.14064
    >>> dk.monte_carlo(lambda rng, size: rng.normal(size=(size, 2)), 1000).shape
    (1000, 2)
    """
    work = make_monte_carlo_work(
        func, n, seed=seed, combine=combine, block_size=block_size
    )
    if isinstance(work, ArrayWork):
        return execute_into_array(work, **options)
    return execute(work, **options)


def make_monte_carlo_work(
    func: Callable[[Generator, int], Any],
    n: int,
    *,
    seed: Seed = None,
    combine: Callable[[list[Any]], Any] | None = None,
    block_size: int | None = None,
) -> Work:
    """Return what `monte_carlo` does as plain data.

    Parameters
    ----------
    func, n, seed, combine, block_size
        As for `monte_carlo`.

    Returns
    -------
    Work
        Its items are the numbers of blocks; an `ArrayWork` without `combine`. Fresh
        entropy is drawn here, so that each execution gives the same numbers.

    Examples
    --------
    >>> work = make_monte_carlo_work(lambda rng, size: size, 10, combine=sum)
    >>> work.items, work.finish([work.func(i) for i in work.items])
    (range(0, 10), 10)
    """
    check_callable(func, "func", "func(rng, size)")
    if combine is not None:
        check_callable(combine, "combine", "combine(list_of_results)")
    n = check_whole(n, "n", 1)
    if block_size is None:
        cut = Cut(1, (AxisCut(0, length=n, n_blocks=min(n, _N_BLOCKS)),))
    else:
        block_size = check_whole(block_size, "block_size", 1)
        n_blocks = -(-n // block_size)
        cut = Cut(1, (AxisCut(0, n, n_blocks, size=block_size),))
    call = _OfStream(func, _to_seed(seed), cut, is_joined=combine is None)
    work = Work(
        name=name_of(func),
        func=call,
        items=range(cut.n_blocks),
        finish=functools.partial(join, cut) if combine is None else combine,
        describe=lambda _, number: call.describe(number),
    )
    if combine is not None:
        return work
    return ArrayWork(**vars(work), cut=cut)


@dataclasses.dataclass(frozen=True)
class _OfStream:
    """A function of a random stream as a function of the block's number."""

    func: Callable[[Generator, int], Any]
    seed: SeedSequence
    cut: Cut
    is_joined: bool

    def __call__(self, number: int) -> Any:
        start, stop = self.cut.axes[0].core(number)
        size = stop - start
        result = self.func(np.random.default_rng(self._spawn(number)), size)
        if not self.is_joined:
            return result
        array = np.asarray(result)
        if is_masked(result) or array.ndim == 0 or array.shape[0] != size:
            msg = (
                f"func returned {describe(result)} for {self.describe(number)}; "
                f"without combine it has to return an array whose first axis has "
                f"length size, here {size}. Or pass combine, a function of the list "
                "of all results"
            )
            raise ArgumentError(msg)
        return array

    def describe(self, number: int) -> str:
        """Return what a block is called in messages."""
        start, stop = self.cut.axes[0].core(number)
        return f"block {number} [draws {start}:{stop}]"

    def _spawn(self, number: int) -> SeedSequence:
        """Return a child of the seed, as `SeedSequence.spawn` makes it."""
        seed = self.seed
        key = seed.n_children_spawned + number
        return np.random.SeedSequence(
            seed.entropy, spawn_key=(*seed.spawn_key, key), pool_size=seed.pool_size
        )


def _to_seed(seed: Any) -> SeedSequence:
    """Return what `monte_carlo` was given as seed in NumPy's form, a copy."""
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(
            seed.entropy,
            spawn_key=seed.spawn_key,
            pool_size=seed.pool_size,
            n_children_spawned=seed.n_children_spawned,
        )
    if seed is None:
        return np.random.SeedSequence()
    is_sequence = isinstance(seed, (Sequence, np.ndarray)) and not isinstance(seed, str)
    values = list(seed) if is_sequence else [seed]
    if not values or not all(_is_seed(value) for value in values):
        msg = (
            "seed must be None, a whole number of at least 0, a sequence of these or "
            f"a numpy.random.SeedSequence, received {short_repr(seed)}"
        )
        raise ArgumentError(msg)
    numbers_given = [int(value) for value in values]
    return np.random.SeedSequence(numbers_given if is_sequence else numbers_given[0])


def _is_seed(value: Any) -> bool:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_whole and bool(value >= 0)
