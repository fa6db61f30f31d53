"""`build_delayed`: a workload as a `dask.delayed.Delayed`, with a tree of combines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.delayed import Delayed, delayed

from daskkit.graphs.partitions import (
    SPLIT_EVERY,
    choose_npartitions,
    combine_parts,
    cut,
    make_layer_name,
)
from daskkit.loop import run_items
from daskkit.transport.bag import leave_worker
from daskkit.transport.carried import Carried
from daskkit.transport.errors import clear_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from daskkit.records import Workload

__all__ = ["build_delayed"]


def build_delayed(workload: Workload, *, npartitions: int | None = None) -> Delayed:
    """Return a workload's answer as a lazy Dask object.

    Builds a graph; computes nothing and starts nothing. It composes with other Dask
    code and computes on any scheduler.

    Parameters
    ----------
    workload : Workload
        What is to be done.
    npartitions : int, optional
        Tasks to cut the items into, at least 1; at most one an item. Default: four a
        usable core.

    Returns
    -------
    dask.delayed.Delayed
        Its ``compute()`` gives what ``workload.loop()`` gives. With a `combine`,
        parts are combined where they are, eight at a time, as a tree.

    Raises
    ------
    WorkloadError
        If `npartitions` is not a whole number of at least 1.

    Examples
    --------
    >>> import daskkit as dk
    >>> work = dk.Workload("squares", func=lambda x: x * x, items=range(10))
    >>> dk.build_delayed(work, npartitions=3).compute(scheduler="synchronous")
    [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    """
    npartitions = choose_npartitions(len(workload.items), npartitions)
    layer = make_layer_name(workload.name, "map")
    run_part = delayed(_run_part, pure=False, traverse=False)
    func = Carried(workload.func)
    parts = [
        run_part(func, workload.combine, Carried(part), start, dask_key_name=(layer, i))
        for i, (start, part) in enumerate(cut(workload.items, npartitions))
    ]
    answer = _combine_tree(workload, parts)
    kind = _ListAnswer if workload.combine is None else _Answer
    return kind.of(answer)


def _combine_tree(workload: Workload, parts: list[Delayed]) -> Delayed:
    """Return one delayed answer made of many, `SPLIT_EVERY` at a time."""
    combine = delayed(combine_parts, pure=False)
    # Lists only move when joined: one task takes them all.
    width = SPLIT_EVERY if workload.combine is not None else len(parts)
    while len(parts) > 1:
        layer = make_layer_name(workload.name, "combine")
        parts = [
            combine(workload.combine, *parts[i : i + width], dask_key_name=(layer, k))
            for k, i in enumerate(range(0, len(parts), width))
        ]
    return parts[0]


def _run_part(
    func: Carried,
    combine: Callable[[list[Any]], Any] | None,
    items: Carried,
    start: int,
) -> Any:
    """Execute one partition in a worker."""
    results = run_items(func.get(), items.get(), start)
    return results if combine is None else leave_worker(combine(list(results)))


class _Answer(Delayed):
    """A delayed answer, whose errors say which object can't be sent."""

    __slots__ = ()

    @classmethod
    def of(cls, answer: Delayed) -> Self:
        return cls(answer.key, answer.dask)

    def compute(self, **kwargs: Any) -> Any:
        with clear_errors():
            return Delayed.compute(self, **kwargs)


class _ListAnswer(_Answer):
    """A delayed list: travels as a partition, arrives as an ordinary list."""

    __slots__ = ()

    def __dask_postcompute__(self) -> tuple[Any, tuple[()]]:
        return _to_list, ()


def _to_list(results: Any) -> list[Any]:
    return list(results[0])
