"""Worker processes that change nothing in the caller's.

A `Nanny` starts and watches one worker process. Distributed's own leaks variables
into the environment of the process that starts it, and its children import the
user's script again; this one does neither.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing.spawn
import os
import signal
import sys
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

from distributed import Nanny
from distributed.diagnostics.plugin import WorkerPlugin

from daskkit.run.threads import import_threadpoolctl, thread_variables

__all__ = ["End", "LimitBlas", "WorkerNanny", "ends"]


class End(NamedTuple):
    """How a worker's process ended."""

    #: As `subprocess` gives it: negative for a signal.
    exit_code: int | None
    #: Memory that it held when its nanny ended it for that; 0 if that was not why.
    rss_bytes: int
    #: Memory that it may use; 0 for no limit.
    limit_bytes: int


#: The last worker processes of this process's nannies that have ended, by pid.
ends: OrderedDict[int, End] = OrderedDict()
_MOST_ENDS = 1000

# Of glibc's malloc.h: freed memory goes back to the system, but not all of it at once.
# distributed sets the first to 64 KiB (MALLOC_TRIM_THRESHOLD_); then each temporary
# array of NumPy is new memory, page by page: 200 items of 2 ms took a third longer.
_MALLOC_OPTIONS = {
    -1: 64 * 2**20,  # M_TRIM_THRESHOLD
    -3: 32 * 2**20,  # M_MMAP_THRESHOLD, the largest value that it may have
}
# distributed gives its worker processes this name (nanny.py, WorkerProcess.start).
_WORKER_PROCESS = "Dask Worker process"


class WorkerNanny(Nanny):
    """A nanny that leaves the environment of its own process as it is.

    distributed puts ``OMP_NUM_THREADS=1`` and others into ``os.environ`` of the
    calling process before each start (nanny.py, WorkerProcess.start), where joblib
    and every later child inherit it. Here they are set in the worker itself, and
    `LimitBlas` limits the libraries that are loaded by then.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pre_spawn_env: dict[str, str] = {}
        self._worker_pid: int | None = None
        self._excess_bytes = 0
        _forget_main()

    async def instantiate(self) -> Any:
        """Start the worker's process and leave no trace in this one's environment."""
        self._excess_bytes = 0
        try:
            return await super().instantiate()
        finally:
            # Only there to let children with `setproctitle` rename themselves.
            os.environ.pop("__DASK_PARENT_PID", None)
            if self.process is not None:
                self._worker_pid = self.process.pid

    def log_event(self, topic: str, msg: Any) -> None:
        """Note when the worker is ended for its memory, which its exit doesn't tell."""
        if topic == "worker-restart-memory":
            self._excess_bytes = int(msg["rss"])
        super().log_event(topic, msg)  # type: ignore[no-untyped-call] # not typed there

    def _on_worker_exit_sync(self, exitcode: int | None) -> None:
        """Note how the worker ended, for whoever waits for its items."""
        if self._worker_pid is not None:
            limit = int(self.memory_manager.memory_limit or 0)
            ends[self._worker_pid] = End(exitcode, self._excess_bytes, limit)
            while len(ends) > _MOST_ENDS:
                ends.popitem(last=False)
        super()._on_worker_exit_sync(exitcode)  # type: ignore[no-untyped-call] # as above


class LimitBlas(WorkerPlugin):
    """Worker plugin: limit BLAS and OpenMP threads, keep memory, ignore Ctrl-C.

    Parameters
    ----------
    n_threads : int
        Threads that one call into a library may use, at least 1.
    """

    name = "daskkit-limit-blas"

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads

    def setup(self, worker: Any) -> None:
        """Apply the limits in a worker's process, once, before its first task."""
        del worker
        # Ctrl-C in a terminal reaches all its processes; it is the caller's, who ends
        # its workers in good order, without a traceback of each.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        # What is there now stays; looking through it for garbage would take longer than
        # many a batch of small objects.
        gc.collect()
        gc.freeze()
        import numpy as np  # noqa: F401 - loads its BLAS, so that it is limited

        import_threadpoolctl().threadpool_limits(limits=self.n_threads)
        os.environ.update(thread_variables(self.n_threads))
        if sys.platform == "linux":
            # musl has no mallopt, and nothing to trim either.
            mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
            if mallopt is not None:
                for option, value in _MALLOC_OPTIONS.items():
                    mallopt(option, value)


def _forget_main() -> None:
    """Keep worker processes from importing the user's ``__main__`` again.

    multiprocessing's spawned children import the script that started them; without
    an ``if __name__ == "__main__"`` guard that starts clusters without end. Dask's
    workers don't need it: functions of ``__main__`` reach them by value. (loky does
    the same for joblib.)
    """
    module = multiprocessing.spawn
    if getattr(module.get_preparation_data, "_daskkit", False):
        return
    original = module.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        preparation: dict[str, Any] = original(name)
        if name.startswith(_WORKER_PROCESS):
            preparation.pop("init_main_from_name", None)
            preparation.pop("init_main_from_path", None)
        return preparation

    get_preparation_data._daskkit = True  # type: ignore[attr-defined] # noqa: SLF001 - our own mark
    module.get_preparation_data = get_preparation_data
