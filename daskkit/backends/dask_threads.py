"""Dask's scheduler for the threads of one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from daskkit.backends.dask_graph import GraphBackend, compute_bag

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["DaskThreads"]


class DaskThreads(GraphBackend):
    """``build_bag(workload).compute(scheduler="threads")``, with a pool that stays."""

    name = "dask-threads"
    summary = "a dask.bag.Bag on Dask's local threads"
    _pool: ThreadPoolExecutor | None = None

    def start(self, workload: Workload) -> None:
        """Make the pool; its threads start with the first items."""
        self._workload = workload
        self._pool = ThreadPoolExecutor(self.n_workers)

    def run(self) -> Any:
        """Return the answer, computed on the pool's threads."""
        return compute_bag(
            self._workload, self.npartitions, scheduler="threads", pool=self._pool
        )

    def stop(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
