"""The standard library's thread pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from daskkit.backends.base import Backend

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Threads"]


class Threads(Backend):
    """``ThreadPoolExecutor(n_workers).map(func, items)``."""

    name = "threads"
    summary = "concurrent.futures.ThreadPoolExecutor"
    _pool: ThreadPoolExecutor | None = None

    def start(self, workload: Workload) -> None:
        """Make the pool; its threads start with the first items."""
        self._workload = workload
        self._pool = ThreadPoolExecutor(self.n_workers)

    def run(self) -> Any:
        """Return the answer, computed on the pool's threads."""
        assert self._pool is not None
        results = self._pool.map(self._workload.func, self._workload.items)
        return self._workload.finish(list(results))

    def stop(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
