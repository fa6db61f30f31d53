"""A function that Numba has compiled, on threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from daskkit.backends.base import Backend

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Numba"]


class Numba(Backend):
    """``ThreadPoolExecutor(n_workers).map(compiled, items)``.

    Compiled with ``nogil=True`` a function runs on all threads at once.
    """

    name = "numba"
    summary = "the form that Numba compiles, on a thread pool"
    requires = {"numba": "numba>=0.68"}  # noqa: RUF012 - ClassVar in the base
    _pool: ThreadPoolExecutor | None = None

    @classmethod
    def unavailable(cls, workload: Workload) -> str | None:
        """Return why it can't run: a workload without a compiled form, or no Numba."""
        if workload.compiled is None:
            return (
                f"workload {workload.name!r} has no compiled form; "
                "pass compiled=function_that_compiles"
            )
        return super().unavailable(workload)

    def start(self, workload: Workload) -> None:
        """Compile, and make the pool; its threads start with the first items."""
        assert workload.compiled is not None  # `unavailable` has looked
        self._workload = workload
        self._func = workload.compiled()
        self._pool = ThreadPoolExecutor(self.n_workers)

    def run(self) -> Any:
        """Return the answer, computed on the pool's threads."""
        assert self._pool is not None
        results = self._pool.map(self._func, self._workload.items)
        return self._workload.finish(list(results))

    def stop(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
