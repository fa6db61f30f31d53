"""The verbs, lazily: the same names and arguments give a Dask bag or a Delayed.

Nothing is computed, and no process is started, before the user asks Dask for it. The
graphs are built in `graphs`; here arguments are checked.
"""

from __future__ import annotations

import dataclasses
import numbers
from typing import TYPE_CHECKING, Any

from dask.bag import Bag
from dask.base import is_dask_collection
from dask.delayed import delayed

from daskkit.errors import ArgumentError
from daskkit.graphs.bag import make_bag, reduce_bag
from daskkit.graphs.delayed import Answer, make_answer
from daskkit.graphs.layers import Chain
from daskkit.graphs.partitions import SPLIT_EVERY, count_partitions
from daskkit.graphs.pipeline import make_pipeline, read_stages
from daskkit.loop import short_repr
from daskkit.run.inputs import check_combine, check_iterable, to_sequence, zip_inputs
from daskkit.run.options import make_job
from daskkit.transport.bag import wrap_bag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dask.delayed import Delayed

    from daskkit.run.work import Work

__all__ = ["map", "map_reduce", "pipeline", "starmap", "tree_reduce"]

# Options of the eager verbs, and what takes their place.
_ELSEWHERE = {
    "where": (
        "say it when you compute: x.compute(scheduler='threads'), 'processes' or "
        "'synchronous', or open a cluster; npartitions says how the work is cut"
    ),
    "progress": (
        "with a cluster watch its dashboard or call distributed.progress, else use "
        "dask.diagnostics.ProgressBar"
    ),
    "retries": (
        "with a cluster say it when you compute: x.compute(retries=3) tries a whole "
        "partition again"
    ),
    "timeout": (
        "wait for a future with a limit, client.compute(x).result(timeout=60), or use "
        "daskkit.{verb}, which computes at once"
    ),
    "on_error": (
        "catch the exception in func and return it, or use daskkit.{verb}, which "
        "computes at once"
    ),
}


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
    _refuse("map", eager)
    job = make_job(func, name, 0, None, "raise", star=len(iterables) > 1)
    items = _read("the items", zip_inputs(_check_lazy(iterables)))
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
    _refuse("starmap", eager)
    job = make_job(func, name, 0, None, "raise", star=True)
    (tuples,) = _check_lazy((tuples,))
    items = _read("tuples", check_iterable(tuples, "tuples"))
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
    _refuse("map_reduce", eager)
    check_combine(combine)
    job = make_job(func, name, 0, None, "raise", combine=combine)
    (items,) = _check_lazy((items,))
    sequence = _read("items", check_iterable(items, "items"))
    n_parts = count_partitions(len(sequence), npartitions, batch_size)
    return make_answer(job, sequence, n_parts)


def pipeline(
    items: Iterable[Any],
    *stages: Any,
    npartitions: int | None = None,
    batch_size: int | None = None,
) -> Bag:
    """Return items after several functions, one after the other, as a lazy Dask bag.

    Parameters
    ----------
    items : iterable
        The inputs of the first stage, read now.
    *stages : callable, or tuple of a callable and a dict
        Each is a function of one item, the result of the stage before. The dict has
        options of that stage: ``npartitions`` or ``batch_size`` cuts its items anew,
        finer where an item costs more, and ``name`` is what it is called.
    npartitions, batch_size : int, optional
        How items are cut for the first stage, as for `map`. A stage without options of
        its own keeps the partitions of the stage before.

    Returns
    -------
    dask.bag.Bag
        Of the results of the last stage, in the order of the items.

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Notes
    -----
    Computes nothing. Each stage is a layer of the graph, and stays one when Dask
    optimises it: the dashboard shows a line for each, and an idle worker may take over
    a partition between two stages. That costs a task, about a millisecond, for each
    partition of a stage; for cheap functions `map` over one that calls all is quicker.

    An exception has a note that names the item, as its stage received it, and the
    stage.

    Examples
    --------
    >>> import daskkit as dk
    >>> def read(n):
    ...     return list(range(n))
    >>> bag = dk.lazy.pipeline([3, 1, 2], read, (sum, {"batch_size": 1}))
    >>> bag.compute(scheduler="synchronous")
    [3, 0, 1]
    """
    read = read_stages(stages)
    (items,) = _check_lazy((items,))
    sequence = _read("items", check_iterable(items, "items"))
    return make_pipeline(read, sequence, npartitions=npartitions, batch_size=batch_size)


