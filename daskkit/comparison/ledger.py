"""From the stamps of a call to its ledger; pure functions.

Time is laid out on `n_workers` lines, each of which has an owner at every moment: a
batch, or one of the reasons for which there is none. So the parts sum to
``workers x wall`` by construction, whatever the stamps say.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from daskkit.accounts import PARTS, Ledger, Stamp, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from daskkit.records import Run

__all__ = [
    "kind_of_workers",
    "lay_out",
    "make_ledger",
    "make_trace",
    "share_of_waiting",
    "tabulate",
]


def make_trace(
    stamps: Iterable[Stamp],
    *,
    n_workers: int,
    began_s: float,
    ended_s: float,
    startup_s: float = 0.0,
    prepared_s: float = math.nan,
    caller_cpu_s: float = math.nan,
) -> Trace:
    """Return a trace whose times count from the call's begin.

    Parameters
    ----------
    stamps : iterable of Stamp
        With `start_s` and `end_s` on the caller's clock. (Linux' CLOCK_MONOTONIC,
        which `time.perf_counter` reads, is the same in all processes of a machine.)
    n_workers : int
        Workers of the back end, at least 1.
    began_s, ended_s : float
        When the call began and ended, on the same clock.
    startup_s : float, default 0.0
        For how many seconds from `began_s` workers were being started.
    prepared_s : float, optional
        When the caller handed over the first batch, on the same clock.
    caller_cpu_s : float, optional
        CPU seconds of the caller's process.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        If a number isn't allowed, or the call ended before it began.

    Examples
    --------
    >>> stamp = Stamp("a", start_s=10.25, end_s=11.0, cpu_s=0.5, first=0, n_items=4)
    >>> trace = make_trace([stamp], n_workers=1, began_s=10.0, ended_s=11.0)
    >>> trace.wall_s, trace.stamps[0].start_s
    (1.0, 0.25)
    """
    if n_workers < 1:
        msg = f"n_workers must be at least 1, received {n_workers!r}"
        raise ValueError(msg)
    if not ended_s >= began_s:
        msg = f"a call can't end before it begins, received {began_s!r} to {ended_s!r}"
        raise ValueError(msg)
    if not startup_s >= 0:
        msg = f"startup_s must be at least 0 s, received {startup_s!r}"
        raise ValueError(msg)
    moved = (
        dataclasses.replace(
            stamp, start_s=stamp.start_s - began_s, end_s=stamp.end_s - began_s
        )
        for stamp in stamps
    )
    return Trace(
        n_workers=n_workers,
        wall_s=ended_s - began_s,
        stamps=tuple(sorted(moved, key=lambda stamp: (stamp.start_s, stamp.first))),
        startup_s=startup_s,
        prepared_s=prepared_s - began_s,
        caller_cpu_s=caller_cpu_s,
    )


def lay_out(trace: Trace) -> list[list[Stamp]]:
    """Return the batches on as many lines as there were workers, without overlaps.

    A batch stays on its worker's line. Where more threads than that have executed
    items, as when the caller lends a hand, a batch goes to the line that has been free
    for the longest time; what of it has no free line at all is cut off, because more
    than all workers can't be busy. So is what lies outside the call.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    list of list of Stamp
        One list a worker, each in the order of time; workers without a batch have an
        empty one.

    Examples
    --------
    >>> a = Stamp("a", start_s=0.0, end_s=1.0, cpu_s=1.0, first=0, n_items=1)
    >>> b = Stamp("b", start_s=0.5, end_s=1.5, cpu_s=1.0, first=1, n_items=1)
    >>> lines = lay_out(Trace(n_workers=1, wall_s=2.0, stamps=(a, b)))
    >>> [(stamp.start_s, stamp.end_s, stamp.cpu_s) for stamp in lines[0]]
    [(0.0, 1.0, 1.0), (1.0, 1.5, 0.5)]
    """
    lines: list[list[Stamp]] = [[] for _ in range(trace.n_workers)]
    free_s = [0.0] * trace.n_workers
    home: dict[str, int] = {}
    for stamp in sorted(trace.stamps, key=lambda stamp: stamp.start_s):
        at = home.get(stamp.worker)
        if at is None and len(home) < trace.n_workers:
            at = len(home)
        elif at is None or free_s[at] > stamp.start_s:
            at = min(range(trace.n_workers), key=free_s.__getitem__)
        home[stamp.worker] = at
        cut = _clip(stamp, free_s[at], trace.wall_s)
        if cut is not None:
            lines[at].append(cut)
            free_s[at] = cut.end_s
    return lines


def make_ledger(trace: Trace) -> Ledger:
    """Return where the core-seconds of a call went.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    Ledger
        Its parts sum to ``n_workers x wall_s``.

    Notes
    -----
    A worker's idle time is start-up until `Trace.startup_s`. After that, and until the
    caller has handed over the first batch of all, it is the caller's serial part; so is
    all that follows the last batch of all. In between it is a dispatch gap before each
    of the worker's batches, and tail after its last one. Serialisation and transfer are
    taken out of the idle time beside their batch, as much of them as fits there.

    Examples
    --------
    >>> long = Stamp("a", start_s=0.0, end_s=3.0, cpu_s=3.0, first=0, n_items=1)
    >>> short = Stamp("b", start_s=0.0, end_s=1.0, cpu_s=1.0, first=1, n_items=1)
    >>> ledger = make_ledger(Trace(n_workers=2, wall_s=3.0, stamps=(long, short)))
    >>> ledger.compute_s, ledger.tail_s
    (4.0, 2.0)
    """
    lines = lay_out(trace)
    marks = _Marks.of(trace, lines)
    amounts: dict[str, list[float]] = {name: [] for name in PARTS}
    for line in lines:
        for name, seconds in _account(line, marks):
            amounts[name].append(seconds)
    sums = {name: math.fsum(seconds) for name, seconds in amounts.items()}
    return Ledger(n_workers=trace.n_workers, wall_s=trace.wall_s, **sums)


def share_of_waiting(trace: Trace) -> float | None:
    """Return which share of the time within items was no CPU time.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    float or None
        From 0 to 1; None if no item took any time.

    Examples
    --------
    >>> share_of_waiting(Trace(1, 2.0, (Stamp("a", 0.0, 2.0, 0.5, 0, 1),)))
    0.75
    """
    busy_s = math.fsum(stamp.end_s - stamp.start_s for stamp in trace.stamps)
    cpu_s = math.fsum(stamp.cpu_s for stamp in trace.stamps)
    return max(1 - cpu_s / busy_s, 0.0) if busy_s > 0 else None


def kind_of_workers(trace: Trace) -> Literal["threads", "processes"] | None:
    """Return whether the workers shared a process, as far as that can be seen.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    {"threads", "processes"} or None
        None if fewer than two workers executed anything.

    Examples
    --------
    >>> stamps = [Stamp(name, 0.0, 1.0, 1.0, 0, 1) for name in ("7-1", "7-2")]
    >>> kind_of_workers(Trace(2, 1.0, tuple(stamps)))
    'threads'
    """
    workers = {stamp.worker for stamp in trace.stamps}
    if len(workers) < 2:  # noqa: PLR2004 - one alone is neither
        return None
    processes = {worker.partition("-")[0] for worker in workers}
    return "threads" if len(processes) == 1 else "processes"


def tabulate(runs: Sequence[Run], *, cold: bool = False) -> pd.DataFrame:
    """Return the ledgers of those runs that have a trace, one row each.

    Parameters
    ----------
    runs : sequence of Run
    cold : bool, default False
        Of start-up and first execution together, instead of a warm execution.

    Returns
    -------
    pandas.DataFrame
        See `Comparison.ledger`.
    """
    import pandas as pd

    percents = {name: f"{name.removesuffix('_s')}_percent" for name in PARTS}
    rows: list[list[object]] = []
    for run in runs:
        trace = run.cold_trace if cold else run.trace
        if trace is not None:
            ledger = make_ledger(trace)
            shares = [100 * ledger.share(name) for name in PARTS]
            head = [run.backend, ledger.n_workers, ledger.wall_s]
            rows.append([*head, *ledger.parts().values(), *shares])
    columns = ["backend", "workers", "wall_s", *PARTS, *percents.values()]
    return pd.DataFrame(rows, columns=columns)


@dataclasses.dataclass(frozen=True)
class _Marks:
    """Moments of a call at which the reason for idle time changes."""

    #: Workers are started.
    ready_s: float
    #: The first batch is handed over.
    prepared_s: float
    #: The last batch of all is done.
    last_s: float
    wall_s: float

    @classmethod
    def of(cls, trace: Trace, lines: list[list[Stamp]]) -> _Marks:
        busy = [line for line in lines if line]
        ready_s = min(trace.startup_s, trace.wall_s)
        # Without a batch there is nothing but start-up and the caller.
        first_s = min((line[0].start_s for line in busy), default=trace.wall_s)
        known = not math.isnan(trace.prepared_s)
        prepared_s = min(trace.prepared_s, first_s) if known else first_s
        last_s = max((line[-1].end_s for line in busy), default=trace.wall_s)
        return cls(ready_s, max(prepared_s, ready_s), last_s, trace.wall_s)


# Pieces of time with the part of the ledger that they belong to, mutable.
_Pieces = list[tuple[str, float]]


def _account(line: list[Stamp], marks: _Marks) -> _Pieces:
    """Return all that one worker's time went into."""
    done: _Pieces = []
    at_s = 0.0
    gaps: list[_Pieces] = []
    for stamp in line:
        gaps.append(_split_idle(at_s, stamp.start_s, "dispatch_s", marks))
        at_s = stamp.end_s
    gaps.append(_split_idle(at_s, marks.wall_s, "tail_s", marks))
    for i, stamp in enumerate(line):
        busy_s = stamp.end_s - stamp.start_s
        compute_s = min(max(stamp.cpu_s, 0.0), busy_s)
        done += [("compute_s", compute_s), ("waiting_s", busy_s - compute_s)]
        for name, wanted_s in (
            ("serialise_s", stamp.serialise_s),
            ("transfer_s", stamp.transfer_s),
        ):
            before_s = _take(gaps[i], wanted_s, from_end=True)
            after_s = _take(gaps[i + 1], wanted_s - before_s, from_end=False)
            done.append((name, before_s + after_s))
    if line:
        for name, wanted_s in (
            ("serialise_s", line[-1].last_serialise_s),
            ("transfer_s", line[-1].last_transfer_s),
        ):
            done.append((name, _take(gaps[-1], wanted_s, from_end=False)))
    for gap in gaps:
        done += gap
    return done


