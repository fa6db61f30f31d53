"""joblib's own Dask back end: `joblib.Parallel` on the workers of a cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from daskkit.backends.dask_cluster import ClusterBackend
from daskkit.backends.environment import restore_environment

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["JoblibDask"]


class JoblibDask(ClusterBackend):
    """``with parallel_config(backend="dask"): Parallel()(...)`` beside a client."""

    name = "joblib-dask"
    summary = "joblib.Parallel on a local Dask cluster"
    requires = {"joblib": "joblib>=1.3"}  # noqa: RUF012 - ClassVar in the base

    _variables: dict[str, str] | None = None

    def start(self, workload: Workload) -> None:
        """Start the cluster, and import joblib."""
        # It sets KMP_INIT_AT_FORK for all later children.
        self._variables = dict(os.environ)
        import joblib  # noqa: F401 - a user has imported it before the first run

        super().start(workload)

    @property
    def setting(self) -> str:
        """The size of a batch; joblib adapts it by itself."""
        return f"batch_size={self.given_chunksize or 'auto'}"

    def run(self) -> Any:
        """Return the answer, computed on the cluster."""
        from joblib import Parallel, delayed, parallel_config

        call = delayed(self._workload.func)
        with self._client.as_current(), parallel_config(backend="dask"):
            results = Parallel(batch_size=self.given_chunksize or "auto")(
                call(item) for item in self._workload.items
            )
        return self._workload.finish(results)

    def stop(self) -> None:
        """End the cluster."""
        super().stop()
        if self._variables is not None:
            restore_environment(self._variables)
            self._variables = None
