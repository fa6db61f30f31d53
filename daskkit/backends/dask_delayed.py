"""A `dask.delayed.Delayed`, built by `daskkit.graphs.delayed`, on a local cluster."""

from __future__ import annotations

from typing import Any

from daskkit.backends.dask_cluster import ClusterBackend
from daskkit.graphs.delayed import build_delayed

__all__ = ["DaskDelayed"]


class DaskDelayed(ClusterBackend):
    """``build_delayed(workload).compute()``."""

    name = "dask-delayed"
    summary = "a dask.delayed.Delayed on a local cluster"

    def run(self) -> Any:
        """Return the answer, computed on the cluster."""
        answer = build_delayed(self._workload, npartitions=self.npartitions)
        return answer.compute(scheduler=self._client)
