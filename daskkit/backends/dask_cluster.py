"""What the back ends on a Dask cluster share: starting and ending one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from daskkit.backends.base import Backend
from daskkit.graphs.partitions import choose_npartitions
from daskkit.run.cluster import cluster

if TYPE_CHECKING:
    from distributed import Client

    from daskkit.records import Workload

__all__ = ["ClusterBackend"]

_PARTS_PER_WORKER = 4


class ClusterBackend(Backend):
    """A back end on a local cluster of its own, one thread a worker."""

    options = {"processes": ("yes", "no")}  # noqa: RUF012 - ClassVar in the base
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

    @property
    def npartitions(self) -> int:
        """Partitions that a graph is cut into: as many chunks as a Pool would make."""
        wanted = _PARTS_PER_WORKER * self.n_workers
        return choose_npartitions(len(self._workload.items), wanted)

    @property
    def setting(self) -> str:
        """Partitions of the graph."""
        return f"npartitions={self.npartitions}"

    def stop(self) -> None:
        """End the cluster."""
        if self._stack is not None:
            stack, self._stack = self._stack, None
            stack.close()
