"""The standard library's process pool, ``concurrent.futures``."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import CHUNKSIZE, ChunkedBackend
from daskkit.backends.multiprocessing import START_METHODS, get_context
from daskkit.backends.pickling import make_portable

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Futures"]


class Futures(ChunkedBackend):
    """``ProcessPoolExecutor(n_workers).map(func, items, chunksize=...)``.

    Its default chunk size is 1; the documentation asks for a larger one on long
    inputs, and it gets the one that ``multiprocessing.Pool`` chooses.
    """

    name = "futures"
    summary = "concurrent.futures.ProcessPoolExecutor"
    options = {  # noqa: RUF012 - ClassVar in the base
        "start_method": START_METHODS,
        **CHUNKSIZE,
    }
    _pool: ProcessPoolExecutor | None = None

    def start(self, workload: Workload) -> None:
        """Make the pool; its processes start with the first items."""
        self._workload = workload
        self._func = make_portable(workload.func)
        context = get_context(self._options["start_method"])
        self._pool = ProcessPoolExecutor(self.n_workers, mp_context=context)

    def run(self) -> Any:
        """Return the answer, computed in the pool's processes."""
        assert self._pool is not None
        results = self._pool.map(
            self._func, self._workload.items, chunksize=self.chunksize
        )
        return self._workload.finish(list(results))

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
