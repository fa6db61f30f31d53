"""Worker processes that change nothing in the caller's, and come back when they die.

A `Nanny` starts and watches one worker process. Distributed's own leaks variables
into the environment of the process that starts it, and its children import the
user's script again; this one does neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import multiprocessing
import multiprocessing.resource_tracker
import multiprocessing.spawn
import os
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import LocalCluster, Nanny
from distributed.diagnostics.plugin import WorkerPlugin

from daskkit.run.children import describe_exit
from daskkit.run.forked import spawning_config
from daskkit.run.interrupts import block_interrupt, ignore_interrupt
from daskkit.run.offspring import end_offspring, lead_session
from daskkit.run.threads import import_threadpoolctl, thread_variables
from daskkit.transport.deaths import note_death, open_page
from daskkit.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["End", "LastingCluster", "LimitBlas", "WorkerNanny", "ends"]


class End(NamedTuple):
    """How a worker's process ended."""

    #: As `subprocess` gives it: negative for a signal.
    exit_code: int | None
    #: Memory that it held when its nanny ended it for that; 0 if that was not why.
    rss_bytes: int
    #: Memory that it may use; 0 for no limit.
    limit_bytes: int

    @property
    def cause(self) -> str:
        """Why, in a few words.

        Examples
        --------
        >>> End(-9, 0, 0).cause
        'signal SIGKILL'
        """
        if self.rss_bytes:
            return (
                f"out of memory: it held {format_bytes(self.rss_bytes)}, and its limit "
                f"is {format_bytes(self.limit_bytes)}"
            )
        return describe_exit(self.exit_code)


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
# A worker that executes a task when its cluster is closed has 0.8 times as long.
_CLOSE_S = 2.0
# distributed gives its worker processes this name (nanny.py, WorkerProcess.start).
_WORKER_PROCESS = "Dask Worker process"


class WorkerNanny(Nanny):
    """A nanny that leaves the environment of its own process as it is.

    distributed puts ``OMP_NUM_THREADS=1`` and others into ``os.environ`` of the
    calling process before each start (nanny.py, WorkerProcess.start), where joblib
    and every later child inherit it. Here they are set in the worker itself, and
    `LimitBlas` limits the libraries that are loaded by then.

    Ctrl-C in a terminal goes to all processes that were started from there. It belongs
    to the caller, who ends the workers in good order, or goes on with them: from the
    first moment on they don't get it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pre_spawn_env: dict[str, str] = {}
        self.config = spawning_config(self.config)
        self._worker_pid: int | None = None
        self._excess_bytes = 0
        _forget_main()

    async def instantiate(self) -> Any:
        """Start the worker's process and leave no trace in this one's environment."""
        self._excess_bytes = 0
        _spare_children()
        try:
            return await super().instantiate()
        finally:
            # Only there to let children with `setproctitle` rename themselves.
            os.environ.pop("__DASK_PARENT_PID", None)
            if self.process is not None:
                self._worker_pid = self.process.pid

    async def close(  # type: ignore[override] # as distributed's own
        self,
        timeout: float = 5,  # noqa: ASYNC109 - distributed passes it by this name
        reason: str = "nanny-close",
    ) -> Any:
        """End the worker, also amid a task: nobody waits for its result any more."""
        return await super().close(timeout=min(timeout, _CLOSE_S), reason=reason)

    def log_event(self, topic: str, msg: Any) -> None:
        """Note when the worker is ended for its memory, which its exit doesn't tell."""
        if topic == "worker-restart-memory":
            self._excess_bytes = int(msg["rss"])
        super().log_event(topic, msg)  # type: ignore[no-untyped-call] # not typed there

    def _on_worker_exit_sync(self, exitcode: int | None) -> None:
        """Note how the worker ended, for whoever waits for its items."""
        if self._worker_pid is not None:
            limit = int(self.memory_manager.memory_limit or 0)
            end = End(exitcode, self._excess_bytes, limit)
            ends[self._worker_pid] = end
            while len(ends) > _MOST_ENDS:
                ends.popitem(last=False)
            note_death(self.local_directory, self._worker_pid, end.cause)
            end_offspring(self._worker_pid)
        super()._on_worker_exit_sync(exitcode)  # type: ignore[no-untyped-call] # as above


class LastingCluster(LocalCluster):
    """A local cluster that doesn't send its nannies away.

    distributed looks 15 s after the loss of a worker (deploy/spec.py, by
    ``lost-worker-timeout``) whether it is back, and closes its nanny if it isn't: also
    if it came back long ago, died again and is just starting. Each nanny starts workers
    for as long as the cluster lives.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        """Do what the scheduler's news call for, except for a worker that is lost."""
        if op != "remove":
            super()._update_worker_status(op, msg)  # type: ignore[no-untyped-call] # as below


class LimitBlas(WorkerPlugin):
    """Worker plugin: limit BLAS, give freed memory back, leave Ctrl-C to the caller.

    And let tasks use a `multiprocessing.Pool`, and note what they do.

    Parameters
    ----------
    n_threads : int
        Threads that one call into a library may use, at least 1.
    modules : sequence of str, default ()
        What is imported here and not when the first items need it.
    """

    name = "daskkit-limit-blas"

    def __init__(self, n_threads: int, modules: Sequence[str] = ()) -> None:
        self.n_threads = n_threads
        self.modules = modules

    def setup(self, worker: Any) -> None:
        """Apply the limits in a worker's process, once, before its first task."""
        # Where its nanny looks; workers have folders of their own in there.
        open_page(Path(worker.local_directory).parent)
        ignore_interrupt()
        lead_session()
        # distributed makes it a daemon of multiprocessing's, which may not have any
        # children: a task could use no Pool. The nanny ends it in any case.
        process: Any = multiprocessing.current_process()
        process._config["daemon"] = False  # noqa: SLF001 - no public way once it runs
        # They tell that a task is cancelled as the worker closes, and that the
        # scheduler has gone, with which this worker goes, too.
        for logger in ("distributed.worker.state_machine", "distributed.worker"):
            logging.getLogger(logger).addFilter(_is_news)
        for module in self.modules:
            # Who needs it is told why it fails.
            with contextlib.suppress(Exception):
                importlib.import_module(module)
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


def _is_news(record: logging.LogRecord) -> bool:
    text = str(record.msg)
    return not text.endswith(
        ("ended with CancelledError", "scheduler during heartbeat.")
    )


def _spare_children() -> None:
    """Block SIGINT in the children of this thread, and of the threads that it starts.

    Python's own handlers run in the main thread, which isn't changed.
    """
    if threading.current_thread() is not threading.main_thread():
        # Its start, by the first child otherwise, unblocks the signal again.
        multiprocessing.resource_tracker.ensure_running()
        block_interrupt()


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
