"""The plain loop: the oracle, and the row that all others are measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.backends.base import Backend

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Serial"]


class Serial(Backend):
    """``[func(item) for item in items]`` in one thread."""

    name = "serial"
    summary = "the plain loop, one core"
    single = True

    def start(self, workload: Workload) -> None:
        """Keep the workload; nothing has to be started."""
        self._workload = workload

    def run(self) -> Any:
        """Return the answer of the plain loop."""
        return self._workload.loop()

    def stop(self) -> None:
        """Do nothing; there is nothing to end."""
