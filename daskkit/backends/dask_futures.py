"""Futures of distributed: ``Client.map``."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import cut_chunks
from daskkit.backends.dask_cluster import ClusterBackend
from daskkit.loop import run_items

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskkit.records import Workload
    from daskkit.transport.partition import Partition

__all__ = ["DaskFutures"]


class DaskFutures(ClusterBackend):
    """``client.gather(client.map(run_chunk, chunks, work=scattered))``.

    A chunk of items a task, since Dask's best practices advise against many short
    tasks. The function, with all that it holds, is scattered to all workers once.
    """

    name = "dask-futures"
    summary = "distributed's Client.map on a local cluster"

    def start(self, workload: Workload) -> None:
        """Start the cluster, and scatter the function."""
        super().start(workload)
        # Without a hash: equal functions of two workloads are two.
        self._func = self._client.scatter(workload.func, broadcast=True, hash=False)

    @property
    def setting(self) -> str:
        """Items of a task."""
        return f"chunksize={self.chunksize}"

    def run(self) -> Any:
        """Return the answer, computed on the cluster."""
        futures = self._client.map(
            _run_chunk,
            cut_chunks(self._workload.items, self.chunksize),
            work=self._func,
            # Else a repeat would be answered from memory.
            pure=False,
        )
        parts = self._client.gather(futures)
        return self._workload.finish(list(itertools.chain.from_iterable(parts)))

    def stop(self) -> None:
        """Release the function, and end the cluster."""
        self._func = None
        super().stop()


def _run_chunk(chunk: Any, work: Callable[[Any], Any]) -> Partition:
    return run_items(work, chunk)
