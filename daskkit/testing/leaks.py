"""A watch for processes, threads, descriptors, files and variables left behind."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing.resource_tracker
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from daskkit.transport.contact import find_imported

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LeakWatch", "adopt_orphans"]

# Meant to stay: distributed's thread for serialising, the event loop and callbacks of a
# cluster that lives on, and threads that wait for the next call.
_LASTING_THREADS = (
    "Dask-Offload",
    "Dask-Callback-Thread",
    "IO loop",
    "asyncio_",  # helpers of an event loop
    "ThreadPoolExecutor",  # dask's threaded scheduler keeps its pool
    "daskkit-helper",
)
# Helpers of multiprocessing's and ours, one for the life of the process.
_LASTING_PROCESSES = ("resource_tracker", "forkserver")
# pytest's own, and those that scikit-learn sets when it is imported.
_LASTING_VARIABLES = ("PYTEST_CURRENT_TEST", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK")
_POLL_S = 0.05
# Of Linux's prctl.h.
_PR_SET_CHILD_SUBREAPER = 36


class LeakWatch:
    """What this process has, so that one can ask later what has been added.

    It looks at child processes, threads, open descriptors, the files in the temporary
    folder and environment variables.

    Parameters
    ----------
    has_sockets : bool, default True
        False leaves sockets, pipes and the like out: the connections of a cluster that
        lives on come and go.
    threads, variables : iterable of str, default ()
        Beginnings of the names of threads, and names of variables, that may stay,
        besides those that libraries keep for the life of a process.

    Examples
    --------
    >>> watch = LeakWatch()
    >>> os.environ["LEFT"] = "1"
    >>> watch.find()
    ['environment variable LEFT=1']
    >>> del os.environ["LEFT"]
    >>> watch.check()
    """

    def __init__(
        self,
        *,
        has_sockets: bool = True,
        threads: Iterable[str] = (),
        variables: Iterable[str] = (),
    ) -> None:
        self._has_sockets = has_sockets
        self._threads = (*_LASTING_THREADS, *threads)
        self._variables = {*_LASTING_VARIABLES, *variables}
        self._before = self._look()

    def find(self) -> list[str]:
        """Return what is there and was not, or the other way round for variables.

        Returns
        -------
        list of str
            Empty if nothing is.
        """
        after = self._look()
        left = [
            f"{kind} {text}"
            for kind, things in after.items()
            for key, text in things.items()
            if key not in self._before[kind]
        ]
        variables = "environment variable"
        return left + [
            f"{variables} {text} was removed"
            for key, text in self._before[variables].items()
            if key not in after[variables]
        ]

    def check(self, patience_s: float = 10.0) -> None:
        """Fail if something is left; what is about to end is waited for.

        Parameters
        ----------
        patience_s : float, default 10.0
            How long, in seconds.

        Raises
        ------
        AssertionError
            With a list of what is left.
        """
        deadline = time.monotonic() + patience_s
        while left := self.find():
            if time.monotonic() > deadline:
                msg = f"left behind: {'; '.join(left)}"
                raise AssertionError(msg)
            gc.collect()
            time.sleep(_POLL_S)

    def _look(self) -> dict[str, dict[object, str]]:
        """Return all that could be left behind, by kind."""
        return {
            "process": _processes(),
            "thread": {
                thread.ident: thread.name
                for thread in threading.enumerate()
                if not thread.name.startswith(self._threads)
            },
            "descriptor": _descriptors(has_sockets=self._has_sockets),
            "temporary file": {
                path: str(path)
                for path in Path(tempfile.gettempdir()).iterdir()
                if not path.name.startswith("pytest-of-")  # where tmp_path lives
            },
            "environment variable": {
                (name, value): f"{name}={value}"
                for name, value in os.environ.items()
                if name not in self._variables
            },
        }


def adopt_orphans() -> None:
    """Make processes whose parent has died children of this one, so that they show.

    For the rest of this process's life, on Linux. Call it before the first
    `LeakWatch`: it also starts the helper that multiprocessing keeps in any case.
    """
    multiprocessing.resource_tracker.ensure_running()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _processes() -> dict[object, str]:
    found: dict[object, str] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if process.status() == psutil.STATUS_ZOMBIE:
                # An adopted orphan that has ended; nobody else will ask for it.
                os.waitpid(process.pid, os.WNOHANG)
                continue
            command = process.cmdline()
            # What a helper has forked has its name, and is not meant to stay.
            parent = process.parent()
            is_fork = parent is not None and parent.cmdline() == command
            if is_fork or not any(
                name in " ".join(command) for name in _LASTING_PROCESSES
            ):
                found[process.pid, process.create_time()] = " ".join(command)[:120]
    return found


def _descriptors(*, has_sockets: bool) -> dict[object, str]:
    """Return open descriptors; sockets, and what goes with them, only if told to."""
    found: dict[object, str] = {}
    find_link = find_imported("daskkit.run.forked", "find_link")
    lasting = None if find_link is None else find_link()
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return found
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            if int(entry.name) == lasting:
                continue
            target = str(entry.readlink())
            is_pipe = target.startswith(("pipe:", "anon_inode:"))
            is_socket = target.startswith("socket:")
            is_lasting = ".hypothesis" in target or "/fd" in target
            # So do the boards and boxes of lanes that wait for the next call.
            of_lane = "daskkit-board" in target or "daskkit-box" in target
            is_socket = is_socket or (not has_sockets and of_lane)
            if not is_lasting and (has_sockets or not (is_pipe or is_socket)):
                found[entry.name, target] = f"{entry.name} -> {target}"
    return found
