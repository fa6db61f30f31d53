"""joblib's default: processes of loky."""

from __future__ import annotations

from daskkit.backends.joblib_parallel import JoblibBackend

__all__ = ["JoblibLoky"]


class JoblibLoky(JoblibBackend):
    """``Parallel(n_jobs)``; large arrays reach its processes memory-mapped."""

    name = "joblib-loky"
    summary = "joblib.Parallel on its own processes (loky)"
    _library_backend = "loky"

    def stop(self) -> None:
        """End the processes, which joblib would keep for five minutes."""
        was_running = self._parallel is not None
        super().stop()
        if was_running:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True)
