"""Cores and threads: how many may be used, and how libraries are told."""

from __future__ import annotations

import contextlib
import functools
import math
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["import_threadpoolctl", "thread_variables", "usable_cores"]

# What BLAS and OpenMP libraries read when they are loaded.
_THREAD_VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def usable_cores() -> int:
    """Return how many cores this process may use.

    CPU affinity and the quota of a cgroup (a container's limit) count.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        n_cores = len(os.sched_getaffinity(0))
    else:
        n_cores = os.cpu_count() or 1
    return max(1, min(n_cores, _quota_cores()))


@functools.cache
def _quota_cores() -> int:
    """Return how many cores the cgroup of this process may use, rounded up.

    Read once, which takes 0.2 ms; not by `dask.system`, which takes 0.1 s to import.
    """
    root = "/sys/fs/cgroup"
    # Other systems have no such files; "max" is no number and means no limit.
    with contextlib.suppress(OSError, ValueError):
        group = _read("/proc/self/cgroup").strip().rsplit(":", 1)[-1].strip("/")
        for path in (f"{root}/{group}/cpu.max", f"{root}/cpu.max"):
            if os.path.exists(path):  # noqa: PTH110 - see _read
                quota, period = _read(path).split()
                break
        else:  # version 1 of cgroups, where -1 means no limit
            quota = _read(f"{root}/cpu,cpuacct/cpu.cfs_quota_us")
            period = _read(f"{root}/cpu,cpuacct/cpu.cfs_period_us")
        if int(quota) > 0:
            return math.ceil(int(quota) / int(period))
    return 2**20


def _read(path: str) -> str:
    """Return a file's text; `pathlib` takes 4 ms to import: all calls would wait."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def thread_variables(n_threads: int) -> dict[str, str]:
    """Return the environment variables that limit BLAS and OpenMP threads.

    Parameters
    ----------
    n_threads : int
        Threads that one call into a library may use, at least 1.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> thread_variables(2)["OMP_NUM_THREADS"]
    '2'
    """
    return dict.fromkeys(_THREAD_VARIABLES, str(n_threads))


def import_threadpoolctl() -> ModuleType:
    """Return the module threadpoolctl; the environment stays as it was.

    Its import sets ``KMP_DUPLICATE_LIB_OK`` for the rest of the process, and so for
    all its children.

    Returns
    -------
    module
    """
    before = dict(os.environ)
    import threadpoolctl

    for name in set(os.environ) - set(before):
        del os.environ[name]
    module: ModuleType = threadpoolctl
    return module
