"""The verbs: `map`, `starmap`, `imap`, `imap_unordered`, `map_reduce` and `plan`.

Arguments are checked here, once; `run.engine` does the rest.
"""

from __future__ import annotations

from daskkit.run.inputs import check_combine, check_iterable, to_sequence, zip_inputs
from daskkit.run.options import make_engine, make_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from daskkit.run.options import OnError, Where
    from daskkit.run.planned import Plan

__all__ = ["imap", "imap_unordered", "map", "map_reduce", "plan", "starmap"]


def map(  # noqa: A001 - the name that its users know
    func: Callable[..., Any],
    *iterables: Iterable[Any],
    where: Where = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    retries: int = 0,
    timeout: float | None = None,
    on_error: OnError = "raise",
    name: str | None = None,
) -> list[Any]:
    """Return ``[func(x) for x in iterable]``, in parallel where that is faster.

    The calling thread executes the first items itself and keeps their results. From
    what they cost it is decided whether the rest goes on here, on threads, in child
    processes or on a cluster.

    Parameters
    ----------
    func : callable
        Called with one item of each iterable.
    *iterables : iterable
        The inputs, read to the end of the shortest.
    where : {"auto", "inline", "threads", "cluster"}, default "auto"
        "inline" is the plain loop; "threads" uses threads of this process; "cluster"
        sends all items to the open cluster, starting a local one if there is none.
        "auto" chooses, and falls back on this process for what can't be pickled.
    batch_size : int, optional
        Items that are handed over at a time. By default that adapts to their cost.
    progress : bool, default False
        Show a bar that counts items, in a terminal or a notebook.
    retries : int, default 0
        How often an item that raises is tried again.
    timeout : float, optional
        Seconds that an item may take. The process of one that takes longer is ended
        and replaced, so no item is executed in the calling process.
    on_error : {"raise", "collect"}, default "raise"
        "raise" ends the call with the first error. "collect" returns a `Results`, a
        list with a `Failure` in the place of each item that raised, and a table of
        them.
    name : str, optional
        What the call is named on the dashboard and in messages. Default: the name of
        `func`.

    Returns
    -------
    list
        One result an item, in the order of the items.

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.
    Exception
        What `func` raised, with its own traceback and a note that names the item.
    ItemTimeoutError
        If an item takes longer than `timeout`.
    WorkerDiedError
        If a worker process dies with an item, twice.
    UnpicklableError
        If an item or a result can't be sent, and ``where="auto"`` can't help.

    Warns
    -----
    RuntimeWarning
        If the call stayed in this process only because `func`, or what it returns,
        can't be pickled; the message says which part of it.

    Notes
    -----
    Computes at once. Starts threads, and processes that end with the call, where they
    pay; for long work also a local cluster, which is kept for later calls. A client
    that is open (`cluster`, or any `distributed.Client`) is used instead. `func` is
    called on several threads at a time only if it was measured to spend its time
    waiting or outside the GIL; say ``where="cluster"`` if it must not be. Within an
    item the verbs are the plain loop.

    Examples
    --------
    >>> import daskkit as dk
    >>> dk.map(abs, [-1, 2, -3])
    [1, 2, 3]
    >>> dk.map(pow, [2, 3], [3, 2])
    [8, 9]
    """
    job = make_job(func, name, retries, timeout, on_error, star=len(iterables) > 1)
    items = to_sequence(zip_inputs(iterables))
    results: list[Any] = make_engine(job, items, where, batch_size, progress).run()
    return results


def starmap(
    func: Callable[..., Any],
    tuples: Iterable[Iterable[Any]],
    *,
    where: Where = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    retries: int = 0,
    timeout: float | None = None,
    on_error: OnError = "raise",
    name: str | None = None,
) -> list[Any]:
    """Return ``[func(*args) for args in tuples]``, in parallel where that is faster.

    Parameters
    ----------
    func : callable
        Called with the elements of one tuple.
    tuples : iterable of tuple
        The arguments of each call.
    where, batch_size, progress, retries, timeout, on_error, name
        As for `map`.

    Returns
    -------
    list
        One result a tuple, in their order.

    Raises
    ------
    Exception
        As `map`.

    Notes
    -----
    As for `map`.

    Examples
    --------
    >>> import daskkit as dk
    >>> dk.starmap(pow, [(2, 3), (3, 2)])
    [8, 9]
    """
    job = make_job(func, name, retries, timeout, on_error, star=True)
    items = to_sequence(check_iterable(tuples, "tuples"))
    results: list[Any] = make_engine(job, items, where, batch_size, progress).run()
    return results


