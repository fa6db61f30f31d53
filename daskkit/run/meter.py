"""Where the time of a lane goes: books that it keeps while it executes batches.

`run.slots` reports them to the scheduler, together with what the worker does beside
its lanes. Imports neither daskkit nor distributed: children import it, too, and it is
sent to workers that lack the package.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from daskkit.run.clocks import read_cpu_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "LABELS",
    "METER_NAME",
    "N_SLOWEST",
    "LaneMeter",
    "Stretch",
    "metered",
]

#: What a slot can be doing, in the order of all lists of seconds.
LABELS = ("busy", "waiting", "transfer", "dispatch", "paused", "starved")
_BUSY, _WAITING, _TRANSFER, _DISPATCH, _PAUSED, _STARVED = range(len(LABELS))
#: Under this name a worker has the plugin that reports for it.
METER_NAME = "daskkit-slots"
#: Items that are remembered for having taken longest.
N_SLOWEST = 8

# A lane that gets its next batch within this time has been handed it over; one that
# waits longer has nothing to do.
_HAND_OVER_S = 0.02


class Stretch(NamedTuple):
    """One batch on a lane: when, and what became of its items."""

    #: Name of the call, and the thread.
    name: str
    thread_id: int
    #: When it arrived and when its items were done, as `time.perf_counter` says.
    began: float
    ended: float
    #: CPU seconds of its items, and other seconds that they took.
    cpu_s: float
    waiting_s: float
    #: Index of the first item, and how many were executed and raised.
    first: int
    n_items: int
    n_failed: int
    #: Its slowest items: seconds of one, index of the first, how many the mean is of.
    slowest: tuple[float, int, int]


class LaneMeter:
    """The books of one lane during one call.

    Its methods are called by the lane's thread, except for `read`.

    Parameters
    ----------
    name : str, default ""
        What the call is named.
    note : callable, optional
        Gets a `Stretch` for each batch.
    leave : callable, optional
        ``leave(self)`` is told that its thread is about to leave the worker's pool.

    Examples
    --------
    >>> lane = LaneMeter("squares")
    >>> lane.open_batch()
    >>> lane.begin_claim(0)
    >>> lane.count_claim(0, n_items=4, n_failed=0, wall_s=0.004)
    >>> lane.pack_results()
    >>> lane.await_batch()
    >>> len(lane.read()) == len(LABELS)
    True
    """

    def __init__(
        self,
        name: str = "",
        note: Callable[[Stretch], object] | None = None,
        leave: Callable[[LaneMeter], object] | None = None,
    ) -> None:
        self.name = name
        self._note = note
        self._leave = leave
        # Of the batch: index, items and failures until now, and its slowest items.
        self._batch = (-1, 0, 0)
        self._batch_slowest = (0.0, -1, 0)
        self._batch_began = (0.0, 0.0, 0.0)
        self.n_items = 0
        self.n_failed = 0
        self.mapped_bytes = 0
        self.sent_bytes = 0
        #: Seconds an item, index of the first and how many: the slowest so far.
        self.slowest: list[tuple[float, int, int]] = []
        #: Index of the first item of those that run now, and since when.
        self.running: tuple[int, float] | None = None
        self.thread_id = threading.get_ident()
        self.cpu_began_s = time.thread_time()
        # Seconds by label until the last change, what has gone on since, since when,
        # and the CPU time by then: one object, so that `read` sees all or nothing of a
        # change.
        self._books: tuple[list[float], int, float, float] = (
            [0.0] * len(LABELS),
            _DISPATCH,
            time.perf_counter(),
            0.0,
        )

    def open_batch(self) -> None:
        """Note that a batch has arrived, and is about to be opened."""
        self._turn(_TRANSFER)
        seconds, _, since, _ = self._books
        self._batch = (-1, 0, 0)
        self._batch_slowest = (0.0, -1, 0)
        self._batch_began = (since, seconds[_BUSY], seconds[_WAITING])

    def pack_results(self) -> None:
        """Note that the items are done, and the results are about to be packed."""
        self._turn(_TRANSFER)
        first, n_items, n_failed = self._batch
        if self._note is None or not n_items:
            return
        began, busy_s, waiting_s = self._batch_began
        seconds, _, ended, _ = self._books
        self._note(
            Stretch(
                self.name,
                self.thread_id,
                began,
                ended,
                seconds[_BUSY] - busy_s,
                seconds[_WAITING] - waiting_s,
                first,
                n_items,
                n_failed,
                self._batch_slowest,
            )
        )

    def await_batch(self) -> None:
        """Note that the answer is sent."""
        self._turn(_DISPATCH)

    def leave_pool(self) -> None:
        """Note that the thread is about to be none of those that execute tasks."""
        if self._leave is not None:
            self._leave(self)

    def begin_claim(self, start: int) -> None:
        """Note the index of the first of the items that are about to run."""
        self.running = (start, time.perf_counter())
        self._turn(_BUSY, time.thread_time())

    def count_claim(
        self, start: int, n_items: int, n_failed: int, wall_s: float
    ) -> None:
        """Note that consecutive items are done.

        Parameters
        ----------
        start : int
            Index of the first.
        n_items, n_failed : int
            How many, and how many of them raised.
        wall_s : float
            Seconds of all together.
        """
        self._turn(_DISPATCH)
        self.running = None
        self.n_items += n_items
        self.n_failed += n_failed
        if n_items:
            entry = (wall_s / n_items, start, n_items)
            first, n_before, n_raised = self._batch
            self._batch = (
                start if first < 0 else first,
                n_before + n_items,
                n_raised + n_failed,
            )
            self._batch_slowest = max(self._batch_slowest, entry)
            if len(self.slowest) < N_SLOWEST:
                heapq.heappush(self.slowest, entry)
            elif entry > self.slowest[0]:
                heapq.heapreplace(self.slowest, entry)

    def count_bytes(self, packed: Any) -> None:
        """Note what was mapped and what was sent: a packed object, bytes, or None."""
        if isinstance(packed, bytes):
            self.sent_bytes += len(packed)
        elif packed is not None:
            n_sent = packed.n_sent
            self.sent_bytes += n_sent
            self.mapped_bytes += packed.n_bytes - n_sent

    def read(self) -> list[float]:
        """Return the seconds by label until now.

        Only while the lane's thread is alive.
        """
        seconds, state, since, cpu_since = self._books
        cpu_s = read_cpu_s(self.thread_id) - cpu_since if state == _BUSY else 0.0
        return _add(seconds, state, time.perf_counter() - since, cpu_s)

    def _turn(self, state: int, cpu_s: float = 0.0) -> None:
        seconds, before, since, cpu_since = self._books
        now = time.perf_counter()
        spent_s = time.thread_time() - cpu_since if before == _BUSY else 0.0
        self._books = (_add(seconds, before, now - since, spent_s), state, now, cpu_s)


def _add(seconds: list[float], state: int, wall_s: float, cpu_s: float) -> list[float]:
    """Return the seconds by label with those of one more state.

    Examples
    --------
    >>> nothing = [0.0] * len(LABELS)
    >>> _add(nothing, _BUSY, 2.0, 1.5)
    [1.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    >>> _add(nothing, _DISPATCH, 1.02, 0.0)
    [0.0, 0.0, 0.0, 0.02, 0.0, 1.0]
    """
    total = seconds.copy()
    if state == _BUSY:
        # Where the CPU time of another thread can't be read, all counts as busy.
        cpu_s = wall_s if math.isnan(cpu_s) else min(wall_s, max(0.0, cpu_s))
        total[_BUSY] += cpu_s
        total[_WAITING] += wall_s - cpu_s
    elif state == _DISPATCH:
        total[_DISPATCH] += min(wall_s, _HAND_OVER_S)
        total[_STARVED] += max(0.0, wall_s - _HAND_OVER_S)
    else:
        total[state] += wall_s
    return total


@contextlib.contextmanager
def metered(worker: Any, name: str, *, is_task: bool) -> Iterator[LaneMeter]:
    """Yield the books of a lane, which the worker reports if it has a `SlotMeter`.

    Parameters
    ----------
    worker : distributed.Worker or None
        Of this process; None for a lane in a child process.
    name : str
        What the call is named.
    is_task : bool
        Whether this thread executes a task of Dask.

    Yields
    ------
    LaneMeter

    Examples
    --------
    >>> with metered(None, "squares", is_task=False) as lane:
    ...     lane.name
    'squares'
    """
    # By its name: it may have been sent here by value, and be of another class.
    meter = None if worker is None else worker.plugins.get(METER_NAME)
    if meter is None:
        yield LaneMeter(name)
        return
    with meter.lane(name, is_task=is_task) as lane:
        yield lane
