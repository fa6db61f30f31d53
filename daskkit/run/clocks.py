"""What the system tells of a thread of this process: whether it computes, or waits."""

from __future__ import annotations

import math
import time

__all__ = ["has_to_run", "read_cpu_s", "read_queued_s"]


def read_cpu_s(thread_id: int) -> float:
    """Return the CPU seconds of a thread that is alive, NaN where it can't be read.

    Parameters
    ----------
    thread_id : int
        Its `threading.Thread.ident`.

    Returns
    -------
    float

    Examples
    --------
    >>> import threading
    >>> read_cpu_s(threading.get_ident()) < 0
    False
    """
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(thread_id))
    except (AttributeError, OSError):
        return math.nan


def read_queued_s(native_id: int) -> float:
    """Return how long a thread was ready to run, and others had all cores.

    Parameters
    ----------
    native_id : int
        Its `threading.Thread.native_id`.

    Returns
    -------
    float
        Seconds since it began, up to when it had a core last; NaN where the system
        doesn't tell.

    Examples
    --------
    >>> import threading
    >>> read_queued_s(threading.get_native_id()) < 0
    False
    """
    try:
        # The second number, in nanoseconds (Documentation/scheduler/sched-stats.rst).
        return int(_read(native_id, "schedstat").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return math.nan


def has_to_run(native_id: int) -> bool:
    """Return whether a thread has something to compute, with a core or without.

    Parameters
    ----------
    native_id : int
        Its `threading.Thread.native_id`.

    Returns
    -------
    bool
        False where the system doesn't tell.

    Examples
    --------
    >>> has_to_run(-1)
    False
    """
    try:
        # The state follows the name, which may hold anything (proc_pid_stat(5)).
        return _read(native_id, "stat").rpartition(")")[2].split()[0] == "R"
    except (OSError, IndexError):
        return False


def _read(native_id: int, name: str) -> str:
    # Half as long as with pathlib.
    with open(f"/proc/self/task/{native_id}/{name}") as file:  # noqa: PTH123
        return file.read()
