"""What is to be done to each item, and the innermost loop that does it.

Runs in the caller and in workers alike; knows neither clusters nor clocks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.loop import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Caught", "Job", "executing", "is_executing", "run_chunk"]


class _Here(threading.local):
    """How many items, one within the other, this thread is executing."""

    depth = 0


_here = _Here()


def is_executing() -> bool:
    """Return whether this thread is executing an item of a verb, here or in a worker.

    Returns
    -------
    bool
    """
    return _here.depth > 0


@contextlib.contextmanager
def executing() -> Iterator[None]:
    """Note that this thread executes items, while in the context."""
    _here.depth += 1
    try:
        yield
    finally:
        _here.depth -= 1


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of a verb, as far as whoever executes its items has to know."""

    #: ``func(item)``, or ``func(*item)`` with `star`.
    func: Callable[..., Any]
    #: What it is called in messages and on the dashboard.
    name: str
    #: ``combine(results)``, see `Workload`; None keeps the list of results.
    combine: Callable[[list[Any]], Any] | None = None
    #: Whether an item is a tuple of arguments.
    star: bool = False
    #: How often an item that raises is tried again, at once and in the same place.
    retries: int = 0
    #: Whether an item that raises is noted and the others go on.
    collect: bool = False
    #: Seconds that an item may take, None for any time.
    timeout: float | None = None
    #: ``each(items, results)`` appends the results of consecutive items one by one, in
    #: place of calls of `func`; after an error those before the guilty item are there.
    each: Callable[[Sequence[Any], list[Any]], None] | None = None
    #: ``describe(index, item)`` is what an item is called in messages, such as ``"row 3
    #: (label 'x')"``; None shows its index and value. Stays in the caller.
    describe: Callable[[int, Any], str] | None = None
    #: Called in the caller before another process is told of the job. Stays there.
    before_leaving: Callable[[], None] | None = None
    #: Items before its first one that another call has executed; for people.
    n_before: int = 0
    #: Which messages of its items the caller wants, as by `dump_rules`; None where that
    #: is known.
    rules: bytes | None = None

    def name_item(self, index: int, item: Any) -> str:
        """Return what an item is called in messages.

        Examples
        --------
        >>> Job(abs, "abs").name_item(37, "x")
        "item 37 (value 'x')"
        """
        if self.describe is not None:
            return self.describe(index, item)
        return f"item {index} (value {short_repr(item)})"

    def prepare_to_leave(self) -> None:
        """Do what is to be done before another process is told of the job.

        Examples
        --------
        >>> Job(abs, "abs", before_leaving=lambda: print("leaves")).prepare_to_leave()
        leaves
        """
        if self.before_leaving is not None:
            self.before_leaving()

    def __getstate__(self) -> dict[str, Any]:
        # `describe` may hold all labels of a frame.
        return {**self.__dict__, "describe": None, "before_leaving": None}


class Caught(NamedTuple):
    """An item that raised, after all its retries."""

    #: Position among the items of the chunk.
    offset: int
    error: BaseException
    #: How often it was tried.
    attempts: int


def run_chunk(
    job: Job,
    items: Sequence[Any],
    results: list[Any],
    catch: tuple[type[BaseException], ...] = (Exception, SystemExit),
) -> list[Caught]:
    """Append the result of each item to `results`; return the items that raised.

    Parameters
    ----------
    job : Job
        What to do. Without `Job.collect` the first item that raises is the last.
    items : sequence
        Of this chunk.
    results : list
        Extended in place, in the order of the items; None stands for an item that
        raised, if the others go on.
    catch : tuple of type
        What counts as an item's error; anything else goes through.

    Returns
    -------
    list of Caught

    Examples
    --------
    >>> results = []
    >>> run_chunk(Job(abs, "abs"), [-1, 2], results), results
    ([], [1, 2])
    """
    _here.depth += 1
    try:
        return _run(job, items, results, catch)
    finally:
        _here.depth -= 1


def _run(
    job: Job,
    items: Sequence[Any],
    results: list[Any],
    catch: tuple[type[BaseException], ...],
) -> list[Caught]:
    caught: list[Caught] = []
    base = len(results)
    while (offset := len(results) - base) < len(items):
        left = items[offset:] if offset else items
        try:
            _append(job, left, results)
        except catch as raised:
            error: BaseException = raised
        else:
            break
        offset = len(results) - base
        attempts = 1
        while attempts <= job.retries:
            attempts += 1
            try:
                _append(job, items[offset : offset + 1], results)
                break
            except catch as raised:
                error = raised
        else:
            caught.append(Caught(offset, error, attempts))
            if not job.collect:
                break
            results.append(None)
    return caught


def _append(job: Job, items: Sequence[Any], results: list[Any]) -> None:
    """Append the results of all items, or of those before one that raises.

    For trivial items `list.extend` over `map` is 5 % quicker than a loop that appends
    (3.11); a list comprehension would be as quick, but an error takes all its results
    along.
    """
    if job.each is not None:
        job.each(items, results)
        return
    missing = len(results) + len(items)
    call = itertools.starmap if job.star else map
    results.extend(call(job.func, items))
    if len(results) < missing:
        # `extend` takes it for the end of its input.
        error = StopIteration()
        error.add_note(f"raised by {job.name}; its traceback is lost")
        raise error
