"""What the back ends on `joblib.Parallel` share: how items are handed to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from daskkit.backends.chunks import ChunkedBackend
from daskkit.backends.environment import restore_environment

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["JoblibBackend"]


class JoblibBackend(ChunkedBackend):
    """``Parallel(n_jobs)(delayed(func)(item) for item in items)``, pool kept."""

    requires = {"joblib": "joblib>=1.3"}  # noqa: RUF012 - ClassVar in the base
    own_choice = "batch_size=auto"
    # joblib's own name of it.
    _library_backend: str
    _parallel: Any = None

    def start(self, workload: Workload) -> None:
        """Make the pool; entered as a context manager, it stays for all runs."""
        # Importing joblib sets KMP_INIT_AT_FORK for all later children.
        self._variables = dict(os.environ)
        from joblib import Parallel

        self._workload = workload
        self._parallel = Parallel(
            n_jobs=self.n_workers, backend=self._library_backend
        ).__enter__()

    def run(self) -> Any:
        """Return the answer, computed on the pool."""
        from joblib import delayed

        call = delayed(self._workload.func)
        self._parallel.batch_size = self.given_chunksize or "auto"
        results = self._parallel(call(item) for item in self._workload.items)
        return self._workload.finish(results)

    def stop(self) -> None:
        """End the pool."""
        if self._parallel is not None:
            parallel, self._parallel = self._parallel, None
            parallel.__exit__(None, None, None)
            restore_environment(self._variables)
