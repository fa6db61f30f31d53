"""ipyparallel: IPython engines behind a controller, all on this machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import ChunkedBackend

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Ipyparallel"]


class Ipyparallel(ChunkedBackend):
    """``Cluster(n)``, then ``load_balanced_view().map_sync(func, items, chunksize)``.

    Its default chunk size is 1; its documentation asks for a larger one on many short
    items, and it gets the one that ``multiprocessing.Pool`` chooses.
    """

    name = "ipyparallel"
    summary = "ipyparallel's load-balanced view of local engines"
    requires = {  # noqa: RUF012 - ClassVar in the base
        "ipyparallel": "ipyparallel>=9.2"
    }
    # Keys, logs and process ids of its clusters lie there, else in the user's home.
    environment = {  # noqa: RUF012 - ClassVar in the base
        "IPYTHONDIR": "{folder}/ipython"
    }
    _cluster: Any = None
    _client: Any = None

    def start(self, workload: Workload) -> None:
        """Start controller and engines, and wait for the engines."""
        import ipyparallel

        self._workload = workload
        self._cluster = ipyparallel.Cluster(
            n=self.n_workers, controller_ip="127.0.0.1", log_level=logging.WARNING
        )
        self._client = self._cluster.start_and_connect_sync(activate=False)
        # Lambdas, and functions of scripts and notebooks.
        self._client[:].use_cloudpickle()
        self._view = self._client.load_balanced_view()

    def run(self) -> Any:
        """Return the answer, computed on the engines."""
        results = self._view.map_sync(
            self._workload.func, self._workload.items, chunksize=self.chunksize
        )
        return self._workload.finish(list(results))

    def stop(self) -> None:
        """End engines and controller."""
        cluster, self._cluster = self._cluster, None
        client, self._client = self._client, None
        if client is not None:
            client.close()
        if cluster is not None:
            cluster.stop_cluster_sync()
