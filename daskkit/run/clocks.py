"""What the system tells of threads and processes: whether they compute, or wait."""

from __future__ import annotations

import math
import time

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # Linux has it
    getrusage = None  # type: ignore[assignment] # as nobody calls it then

__all__ = ["Stopwatch", "read_cpu_s", "read_queued_s", "read_state"]


class Stopwatch:
    """Measures what this thread takes for something, from when this is made.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> took_s, cpu_s = watch.read()
    >>> 0 <= cpu_s <= took_s or took_s < 0.001
    True
    """

    __slots__ = ("_n_stops", "_n_waits", "began_s", "cpu_began_s")

    def __init__(self) -> None:
        self._n_waits, self._n_stops = _count_switches()
        #: Of `time.perf_counter` and of `time.thread_time`.
        self.began_s, self.cpu_began_s = time.perf_counter(), time.thread_time()

    def read(self) -> tuple[float, float]:
        """Return the seconds that it took, and CPU seconds, until now.

        What took CPU time only, and was interrupted as others wanted the core, takes no
        longer than that: 0.02 ms can become 10 ms on a busy machine.
        """
        took_s = time.perf_counter() - self.began_s
        cpu_s = time.thread_time() - self.cpu_began_s
        n_waits, n_stops = _count_switches()
        if n_stops > self._n_stops and n_waits == self._n_waits:
            took_s = min(took_s, cpu_s)
        return took_s, cpu_s


def _count_switches() -> tuple[int, int]:
    """Return how often this thread has waited, and how often it was interrupted.

    Voluntary and involuntary context switches (getrusage(2)).
    """
    if getrusage is None:
        return 0, 0
    usage = getrusage(RUSAGE_THREAD)
    return usage.ru_nvcsw, usage.ru_nivcsw


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
