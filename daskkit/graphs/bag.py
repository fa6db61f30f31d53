"""`build_bag`: a workload as a `dask.bag.Bag`, and the tree that combines one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from dask.highlevelgraph import HighLevelGraph

from daskkit.graphs.partitions import (
    SPLIT_EVERY,
    choose_npartitions,
    cut,
    make_layer_name,
)
from daskkit.loop import run_items
from daskkit.transport.bag import PartitionBag
from daskkit.transport.carried import Carried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask.bag import Bag, Item

    from daskkit.records import Workload
    from daskkit.transport.partition import Partition

__all__ = ["build_bag", "reduce_bag"]


def build_bag(workload: Workload, *, npartitions: int | None = None) -> Bag:
    """Return the results of a workload, one an item, as a lazy Dask bag.

    Builds a graph; computes nothing and starts nothing.

    Parameters
    ----------
    workload : Workload
        What is to be done. Its `combine` is left to `reduce_bag`: a bag holds results.
    npartitions : int, optional
        Partitions of the bag, at least 1; at most one an item. Default: four a usable
        core.

    Returns
    -------
    dask.bag.Bag
        Results in the order of the items; each partition leaves its worker as one
        object.

    Raises
    ------
    WorkloadError
        If `npartitions` is not a whole number of at least 1.

    Examples
    --------
    >>> import daskkit as dk
    >>> work = dk.Workload("squares", func=lambda x: x * x, items=range(6))
    >>> bag = dk.build_bag(work, npartitions=2)
    >>> bag.filter(lambda x: x % 2).compute(scheduler="synchronous")
    [1, 9, 25]
    """
    npartitions = choose_npartitions(len(workload.items), npartitions)
    name = make_layer_name(workload.name, "map")
    run = functools.partial(_run_part, Carried(workload.func))
    tasks: dict[Any, Any] = {
        (name, i): (run, Carried(part), start)
        for i, (start, part) in enumerate(cut(workload.items, npartitions))
    }
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=())
    return PartitionBag(graph, name, npartitions)


def reduce_bag(bag: Bag, combine: Callable[[list[Any]], Any]) -> Item:
    """Return the combination of a bag's elements as a lazy Dask item.

    Each partition is combined in its worker, then eight answers at a time, as a tree.

    Parameters
    ----------
    bag : dask.bag.Bag
        Holds results.
    combine : callable
        As in `Workload`: takes a list of results or of its own answers.

    Returns
    -------
    dask.bag.Item

    Examples
    --------
    >>> import daskkit as dk
    >>> bag = dk.build_bag(dk.Workload("squares", lambda x: x * x, range(6)))
    >>> reduce_bag(bag, sum).compute(scheduler="synchronous")
    55
    """
    combine_all = functools.partial(_combine_all, combine)
    answer: Item = bag.reduction(combine_all, combine_all, split_every=SPLIT_EVERY)
    return answer


def _run_part(func: Carried, items: Carried, start: int) -> Partition:
    """Execute one partition in a worker."""
    return run_items(func.get(), items.get(), start)


def _combine_all(combine: Callable[[list[Any]], Any], results: Iterable[Any]) -> Any:
    return combine(list(results))
