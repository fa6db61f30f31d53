"""A Dask bag whose results leave each worker as one object.

The methods of `dask.bag.Bag` work as ever and return bags of this kind again; ordinary
lists come back to the caller. Nothing here computes except `PartitionBag.take`, as it
does in Dask.
"""

# Dask's methods have no annotations, and super() hides whose they are from mypy.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dask._task_spec import (
    DataNode,
    GraphNode,
    List,
    Task,
    TaskRef,
    convert_legacy_graph,
)
from dask.bag import core
from dask.base import dont_optimize
from dask.context import globalmethod
from dask.core import flatten
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.utils import ensure_dict

from daskkit.transport import auto, contact, partition
from daskkit.transport.deaths import Doing, recording
from daskkit.transport.errors import TransportError, clear_errors
from daskkit.transport.partition import Partition, send_whole
from daskkit.transport.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from daskkit.transport.auto import Packed
    from daskkit.transport.contact import Place

__all__ = [
    "PartitionBag",
    "PartitionItem",
    "deliver_value",
    "is_on_wire",
    "leave_worker",
    "wrap_bag",
]

_Graph = dict[Any, GraphNode]


def wrap_bag(bag: core.Bag) -> PartitionBag:
    """Return the same bag, but its results will leave each worker as one object.

    Lazy: computes nothing. Dask's module-level functions (`dask.bag.zip`, `concat`,
    `map`) and constructors return plain bags; this makes them one of ours again.

    Parameters
    ----------
    bag : dask.bag.Bag
        Of either kind.

    Returns
    -------
    PartitionBag

    Examples
    --------
    >>> import dask.bag
    >>> bag = wrap_bag(dask.bag.from_sequence(range(5), npartitions=2))
    >>> bag.map(abs).filter(bool).compute(scheduler="sync")
    [1, 2, 3, 4]
    """
    return PartitionBag(bag.dask, bag.name, bag.npartitions)


def optimize(graph: Any, keys: Any, **options: Any) -> _Graph:
    """Return a bag's graph, optimised as Dask does, with each task's result sent whole.

    Parameters
    ----------
    graph : mapping
        High or low level.
    keys : list
        The wanted keys, possibly nested.
    **options
        Handed on to `dask.bag.core.optimize`.

    Returns
    -------
    dict
    """
    tasks = _pack_partitions(convert_legacy_graph(graph))
    optimized = core.optimize(tasks, list(flatten([keys])), **options)
    return {key: _sent_whole(task) for key, task in optimized.items()}


class PartitionItem(core.Item):
    """A single result of a bag, such as of `fold`; sent whole if it is a container."""

    __dask_optimize__ = globalmethod(optimize, key="bag_optimize", falsey=dont_optimize)

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return deliver_item, ()

    def _rebuild(self, dsk: Any, *, rename: Mapping[str, str] | None = None) -> Any:
        return _wrap_item(super()._rebuild(dsk, rename=rename))

    def apply(self, func: Callable[[Any], Any]) -> PartitionItem:
        """Return an item with ``func(item)``; see `dask.bag.Item.apply`."""
        return _wrap_item(super().apply(func))

    def compute(self, **kwargs: Any) -> Any:
        """Return the item's value; see `dask.bag.Item.compute`."""
        with clear_errors():
            return super().compute(**kwargs)

    def to_delayed(self, optimize_graph: bool = True) -> Delayed:
        """Return the item as a `dask.delayed.Delayed`."""
        (delayed,) = _to_delayed(self, [self.key], optimize_graph=optimize_graph)
        return delayed


