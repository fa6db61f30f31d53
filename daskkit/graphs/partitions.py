"""How a graph cuts its items, and how its layers are named; pure functions."""

from __future__ import annotations

import uuid

from dask.system import cpu_count

from daskkit.arguments import check_whole
from daskkit.errors import ArgumentError, WorkloadError
from daskkit.run.session import find_client, find_workers

__all__ = [
    "SPLIT_EVERY",
    "choose_npartitions",
    "count_partitions",
    "find_edges",
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
        What the user asks for, at least 1; None takes four for each thread of the
        workers of the open cluster, or for each core where none is open.

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
        npartitions = _PARTS_PER_CORE * _count_threads()
    else:
        npartitions = check_whole(
            npartitions, "npartitions", 1, error=WorkloadError, optional=True
        )
    return max(1, min(npartitions, n_items))


def count_partitions(
    n_items: int, npartitions: int | None, batch_size: int | None
) -> int:
    """Return how many partitions a lazy verb gets.

    Parameters
    ----------
    n_items : int
        Number of items.
    npartitions : int or None
        Partitions, at least 1; see `choose_npartitions`.
    batch_size : int or None
        Items in a partition at most; one of the two is None.

    Returns
    -------
    int
        Between 1 and the number of items (1 if there are none).

    Raises
    ------
    ArgumentError
        If one of them can't be used, or both are given.

    Examples
    --------
    >>> count_partitions(100, 8, None), count_partitions(100, None, 30)
    (8, 4)
    """
    for name, value in (("npartitions", npartitions), ("batch_size", batch_size)):
        if value is not None:
            check_whole(value, name, 1, optional=True)
    if batch_size is None:
        return choose_npartitions(n_items, npartitions)
    if npartitions is not None:
        msg = (
            "npartitions and batch_size both say how items are cut, received "
            f"npartitions={npartitions} and batch_size={batch_size}; leave one out"
        )
        raise ArgumentError(msg)
    return max(1, -(-n_items // batch_size))


def find_edges(n_items: int, npartitions: int) -> list[int]:
    """Return where partitions begin and end, as evenly long as can be.

    Examples
    --------
    >>> find_edges(5, 2)
    [0, 2, 5]
    """
    return [n_items * i // npartitions for i in range(npartitions + 1)]


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


def _count_threads() -> int:
    client = find_client()
    n_threads = 0 if client is None else sum(find_workers(client).values())
    return n_threads or max(1, int(cpu_count()))
