"""The vectorised form on a thread pool, a block of items at a time."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import ChunkedBackend, cut_chunks
from daskkit.backends.numpy import explain_no_vectorised_form

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["NumpyThreads"]


class NumpyThreads(ChunkedBackend):
    """``ThreadPoolExecutor(n_workers).map(vectorized, blocks)``.

    NumPy releases the interpreter's lock in most of its loops, so that threads can be
    enough.
    """

    name = "numpy-threads"
    summary = "the vectorised form, in blocks on a thread pool"
    _pool: ThreadPoolExecutor | None = None

    @classmethod
    def unavailable(cls, workload: Workload) -> str | None:
        """Return why it can't run: a workload without a vectorised form."""
        return explain_no_vectorised_form(workload) or super().unavailable(workload)

    def start(self, workload: Workload) -> None:
        """Make the pool; its threads start with the first blocks."""
        self._workload = workload
        self._pool = ThreadPoolExecutor(self.n_workers)

    def run(self) -> Any:
        """Return the answer, put together of the blocks' answers."""
        assert self._pool is not None
        assert self._workload.vectorized is not None  # `unavailable` has looked
        items = self._workload.items
        # No items are one empty block: only the vectorised form knows its answer.
        blocks = cut_chunks(items, self.chunksize) or [items]
        answers = list(self._pool.map(self._workload.vectorized, blocks))
        if self._workload.combine is None:
            return list(itertools.chain.from_iterable(answers))
        return self._workload.combine(answers)

    def stop(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
