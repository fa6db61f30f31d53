"""The whole job in NumPy or pandas on one core, where the workload brings that form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.backends.base import Backend

if TYPE_CHECKING:
    from daskkit.records import Workload

__all__ = ["Numpy", "explain_no_vectorised_form"]


class Numpy(Backend):
    """``workload.vectorized(items)`` in one thread."""

    name = "numpy"
    summary = "the vectorised form in NumPy or pandas, one core"
    single = True

    @classmethod
    def unavailable(cls, workload: Workload) -> str | None:
        """Return why it can't run: a workload without a vectorised form."""
        return explain_no_vectorised_form(workload) or super().unavailable(workload)

    def start(self, workload: Workload) -> None:
        """Keep the workload; nothing has to be started."""
        self._workload = workload

    def run(self) -> Any:
        """Return the vectorised form's answer."""
        assert self._workload.vectorized is not None  # `unavailable` has looked
        return self._workload.vectorized(self._workload.items)

    def stop(self) -> None:
        """Do nothing; there is nothing to end."""


def explain_no_vectorised_form(workload: Workload) -> str | None:
    """Return that a workload has no vectorised form and what to do, or None.

    Parameters
    ----------
    workload : Workload
        Nothing of it is executed.

    Returns
    -------
    str or None
        One sentence.

    Examples
    --------
    >>> from daskkit.records import Workload
    >>> explain_no_vectorised_form(Workload("w", abs, [-1]))
    "workload 'w' has no vectorised form; pass vectorized=function_of_all_items"
    """
    if workload.vectorized is not None:
        return None
    return (
        f"workload {workload.name!r} has no vectorised form; "
        "pass vectorized=function_of_all_items"
    )
