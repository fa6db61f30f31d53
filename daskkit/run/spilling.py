"""Tasks that wait for ever as all workers are full, and so is the disk: an error.

distributed pauses a worker whose memory is full. If what it holds can't be written to
the disk either, it stays paused, and whoever waits for its tasks waits as well.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.protocol.serialize import ToPickle
from tornado.ioloop import PeriodicCallback

from daskkit.transport.errors import NoRoomError
from daskkit.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["SpillWatch"]

_LOOK_S = 1.0
# Workers that are full for a moment get on by themselves.
_PATIENCE_S = 10.0
_WAITING = ("queued", "no-worker", "processing")


class SpillWatch:
    """Fails the tasks that can't be executed for want of memory and disk.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        In this process.
    folder : str
        Where its workers spill to.
    """

    def __init__(self, scheduler: Any, folder: str) -> None:
        self._scheduler = scheduler
        self._folder = folder
        self._state: object = None
        self._since_s = 0.0

    def start(self) -> None:
        """Look from time to time, until the scheduler ends."""
        callback = PeriodicCallback(self.look, _LOOK_S * 1000)
        self._scheduler.periodic_callbacks["daskkit-spill-watch"] = callback
        self._scheduler.loop.add_callback(callback.start)

    def look(self) -> None:
        """Fail what has waited too long, if nothing can change that."""
        workers = self._scheduler.workers.values()
        if not workers or any(one.status != Status.paused for one in workers):
            self._state = None
            return
        state = self._describe()
        now = time.monotonic()
        if state != self._state:
            self._state, self._since_s = state, now
            return
        if now - self._since_s < _PATIENCE_S:
            return
        free = self._free_bytes()
        largest = max((ts.nbytes for ws in workers for ts in ws.has_what), default=0)
        if free < largest:
            self._fail(free)

    def _describe(self) -> object:
        """Return what changes while there is progress."""
        return [
            (ws.address, len(ws.has_what), len(ws.processing))
            if not ws.executing
            else object()  # what is executed may free memory when it is done
            for ws in self._scheduler.workers.values()
        ]

    def _free_bytes(self) -> float:
        with contextlib.suppress(OSError):
            return float(shutil.disk_usage(self._folder).free)
        return 0.0

    def _fail(self, free: float) -> None:
        limits = [ws.memory_limit or 0 for ws in self._scheduler.workers.values()]
        text = (
            f"all {len(limits)} workers have paused, as their memory is full "
            f"(their limit is {format_bytes(max(limits))} each), and the disk that "
            f"they spill to has {format_bytes(free)} left ({self._folder}). Release "
            "results, free the disk, or give the workers more memory"
        )
        error: Any = ToPickle(NoRoomError(text))
        stimulus = f"daskkit-spill-watch-{time.time()}"
        recommendations: dict[Hashable, str] = {}
        waiting = [
            key for key, ts in self._scheduler.tasks.items() if ts.state in _WAITING
        ]
        for key in waiting:
            found = self._scheduler.transition(
                key, "erred", stimulus_id=stimulus, exception=error, cause=key
            )
            recommendations.update(found)
        self._scheduler.transitions(recommendations, stimulus)
