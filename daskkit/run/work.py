"""`Work`: a verb's call on an array or a frame as plain data, and its execution.

What `Workload` is to a comparison: items, a function, and what becomes of the results.
The arrays' and frames' verbs make it; `execute` runs it, `graphs` makes it lazy.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from daskkit.run.options import make_engine, make_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daskkit.run.options import Where

__all__ = ["Options", "Work", "execute", "run_items"]


class Options(TypedDict, total=False):
    """The options of verbs whose answer is one object; `daskkit.map` explains them."""

    where: Where
    batch_size: int | None
    progress: bool
    retries: int
    timeout: float | None
    name: str | None


@dataclasses.dataclass(frozen=True)
class Work:
    """Items, what is done to each, and what is made of the results."""

    #: What it is called in messages and on the dashboard.
    name: str
    #: ``func(item)``, called in any process.
    func: Callable[[Any], Any]
    #: A list, tuple, range or array.
    items: Sequence[Any]
    #: ``finish(results)`` makes the answer, in the caller; results are in the order of
    #: the items.
    finish: Callable[[list[Any]], Any] = list
    #: See `Job.each`.
    each: Callable[[Sequence[Any], list[Any]], None] | None = None
    #: See `Job.describe`.
    describe: Callable[[int, Any], str] | None = None
    #: ``combine(results)``, of neighbours, as for `daskkit.map_reduce`: what is sent
    #: and returned instead of a list, by whoever can combine results.
    combine: Callable[[list[Any]], Any] | None = None
    #: See `Job.before_leaving`.
    before_leaving: Callable[[], None] | None = None
    #: See `Job.n_before`.
    n_before: int = 0


def execute(work: Work, **options: Unpack[Options]) -> Any:
    """Return the answer of some work, executed where that is fastest.

    Parameters
    ----------
    work : Work
        What is to be done.
    **options
        As for `daskkit.map`.

    Returns
    -------
    object
        ``work.finish(results)``.

    Raises
    ------
    ArgumentError
        If an option can't be used.
    Exception
        What an item raised, with a note that names it.

    Examples
    --------
    >>> execute(Work("squares", lambda x: x * x, range(4), finish=sum))
    14
    """
    return work.finish(run_items(work, **options))


def run_items(work: Work, **options: Unpack[Options]) -> Any:
    """Return the results of all items, which are to be finished yet.

    Parameters
    ----------
    work : Work
        What is to be done.
    **options
        As for `daskkit.map`.

    Returns
    -------
    list or object
        In the order of the items; combined if that is how they travel.

    Raises
    ------
    TypeError
        If there is no such option.
    Exception
        As `execute`.

    Examples
    --------
    >>> run_items(Work("squares", lambda x: x * x, range(4), finish=sum))
    [0, 1, 4, 9]
    """
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        # Python itself says so only where options are named one by one.
        allowed = ", ".join(Options.__annotations__)
        msg = f"unexpected keyword argument {unknown[0]!r}; the options are {allowed}"
        raise TypeError(msg)
    name = options.get("name")
    job = make_job(
        work.func,
        work.name if name is None else name,
        options.get("retries", 0),
        options.get("timeout"),
        "raise",
        combine=work.combine,
        each=work.each,
        describe=work.describe,
        before_leaving=work.before_leaving,
        n_before=work.n_before,
    )
    engine = make_engine(
        job,
        work.items,
        options.get("where", "auto"),
        options.get("batch_size"),
        options.get("progress", False),
    )
    return engine.run()
