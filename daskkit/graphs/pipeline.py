"""`make_pipeline`: items through several functions, each a layer of its own."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from dask._task_spec import Task, TaskRef

from daskkit.errors import ArgumentError
from daskkit.graphs.layers import Chain, make_part_layer
from daskkit.graphs.partitions import count_partitions, find_edges, make_layer_name
from daskkit.graphs.tasks import Step, run_pieces
from daskkit.loop import short_repr
from daskkit.run.options import make_job
from daskkit.transport.bag import PartitionBag
from daskkit.transport.carried import Carried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskkit.run.job import Job

__all__ = ["Stage", "find_pieces", "make_pipeline", "read_stages"]

_OPTIONS = ("npartitions", "batch_size", "name")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One function of a pipeline."""

    #: What is done to each item, and by what name.
    job: Job
    #: How its items are cut, see `count_partitions`; both None: as before it.
    npartitions: int | None = None
    batch_size: int | None = None


class _StageTask(Task):
    """A task that Dask leaves apart: the dashboard shows a line for each stage."""

    __slots__ = ()

    @property
    def block_fusion(self) -> bool:
        return True


def read_stages(stages: Sequence[Any]) -> list[Stage]:
    """Return the stages that a user described, checked, each with a name of its own.

    Parameters
    ----------
    stages : sequence
        Callables, or tuples of one and a dict of its options.

    Returns
    -------
    list of Stage

    Raises
    ------
    ArgumentError
        If there is none, or one is neither.

    Examples
    --------
    >>> [stage.job.name for stage in read_stages([abs, (abs, {"npartitions": 2}), str])]
    ['abs', 'abs_2', 'str']
    """
    if not stages:
        msg = "at least one stage, a function of one item, is needed; received none"
        raise ArgumentError(msg)
    read = [_read_stage(stage, i + 1) for i, stage in enumerate(stages)]
    seen: Counter[str] = Counter()
    for i, stage in enumerate(read):
        seen[stage.job.name] += 1
        if (number := seen[stage.job.name]) > 1:
            job = stage.job.replace(name=f"{stage.job.name}_{number}")
            read[i] = dataclasses.replace(stage, job=job)
    return read


def make_pipeline(
    stages: Sequence[Stage],
    items: Sequence[Any],
    *,
    npartitions: int | None = None,
    batch_size: int | None = None,
) -> PartitionBag:
    """Return the results of the last stage as a lazy Dask bag.

    Parameters
    ----------
    stages : sequence of Stage
        At least one.
    items : sequence
        Anything with a length and slices.
    npartitions, batch_size : int, optional
        How the items are cut for stages that don't say it; see `count_partitions`.

    Returns
    -------
    PartitionBag

    Examples
    --------
    >>> bag = make_pipeline(read_stages([abs, str]), [-1, 2, 3], npartitions=2)
    >>> bag.compute(scheduler="synchronous")
    ['1', '2', '3']
    """
    n_items = len(items)
    chain = Chain()
    edges: list[int] = []
    for i, stage in enumerate(stages):
        place = f" of stage {i + 1} ({stage.job.name})" if len(stages) > 1 else ""
        step = Carried(Step.of(stage.job, place=place))
        # What follows the last stage, and its way to the caller, may be fused with it.
        kind = _StageTask if i < len(stages) - 1 else Task
        name = make_layer_name(stage.job.name)
        before = edges
        wanted = (stage.npartitions, stage.batch_size)
        if wanted != (None, None):
            edges = find_edges(n_items, count_partitions(n_items, *wanted))
        elif not before:
            n_parts = count_partitions(n_items, npartitions, batch_size)
            edges = find_edges(n_items, n_parts)
        if not before:
            n_parts = len(edges) - 1
            chain.add(*make_part_layer(step, items, n_parts, kind=kind, name=name))
        else:
            tasks = _make_tasks(name, step, chain.keys, before, edges, kind)
            chain.add(name, tasks)
    return PartitionBag(chain.graph, chain.top, len(chain.keys))


def find_pieces(
    before: Sequence[int], edges: Sequence[int]
) -> list[list[tuple[int, slice]]]:
    """Return, for each of the new parts, the pieces of old ones that it consists of.

    Parameters
    ----------
    before, edges : sequence of int
        Where the old and the new parts begin and end, see `find_edges`.

    Returns
    -------
    list of list of tuple of (int, slice)
        The number of an old part, and which of its items.

    Examples
    --------
    >>> find_pieces([0, 2, 5], [0, 3, 5])
    [[(0, slice(0, 2, None)), (1, slice(0, 1, None))], [(1, slice(1, 3, None))]]
    """
    pieces: list[list[tuple[int, slice]]] = []
    first = 0
    for start, stop in itertools.pairwise(edges):
        while first < len(before) - 2 and before[first + 1] <= start:
            first += 1
        found: list[tuple[int, slice]] = []
        for i in range(first, len(before) - 1):
            low, high = before[i], before[i + 1]
            if found and low >= stop:
                break
            found.append((i, slice(max(start, low) - low, min(stop, high) - low)))
        pieces.append(found)
    return pieces


def _make_tasks(  # noqa: PLR0917 - an inner part of make_pipeline
    name: str,
    step: Carried,
    keys: Sequence[Any],
    before: Sequence[int],
    edges: Sequence[int],
    kind: type[Task],
) -> dict[Any, Task]:
    """Return the tasks of a stage, which take up the parts of the one before."""
    tasks = {}
    for i, pieces in enumerate(find_pieces(before, edges)):
        key = (name, i)
        references = [TaskRef(keys[number]) for number, _ in pieces]
        slices = tuple(piece for _, piece in pieces)
        tasks[key] = kind(key, run_pieces, step, slices, edges[i], *references)
    return tasks


def _read_stage(stage: Any, number: int) -> Stage:
    func: Any = stage
    options: Any = {}
    if isinstance(stage, tuple) and len(stage) == 2:  # noqa: PLR2004 - a pair
        func, options = stage
    if not callable(func) or not isinstance(options, dict):
        msg = (
            f"stage {number} must be a function of one item, or a tuple of one and a "
            f"dict of its options, received {short_repr(stage)}"
        )
        raise ArgumentError(msg)
    unknown = [option for option in options if option not in _OPTIONS]
    if unknown:
        msg = (
            f"stage {number} has an unknown option {short_repr(unknown[0])}; "
            f"available: {', '.join(_OPTIONS)}"
        )
        raise ArgumentError(msg)
    job = make_job(func, options.get("name"), 0, None, "raise")
    # Checked here, where the number of the stage is known.
    count_partitions(1, options.get("npartitions"), options.get("batch_size"))
    return Stage(job, options.get("npartitions"), options.get("batch_size"))
