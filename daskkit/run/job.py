"""What is to be done to each item, and the innermost loop that does it.

Runs in the caller and in workers alike; knows neither clusters nor clocks.
"""

from __future__ import annotations

import contextlib
import itertools
import threading

from daskkit.loop import short_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    #: An item that raised, after all its retries: its position among the items of the
    #: chunk, the error, and how often it was tried.
    Caught = tuple[int, BaseException, int]

__all__ = ["Job", "executing", "is_executing", "run_chunk"]


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


class Job:
    """One call of a verb, as far as whoever executes its items has to know.

    A record that nobody changes. It is no dataclass, as those take 15 ms to import, for
    which the first call of a program would wait.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        name: str,
        combine: Callable[[list[Any]], Any] | None = None,
        *,
        star: bool = False,
        retries: int = 0,
        collect: bool = False,
        timeout: float | None = None,
        each: Callable[[Sequence[Any], list[Any]], None] | None = None,
        describe: Callable[[int, Any], str] | None = None,
        before_leaving: Callable[[], None] | None = None,
        n_before: int = 0,
        rules: bytes | None = None,
    ) -> None:
        #: ``func(item)``, or ``func(*item)`` with `star`.
        self.func = func
        #: What it is called in messages and on the dashboard.
        self.name = name
        #: ``combine(results)``, see `Workload`; None keeps the list of results.
        self.combine = combine
        #: Whether an item is a tuple of arguments.
        self.star = star
        #: How often an item that raises is tried again, at once and in the same place.
        self.retries = retries
        #: Whether an item that raises is noted and the others go on.
        self.collect = collect
        #: Seconds that an item may take, None for any time.
        self.timeout = timeout
        #: ``each(items, results)`` appends the results of consecutive items one by one,
        #: in place of calls of `func`; after an error those before the guilty item are
        #: there.
        self.each = each
        #: ``describe(index, item)`` is what an item is called in messages, such as
        #: ``"row 3 (label 'x')"``; None shows its index and value. Stays in the caller.
        self.describe = describe
        #: Called in the caller before another process is told of the job. Stays there.
        self.before_leaving = before_leaving
        #: Items before its first one that another call has executed; for people.
        self.n_before = n_before
        #: Which messages of its items the caller wants, as by `dump_rules`; None where
        #: that is known.
        self.rules = rules

    def replace(self, **changes: Any) -> Job:
        """Return the same with some things changed.

        Examples
        --------
        >>> Job(abs, "abs").replace(name="other").name
        'other'
        """
        return Job(**{**self.__dict__, **changes})

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
    list of tuple
        Its position among the items of the chunk, the error after all retries, and how
        often it was tried.

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
            caught.append((offset, error, attempts))
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
