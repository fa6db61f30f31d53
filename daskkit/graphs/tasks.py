"""What the tasks of a graph execute on a worker, or wherever Dask puts them."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import cloudpickle

from daskkit.errors import RemoteError
from daskkit.run.job import run_chunk
from daskkit.run.trial import try_first
from daskkit.transport.bag import is_on_wire, leave_worker
from daskkit.transport.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.run.job import Job
    from daskkit.transport.carried import Carried

__all__ = ["Step", "combine_parts", "finish_parts", "run_part", "run_pieces"]


@dataclasses.dataclass(frozen=True)
class Step:
    """What is done to each item of a layer; carried by the graph."""

    #: What is done, and by what name.
    job: Job
    #: `Job.describe`, which a job itself leaves behind when it is pickled.
    describe: Callable[[int, Any], str] | None = None
    #: ``combine(results)`` makes one answer of a part's results; None keeps them.
    combine: Callable[[list[Any]], Any] | None = None
    #: ``finish(results)`` makes the answer of all results, as the last task. It is
    #: carried along because it may know the same data: they are shared once.
    finish: Callable[[list[Any]], Any] = list
    #: Where in a pipeline, such as ``" of stage 2 (parse)"``, for messages.
    place: str = ""

    @classmethod
    def of(cls, job: Job, **fields: Any) -> Step:
        """Return the step that executes a job.

        Examples
        --------
        >>> from daskkit.run.job import Job
        >>> Step.of(Job(abs, "abs", combine=sum)).combine([1, 2])
        3
        """
        return cls(job, job.describe, job.combine, **fields)

    def run(self, items: Sequence[Any], start: int) -> Any:
        """Return the results of consecutive items, or their combination.

        Parameters
        ----------
        items : sequence
            Those of one part.
        start : int
            Index of the first of them in the whole input, for messages.

        Returns
        -------
        Partition, or the answer of `combine`

        Raises
        ------
        Exception
            What an item raised, with a note that names it; a `RemoteError` in its place
            if it can't travel from here to the caller.

        Examples
        --------
        >>> from daskkit.run.job import Job
        >>> Step.of(Job(abs, "abs")).run([-1, 2], 0)
        [1, 2]
        """
        results = Partition()
        caught = run_chunk(self.job, items, results)
        if caught:
            index = start + caught[0].offset
            job = dataclasses.replace(self.job, describe=self.describe)
            what = job.name_item(index, items[caught[0].offset])
            error = caught[0].error
            error.add_note(f"raised by {what}{self.place}")
            _raise(error)
        if is_on_wire():
            try_first(results)
        if self.combine is None:
            return results
        return leave_worker(self.combine(list(results)))


def run_part(step: Carried, items: Carried, start: int) -> Any:
    """Execute one part of the items.

    Parameters
    ----------
    step : Carried of Step
        What is done to each.
    items : Carried of sequence
        The items of this part.
    start : int
        Index of the first of them.

    Returns
    -------
    object
        See `Step.run`.
    """
    return step.get().run(items.get(), start)


def run_pieces(
    step: Carried, pieces: Sequence[slice], start: int, *parts: Sequence[Any]
) -> Any:
    """Execute one part of the items, which are pieces of the parts of another layer.

    Parameters
    ----------
    step : Carried of Step
        What is done to each.
    pieces : sequence of slice
        Which items of each part, in order.
    start : int
        Index of the first item.
    *parts : sequence
        Results of the layer before.

    Returns
    -------
    object
        See `Step.run`.
    """
    items = [
        item for part, piece in zip(parts, pieces, strict=True) for item in part[piece]
    ]
    return step.get().run(items, start)


def combine_parts(combine: Carried, *parts: Any) -> Any:
    """Return one answer made of several.

    Parameters
    ----------
    combine : Carried of callable
        ``combine(answers)``, as in `daskkit.map_reduce`.
    *parts : object
        Its own answers, or results.

    Returns
    -------
    object

    Examples
    --------
    >>> from daskkit.transport.carried import Carried
    >>> combine_parts(Carried(sum), 3, 4)
    7
    """
    return leave_worker(combine.get()(list(parts)))


def finish_parts(step: Carried, *parts: Sequence[Any]) -> Any:
    """Return what is made of all results.

    Parameters
    ----------
    step : Carried of Step
        Whose `finish` makes it.
    *parts : sequence
        Results, in the order of the items.

    Returns
    -------
    object

    Examples
    --------
    >>> from daskkit.run.job import Job
    >>> from daskkit.transport.carried import Carried
    >>> finish_parts(Carried(Step.of(Job(abs, "abs"), finish=sum)), [1, 2], [3])
    6
    """
    results = [result for part in parts for result in part]
    return leave_worker(step.get().finish(results))


def _raise(error: BaseException) -> NoReturn:
    """Raise what an item raised, in a form that arrives at the caller.

    An exception that can't be pickled ends the pool of Dask's processes, and one that
    can't be unpickled arrives as the TypeError of its own ``__init__``. A SystemExit
    ends the worker, and the next one that is given the task.
    """
    if not (is_on_wire() or multiprocessing.parent_process() is not None):
        raise error
    reason = "an exception that ends a process isn't raised in the caller's"
    if isinstance(error, Exception):
        try:
            copy = pickle.loads(cloudpickle.dumps(error))
        except Exception as failed:  # noqa: BLE001 - code of the exception's class
            reason = f"{type(failed).__name__}: {failed}"
        else:
            if type(copy) is type(error) and hasattr(copy, "__notes__"):
                raise error
            reason = "its own pickling loses its type or its notes"
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    msg = (
        f"{name.removeprefix('builtins.')}: {error} (only its text was sent: {reason})"
    )
    remote = RemoteError(msg)
    remote.__notes__ = [
        *error.__notes__,
        "".join(traceback.format_tb(error.__traceback__)).rstrip(),
    ]
    raise remote from None
