"""What the system tells of threads and processes: whether they compute, or wait."""

from __future__ import annotations

import math
import time

__all__ = ["read_cpu_s", "read_queued_s", "read_state"]


def read_cpu_s(thread_id: int) -> float:
    """Return the CPU seconds of a thread of this process that is alive, NaN if unknown.

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


def read_queued_s(number: int) -> float:
    """Return how long a thread was ready to run, and others had all cores.

    Parameters
    ----------
    number : int
        Its `threading.Thread.native_id`; of a main thread the process id.

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
        return int(_read(number, "schedstat").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return math.nan


def read_state(number: int) -> str:
    """Return the state of a process or thread: "R" if it runs or wants to, "T" stopped.

    Parameters
    ----------
    number : int
        A process id, or a `threading.Thread.native_id`.

    Returns
    -------
    str
        A letter (proc_pid_stat(5)); empty where the system doesn't tell.

    Examples
    --------
    >>> read_state(-1)
    ''
    """
    try:
        # The state follows the name, which may hold anything.
        return _read(number, "stat").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _read(number: int, name: str) -> str:
    # Half as long as with pathlib, which would have to be imported, too.
    with open(f"/proc/{number}/{name}", "rb") as file:  # noqa: PTH123
        return file.read().decode(errors="replace")
