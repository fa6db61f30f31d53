"""Forgotten tasks go, with the memory that their arguments share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

if TYPE_CHECKING:
    from distributed.scheduler import WorkerState

__all__ = ["Forgetter"]


class Forgetter(SchedulerPlugin):
    """Scheduler plugin: drops what distributed keeps of tasks that are forgotten.

    It keeps a task whose kind never ended well as one of unknown duration (stealing.py,
    ``unknown_durations``), and what a worker that has gone was executing at its last
    heartbeat, if stealing has ever looked at it (``in_flight_occupancy``). A closed
    scheduler is kept as well (core.py, ``_expects_comm``).

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In this process.
    """

    name = "daskkit-forgetter"

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._states: dict[str, WorkerState] = {}

    def begin(self) -> None:
        """Look at all tasks and workers from now on; for any thread to call."""
        self._scheduler.loop.add_callback(self._begin)

    def _begin(self) -> None:
        self._states.update(self._scheduler.workers)
        self._scheduler.add_plugin(self)

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any
    ) -> None:
        """Drop a task that is being forgotten."""
        del start, args, kwargs
        if finish == "forgotten":
            stealing = self._scheduler.extensions.get("stealing")
            task = self._scheduler.tasks.get(key)
            if stealing is not None and task is not None:
                name = task.prefix.name
                stealing.unknown_durations.get(name, set()).discard(task)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Remember a worker's state, which can't be found when it has gone."""
        self._states[worker] = scheduler.workers[worker]

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        """Forget what a worker was executing."""
        del scheduler, kwargs
        state = self._states.pop(worker, None)
        if state is not None:
            state.executing.clear()

    async def close(self) -> None:
        """Forget what the last workers were executing."""
        for worker in list(self._states):
            self.remove_worker(self._scheduler, worker)
