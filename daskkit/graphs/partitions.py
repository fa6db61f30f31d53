"""How a graph cuts a workload, and what its tasks execute; pure functions."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Any

from dask.system import cpu_count

from daskkit.errors import WorkloadError
from daskkit.loop import short_repr
from daskkit.transport.bag import leave_worker
from daskkit.transport.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "SPLIT_EVERY",
    "choose_npartitions",
    "combine_parts",
    "cut",
    "make_layer_name",
]

# Parts that one combining task takes; dask.bag's own default.
SPLIT_EVERY = 8
# Parts a core: enough that a slow one does not leave the others idle for long.
_PARTS_PER_CORE = 4


def choose_npartitions(n_items: int, npartitions: int | None) -> int:
    """Return how many partitions a graph gets.

    Parameters
    ----------
    n_items : int
        Length of the workload.
    npartitions : int or None
        What the user asks for, at least 1; None takes four a usable core.

    Returns
    -------
    int
        Between 1 and the number of items (1 if there are none).

    Raises
    ------
    WorkloadError
        If `npartitions` is not a whole number of at least 1.

    Examples
    --------
    >>> choose_npartitions(100, 8), choose_npartitions(3, 8), choose_npartitions(0, 8)
    (8, 3, 1)
    """
    if npartitions is None:
        npartitions = _PARTS_PER_CORE * max(1, int(cpu_count()))
    elif (
        isinstance(npartitions, bool)
        or not isinstance(npartitions, int)
        or npartitions < 1
    ):
        msg = (
            "npartitions must be a whole number of at least 1 or None, "
            f"received {short_repr(npartitions)}"
        )
        raise WorkloadError(msg)
    return max(1, min(npartitions, n_items))


def cut(items: Collection[Any], npartitions: int) -> list[tuple[int, Partition]]:
    """Return the parts of some items, as evenly long as can be.

    Parameters
    ----------
    items : sequence
        Anything with a length and slices.
    npartitions : int
        At least 1.

    Returns
    -------
    list of tuple of (int, Partition)
        The index of the first item of each part, and its items.

    Examples
    --------
    >>> cut(range(5), 2)
    [(0, [0, 1]), (2, [2, 3, 4])]
    """
    n = len(items)
    edges = [n * i // npartitions for i in range(npartitions + 1)]
    return [
        (start, Partition(items[start:stop]))  # type: ignore[index] # Workload holds sequences
        for start, stop in itertools.pairwise(edges)
    ]


def combine_parts(combine: Callable[[list[Any]], Any] | None, *parts: Any) -> Any:
    """Return one answer made of several.

    Parameters
    ----------
    combine : callable or None
        As in `Workload`; None joins lists of results.
    *parts : object
        Answers of `combine`, or partitions of results.

    Returns
    -------
    object

    Examples
    --------
    >>> combine_parts(sum, 3, 4), combine_parts(None, [1, 2], [3])
    (7, [1, 2, 3])
    """
    if combine is None:
        return Partition(result for part in parts for result in part)
    return leave_worker(combine(list(parts)))


def make_layer_name(*words: str) -> str:
    """Return a key prefix that reads well on the dashboard and is never used twice.

    Dask merges tasks of equal keys; equal calls have to be executed twice.

    Parameters
    ----------
    *words : str
        What the layer does, the workload's name first.

    Returns
    -------
    str
        ``"word-word-<8 hexadecimal digits>"``; Dask groups by what is before them.

    Examples
    --------
    >>> make_layer_name("flights", "map")[:12]
    'flights-map-'
    """
    return "-".join([*words, uuid.uuid4().hex[:8]])
