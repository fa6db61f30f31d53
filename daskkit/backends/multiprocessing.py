"""The standard library's process pool, ``multiprocessing.Pool``."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import CHUNKSIZE, ChunkedBackend
from daskkit.backends.pickling import make_portable

if TYPE_CHECKING:
    from multiprocessing.pool import Pool

    from daskkit.records import Workload

__all__ = ["START_METHODS", "Multiprocessing", "get_context"]

START_METHODS = ("default", *multiprocessing.get_all_start_methods())


def get_context(start_method: str) -> Any:
    """Return the multiprocessing context of a start method.

    Parameters
    ----------
    start_method : str
        One of `START_METHODS`; ``"default"`` is this Python's own choice.

    Returns
    -------
    multiprocessing.context.BaseContext
    """
    name = None if start_method == "default" else start_method
    return multiprocessing.get_context(name)


class Multiprocessing(ChunkedBackend):
    """``Pool(n_workers).map(func, items)`` with the chunk size that Pool chooses."""

    name = "multiprocessing"
    summary = "multiprocessing.Pool.map"
    options = {  # noqa: RUF012 - ClassVar in the base
        "start_method": START_METHODS,
        **CHUNKSIZE,
    }
    _pool: Pool | None = None

    def start(self, workload: Workload) -> None:
        """Start the pool's processes."""
        self._workload = workload
        self._func = make_portable(workload.func)
        self._pool = get_context(self._options["start_method"]).Pool(self.n_workers)

    def run(self) -> Any:
        """Return the answer, computed in the pool's processes."""
        assert self._pool is not None
        results = self._pool.map(
            self._func, self._workload.items, chunksize=self.chunksize
        )
        return self._workload.finish(results)

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
            self._pool = None
