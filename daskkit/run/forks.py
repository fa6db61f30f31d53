"""Whether this process may be forked, and how long that takes.

Known before anything is imported for it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from daskkit.run.helpers import count_idle

__all__ = ["can_fork", "expect_forks_s", "note_ending", "note_forks"]

# Libraries whose threads or devices don't survive a fork, by their own word.
_HOSTILE = (
    "cupy",
    "grpc",
    "jax",
    "numba",
    "polars",
    "pyspark",
    "ray",
    "sklearn",
    "tensorflow",
    "torch",
)


# What it took this process to make its children: some milliseconds with Dask and pandas
# in memory, of which it has to copy what it writes to. First that of a small one.
_forks_s = 0.0025
# A thread that has just been joined may still be listed for so long; one that is about
# to end has to wait for a core, on a busy machine.
_LISTED_S, _ENDING_S = 0.004, 0.1
# The latter, by the system's numbers.
_ending: set[int] = set()


def note_forks(took_s: float) -> None:
    """Note how long it has taken to make the children of a call.

    Parameters
    ----------
    took_s : float
        Seconds; the latest count for half.
    """
    global _forks_s  # noqa: PLW0603 - it is known of the process
    _forks_s = (_forks_s + took_s) / 2


def expect_forks_s() -> float:
    """Return how long that takes, as far as is known.

    Returns
    -------
    float
        Seconds.
    """
    return _forks_s


def can_fork(*, besides: int = 0) -> bool:
    """Return whether a fork of this process is sure to work.

    On Linux, from the main thread, where no other thread could hold a lock that its
    copy would wait for: Python's threads count, and so do others except the pools of
    OpenBLAS, which NumPy and SciPy bring, and which take care of forks.

    Parameters
    ----------
    besides : int, default 0
        Threads that are going to have ended by then.

    Returns
    -------
    bool
    """
    if sys.platform != "linux" or any(name in sys.modules for name in _HOSTILE):
        return False
    is_plan = besides > 0
    besides += count_idle()  # helpers end before a fork
    if threading.active_count() > 1 + besides:
        return False
    n_pools = sum(name in sys.modules for name in ("numpy", "scipy.linalg"))
    most = 1 + besides + n_pools * ((os.cpu_count() or 1) - 1)
    until_s = time.monotonic() + _LISTED_S
    while True:
        n_threads, n_ending = _count_threads()
        if is_plan:
            n_threads -= n_ending  # they are going to have ended, too
        if n_threads <= most:
            return True
        now_s = time.monotonic()
        if now_s > until_s and not (n_ending and now_s < until_s + _ENDING_S):
            return False
        time.sleep(0.0002)


def note_ending() -> None:
    """Note that this thread ends soon by itself: a fork can wait for that."""
    _ending.add(threading.get_native_id())


def _count_threads() -> tuple[int, int]:
    """Return how many threads this process has, and how many of them end soon.

    Those aside that take care of forks.
    """
    n_threads = 0
    numbers = os.listdir("/proc/self/task")  # noqa: PTH208 - pathlib takes 4 ms
    for thread in numbers:
        comm = f"/proc/self/task/{thread}/comm"
        # It may have ended meanwhile.
        with contextlib.suppress(OSError), open(comm, "rb") as file:  # noqa: PTH123
            # pyarrow's allocator, which comes with pandas where pyarrow is installed.
            n_threads += file.read() != b"jemalloc_bg_thd\n"
    _ending.intersection_update(set(map(int, numbers)))
    return n_threads, len(_ending)
