"""Ray's tasks, with the function in its object store."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import cut_chunks
from daskkit.backends.ray_cluster import RayBackend, original_errors
from daskkit.loop import run_items

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Ray"]


class Ray(RayBackend):
    """``ray.get([task.remote(func, chunk) for chunk in chunks])``.

    A chunk of items a task, since Ray's documentation advises against many short
    tasks. The function, with all that it holds, is put into the object store once.
    """

    name = "ray"
    summary = "Ray's tasks"

    def start(self, workload: Workload) -> None:
        """Start Ray, and store the function."""
        super().start(workload)
        import ray

        self._func = ray.put(workload.func)
        self._task = ray.remote(run_items)

    def run(self) -> Any:
        """Return the answer, computed in Ray's workers."""
        import ray

        chunks = cut_chunks(self._workload.items, self.chunksize)
        with original_errors():
            parts = ray.get(
                [
                    self._task.remote(self._func, chunk, i * self.chunksize)
                    for i, chunk in enumerate(chunks)
                ]
            )
        return self._workload.finish(list(itertools.chain.from_iterable(parts)))
