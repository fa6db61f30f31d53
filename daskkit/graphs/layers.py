"""Layers of a graph: one for items, and those that make one answer of parts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph

from daskkit.graphs.partitions import find_edges, make_layer_name
from daskkit.graphs.tasks import combine_parts, finish_parts, run_part
from daskkit.transport.carried import Carried

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Chain", "make_part_layer"]

_Tasks = dict[Any, Task]


def make_part_layer(
    step: Carried,
    items: Sequence[Any],
    npartitions: int,
    *,
    kind: type[Task] = Task,
    name: str | None = None,
) -> tuple[str, _Tasks]:
    """Return the layer that executes items: its name, and a task for each part.

    Parameters
    ----------
    step : Carried of Step
        What is done to each item.
    items : sequence
        Anything with a length and slices.
    npartitions : int
        At least 1.
    kind : type, default dask._task_spec.Task
        Of the tasks.
    name : str, optional
        Of the layer, never used before. Default: one by what is done.

    Returns
    -------
    tuple of (str, dict)
        Keys are ``(name, number of the part)``.

    Examples
    --------
    >>> from daskkit.graphs.tasks import Step
    >>> from daskkit.run.job import Job
    >>> step = Carried(Step.of(Job(abs, "abs")))
    >>> name, tasks = make_part_layer(step, range(9), 3)
    >>> name[:8], len(tasks)
    ('abs-map-', 3)
    """
    name = name or make_layer_name(step.get().job.name, "map")
    edges = find_edges(len(items), npartitions)
    tasks = {
        (name, i): kind((name, i), run_part, step, Carried(items[start:stop]), start)
        for i, (start, stop) in enumerate(itertools.pairwise(edges))
    }
    return name, tasks


class Chain:
    """A graph that grows by layers, each of which takes up the parts of the last.

    Parameters
    ----------
    sources : sequence of Dask collections, optional
        What the first layer takes up, one key each.
    """

    def __init__(self, sources: Sequence[Any] = ()) -> None:
        self._sources = sources
        #: The parts that the next layer takes up, in order.
        self.keys: list[Any] = [source.__dask_keys__()[0] for source in sources]
        #: The last layer.
        self.top = ""
        self.graph = HighLevelGraph({}, {})

    def add(self, name: str, tasks: _Tasks) -> None:
        """Add a layer, whose tasks refer to the parts of the last."""
        if self.top:
            layers, dependencies = self.graph.layers, self.graph.dependencies
            self.graph = HighLevelGraph(
                {**layers, name: tasks}, {**dependencies, name: {self.top}}
            )
        else:
            self.graph = HighLevelGraph.from_collections(name, tasks, self._sources)
        self.keys = list(tasks)
        self.top = name

    def combine(
        self,
        combine: Callable[[list[Any]], Any],
        name: str,
        width: int,
        *,
        is_alone_combined: bool = False,
    ) -> None:
        """Add layers that combine `width` parts at a time until one is left.

        Parameters
        ----------
        combine : callable
            ``combine(answers)``.
        name : str
            What the layers are called.
        width : int
            At least 2.
        is_alone_combined : bool, default False
            Whether a single part, from the start, is combined as well.
        """
        carried = Carried(combine)
        while len(self.keys) > 1 or is_alone_combined:
            is_alone_combined = False
            layer = make_layer_name(name, "combine")
            tasks = {}
            for i, start in enumerate(range(0, max(1, len(self.keys)), width)):
                references = map(TaskRef, self.keys[start : start + width])
                key = (layer, i)
                tasks[key] = Task(key, combine_parts, carried, *references)
            self.add(layer, tasks)

    def finish(self, step: Carried) -> None:
        """Add the one task in which a step makes its answer of all results."""
        layer = make_layer_name(step.get().job.name, "finish")
        key = (layer, 0)
        self.add(layer, {key: Task(key, finish_parts, step, *map(TaskRef, self.keys))})
