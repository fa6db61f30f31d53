"""ipyparallel: IPython engines behind a controller, all on this machine."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

import psutil

from daskkit.backends.chunks import ChunkedBackend

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Ipyparallel"]

_PATIENCE_S = 5.0


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
        engines = self._client[:]
        # What the caller can import, and lambdas and functions of scripts.
        engines.execute(f"import sys; sys.path[:] = {sys.path!r}", block=True)
        engines.use_cloudpickle()
        self._view = self._client.load_balanced_view()

    def run(self) -> Any:
        """Return the answer, computed on the engines."""
        results = self._view.map_sync(
            self._workload.func, self._workload.items, chunksize=self.chunksize
        )
        return self._workload.finish(list(results))

    def stop(self) -> None:
        """End engines and controller, and wait until all of them have gone."""
        cluster, self._cluster = self._cluster, None
        client, self._client = self._client, None
        if cluster is not None:
            processes = psutil.Process().children(recursive=True)
            # Engines first: each has a nanny that tells the controller of its end, and
            # would try for seconds to tell one that has gone.
            cluster.stop_engines_sync()
            engines = [process for process in processes if _belongs_to_engine(process)]
            psutil.wait_procs(engines, timeout=_PATIENCE_S)
        if client is not None:
            client.close()
        if cluster is not None:
            cluster.stop_cluster_sync()
            psutil.wait_procs(processes, timeout=_PATIENCE_S)


def _belongs_to_engine(process: psutil.Process) -> bool:
    """Return whether a process is an engine or its nanny; False if it has gone."""
    with contextlib.suppress(psutil.Error):
        return any("ipyparallel.engine" in word for word in process.cmdline())
    return False
