"""Work as a `dask.delayed.Delayed`: parts, and a tree of combines or a last task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.delayed import Delayed

from daskkit.graphs.layers import Chain, make_part_layer
from daskkit.graphs.partitions import SPLIT_EVERY, choose_npartitions
from daskkit.graphs.tasks import Step
from daskkit.run.job import Job
from daskkit.transport import contact
from daskkit.transport.bag import deliver_value
from daskkit.transport.carried import Carried
from daskkit.transport.errors import clear_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from daskkit.records import Workload

__all__ = ["Answer", "build_delayed", "make_answer"]


def build_delayed(workload: Workload, *, npartitions: int | None = None) -> Delayed:
    """Return a workload's answer as a lazy Dask object.

    Builds a graph; computes nothing and starts nothing. It composes with other Dask
    code and computes on any scheduler.

    Parameters
    ----------
    workload : Workload
        What is to be done.
    npartitions : int, optional
        Tasks to cut the items into, at least 1; at most one an item. Default: four for
        each thread of the open cluster's workers, or for each usable core.

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
    items: Any = workload.items  # a sequence, see Workload
    job = Job(workload.func, workload.name, combine=workload.combine)
    return make_answer(job, items, npartitions)


def make_answer(
    job: Job,
    items: Sequence[Any],
    npartitions: int,
    finish: Callable[[list[Any]], Any] = list,
) -> Answer:
    """Return what is made of the results of a job, as a lazy Dask object.

    Parameters
    ----------
    job : Job
        What is done to each item. With a `combine`, parts are combined where they are
        computed, then eight at a time, as a tree.
    items : sequence
        Anything with a length and slices.
    npartitions : int
        At least 1.
    finish : callable, default list
        Without a `combine`: ``finish(results)`` makes the answer, as the last task.

    Returns
    -------
    Answer

    Examples
    --------
    >>> answer = make_answer(Job(abs, "abs"), [-1, 2], 2, finish=max)
    >>> answer.compute(scheduler="synchronous")
    2
    """
    chain = Chain()
    step = Carried(Step.of(job, finish=finish))
    chain.add(*make_part_layer(step, items, npartitions))
    if job.combine is None:
        chain.finish(step)
    else:
        chain.combine(job.combine, job.name, SPLIT_EVERY)
    return Answer.of(chain)


class Answer(Delayed):
    """A delayed answer, whose errors say which object can't be sent."""

    __slots__ = ()

    @classmethod
    def of(cls, chain: Chain) -> Self:
        """Return the one key that a chain ends in."""
        (key,) = chain.keys
        return cls(key, chain.graph, layer=chain.top)

    def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return deliver_value, (contact.find_place(),)

    def compute(self, **kwargs: Any) -> Any:
        """Return the answer; see `dask.delayed.Delayed.compute`."""
        with clear_errors():
            return Delayed.compute(self, **kwargs)
