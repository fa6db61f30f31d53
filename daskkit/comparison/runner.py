"""The process in which one back end runs: ``python -m daskkit.comparison.runner FD``.

Every contestant has a process of its own, so that none can disturb, crash or hang the
comparison, and so that CPU seconds and memory are those of its process tree. The
parent (`comparison.contestant`) sends commands through a pipe that it inherited; this
module is the only one that reads the clock for a result.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from daskkit.accounts import Trace
    from daskkit.backends.base import Backend
    from daskkit.records import Workload

__all__ = ["main"]


class _Runner:
    """Holds the back end between commands."""

    def __init__(self) -> None:
        self._workload: Workload | None = None
        self._backend: Backend | None = None

    def load(self, path: list[str], pickled: bytes) -> None:
        """Take over the parent's import path and its workload."""
        sys.path[:] = path
        self._workload = pickle.loads(pickled)

    def start(self, spec_text: str, n_workers: int) -> dict[str, Any]:
        """Start the back end; its imports count, as they do for its users."""
        assert self._workload is not None
        began = time.perf_counter()
        from daskkit.backends.registry import load_backend, parse_spec

        spec = parse_spec(spec_text)
        backend = load_backend(spec.name)
        reason = backend.unavailable(self._workload)
        if reason is not None:
            return {"unavailable": reason, "single": backend.single}
        self._backend = spec.make(n_workers)
        self._backend.start(self._workload)
        return {
            "start_s": time.perf_counter() - began,
            "workers": self._backend.n_workers,
            "setting": self._backend.setting,
        }

    def set_chunksize(self, value: str) -> str:
        """Change the chunk size between two runs; return how the setting is shown."""
        assert self._backend is not None
        self._backend.set_chunksize(value)
        return self._backend.setting

    def run(self) -> tuple[float, bytes]:
        """Execute the workload once; return its wall time and pickled answer."""
        assert self._backend is not None
        gc.collect()
        began = time.perf_counter()
        answer = self._backend.run()
        wall_s = time.perf_counter() - began
        return wall_s, cloudpickle.dumps(answer, protocol=5)

    def trace(self, spec_text: str, n_workers: int) -> tuple[Trace, Trace]:
        """Start the back end again with stamps on all items.

        Returns its start and first run together, and its second run.
        """
        from daskkit.backends.registry import parse_spec
        from daskkit.comparison.books import make_folder
        from daskkit.comparison.stamps import stamp_workload

        assert self._workload is not None
        self.stop()
        with make_folder() as folder:
            stamped = stamp_workload(self._workload, folder)
            gc.collect()
            began = time.perf_counter()
            self._backend = parse_spec(spec_text).make(n_workers)
            self._backend.start(stamped)
            started = time.perf_counter()
            self._backend.run()
            ended = time.perf_counter()
            cold = self._read_trace(folder, began, started, ended)
            gc.collect()
            before = self._backend.observe()
            began, cpu_s = time.perf_counter(), time.process_time()
            self._backend.run()
            ended, cpu_s = time.perf_counter(), time.process_time() - cpu_s
            after = self._backend.observe()
            counted = tuple(
                (name, seconds - before.get(name, 0.0))
                for name, seconds in after.items()
            )
            warm = self._read_trace(folder, began, began, ended)
            own_s = sum(
                stamp.cpu_s
                for stamp in warm.stamps
                if stamp.worker.startswith(f"{os.getpid()}-")
            )
            return cold, dataclasses.replace(
                warm, counted=counted, caller_cpu_s=max(cpu_s - own_s, 0.0)
            )

    def _read_trace(
        self, folder: str, began: float, started: float, ended: float
    ) -> Trace:
        """Return what has happened between two moments."""
        from daskkit.comparison.books import read_passages, read_ready, read_stamps
        from daskkit.comparison.ledger import make_trace
        from daskkit.comparison.passages import charge

        assert self._backend is not None
        trace = make_trace(
            read_stamps(folder, began),
            n_workers=self._backend.n_workers,
            began_s=began,
            ended_s=ended,
            startup_s=max(started, read_ready(folder)) - began,
        )
        return charge(trace, read_passages(folder, began), began)

    def stop(self) -> None:
        """Stop the back end."""
        if self._backend is not None:
            backend, self._backend = self._backend, None
            backend.stop()


def _describe(error: BaseException) -> str:
    """Return an exception in one line, with its notes and the first cause."""
    text = " ".join(str(error).split())
    notes = [" ".join(note.split()) for note in getattr(error, "__notes__", ())]
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{line} ({'; '.join(notes)})" if notes else line


def _serve(connection: Connection, runner: _Runner) -> None:
    """Answer commands until the parent says "exit" or is gone."""
    while True:
        try:
            command, arguments = connection.recv()
        except EOFError:
            return
        if command == "exit":
            return
        try:
            reply = ("ok", getattr(runner, command)(*arguments))
        except KeyboardInterrupt:
            return
        except BaseException as error:  # noqa: BLE001 - a contestant may raise anything
            reply = ("error", (_describe(error), traceback.format_exc()))
        connection.send(reply)


def main(runner: _Runner | None = None) -> None:
    """Serve the parent at the other end of an inherited file descriptor.

    Parameters
    ----------
    runner : object, optional
        Its methods are the commands; without one, those of a comparison.
    """
    # Ctrl-C belongs to the parent, which ends this process in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - has no keyword
    with Connection(descriptor) as connection:
        _serve(connection, runner or _Runner())
    # What is garbage by now ends in good order. To look through all modules again and
    # again, as Python does at its end, takes half a second with Dask's.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
