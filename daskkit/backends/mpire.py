"""mpire's pool of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import ChunkedBackend
from daskkit.backends.pickling import make_portable

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Mpire"]


class Mpire(ChunkedBackend):
    """``WorkerPool(n_jobs, keep_alive=True).map(func, arguments)``.

    Tuples, mappings and arrays among the items would be spread over the arguments of
    the function; mpire's own ``make_single_arguments`` keeps each of them whole.
    """

    name = "mpire"
    summary = "mpire.WorkerPool.map"
    requires = {"mpire": "mpire>=2.10"}  # noqa: RUF012 - ClassVar in the base
    own_choice = "64 chunks a worker"
    _pool: Any = None

    def start(self, workload: Workload) -> None:
        """Make the pool; its processes start with the first items."""
        from mpire import WorkerPool

        self._workload = workload
        self._func = make_portable(workload.func)
        self._pool = WorkerPool(n_jobs=self.n_workers, keep_alive=True)

    def run(self) -> Any:
        """Return the answer, computed in the pool's processes."""
        from mpire.utils import make_single_arguments

        results = self._pool.map(
            self._func,
            make_single_arguments(self._workload.items, generator=False),
            chunk_size=self.given_chunksize,
            # Results that are arrays stay a list of them.
            concatenate_numpy_output=False,
        )
        return self._workload.finish(results)

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.stop_and_join()
