"""The outline of a lazy graph: its tasks by name and what they wait for; plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask.core import get_dependencies

from daskkit.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["outline"]


def outline(collection: Any) -> dict[str, tuple[str, ...]]:
    """Return the tasks of a lazy collection, each with those that it waits for.

    Computes nothing, starts nothing.

    Parameters
    ----------
    collection : dask collection
        Such as a `dask.bag.Bag` or a `dask.delayed.Delayed`.

    Returns
    -------
    dict of str to tuple of str
        Names of tasks: those of a name with a number, such as ``("map-1f3a", 0)``,
        read ``map-1f3a 0``.

    Raises
    ------
    ArgumentError
        If it isn't a Dask collection.

    Examples
    --------
    >>> from dask import delayed
    >>> one = delayed(abs)(-1, dask_key_name="one")
    >>> outline(delayed(abs)(one, dask_key_name="two"))["two"]
    ('one',)
    """
    graph_of = getattr(collection, "__dask_graph__", None)
    graph: Mapping[Any, Any] | None = graph_of() if callable(graph_of) else None
    if graph is None:
        msg = (
            "a task graph is drawn of a lazy Dask collection, such as a Bag or a "
            f"Delayed, received {type(collection).__name__}"
        )
        raise ArgumentError(msg)
    tasks = dict(graph)
    return {
        _name(key): tuple(sorted(map(_name, get_dependencies(tasks, key))))
        for key in tasks
    }


def _name(key: object) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