def tree_reduce(
    parts: Iterable[Any] | Bag,
    combine: Callable[[list[Any]], Any],
    *,
    split_every: int = SPLIT_EVERY,
    name: str | None = None,
) -> Delayed:
    """Return the combination of lazy parts, some at a time, as a lazy Dask object.

    Parameters
    ----------
    parts : dask.bag.Bag, or iterable of Delayed or other Dask objects of one value
        What is combined: the elements of a bag, first within each partition, or the
        values of the parts.
    combine : callable
        ``combine(values)`` makes one value of a list of them, in order. It is given its
        own answers: ``combine([combine(a), combine(b)]) == combine(a + b)``.
    split_every : int, default 8
        How many answers are combined at a time, at least 2.
    name : str, optional
        What the layers are named. Default: the name of `combine`.

    Returns
    -------
    dask.delayed.Delayed

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Notes
    -----
    Computes nothing. No task ever holds more than `split_every` answers, whereas
    ``dask.delayed(combine)(parts)`` brings all of them to one worker. Without parts,
    ``combine([])`` is the answer.

    Examples
    --------
    >>> import dask
    >>> import daskkit as dk
    >>> parts = [dask.delayed(abs)(n) for n in range(-20, 0)]
    >>> dk.lazy.tree_reduce(parts, max).compute(scheduler="synchronous")
    20
    """
    check_combine(combine)
    if (
        isinstance(split_every, bool)
        or not isinstance(split_every, numbers.Integral)
        or split_every < 2  # noqa: PLR2004 - of one alone no tree can be made
    ):
        msg = (
            "split_every must be a whole number of at least 2, received "
            f"{short_repr(split_every)}"
        )
        raise ArgumentError(msg)
    # Checks the name, or finds one.
    name = make_job(combine, name, 0, None, "raise").name
    if isinstance(parts, Bag):
        item = reduce_bag(wrap_bag(parts), combine, split_every=split_every, name=name)
        reduced: Delayed = item.to_delayed()
        return reduced
    chain = Chain([_check_part(i, part) for i, part in enumerate(_list_parts(parts))])
    chain.combine(combine, name, split_every, is_alone_combined=True)
    return Answer.of(chain)


def _make_lazy(
    work: Work, npartitions: int | None, batch_size: int | None, name: str | None
) -> Delayed:
    """Return what is made of some work's results, as a lazy Dask object."""
    name = work.name if name is None else name
    job = make_job(work.func, name, 0, None, "raise")
    job = dataclasses.replace(job, each=work.each, describe=work.describe)
    n_parts = count_partitions(len(work.items), npartitions, batch_size)
    return make_answer(job, work.items, n_parts, work.finish)


def _refuse(verb: str, options: dict[str, Any]) -> None:
    """Raise an error about the first option that a lazy verb doesn't have."""
    for option in options:
        if option not in _ELSEWHERE:
            msg = f"{verb}() got an unexpected keyword argument {option!r}"
            raise TypeError(msg)
        instead = _ELSEWHERE[option].format(verb=verb)
        msg = f"daskkit.lazy.{verb} has no option {option}; {instead}"
        raise ArgumentError(msg)


def _check_lazy(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return inputs, none of which is lazy itself: reading it would compute it."""
    for one in inputs:
        if is_dask_collection(one):
            do = "use its method map" if isinstance(one, Bag) else "compute it first"
            msg = (
                f"items must be at hand, received the lazy {short_repr(one)}; {do}, or "
                "pass it to a function by dask.delayed"
            )
            raise ArgumentError(msg)
    return inputs


def _read(what: str, items: Iterable[Any]) -> Sequence[Any]:
    """Return items that can be cut; reads an iterator to its end."""
    sequence = to_sequence(items)
    # The first tells of all: looking at each would cost more than the rest.
    for item in sequence[:1]:
        if is_dask_collection(item):
            msg = (
                f"{what} must be at hand, received {short_repr(item)} among them, "
                "whose value func would not get; call dask.delayed(func) with each, "
                "and combine the results by daskkit.lazy.tree_reduce"
            )
            raise ArgumentError(msg)
    return sequence


def _list_parts(parts: Any) -> list[Any]:
    """Return the parts of a reduction, which are several objects of one value each."""
    if not is_dask_collection(parts):
        return list(check_iterable(parts, "parts"))
    msg = (
        "parts must be a bag or a list of Dask objects, received the single "
        f"{short_repr(parts)}; pass a list such as x.to_delayed()"
    )
    raise ArgumentError(msg)


def _check_part(number: int, part: Any) -> Any:
    if is_dask_collection(part):
        return delayed(part)
    msg = (
        f"part {number} must be a Dask object such as a Delayed, received "
        f"{short_repr(part)} of type {type(part).__name__}; for values that are at "
        "hand use daskkit.lazy.map_reduce"
    )
    raise ArgumentError(msg)
