"""`Recording`: all that a page shows of what ran on a cluster; plain records.

Times are seconds since the recording began.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskkit.accounts import Trace

__all__ = ["Recording", "Task", "TaskGroup", "VerbCall", "WorkerBook"]


@dataclasses.dataclass(frozen=True)
class WorkerBook:
    """What one worker did."""

    name: str
    n_threads: int
    #: While it was there.
    start_s: float
    end_s: float
    #: Core-seconds by what its threads did; they sum to `whole_s`.
    seconds: tuple[tuple[str, float], ...]
    #: Items of verbs, and those that raised.
    n_items: int
    n_failed: int
    #: The largest of its reports, and what it may have; 0 if unknown or unlimited.
    peak_bytes: int
    limit_bytes: int

    @property
    def whole_s(self) -> float:
        """Threads times time, in core-seconds."""
        return self.n_threads * (self.end_s - self.start_s)


@dataclasses.dataclass(frozen=True)
class Task:
    """A part of a task of Dask on a thread of a worker."""

    line: str
    #: Dask's word: "compute", "transfer", "deserialize", "disk-read" or "disk-write".
    action: str
    name: str
    start_s: float
    end_s: float
    is_failed: bool = False


@dataclasses.dataclass(frozen=True)
class TaskGroup:
    """All tasks of one name."""

    name: str
    n_tasks: int
    n_failed: int
    compute_s: float
    transfer_s: float
    #: Opened after its way, read from or written to a disk.
    other_s: float


@dataclasses.dataclass(frozen=True)
class VerbCall:
    """One call of a verb; its items may have run in the calling process."""

    name: str
    #: "running", "done", "failed" or "stopped".
    state: str
    n_items: int | None
    n_done: int
    n_failed: int
    wall_s: float
    batch_size: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Recording:
    """What ran on one cluster, or on none while there was none."""

    #: The scheduler's address; "" without a cluster.
    address: str
    wall_s: float
    words: tuple[str, ...]
    workers: tuple[WorkerBook, ...] = ()
    calls: tuple[VerbCall, ...] = ()
    groups: tuple[TaskGroup, ...] = ()
    #: Those that are drawn.
    tasks: tuple[Task, ...] = ()
    #: Batches of verbs on workers; None without any.
    trace: Trace | None = None
    #: Slowest items and tasks: seconds, what it is, where it ran.
    slowest: tuple[tuple[float, str, str], ...] = ()
    #: Of tasks that raised: what it is, and what it said.
    errors: tuple[tuple[str, str], ...] = ()
    #: What the reader has to know of the figures.
    notes: tuple[str, ...] = ()

    def totals(self) -> dict[str, float]:
        """Return core-seconds of all workers by what their threads did.

        Returns
        -------
        dict of str to float
        """
        found: dict[str, float] = {}
        for worker in self.workers:
            for label, seconds in worker.seconds:
                found[label] = found.get(label, 0.0) + seconds
        return found
