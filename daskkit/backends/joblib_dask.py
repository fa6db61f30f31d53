"""joblib's own Dask back end: `joblib.Parallel` on the workers of a cluster."""

from __future__ import annotations

from typing import Any

from daskkit.backends.dask_cluster import ClusterBackend

__all__ = ["JoblibDask"]


class JoblibDask(ClusterBackend):
    """``with parallel_config(backend="dask"): Parallel()(...)`` beside a client."""

    name = "joblib-dask"
    summary = "joblib.Parallel on a local Dask cluster"
    requires = {"joblib": "joblib>=1.3"}  # noqa: RUF012 - ClassVar in the base

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
