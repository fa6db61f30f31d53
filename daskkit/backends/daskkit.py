"""daskkit itself: a pilot in the caller, then adaptive batches on a local cluster."""

from __future__ import annotations

from typing import Any

from daskkit.backends.dask_cluster import PROCESSES, ClusterBackend
from daskkit.run.execute import execute

__all__ = ["Daskkit"]


class Daskkit(ClusterBackend):
    """``execute(workload, client)``."""

    name = "daskkit"
    summary = "daskkit's own execution: a pilot, then batches that adapt"
    options = PROCESSES  # no chunk size: it finds its own

    @property
    def setting(self) -> str:
        """Nothing is set: it adapts."""
        return "adaptive"

    def run(self) -> Any:
        """Return the answer, computed here or on the cluster, as pays."""
        return execute(self._workload, self._client)
