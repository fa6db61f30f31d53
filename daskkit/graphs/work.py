"""`build_work`: what a verb on an array or a frame describes, as a delayed object."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from daskkit.graphs.delayed import Answer, make_answer
from daskkit.graphs.layers import Chain
from daskkit.graphs.partitions import count_partitions
from daskkit.graphs.tasks import Step
from daskkit.run.job import Job
from daskkit.run.options import make_job
from daskkit.transport.carried import Carried

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.run.work import Work

__all__ = ["build_call", "build_work", "build_works"]


def build_work(
    work: Work,
    *,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
) -> Answer:
    """Return the answer of some work as a lazy Dask object.

    Parameters
    ----------
    work : Work
        What is to be done. Its `finish` is called by the last task, with all results.
    npartitions, batch_size : int, optional
        How its items are cut into tasks; see `count_partitions`.
    name : str, optional
        What the layers are called; by default as the work.

    Returns
    -------
    Answer

    Raises
    ------
    ArgumentError
        If an argument, or the work's function, can't be used.

    Examples
    --------
    >>> from daskkit.run.work import Work
    >>> work = Work("squares", lambda x: x * x, range(4), finish=sum)
    >>> build_work(work, npartitions=2).compute(scheduler="synchronous")
    14
    """
    job = make_job(work.func, work.name if name is None else name, 0, None, "raise")
    job = job.replace(each=work.each, describe=work.describe)
    n_parts = count_partitions(len(work.items), npartitions, batch_size)
    return make_answer(job, work.items, n_parts, work.finish)


def build_works(
    works: Sequence[Work],
    finish: Callable[[list[Any]], Any],
    *,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
) -> Answer:
    """Return what is made of the results of several works, one after the other.

    Parameters
    ----------
    works : sequence of Work
        At least one. Their own `finish` is not called.
    finish : callable
        ``finish(results)`` makes the answer of the results of all works.
    npartitions, batch_size, name
        As for `build_work`, for each of them.

    Returns
    -------
    Answer

    Examples
    --------
    >>> from daskkit.run.work import Work
    >>> works = [Work("abs", abs, [-1, 2]), Work("abs", abs, [-3])]
    >>> build_works(works, max).compute(scheduler="synchronous")
    3
    """

    def build(work: Work, finish: Callable[[list[Any]], Any]) -> Answer:
        return build_work(
            dataclasses.replace(work, finish=finish),
            npartitions=npartitions,
            batch_size=batch_size,
            name=name,
        )

    if len(works) == 1:
        return build(works[0], finish)
    chain = Chain([build(work, list) for work in works])
    job = make_job(
        works[0].func, works[0].name if name is None else name, 0, None, "raise"
    )
    chain.finish(Carried(Step.of(job, finish=finish)))
    return Answer.of(chain)


def build_call(call: Callable[[], Any], name: str) -> Answer:
    """Return what a function returns, as a lazy Dask object of one task.

    Parameters
    ----------
    call : callable
        Without arguments; what it knows is carried as the items of other graphs are.
    name : str
        What the task is called.

    Returns
    -------
    Answer

    Examples
    --------
    >>> build_call(dict, "empty").compute(scheduler="synchronous")
    {}
    """
    chain = Chain()
    chain.finish(Carried(Step(Job(call, name), finish=_Ignore(call))))
    return Answer.of(chain)


@dataclasses.dataclass(frozen=True)
class _Ignore:
    """Calls a function without the results, of which there are none."""

    call: Callable[[], Any]

    def __call__(self, results: list[Any]) -> Any:
        del results
        return self.call()
