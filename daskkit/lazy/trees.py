"""`pipeline` and `tree_reduce`: graphs that have no eager verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.bag import Bag
from dask.base import is_dask_collection
from dask.delayed import delayed

from daskkit.arguments import check_whole
from daskkit.errors import ArgumentError
from daskkit.graphs.bag import reduce_bag
from daskkit.graphs.delayed import Answer
from daskkit.graphs.layers import Chain
from daskkit.graphs.partitions import SPLIT_EVERY
from daskkit.graphs.pipeline import make_pipeline, read_stages
from daskkit.lazy.arguments import check_lazy, read_items
from daskkit.loop import short_repr
from daskkit.run.inputs import check_combine, check_iterable
from daskkit.run.options import make_job
from daskkit.transport.bag import wrap_bag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask.delayed import Delayed

__all__ = ["pipeline", "tree_reduce"]


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
    (items,) = check_lazy((items,))
    sequence = read_items("items", check_iterable(items, "items"))
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
    # Of one alone no tree can be made.
    split_every = check_whole(split_every, "split_every", 2)
    # Checks the name, or finds one.
    name = make_job(combine, name, 0, None, "raise").name
    if isinstance(parts, Bag):
        item = reduce_bag(wrap_bag(parts), combine, split_every=split_every, name=name)
        reduced: Delayed = item.to_delayed()
        return reduced
    chain = Chain([_check_part(i, part) for i, part in enumerate(_list_parts(parts))])
    chain.combine(combine, name, split_every, is_alone_combined=True)
    return Answer.of(chain)


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
