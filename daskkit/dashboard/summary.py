"""From what a recorder has noted to the record of a page, and to words: arithmetic.

No clock, no cluster, no Bokeh.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from daskkit.accounts import Stamp, Trace
from daskkit.dashboard.ledger import LABELS
from daskkit.dashboard.recorder import N_TASKS, VERB_MARK
from daskkit.pages.recording import Recording, Task, TaskGroup, VerbCall, WorkerBook
from daskkit.units import (
    format_bytes,
    format_core_seconds,
    format_count,
    format_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["describe_calls", "describe_cluster", "tell"]

# More boxes make a page that a browser is slow to draw.
_N_DRAWN = 4_000
_N_GROUPS = 30
_N_SLOWEST = 8
_N_CALLS = 200
# Losses of less than this share of the whole are not worth anyone's time.
_LITTLE = 0.1
# A worker that has been above this share of its limit was about to be paused.
_FULL = 0.7

_MEANINGS = {
    "waiting": (
        (
            "items or tasks were being executed but not on the CPU; they slept, or "
            "waited for the GIL, a lock, a disk, a network, or a core that something "
            "else had"
        ),
        (
            "If they wait by themselves, use more threads than cores. If they hold the "
            "GIL, use processes with one thread each. If other programs use the cores, "
            "wait for those."
        ),
    ),
    "transfer": (
        "inputs were on their way, or arguments and results were packed and opened",
        (
            "Share what is large once (daskkit.share), return less, or combine on the "
            "workers (daskkit.map_reduce)."
        ),
    ),
    "dispatch": (
        "threads were about to get their next batch or task",
        (
            "Give each task more work: larger partitions, fewer tasks, or a verb of "
            "daskkit, which batches items itself."
        ),
    ),
    "paused": (
        "workers had stopped taking tasks, as their memory was nearly full",
        (
            "Use smaller partitions, keep fewer results on the cluster, or give each "
            "worker more memory."
        ),
    ),
    "starved": (
        (
            "threads had nothing to do: the caller did something else, there were "
            "fewer tasks than threads, or the last ones took long"
        ),
        "Hand over more at a time, split what takes longest, or use fewer workers.",
    ),
}


def describe_cluster(
    address: str,
    raw: Mapping[str, Any],
    stretches: Mapping[str, Sequence[Sequence[Any]]],
    calls: Iterable[Mapping[str, Any]],
) -> Recording:
    """Return the record of what ran on one cluster.

    Parameters
    ----------
    address : str
        Of the scheduler.
    raw : mapping
        As by `daskkit.dashboard.recorder.finish`, unpickled.
    stretches : mapping of str to sequence
        Batches of verbs by worker, as by `daskkit.dashboard.recorder.read_worker`.
    calls : iterable of mapping
        Messages of `daskkit.run.news` that the scheduler has not heard of.

    Returns
    -------
    Recording
    """
    began, wall_s = raw["began"], max(0.0, raw["ended"] - raw["began"])
    books = [_make_book(worker, began, wall_s) for worker in raw["workers"]]
    books.sort(key=lambda book: book.name)
    names = {worker["address"]: worker["name"] for worker in raw["workers"]}
    trace, slow_items = _make_trace(stretches, names, began, wall_s, books)
    tasks, n_parts = _make_tasks(raw["tasks"], names, began, wall_s)
    groups = _make_groups(raw["groups"])
    slow_tasks = [
        (seconds, f"task {key}", names.get(worker, worker))
        for seconds, key, worker in raw["slowest"]
    ]
    # What this process has heard of a call is the last word on it.
    messages = {one["id"]: one for one in (*raw["calls"], *calls)}
    recording = Recording(
        address,
        wall_s,
        (),
        tuple(books),
        describe_calls(messages.values()),
        tuple(groups[:_N_GROUPS]),
        tuple(tasks),
        trace,
        tuple(heapq.nlargest(_N_SLOWEST, [*slow_items, *slow_tasks])),
        tuple((key, text or "it was lost") for _, key, text in raw["errors"]),
        tuple(_note(raw, n_parts, len(tasks), groups)),
    )
    return Recording(**{**vars(recording), "words": tuple(tell(recording))})


def describe_calls(messages: Iterable[Mapping[str, Any]]) -> tuple[VerbCall, ...]:
    """Return calls of verbs, those that took longest if there are many, in order.

    Parameters
    ----------
    messages : iterable of mapping
        As by `daskkit.run.news.News.compose`.

    Returns
    -------
    tuple of VerbCall
    """
    kept = heapq.nlargest(
        _N_CALLS, messages, key=lambda one: float(one["t"] - one["began"])
    )
    return tuple(
        VerbCall(
            one["name"],
            one["state"],
            one["total"],
            one["done"],
            one["failed"],
            max(0.0, one["t"] - one["began"]),
            one["size"],
            one["why"],
        )
        for one in sorted(kept, key=lambda one: float(one["began"]))
    )


def tell(recording: Recording) -> list[str]:
    """Return what a recording means, in sentences; the first one sums up.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    list of str

    Examples
    --------
    >>> seconds = (("busy", 1.5), ("starved", 0.5))
    >>> book = WorkerBook("0", 1, 0.0, 2.0, seconds, 4, 0, 0, 0)
    >>> group = TaskGroup("inc", 3, 0, 1.5, 0.0, 0.0)
    >>> for sentence in tell(Recording("a", 2.0, (), (book,), groups=(group,))):
    ...     print(sentence)
    1 thread of 1 worker, 2.00 s of wall time: 2.00 core-seconds, of which 75 %
    executed something.
    Most time in tasks went into inc: 1.50 core-seconds in 3 tasks.
    The largest loss is starved, 500 core-ms or 25 %: threads had nothing to do: the
    caller did something else, there were fewer tasks than threads, or the last ones
    took long.
    Hand over more at a time, split what takes longest, or use fewer workers.
    """
    if not recording.address:
        return ["No cluster was open, so nothing ran on one."]
    totals = recording.totals()
    whole_s = sum(totals.values())
    if not whole_s:
        return ["The cluster had no worker, so nothing ran."]
    n_items = sum(book.n_items for book in recording.workers)
    if not (n_items or recording.groups or recording.calls):
        return ["Nothing ran on the cluster while it was recorded."]
    sentences = [_sum_up(recording, totals, whole_s)]
    sentences += _name_dearest(recording)
    losses = {name: totals.get(name, 0.0) for name in _MEANINGS}
    part = max(losses, key=losses.__getitem__)
    if losses[part] >= _LITTLE * whole_s:
        meaning, advice = _MEANINGS[part]
        share = 100 * losses[part] / whole_s
        sentences += [
            (
                f"The largest loss is {part}, {format_core_seconds(losses[part])} or "
                f"{share:.0f} %: {meaning}."
            ),
            advice,
        ]
    else:
        sentences.append(
            "Little is lost on the way. To be faster, make the work cheaper or use "
            "more cores."
        )
    sentences += _warn(recording)
    return sentences


def _sum_up(recording: Recording, totals: Mapping[str, float], whole_s: float) -> str:
    n_threads = sum(book.n_threads for book in recording.workers)
    share = 100 * (totals.get("busy", 0.0) + totals.get("waiting", 0.0)) / whole_s
    return (
        f"{format_count(n_threads, 'thread')} of "
        f"{format_count(len(recording.workers), 'worker')}, "
        f"{format_seconds(recording.wall_s)} of wall time: "
        f"{format_core_seconds(whole_s)}, of which "
        f"{share:.0f} % executed something."
    )


def _name_dearest(recording: Recording) -> list[str]:
    """Say which tasks and which verb took most."""
    sentences = []
    # What lanes of verbs took is that of the verbs.
    tasks = [one for one in recording.groups if not one.name.endswith(VERB_MARK)]
    if tasks:
        first = tasks[0]
        sentences.append(
            f"Most time in tasks went into {first.name}: "
            f"{format_core_seconds(first.compute_s)} in "
            f"{format_count(first.n_tasks, 'task')}."
        )
    if recording.calls:
        longest = max(recording.calls, key=lambda call: call.wall_s)
        sentences.append(
            f"The longest call of a verb was {longest.name}: "
            f"{format_count(longest.n_done, 'item')} in "
            f"{format_seconds(longest.wall_s)}."
        )
    return sentences


def _warn(recording: Recording) -> list[str]:
    """Say what went wrong, or was about to."""
    sentences = []
    n_items = sum(call.n_failed for call in recording.calls)
    n_tasks = sum(group.n_failed for group in recording.groups)
    failed = [
        format_count(n, noun) for n, noun in ((n_items, "item"), (n_tasks, "task")) if n
    ]
    if failed:
        sentences.append(f"{' and '.join(failed)} failed.")
    full = [
        book
        for book in recording.workers
        if book.limit_bytes and book.peak_bytes > _FULL * book.limit_bytes
    ]
    if full:
        worst = max(full, key=lambda book: book.peak_bytes / book.limit_bytes)
        sentences.append(
            f"Worker {worst.name} had {format_bytes(worst.peak_bytes)} of memory at "
            f"most, of {format_bytes(worst.limit_bytes)} that it may have: use smaller "
            "partitions or fewer threads a worker."
        )
    return sentences


def _make_book(worker: Mapping[str, Any], began: float, wall_s: float) -> WorkerBook:
    """Return the books of a worker; what its threads did sums to the whole.

    Counters are read a little before the recording begins and ends; what is missing
    or too much is nothing that was executed, so "starved" takes it.
    """
    last, first = worker["last"], worker["first"]
    zero: dict[str, Any] = {"s": [0.0] * len(LABELS), "items": 0, "failed": 0}
    before = first or zero
    start_s = max(0.0, last["began"] - began) if first is None else 0.0
    end_s = wall_s if worker["left"] is None else worker["left"] - began
    end_s = min(max(end_s, start_s), max(wall_s, start_s))
    whole_s = last["n"] * (end_s - start_s)
    deltas = [
        max(0.0, new - old) for new, old in zip(last["s"], before["s"], strict=True)
    ]
    others = deltas[:-1]
    scale = min(1.0, whole_s / sum(others)) if sum(others) else 1.0
    others = [scale * seconds for seconds in others]
    seconds = [*others, max(0.0, whole_s - sum(others))]
    return WorkerBook(
        worker["name"],
        last["n"],
        start_s,
        end_s,
        tuple(zip(LABELS, seconds, strict=True)),
        last["items"] - before["items"],
        last["failed"] - before["failed"],
        int(worker["peak"]),
        int(worker["limit"]),
    )


def _make_trace(
    stretches: Mapping[str, Sequence[Sequence[Any]]],
    names: Mapping[str, str],
    began: float,
    wall_s: float,
    books: Sequence[WorkerBook],
) -> tuple[Trace | None, list[tuple[float, str, str]]]:
    """Return the batches of verbs, and their slowest items."""
    stamps, slow = [], []
    for address, found in stretches.items():
        threads: dict[int, int] = {}
        for stretch in found:
            name, thread, start, end, cpu_s, _, first, n_items, _, slowest = stretch
            number = threads.setdefault(thread, len(threads) + 1)
            worker = names.get(address, address)
            # A batch that was under way when the recording began is cut.
            start_s = max(0.0, start - began)
            stamps.append(
                Stamp(
                    f"{worker} #{number}",
                    start_s,
                    max(start_s, min(end - began, wall_s)),
                    cpu_s,
                    first,
                    n_items,
                )
            )
            each_s, index, n = slowest
            which = f"item {index}" if n == 1 else f"items {index} to {index + n - 1}"
            mean = "" if n == 1 else " (mean)"
            slow.append((each_s, f"{name}, {which}{mean}", worker))
    if not stamps:
        return None, []
    stamps = heapq.nlargest(_N_DRAWN, stamps, key=lambda one: one.end_s - one.start_s)
    n_lines = max(sum(b.n_threads for b in books), len({s.worker for s in stamps}))
    return Trace(n_lines, wall_s, tuple(stamps)), slow


def _make_tasks(
    raw: Iterable[Sequence[Any]],
    names: Mapping[str, str],
    began: float,
    wall_s: float,
) -> tuple[list[Task], int]:
    """Return what is drawn of tasks, the longest parts, and how many there are."""
    threads: dict[str, dict[Any, int]] = {}
    found = []
    for name, worker, thread, parts, is_failed in raw:
        known = threads.setdefault(worker, {})
        line = (
            f"{names.get(worker, worker)} #{known.setdefault(thread, len(known) + 1)}"
        )
        found += [
            Task(
                line,
                action,
                name,
                max(0.0, start - began),
                max(0.0, min(end - began, wall_s)),
                is_failed,
            )
            for action, start, end in parts
        ]
    drawn = heapq.nlargest(_N_DRAWN, found, key=lambda one: one.end_s - one.start_s)
    return drawn, len(found)


def _make_groups(raw: Mapping[str, Sequence[Any]]) -> list[TaskGroup]:
    """Return tasks by name, the dearest first."""
    groups = []
    for name, (n_tasks, n_failed, seconds) in raw.items():
        compute_s = seconds.get("compute", 0.0)
        transfer_s = seconds.get("transfer", 0.0)
        other_s = sum(seconds.values()) - compute_s - transfer_s
        groups.append(
            TaskGroup(name, n_tasks, n_failed, compute_s, transfer_s, max(0.0, other_s))
        )
    return sorted(groups, key=lambda group: -group.compute_s)


def _note(
    raw: Mapping[str, Any], n_parts: int, n_drawn: int, groups: Sequence[TaskGroup]
) -> list[str]:
    """Return what the reader has to know of the figures."""
    notes = [
        (
            "Memory is the largest that a worker has reported, twice a second; what is "
            "shorter isn't seen."
        ),
    ]
    came = sum(worker["first"] is None for worker in raw["workers"])
    left = sum(worker["left"] is not None for worker in raw["workers"])
    if came:
        notes.append(f"{format_count(came, 'worker')} came after the beginning.")
    if left:
        notes.append(
            f"{format_count(left, 'worker')} left before the end; what they did since "
            "their last report, half a second at most, counts as starved."
        )
    n_known = len(raw["tasks"])
    if n_parts > n_drawn:
        notes.append(f"The stream shows the {n_drawn:,} longest of {n_parts:,} boxes.")
    if raw["n_tasks"] > N_TASKS <= n_known:
        notes.append(
            f"The stream shows the first {n_known:,} of {raw['n_tasks']:,} tasks; the "
            "table counts all."
        )
    if len(groups) > _N_GROUPS:
        notes.append(f"The table shows {_N_GROUPS} of {len(groups):,} names of tasks.")
    return notes
