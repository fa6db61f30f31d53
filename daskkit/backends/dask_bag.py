"""A `dask.bag.Bag`, built by `daskkit.graphs.bag`, on a local cluster."""

from __future__ import annotations

from typing import Any

from daskkit.backends.dask_cluster import ClusterBackend
from daskkit.graphs.bag import build_bag, reduce_bag

__all__ = ["DaskBag"]


class DaskBag(ClusterBackend):
    """``build_bag(workload).compute()``; with a combine, a tree of them."""

    name = "dask-bag"
    summary = "a dask.bag.Bag on a local cluster"

    def run(self) -> Any:
        """Return the answer, computed on the cluster."""
        bag = build_bag(self._workload, npartitions=self.npartitions)
        if self._workload.combine is None:
            return bag.compute(scheduler=self._client)
        answer = reduce_bag(bag, self._workload.combine)
        return answer.compute(scheduler=self._client)