def _split_idle(begin_s: float, end_s: float, rest: str, marks: _Marks) -> _Pieces:
    """Return the reasons for an idle time, in the order of time."""
    pieces = []
    for name, until_s in (
        ("startup_s", marks.ready_s),
        ("caller_s", marks.prepared_s),
        (rest, marks.last_s),
        ("caller_s", marks.wall_s),
    ):
        stop_s = min(max(until_s, begin_s), end_s)
        pieces.append((name, stop_s - begin_s))
        begin_s = stop_s
    return pieces


def _take(pieces: _Pieces, wanted_s: float, *, from_end: bool) -> float:
    """Take time out of an idle time's pieces, what is next to the batch first."""
    taken_s = 0.0
    for i in reversed(range(len(pieces))) if from_end else range(len(pieces)):
        name, there_s = pieces[i]
        if name != "startup_s" and wanted_s > taken_s:
            part_s = min(there_s, wanted_s - taken_s)
            pieces[i] = (name, there_s - part_s)
            taken_s += part_s
    return taken_s


def _clip(stamp: Stamp, begin_s: float, end_s: float) -> Stamp | None:
    """Return what of a batch lies between two moments, its CPU time in proportion."""
    start_s, stop_s = max(stamp.start_s, begin_s), min(stamp.end_s, end_s)
    if (start_s, stop_s) == (stamp.start_s, stamp.end_s):
        return stamp if stop_s >= start_s else None
    if stop_s <= start_s:
        return None
    share = (stop_s - start_s) / (stamp.end_s - stamp.start_s)
    return dataclasses.replace(
        stamp, start_s=start_s, end_s=stop_s, cpu_s=stamp.cpu_s * share
    )
