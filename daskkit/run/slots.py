"""Where the time of a worker's threads goes: counters that ride on its heartbeats.

A worker with ``n`` threads has ``n`` slots. At any time each of them is with a lane,
with a task of Dask, or idle. Lanes keep their own books, as Dask sees one task that
lasts as long as the call, or none at all; the rest is told by the worker's state
machine. What is reported are cumulative seconds and when they were read, so that a
heartbeat which is late or lost distorts nothing.

Imports `run.meter` alone: it is also sent to workers that lack the package.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import WorkerPlugin

from daskkit.run.clocks import read_cpu_s
from daskkit.run.meter import LABELS, METER_NAME, N_SLOWEST, LaneMeter, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SlotMeter"]

_BUSY, _WAITING, _TRANSFER = range(3)
# States of tasks that say what a slot does; half of all transitions concern no other.
_COUNTED = frozenset({"waiting", "ready", "constrained", "executing"})
# That many batches of the past are kept: 250 KB at most.
_N_STRETCHES = 1_000
# A worker that is idle for so long has ended a stretch of work.
_REST_S = 2.0


class SlotMeter(WorkerPlugin):
    """Worker plugin: report where the time of the worker's threads goes.

    The report is ``metrics["daskkit"]`` of the worker's state in the scheduler: a dict
    of plain numbers, see `report`.
    """

    name = METER_NAME
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Begin to count, and have each heartbeat carry the counters."""
        self._worker = worker
        self._lock = threading.Lock()
        self._lanes: dict[LaneMeter, bool] = {}
        #: The last batches of all lanes; a recording makes room for more of them.
        self.stretches: collections.deque[Stretch] = collections.deque(
            maxlen=_N_STRETCHES
        )
        self._seconds = [0.0] * len(LABELS)
        self._slots = (0, 0, 0, 0, 0, 0)
        self._since = time.perf_counter()
        # Seconds that tasks have had slots; which part of it was CPU time is only known
        # of the threads that execute them, lanes included.
        self._tasks_s = 0.0
        self._tasks_busy_s = 0.0
        self._split_at = (0.0, 0.0)
        self._threads_cpu: dict[int, float] = {}
        self._cpu_s = 0.0
        self._lanes_cpu_s = 0.0
        self._counts = [0, 0, 0, 0]
        self._slowest: list[tuple[float, str, int, int, bool]] = []
        self._began = self._now()
        self._active: tuple[float, float] = (0.0, 0.0)
        self._is_active = False
        self._read_threads()
        self._cpu_s = 0.0
        self._look()
        worker.metrics["daskkit"] = self.report

    def teardown(self, worker: Any) -> None:
        """Report nothing any more."""
        worker.metrics.pop("daskkit", None)

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Look again, as a task of Dask has come, begun or gone."""
        del key, kwargs
        if start in _COUNTED or finish in _COUNTED:
            with self._lock:
                self._look()

    @contextlib.contextmanager
    def lane(self, name: str, *, is_task: bool) -> Iterator[LaneMeter]:
        """Yield the books of a lane; its thread has a slot as long as the context.

        Parameters
        ----------
        name : str
            What the call is named.
        is_task : bool
            Whether the thread executes a task of Dask meanwhile.
        """
        lane = LaneMeter(name, self._note, self._leave)
        with self._lock:
            self._lanes[lane] = is_task
            self._look()
        try:
            yield lane
        finally:
            with self._lock:
                self._close(lane)
                self._look()

    def report(self, worker: Any) -> dict[str, Any]:
        """Return the counters, as they ride on a heartbeat.

        Parameters
        ----------
        worker : distributed.Worker
            Calls it.

        Returns
        -------
        dict
            ``t``: when they were read, seconds since the epoch; ``began``: since when
            they count; ``n``: slots; ``s``: seconds by label; ``active``: beginning and
            end of the last stretch of work, 0 if there was none; ``items`` and
            ``failed`` of verbs; ``mapped`` and ``sent`` bytes of verbs; ``slow``: the
            items that took longest, each with its seconds, the verb's name, its index,
            how many it is the mean of, and whether it still runs.
        """
        with self._lock:
            self._look(is_report=True)
            self._read_threads()
            seconds = self._seconds.copy()
            counts = self._counts.copy()
            slowest = list(self._slowest)
            lanes_cpu_s = self._lanes_cpu_s
            for lane, is_task in self._lanes.items():
                seconds = [a + b for a, b in zip(seconds, lane.read(), strict=True)]
                counts = [a + b for a, b in zip(counts, _counts_of(lane), strict=True)]
                slowest += _slowest_of(lane)
                if is_task:
                    lanes_cpu_s += read_cpu_s(lane.thread_id) - lane.cpu_began_s
            n, active = worker.state.nthreads, self._active
            if self._is_active:
                active = (active[0], self._now())
            self._split_tasks(self._cpu_s - lanes_cpu_s)
            seconds[_BUSY] += self._tasks_busy_s
            seconds[_WAITING] += self._tasks_s - self._tasks_busy_s
        return {
            "t": self._now(),
            "began": self._began,
            "n": n,
            "s": seconds,
            "active": list(active),
            "items": counts[0],
            "failed": counts[1],
            "mapped": counts[2],
            "sent": counts[3],
            "slow": [list(one) for one in heapq.nlargest(N_SLOWEST, slowest)],
        }

    @staticmethod
    def _now() -> float:
        return time.time()

    def _note(self, stretch: Stretch) -> None:
        """Keep a batch; called by the lane's thread."""
        self.stretches.append(stretch)

    def _look(self, *, is_report: bool = False) -> None:
        """Credit what has gone on since the last look; the lock is held."""
        state = self._worker.state
        n, n_lanes = state.nthreads, len(self._lanes)
        n_tasks = max(0, state.executing_count - sum(self._lanes.values()))
        idle = max(0, n - n_tasks - n_lanes)
        transfer = dispatch = paused = 0
        if idle and not state.running:
            paused = idle
        elif idle:
            dispatch = min(idle, len(state.ready) + len(state.constrained))
            transfer = min(idle - dispatch, len(state.waiting))
        starved = idle - transfer - dispatch - paused
        slots = (n_tasks, transfer, dispatch, paused, starved, n_lanes)
        if slots == self._slots and not is_report:
            return
        now = time.perf_counter()
        gone_s, self._since = now - self._since, now
        self._tasks_s += self._slots[0] * gone_s
        for label, count in enumerate(self._slots[1:-1], start=_TRANSFER):
            self._seconds[label] += count * gone_s
        self._slots = slots
        self._note_activity(is_active=bool(n_lanes or n_tasks or transfer or dispatch))

    def _note_activity(self, *, is_active: bool) -> None:
        if is_active == self._is_active:
            return
        now = self._now()
        began, ended = self._active
        if is_active and now - ended > _REST_S:
            began = now
        self._active = (began, now)
        self._is_active = is_active

    def _leave(self, lane: LaneMeter) -> None:
        """Count a lane as no task any more; called by its thread."""
        with self._lock:
            if self._lanes[lane]:
                self._read_threads()
                self._lanes_cpu_s += time.thread_time() - lane.cpu_began_s
                self._lanes[lane] = False
                self._look()

    def _close(self, lane: LaneMeter) -> None:
        """Take over the books of a lane that ends; the lock is held, in its thread."""
        is_task = self._lanes.pop(lane)
        lane.running = None
        if is_task:
            self._lanes_cpu_s += time.thread_time() - lane.cpu_began_s
        self._seconds = [a + b for a, b in zip(self._seconds, lane.read(), strict=True)]
        self._counts = [
            a + b for a, b in zip(self._counts, _counts_of(lane), strict=True)
        ]
        both = self._slowest + _slowest_of(lane)
        self._slowest = heapq.nlargest(N_SLOWEST, both)

    def _split_tasks(self, cpu_s: float) -> None:
        """Tell what tasks computed since the last report; the lock is held.

        Their threads take a little CPU time between tasks, too, which is not theirs.
        """
        tasks_s, before_s = self._split_at
        most_s = self._tasks_s - tasks_s
        new_s = most_s if math.isnan(cpu_s) else max(0.0, cpu_s - before_s)
        self._tasks_busy_s += min(most_s, new_s)
        self._split_at = (self._tasks_s, cpu_s)

    def _read_threads(self) -> None:
        """Add up the CPU time of the threads that execute tasks; the lock is held."""
        executor = self._worker.executors.get("default")
        # Threads of an executor of the user's own are not known: all counts as busy.
        threads = getattr(executor, "_threads", None)
        if threads is None:
            self._cpu_s = math.nan
            return
        for thread in list(threads):
            if thread.ident is not None and thread.is_alive():
                cpu_s = read_cpu_s(thread.ident)
                self._cpu_s += cpu_s - self._threads_cpu.get(thread.ident, 0.0)
                self._threads_cpu[thread.ident] = cpu_s


def _counts_of(lane: LaneMeter) -> tuple[int, int, int, int]:
    return lane.n_items, lane.n_failed, lane.mapped_bytes, lane.sent_bytes


def _slowest_of(lane: LaneMeter) -> list[tuple[float, str, int, int, bool]]:
    slowest = [
        (wall_s, lane.name, start, n, False) for wall_s, start, n in lane.slowest
    ]
    running = lane.running
    if running is not None:
        start, began = running
        slowest.append((time.perf_counter() - began, lane.name, start, 1, True))
    return slowest
