"""Ray's drop-in for ``multiprocessing.Pool``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.backends.ray_cluster import RayBackend, original_errors

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["RayPool"]


class RayPool(RayBackend):
    """``ray.util.multiprocessing.Pool(processes).map(func, items)``."""

    name = "ray-pool"
    summary = "ray.util.multiprocessing.Pool.map"
    _pool: Any = None

    def start(self, workload: Workload) -> None:
        """Start Ray and the pool's actors."""
        super().start(workload)
        from ray.util.multiprocessing import Pool

        self._pool = Pool(processes=self.n_workers)

    def run(self) -> Any:
        """Return the answer, computed by the pool's actors."""
        with original_errors():
            results = self._pool.map(
                self._workload.func, self._workload.items, chunksize=self.chunksize
            )
        return self._workload.finish(results)

    def stop(self) -> None:
        """End the actors, and Ray."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.terminate()
            pool.join()
        super().stop()
