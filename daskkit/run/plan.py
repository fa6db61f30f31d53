"""Whether to stay here, to use threads, or to hand over: pure arithmetic.

`Facts` are what a pilot measured, `Means` what there is to work with; `forecast`
predicts the seconds of each way and says which it would be, and why.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from daskkit.units import format_seconds

__all__ = [
    "Facts",
    "Forecast",
    "Means",
    "Way",
    "count_threads",
    "forecast",
    "is_worth_a_look",
    "least_gil_share",
]

Way = Literal["inline", "threads", "processes"]

# Seconds a byte, measured on two cores with arrays of 4 to 64 MB: putting it into
# shared memory, and mapping it elsewhere with the page faults of a first pass.
_SHARE_S = 0.4e-9
_MAP_S = 0.27e-9
# A few objects are pickled quicker than thousands, which fill caches and meet garbage
# collections.
_IN_EARNEST = 1.5
# Seconds an item: being taken out of one list and put into another.
_LIST_S = 5e-8
#: More threads than this never wait at a time (`ThreadPoolExecutor`'s own limit).
MOST_THREADS = 32
# Another way has to promise this much to be taken: forecasts are not that good.
_WORTHWHILE = 0.93
# Functions are safer in processes of their own: threads have to promise this much more.
_THREADS_WORTHWHILE = 0.92
# Below this an item has no use for threads.
_LETS_GO_S = 20e-6
# What it takes at least to send a result, and to rebuild it: a small integer in a list.
_LEAST_PICKLE_S = 2e-8
# A closer look is taken if it may bring so much; it takes some milliseconds itself.
_CLOSER_S = 0.01
# Beyond this many items a way's seconds are proportional to them.
_FEW = 64


class Facts(NamedTuple):
    """What a pilot measured; seconds and bytes are an item's."""

    #: Items that nobody has executed yet; for input of unknown length an assumption.
    n_left: int
    #: Wall time of an item in the caller.
    item_s: float
    #: CPU time divided by wall time: far below 1 it waits.
    cpu_share: float = 1.0
    #: Share of the wall time in which it held the GIL.
    gil_share: float = 1.0
    #: Sending an argument, and a result, large buffers aside: pickling it on one side,
    #: and rebuilding it on the other side.
    argument_dump_s: float = 0.0
    argument_load_s: float = 0.0
    result_dump_s: float = 0.0
    result_load_s: float = 0.0
    #: Size of an argument, and of a result.
    argument_bytes: float = 0.0
    result_bytes: float = 0.0
    #: Size of the function, with all that it captures.
    func_bytes: float = 0.0
    #: Why nothing can be sent to another process, if so.
    obstacle: str | None = None
    #: Whether threads, or processes, were tried and brought nothing.
    threads_failed: bool = False
    processes_failed: bool = False


class Means(NamedTuple):
    """What there is to run on."""

    n_cores: int
    #: Worker processes that are there, or could be; 0 for none.
    n_workers: int
    #: Seconds until they take the first batch.
    ready_s: float
    #: Whether they know the items already, as forked children do.
    knows_items: bool = False
    #: Whether threads may be used.
    threads: bool = True
    #: What the workers are called in sentences.
    workers: str = "workers"


class Forecast(NamedTuple):
    """Predicted seconds for what is left, and the choice."""

    way: Way
    inline_s: float
    #: Infinite where a way isn't open.
    threads_s: float
    processes_s: float
    n_threads: int
    reason: str


def forecast(facts: Facts, means: Means) -> Forecast:
    """Return how long what is left would take each way, and the way to take.

    Parameters
    ----------
    facts : Facts
        From a pilot.
    means : Means
        Cores and workers.

    Returns
    -------
    Forecast

    Notes
    -----
    With *C* cores, threads take an item every ``item_s * max(GIL share, CPU share / C,
    1 / threads)`` seconds. Processes take one every ``max(w / workers, c, (CPU) / C)``:
    *w* is its time in a worker, transport included, *c* that of the caller, which sends
    and receives everything.

    Examples
    --------
    >>> means = Means(n_cores=2, n_workers=2, ready_s=0.01)
    >>> forecast(Facts(n_left=10, item_s=1e-6), means).way
    'inline'
    >>> forecast(Facts(n_left=1000, item_s=0.001), means).way
    'processes'
    >>> forecast(Facts(n_left=100, item_s=0.01, cpu_share=0, gil_share=0), means).way
    'threads'
    """
    inline_s = facts.n_left * facts.item_s
    n_threads = count_threads(facts, means)
    threads_s = math.inf
    if means.threads and n_threads > 1 and not facts.threads_failed:
        share = max(facts.gil_share, facts.cpu_share / means.n_cores, 1 / n_threads)
        threads_s = _rounded(facts.n_left, n_threads, facts.item_s, inline_s * share)
    processes_s = math.inf
    is_open = facts.obstacle is None and not facts.processes_failed
    if means.n_workers > 0 and is_open:
        processes_s = _forecast_processes(facts, means)
    if threads_s < _THREADS_WORTHWHILE * processes_s:
        way: Way = "threads"
        best_s = threads_s
    else:
        way, best_s = "processes", processes_s
    if not best_s < _WORTHWHILE * inline_s:
        way = "inline"
    reason = _explain(way, facts, means, (inline_s, threads_s, processes_s), n_threads)
    return Forecast(way, inline_s, threads_s, processes_s, n_threads, reason)


