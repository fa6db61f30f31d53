"""What back ends share that hand out items in chunks: how large a chunk is.

Each has an option ``chunksize``; ``compare(..., tune=True)`` tries values of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from daskkit.backends.base import COUNT, Backend

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from daskkit.records import Workload

__all__ = ["CHUNKSIZE", "ChunkedBackend", "chunksize_for", "cut_chunks"]

#: The option, to be merged into the options of a back end.
CHUNKSIZE: Mapping[str, tuple[str, ...]] = {"chunksize": ("default", COUNT)}


class ChunkedBackend(Backend):
    """A back end that hands out items in chunks of a size that can be chosen."""

    options: ClassVar[Mapping[str, tuple[str, ...]]] = CHUNKSIZE
    #: How the library chooses by itself, as `setting` shows it; empty where it
    #: doesn't, and gets the chunk size of ``multiprocessing.Pool``.
    own_choice: ClassVar[str] = ""
    _workload: Workload

    @property
    def given_chunksize(self) -> int | None:
        """The chunk size that was asked for, or None for the default."""
        value = self._options.get("chunksize", "default")
        return None if value == "default" else int(value)

    @property
    def chunksize(self) -> int:
        """Items of a chunk: what was asked for, or what a Pool would take."""
        n_items = len(self._workload.items)
        return self.given_chunksize or chunksize_for(n_items, self.n_workers)

    @property
    def setting(self) -> str:
        """The chunk size, or how the library finds it."""
        if self.given_chunksize is None and self.own_choice:
            return self.own_choice
        return f"chunksize={self.chunksize}"


def chunksize_for(n_items: int, n_workers: int) -> int:
    """Return the chunk size that `multiprocessing.Pool.map` chooses by itself.

    Four chunks a worker, rounded up.

    Parameters
    ----------
    n_items : int
        Length of the input.
    n_workers : int
        Workers of the pool, at least 1.

    Returns
    -------
    int
        At least 1.

    References
    ----------
    CPython, ``multiprocessing/pool.py``, ``Pool._map_async``.

    Examples
    --------
    >>> chunksize_for(100, 2), chunksize_for(0, 2)
    (13, 1)
    """
    return max(1, -(-n_items // (4 * n_workers)))


def cut_chunks(items: Collection[Any], chunksize: int) -> list[Any]:
    """Return consecutive slices of a workload's items.

    Parameters
    ----------
    items : list, tuple, range or numpy.ndarray
        What `Workload.items` can be.
    chunksize : int
        Items of a slice, at least 1; the last one may have fewer.

    Returns
    -------
    list
        Empty for no items.

    Examples
    --------
    >>> cut_chunks([3, 1, 4, 1, 5], 2)
    [[3, 1], [4, 1], [5]]
    """
    sliceable: Any = items
    return [sliceable[i : i + chunksize] for i in range(0, len(items), chunksize)]
