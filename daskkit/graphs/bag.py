"""`build_bag`: a workload as a `dask.bag.Bag`, and the tree that combines one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from daskkit.graphs.layers import Chain, make_part_layer
from daskkit.graphs.partitions import SPLIT_EVERY, choose_npartitions
from daskkit.graphs.tasks import Step, apply_combine
from daskkit.run.job import Job
from daskkit.transport.bag import PartitionBag
from daskkit.transport.carried import Carried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dask.bag import Bag, Item

    from daskkit.records import Workload

__all__ = ["build_bag", "make_bag", "reduce_bag"]


def build_bag(workload: Workload, *, npartitions: int | None = None) -> Bag:
    """Return the results of a workload, one an item, as a lazy Dask bag.

    Builds a graph; computes nothing and starts nothing.

    Parameters
    ----------
    workload : Workload
        What is to be done. Its `combine` is left to `reduce_bag`: a bag holds results.
    npartitions : int, optional
        Partitions of the bag, at least 1; at most one an item. Default: four for each
        thread of the open cluster's workers, or for each usable core.

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
    items: Any = workload.items  # a sequence, see Workload
    return make_bag(Job(workload.func, workload.name), items, npartitions)


def make_bag(job: Job, items: Sequence[Any], npartitions: int) -> PartitionBag:
    """Return the results of a job, one an item, as a lazy Dask bag.

    Parameters
    ----------
    job : Job
        What is done to each item.
    items : sequence
        Anything with a length and slices.
    npartitions : int
        At least 1.

    Returns
    -------
    PartitionBag

    Examples
    --------
    >>> make_bag(Job(abs, "abs"), [-1, 2], 2).compute(scheduler="synchronous")
    [1, 2]
    """
    chain = Chain()
    chain.add(*make_part_layer(Carried(Step.of(job)), items, npartitions))
    return PartitionBag(chain.graph, chain.top, npartitions)


def reduce_bag(
    bag: Bag,
    combine: Callable[[list[Any]], Any],
    *,
    split_every: int = SPLIT_EVERY,
    name: str | None = None,
) -> Item:
    """Return the combination of a bag's elements as a lazy Dask item.

    Each partition is combined in its worker, then some answers at a time, as a tree.

    Parameters
    ----------
    bag : dask.bag.Bag
        Holds results.
    combine : callable
        As in `Workload`: takes a list of results or of its own answers.
    split_every : int, default 8
        Answers that are combined at a time, at least 2.
    name : str, optional
        What the layers are called; by default ``"combine"``.

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
    combine_all = functools.partial(_combine_all, Carried(combine))
    answer: Item = bag.reduction(
        combine_all, combine_all, split_every=split_every, name=name or "combine"
    )
    return answer


def _combine_all(combine: Carried, results: Iterable[Any]) -> Any:
    return apply_combine(combine, results)
