"""A `dask.bag.Bag`, built by `daskkit.graphs.bag`, on a local cluster."""

from __future__ import annotations

from typing import Any

from daskkit.backends.dask_cluster import ClusterBackend
from daskkit.backends.dask_graph import compute_bag

__all__ = ["DaskBag"]


class DaskBag(ClusterBackend):
    """``build_bag(workload).compute()``; with a combine, a tree of them."""

    name = "dask-bag"
    summary = "a dask.bag.Bag on a local cluster"

    def run(self) -> Any:
        """Return the answer, computed on the cluster."""
        return compute_bag(self._workload, self.npartitions, scheduler=self._client)
