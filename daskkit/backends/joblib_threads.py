"""joblib on threads."""

from __future__ import annotations

from daskkit.backends.joblib_parallel import JoblibBackend

__all__ = ["JoblibThreads"]


class JoblibThreads(JoblibBackend):
    """``Parallel(n_jobs, backend="threading")``."""

    name = "joblib-threads"
    summary = "joblib.Parallel on threads"
    _library_backend = "threading"
