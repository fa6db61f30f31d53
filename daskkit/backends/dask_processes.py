"""Dask's scheduler for local processes, without a cluster."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import dask.multiprocessing

from daskkit.backends.dask_graph import GraphBackend, compute_bag

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["DaskProcesses"]


class DaskProcesses(GraphBackend):
    """``build_bag(workload).compute(scheduler="processes")``, with a pool that stays.

    Without a pool of the caller's, each ``compute`` would start and end one.
    """

    name = "dask-processes"
    summary = "a dask.bag.Bag on Dask's local processes"
    _pool: ProcessPoolExecutor | None = None

    def start(self, workload: Workload) -> None:
        """Make the pool; its processes start with the first items."""
        self._workload = workload
        self._pool = ProcessPoolExecutor(
            self.n_workers, mp_context=dask.multiprocessing.get_context()
        )

    def run(self) -> Any:
        """Return the answer, computed in the pool's processes."""
        return compute_bag(
            self._workload,
            self.npartitions,
            scheduler="processes",
            pool=self._pool,
            # As many tasks a message; its default of 6 would leave workers idle.
            chunksize=1,
        )

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