def imap(
    func: Callable[..., Any],
    *iterables: Iterable[Any],
    where: Where = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    retries: int = 0,
    timeout: float | None = None,
    on_error: OnError = "raise",
    name: str | None = None,
) -> Iterator[Any]:
    """Yield ``func(x) for x in iterable`` in order, while others are being computed.

    The input may be endless: a bounded number of items is read ahead, and a consumer
    that is slow holds the workers back.

    Parameters
    ----------
    func : callable
        Called with one item of each iterable.
    *iterables : iterable
        The inputs, read as needed, from this thread or another, to the end of the
        shortest. Some are read ahead, so each has to be an object of its own.
    where, batch_size, progress, retries, timeout, on_error, name
        As for `map`.

    Yields
    ------
    object
        One result an item, in the order of the items. With ``on_error="collect"`` a
        `Failure` in the place of an item that raised.

    Raises
    ------
    Exception
        As `map`, once all results that come before have been yielded.

    Notes
    -----
    Nothing starts before the first result is asked for. Leaving the loop, or closing
    the iterator, drops what is pending and ends what was started.

    Examples
    --------
    >>> import itertools
    >>> import daskkit as dk
    >>> for square in dk.imap(lambda x: x * x, itertools.count()):
    ...     if square > 50:
    ...         break
    >>> square
    64
    """
    job = make_job(func, name, retries, timeout, on_error, star=len(iterables) > 1)
    items = zip_inputs(iterables)
    engine = make_engine(job, items, where, batch_size, progress, is_stream=True)
    return engine.iterate(ordered=True)


def imap_unordered(
    func: Callable[..., Any],
    *iterables: Iterable[Any],
    where: Where = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    retries: int = 0,
    timeout: float | None = None,
    on_error: OnError = "raise",
    name: str | None = None,
) -> Iterator[Any]:
    """Yield the results of `imap` as they come, in any order.

    Parameters
    ----------
    func, *iterables, where, batch_size, progress, retries, timeout, on_error, name
        As for `imap`.

    Yields
    ------
    object
        One result an item.

    Raises
    ------
    Exception
        As `map`, as soon as it is known.

    Notes
    -----
    As for `imap`.

    Examples
    --------
    >>> import daskkit as dk
    >>> sorted(dk.imap_unordered(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    job = make_job(func, name, retries, timeout, on_error, star=len(iterables) > 1)
    items = zip_inputs(iterables)
    engine = make_engine(job, items, where, batch_size, progress, is_stream=True)
    return engine.iterate(ordered=False)


def map_reduce(
    func: Callable[[Any], Any],
    items: Iterable[Any],
    combine: Callable[[list[Any]], Any],
    *,
    where: Where = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    retries: int = 0,
    timeout: float | None = None,
    on_error: OnError = "raise",
    name: str | None = None,
) -> Any:
    """Return ``combine([func(x) for x in items])``, combined where it is computed.

    Parameters
    ----------
    func : callable
        Called with one item.
    items : iterable
        The inputs.
    combine : callable
        ``combine(results)`` turns a list of results, in order, into one. It has to be
        associative and to take its own answers: ``combine([combine(a), combine(b)]) ==
        combine(a + b)``; it need not be commutative. Workers combine what they have
        computed, and the caller those answers, eight at a time, as a tree. Without
        items its argument is an empty list.
    where, batch_size, progress, retries, timeout, on_error, name
        As for `map`. With ``on_error="collect"`` items that raised are left out of the
        combination.

    Returns
    -------
    object
        The combination; with ``on_error="collect"`` a tuple of it and of a `Results`
        that holds the failures.

    Raises
    ------
    Exception
        As `map`, or what `combine` raised.

    Notes
    -----
    As for `map`. Sums of floating-point numbers depend on the order of additions, and
    so may differ from the loop's in their last digits.

    Examples
    --------
    >>> import daskkit as dk
    >>> dk.map_reduce(lambda x: x * x, range(4), sum)
    14
    """
    check_combine(combine)
    job = make_job(func, name, retries, timeout, on_error, combine=combine)
    sequence = to_sequence(check_iterable(items, "items"))
    return make_engine(job, sequence, where, batch_size, progress).run()


def plan(
    func: Callable[..., Any],
    *iterables: Iterable[Any],
    where: Where = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    retries: int = 0,
    timeout: float | None = None,
    on_error: OnError = "raise",
    name: str | None = None,
) -> Plan:
    """Return how `map` would execute a call and why, and what it would take.

    Parameters
    ----------
    func, *iterables, where, batch_size, progress, retries, timeout, on_error, name
        As for `map`.

    Returns
    -------
    Plan
        Shows itself in a terminal and a notebook; its ``run()`` goes on where the
        pilot has stopped, and returns what `map` would have returned.

    Raises
    ------
    Exception
        As `map`, for the items that the pilot executes.

    Notes
    -----
    Executes the first items in this thread for some 20 ms, at least one of them; starts
    no process. The items that `run` executes are the others. With `timeout` or
    ``where="cluster"`` there is no pilot in this process, and nothing is predicted.

    Examples
    --------
    >>> import daskkit as dk
    >>> plan = dk.plan(abs, [-1, 2, -3])
    >>> plan.way, plan.reason
    ('inline', 'Nothing is left: the pilot has executed all items.')
    >>> plan.run()
    [1, 2, 3]
    """
    job = make_job(func, name, retries, timeout, on_error, star=len(iterables) > 1)
    items = to_sequence(zip_inputs(iterables))
    from daskkit.run.planned import Plan

    return Plan(make_engine(job, items, where, batch_size, progress))