class PartitionBag(core.Bag):
    """A `dask.bag.Bag` whose results leave each worker as one object; `wrap_bag`."""

    __dask_optimize__ = globalmethod(optimize, key="bag_optimize", falsey=dont_optimize)

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return deliver, (contact.find_place(),)

    def compute(self, **kwargs: Any) -> Any:
        """Return the bag's elements in a list; see `dask.bag.Bag.compute`."""
        with clear_errors():
            return super().compute(**kwargs)

    # The methods of Bag that name the class Bag instead of type(self).

    def map(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> PartitionBag:
        """Apply a function to each element; see `dask.bag.Bag.map`."""
        return wrap_bag(super().map(func, *args, **kwargs))

    def map_partitions(
        self, func: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> PartitionBag:
        """Apply a function to each partition; see `dask.bag.Bag.map_partitions`."""
        return wrap_bag(super().map_partitions(func, *args, **kwargs))

    def reduction(self, *args: Any, **kwargs: Any) -> PartitionBag | PartitionItem:
        """Reduce to an item or a bag; see `dask.bag.Bag.reduction`."""
        reduced = super().reduction(*args, **kwargs)
        if isinstance(reduced, core.Bag):
            return wrap_bag(reduced)
        return _wrap_item(reduced)

    def accumulate(self, *args: Any, **kwargs: Any) -> PartitionBag:
        """Apply a binary function repeatedly; see `dask.bag.Bag.accumulate`."""
        return wrap_bag(super().accumulate(*args, **kwargs))

    def repartition(self, *args: Any, **kwargs: Any) -> PartitionBag:
        """Change the number of partitions; see `dask.bag.Bag.repartition`."""
        return wrap_bag(super().repartition(*args, **kwargs))

    def take(
        self,
        k: int,
        npartitions: int = 1,
        compute: bool = True,
        warn: bool = True,
    ) -> Any:
        """Return the first `k` elements, computing them; see `dask.bag.Bag.take`."""
        taken = wrap_bag(super().take(k, npartitions, compute=False, warn=warn))
        return tuple(taken.compute()) if compute else taken

    def to_delayed(self, optimize_graph: bool = True) -> list[Delayed]:
        """Return one `dask.delayed.Delayed` for each partition."""
        return _to_delayed(self, self.__dask_keys__(), optimize_graph=optimize_graph)


class _Delivery(partition.Partition):
    """The whole result of a bag on a worker: a list, sent as the parts it came from.

    They were pickled where they were computed; so the worker that puts them together
    passes them on without pickling, or copying, anything once more.
    """

    __slots__ = ("parts",)

    def __init__(self, items: list[Any], parts: list[Packed]) -> None:
        super().__init__(items)
        self.parts = parts

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _join, tuple(self.parts)


class _Parcel:
    """A packed value on a worker that arrives at the caller as the value itself.

    The worker keeps it, and with it shared memory, until the caller has it.
    """

    __slots__ = ("packed",)

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    def __reduce__(self) -> tuple[Any, ...]:
        return _join, (self.packed,)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sys.getsizeof(self.packed)


def pack_partition(items: Any) -> Any:
    """Return a partition in the form in which it leaves its worker.

    Parameters
    ----------
    items : object
        What the last layer yields: a list, an iterator, or whatever a user's function
        made of the partition.

    Returns
    -------
    Packed, or the partition itself outside a worker
        There nothing is going to be pickled.
    """
    results = items
    if isinstance(items, (Iterator, Partition)):
        items = list(items)
    if not is_on_wire():
        return items
    try:
        return _pack_tried(items)
    except TransportError as error:
        named = partition.name_result(results, error)
        raise named from named.__cause__


_trial = Trial()


def _pack_tried(value: Any) -> Packed:
    """Pack what goes to the caller, once it is sure that it can be rebuilt."""
    with recording("answer") as record:
        if record.culprit is not None:
            record.blame("a task")
        return _trial.pack(
            value, None, 0.0, lambda types: record.note(Doing.TRIES, types=types)
        )


def deliver(parts: list[Any], home: Place) -> Any:
    """Return the result of a bag, made of its partitions; runs as the last task.

    Parameters
    ----------
    parts : list
        From `pack_partition`, or plain partitions if the graph was not optimised.
    home : Place
        Where the caller runs: what it can't open is sent to it.

    Returns
    -------
    list
        One that is sent whole and arrives as an exact list.
    """
    values = [auto.unpack(p) if isinstance(p, auto.Packed) else p for p in parts]
    result = core.finalize(values)
    if type(result) is Partition:  # that of a bag with a single one
        result = list(result)
    if not is_on_wire() or type(result) is not list:
        return send_whole(result) if is_on_wire() else result
    if home != contact.find_place():
        return send_whole(result)
    if all(isinstance(p, auto.Packed) and p.length is not None for p in parts):
        return _Delivery(result, parts)
    return _Delivery(result, [auto.pack(result)])


def deliver_item(results: list[Any]) -> Any:
    """Return the one result of an item; runs as the last task.

    Parameters
    ----------
    results : list
        With one element.

    Returns
    -------
    object
    """
    return leave_worker(core.finalize_item(results))


def deliver_value(results: list[Any], home: Place) -> Any:
    """Return the one value of a delayed object; runs as the last task.

    Parameters
    ----------
    results : list
        With one element.
    home : Place
        Where the caller runs: what it can open is shared with it instead of sent.

    Returns
    -------
    object
        One that arrives as the value was.
    """
    (value,) = results
    if is_on_wire() and home == contact.find_place():
        return _Parcel(_pack_tried(value))
    return leave_worker(value)


def leave_worker(value: Any) -> Any:
    """Return a task's result in the form in which it leaves its worker.

    Parameters
    ----------
    value : object
        The result.

    Returns
    -------
    object
        On a worker a container that is sent as one object and arrives as it was;
        elsewhere `value` itself.
    """
    return send_whole(value) if is_on_wire() else value


def _join(*parts: Packed) -> list[Any]:
    """Return the list that some parts make up; runs where it is received."""
    if len(parts) == 1:
        whole: list[Any] = auto.unpack(parts[0], last=True)
        return whole
    return [element for part in parts for element in auto.unpack(part, last=True)]


def is_on_wire() -> bool:
    """Return whether this is a task whose result will be pickled for its receiver.

    Returns
    -------
    bool
        Not so with Dask's own schedulers, nor on a worker in the caller's process:
        there the result is handed over as it is, and has to be an ordinary list.

    Examples
    --------
    >>> is_on_wire()
    False
    """
    get_worker = contact.find_imported("distributed.worker", "get_worker")
    if get_worker is None:
        return False
    try:
        worker = get_worker()
    except ValueError:
        return False
    return not worker.address.startswith("inproc://")


def _pack_partitions(graph: Mapping[Any, Any]) -> _Graph:
    """Return a graph in which each partition of a result is packed where it is made.

    `deliver` gets its partitions from a task each, which Dask then fuses with what
    makes the partition.
    """
    tasks = dict(graph)
    for task in graph.values():
        if not isinstance(task, Task) or task.func is not deliver:
            continue
        wanted = task.args[0]
        if not isinstance(wanted, List):
            continue
        references = []
        for reference in wanted.args:
            if not isinstance(reference, TaskRef):
                break
            # The finalising task's key is unique; so a graph that was persisted
            # meanwhile can't give the same key another meaning.
            key = _derive_key("pack", reference.key, f"-{task.key}")
            tasks[key] = Task(key, pack_partition, TaskRef(reference.key))
            references.append(TaskRef(key))
        else:
            tasks[task.key] = Task(task.key, deliver, List(*references), *task.args[1:])
    return tasks


def _derive_key(prefix: str, key: Any, suffix: str = "") -> Any:
    """Return a key for something made of what `key` stands for."""
    if isinstance(key, tuple):
        return (f"{prefix}-{key[0]}{suffix}", *key[1:])
    return f"{prefix}-{key}{suffix}"


def _sent_whole(task: GraphNode) -> GraphNode:
    """Return a task whose result is not sent element by element, should it be sent."""
    if isinstance(task, DataNode):
        return DataNode(task.key, _whole(task.value))
    if not isinstance(task, Task) or task.is_coro or task.func is _run_whole:
        return task
    return Task(
        task.key,
        _run_whole,
        task.func,
        *task.args,
        _data_producer=task.data_producer,
        **task.kwargs,
    )


def _run_whole(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    value = func(*args, **kwargs)
    return _whole(value) if is_on_wire() else value


def _whole(value: Any) -> Any:
    """Return a list as a Partition, which stays one from worker to worker."""
    return Partition(value) if type(value) is list else send_whole(value)


def _wrap_item(item: core.Item) -> PartitionItem:
    return PartitionItem(item.dask, item.key, layer=item._layer)  # noqa: SLF001 - Dask's


def _to_delayed(
    collection: core.Bag | core.Item, keys: Sequence[Any], *, optimize_graph: bool
) -> list[Delayed]:
    """Return Delayed objects whose values come back as exact containers, sent whole."""
    graph = collection.__dask_graph__()
    if optimize_graph:
        graph = collection.__dask_optimize__(graph, list(keys))
    layer = f"whole-{collection.name}"
    tasks = {}
    for key in keys:
        new = _derive_key("whole", key)
        tasks[new] = Task(new, _deliver_delayed, TaskRef(key))
    whole = {**ensure_dict(graph), **tasks}
    layers = HighLevelGraph.from_collections(layer, whole, dependencies=())
    return [Delayed(key, layers, layer=layer) for key in tasks]


def _deliver_delayed(value: Any) -> Any:
    value = list(value) if isinstance(value, Partition) else value
    return send_whole(value) if is_on_wire() else value
