"""`map`, `starmap` and `map_reduce`, lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.graphs.bag import make_bag
from daskkit.graphs.delayed import make_answer
from daskkit.graphs.partitions import count_partitions
from daskkit.lazy.arguments import check_lazy, read_items, refuse
from daskkit.run.inputs import check_combine, check_iterable, zip_inputs
from daskkit.run.options import make_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask.bag import Bag
    from dask.delayed import Delayed

__all__ = ["map", "map_reduce", "starmap"]


def map(  # noqa: A001 - the name that its users know
    func: Callable[..., Any],
    *iterables: Iterable[Any],
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **eager: Any,
) -> Bag:
    """Return ``[func(x) for x in iterable]`` as a lazy Dask bag.

    Parameters
    ----------
    func : callable
        Called with one item of each iterable.
    *iterables : iterable
        The inputs, read now, to the end of the shortest.
    npartitions : int, optional
        Partitions of the bag, which are its tasks; at most one an item. Default: four
        for each thread of the open cluster's workers, or for each usable core.
    batch_size : int, optional
        Items in a partition at most, in place of `npartitions`.
    name : str, optional
        What the layer is named in graphs, on the dashboard and in messages. Default:
        the name of `func`.
    **eager
        Other options of `daskkit.map` are refused, with what to do instead.

    Returns
    -------
    dask.bag.Bag
        With all methods of one; results in the order of the items. Each partition
        leaves its worker as one object.

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Notes
    -----
    Computes nothing. When it is computed, on any of Dask's schedulers, an exception of
    `func` has a note that names the item. Two equal calls are computed twice: their
    keys differ. Large arrays among the items, and those that `func` captures, are
    shared with local workers, once a graph.

    Examples
    --------
    >>> import daskkit as dk
    >>> bag = dk.lazy.map(lambda n: n % 3, range(10), npartitions=2)
    >>> bag
    dask.bag<lambda-map, npartitions=2>
    >>> sorted(bag.filter(bool).frequencies().compute(scheduler="synchronous"))
    [(1, 3), (2, 3)]
    """
    refuse("map", eager)
    job = make_job(func, name, 0, None, "raise", star=len(iterables) > 1)
    items = read_items("the items", zip_inputs(check_lazy(iterables)))
    return make_bag(job, items, count_partitions(len(items), npartitions, batch_size))


def starmap(
    func: Callable[..., Any],
    tuples: Iterable[Iterable[Any]],
    *,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **eager: Any,
) -> Bag:
    """Return ``[func(*args) for args in tuples]`` as a lazy Dask bag.

    Parameters
    ----------
    func : callable
        Called with the elements of one tuple.
    tuples : iterable of tuple
        The arguments of each call, read now.
    npartitions, batch_size, name, **eager
        As for `map`.

    Returns
    -------
    dask.bag.Bag
        See `map`.

    Raises
    ------
    ArgumentError
        As `map`.

    Examples
    --------
    >>> import daskkit as dk
    >>> dk.lazy.starmap(pow, [(2, 3), (3, 2)]).sum().compute(scheduler="synchronous")
    17
    """
    refuse("starmap", eager)
    job = make_job(func, name, 0, None, "raise", star=True)
    (tuples,) = check_lazy((tuples,))
    items = read_items("tuples", check_iterable(tuples, "tuples"))
    return make_bag(job, items, count_partitions(len(items), npartitions, batch_size))


def map_reduce(
    func: Callable[[Any], Any],
    items: Iterable[Any],
    combine: Callable[[list[Any]], Any],
    *,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **eager: Any,
) -> Delayed:
    """Return ``combine([func(x) for x in items])`` as a lazy Dask object.

    Parameters
    ----------
    func : callable
        Called with one item.
    items : iterable
        The inputs, read now.
    combine : callable
        As for `daskkit.map_reduce`. Each partition is combined where it was computed,
        then eight answers at a time, as a tree.
    npartitions, batch_size, name, **eager
        As for `map`.

    Returns
    -------
    dask.delayed.Delayed

    Raises
    ------
    ArgumentError
        As `map`.

    Examples
    --------
    >>> import dask
    >>> import daskkit as dk
    >>> total = dk.lazy.map_reduce(lambda x: x * x, range(4), sum)
    >>> count = dk.lazy.map_reduce(lambda x: 1, range(4), sum)
    >>> dask.compute(total, count, scheduler="synchronous")
    (14, 4)
    """
    refuse("map_reduce", eager)
    check_combine(combine)
    job = make_job(func, name, 0, None, "raise", combine=combine)
    (items,) = check_lazy((items,))
    sequence = read_items("items", check_iterable(items, "items"))
    n_parts = count_partitions(len(sequence), npartitions, batch_size)
    return make_answer(job, sequence, n_parts)