def is_worth_a_look(facts: Facts, n_cores: int, ready_s: float = 0.0) -> bool:
    """Return whether any other way could bring enough to find out more.

    Parameters
    ----------
    facts : Facts
        What is known at once: the cost of an item, and how many are left.
    n_cores : int
        Cores that may be used.
    ready_s : float, default 0
        Seconds until processes take their first batch, at least.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_worth_a_look(Facts(n_left=1_000_000, item_s=5e-8), n_cores=2)
    False
    >>> is_worth_a_look(Facts(n_left=1_000, item_s=0.001), n_cores=2)
    True
    """
    at_best = facts._replace(gil_share=least_gil_share(facts))
    if facts.item_s < _LETS_GO_S:
        # It doesn't wait, so others had the core for the rest of its time.
        at_best = at_best._replace(
            item_s=facts.item_s * facts.cpu_share,
            result_dump_s=_LEAST_PICKLE_S,
            result_load_s=_LEAST_PICKLE_S,
        )
    means = Means(n_cores, max(n_cores, facts.n_left), ready_s)
    hope = forecast(at_best, means)
    gain_s = hope.inline_s - min(hope.threads_s, hope.processes_s)
    return hope.way != "inline" and gain_s > _CLOSER_S


def least_gil_share(facts: Facts) -> float:
    """Return the smallest share of an item's time in which it may hold the GIL.

    Parameters
    ----------
    facts : Facts
        The share may not have been measured.

    Returns
    -------
    float
        Items that are over within microseconds have no time to let go of it.
    """
    return 0.0 if facts.item_s > _LETS_GO_S else facts.gil_share


def count_threads(facts: Facts, means: Means) -> int:
    """Return how many threads keep all cores busy, those that wait included.

    Parameters
    ----------
    facts : Facts
        From a pilot.
    means : Means
        Cores.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> means = Means(n_cores=2, n_workers=0, ready_s=0)
    >>> count_threads(Facts(n_left=100, item_s=1, cpu_share=1), means)
    2
    >>> count_threads(Facts(n_left=100, item_s=1, cpu_share=0.25), means)
    8
    """
    busy = max(facts.cpu_share, means.n_cores / MOST_THREADS)
    wanted = round(means.n_cores / busy)
    most = max(MOST_THREADS, means.n_cores)
    return max(1, min(most, max(means.n_cores, wanted), facts.n_left))


def _forecast_processes(facts: Facts, means: Means) -> float:
    """Return the seconds of what is left on worker processes."""
    dump_s = 0.0 if means.knows_items else facts.argument_dump_s
    load_s = 0.0 if means.knows_items else facts.argument_load_s
    result_dump_s = facts.result_dump_s * _IN_EARNEST
    result_load_s = facts.result_load_s * _IN_EARNEST
    dump_s, load_s = dump_s * _IN_EARNEST, load_s * _IN_EARNEST
    argument_bytes = 0.0 if means.knows_items else facts.argument_bytes
    func_bytes = 0.0 if means.knows_items else facts.func_bytes
    caller_s = (
        _LIST_S
        + dump_s
        + argument_bytes * _SHARE_S
        + result_load_s
        + facts.result_bytes * _MAP_S
    )
    worker_s = (
        facts.item_s
        + _LIST_S
        + load_s
        + argument_bytes * _MAP_S
        + result_dump_s
        + facts.result_bytes * _SHARE_S
    )
    # With fewer workers than cores the caller goes on beside them.
    n_lanes = means.n_workers + (means.n_workers < means.n_cores)
    n_workers = max(1, min(n_lanes, facts.n_left))
    cpu_s = facts.item_s * facts.cpu_share + caller_s + worker_s - facts.item_s
    each_s = max(worker_s / n_workers, caller_s, cpu_s / means.n_cores)
    total_s = _rounded(facts.n_left, n_workers, facts.item_s, facts.n_left * each_s)
    return means.ready_s + func_bytes * (_SHARE_S + _MAP_S) + total_s


def _rounded(n_left: int, n_workers: int, item_s: float, total_s: float) -> float:
    """Return `total_s`, but at least what whole items take."""
    if n_left > _FEW:
        return total_s
    return max(total_s, math.ceil(n_left / n_workers) * item_s * 0.9)


def _explain(
    way: Way,
    facts: Facts,
    means: Means,
    seconds: tuple[float, float, float],
    n_threads: int,
) -> str:
    """Return one sentence that says why."""
    inline_s, threads_s, processes_s = seconds
    rest = f"the remaining {facts.n_left:,} items"
    if facts.n_left == 0:
        return "Nothing is left: the pilot has executed all items."
    if way == "threads":
        why = (
            f"an item uses its core only {facts.cpu_share:.0%} of its time and waits "
            "otherwise"
            if facts.cpu_share < 0.5  # noqa: PLR2004 - mostly
            else f"an item holds the GIL only {facts.gil_share:.0%} of its time"
        )
        return f"Threads, {n_threads} of them: {why}, and nothing has to be sent."
    if way == "processes":
        return (
            f"{means.workers[:1].upper()}{means.workers[1:]}: {rest} take "
            f"{format_seconds(inline_s)} here and about {format_seconds(processes_s)} "
            "there."
        )
    if facts.obstacle is not None:
        return f"Inline: nothing can be sent to another process, {facts.obstacle}."
    best_s = min(threads_s, processes_s)
    if math.isinf(best_s):
        return "Inline: nothing else is there to run on."
    return (
        f"Inline: {rest} take {format_seconds(inline_s)} here, and at best "
        f"{format_seconds(best_s)} elsewhere."
    )
