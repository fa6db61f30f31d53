"""Cores and threads: how many may be used, and how libraries are told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dask.system import cpu_count

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
    return max(1, int(cpu_count()))


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
