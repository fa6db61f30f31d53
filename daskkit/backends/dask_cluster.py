"""What the back ends on a Dask cluster share: starting and ending one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar

from daskkit.backends.chunks import CHUNKSIZE
from daskkit.backends.dask_graph import GraphBackend
from daskkit.run.cluster import cluster
from daskkit.run.meter import LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client, Scheduler, Worker

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

    def observe(self) -> dict[str, float]:
        """Return the fine performance metrics of Dask, and the slots of its workers.

        Returns
        -------
        dict of str to float
            Core-seconds as ``"execute: thread-cpu"`` and so on, summed over tasks, and
            as ``"slots: starved"`` by what the state machines of the workers say that
            their threads do.
        """
        # Both ride on heartbeats, which come twice a second.
        self._client.run(_beat)
        found: dict[str, float] = self._client.run_on_scheduler(_read_counters)
        return found

    def stop(self) -> None:
        """End the cluster."""
        if self._stack is not None:
            stack, self._stack = self._stack, None
            stack.close()


async def _beat(dask_worker: Worker) -> None:
    await dask_worker.heartbeat()


def _read_counters(dask_scheduler: Scheduler) -> dict[str, float]:
    """Return the counters that all workers have sent, added up."""
    found: dict[str, float] = {}
    for key, amount in dask_scheduler.cumulative_worker_metrics.items():
        if isinstance(key, tuple) and key[-1] == "seconds":
            # An execution's second word is the task's name.
            name = f"{key[0]}: {key[-2]}"
            found[name] = found.get(name, 0.0) + float(amount)
    for worker in dask_scheduler.workers.values():
        slots = worker.metrics.get("daskkit", {}).get("s", ())
        for label, seconds in zip(LABELS, slots, strict=False):
            name = f"slots: {label}"
            found[name] = found.get(name, 0.0) + float(seconds)
    return found
