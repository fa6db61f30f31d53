"""What the back ends on a Dask cluster share: starting and ending one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar

from daskkit.backends.chunks import CHUNKSIZE
from daskkit.backends.dask_graph import GraphBackend
from daskkit.run.cluster import cluster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client

    from daskkit.records import Workload

__all__ = ["PROCESSES", "ClusterBackend"]

#: The option that says where the workers are: in processes, or threads of this one.
PROCESSES: Mapping[str, tuple[str, ...]] = {"processes": ("yes", "no")}


class ClusterBackend(GraphBackend):
    """A back end on a local cluster of its own, one thread a worker."""

    options: ClassVar[Mapping[str, tuple[str, ...]]] = {**PROCESSES, **CHUNKSIZE}
    _stack: contextlib.ExitStack | None = None
    _client: Client

    def start(self, workload: Workload) -> None:
        """Start the cluster."""
        self._workload = workload
        with contextlib.ExitStack() as stack:
            self._client = stack.enter_context(
                cluster(
                    n_workers=self.n_workers,
                    processes=self._options["processes"] == "yes",
                )
            )
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """End the cluster."""
        if self._stack is not None:
            stack, self._stack = self._stack, None
            stack.close()
