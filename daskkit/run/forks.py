"""Whether this process may be forked; known before anything is imported for it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from daskkit.run.helpers import count_idle

__all__ = ["can_fork", "expect_forks_s", "note_forks"]

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
    besides += count_idle()  # helpers end before a fork
    if threading.active_count() > 1 + besides:
        return False
    n_pools = sum(name in sys.modules for name in ("numpy", "scipy.linalg"))
    most = 1 + besides + n_pools * ((os.cpu_count() or 1) - 1)
    for _ in range(20):
        if _count_threads() <= most:
            return True
        time.sleep(0.0002)  # a thread that has just been joined may still be listed
    return False


def _count_threads() -> int:
    """Return how many threads this process has, those aside that take care of forks."""
    n_threads = 0
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - pathlib takes 4 ms
        comm = f"/proc/self/task/{thread}/comm"
        # It may have ended meanwhile.
        with contextlib.suppress(OSError), open(comm, "rb") as file:  # noqa: PTH123
            # pyarrow's allocator, which comes with pandas where pyarrow is installed.
            n_threads += file.read() != b"jemalloc_bg_thd\n"
    return n_threads
