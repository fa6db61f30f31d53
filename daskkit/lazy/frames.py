"""`apply`, `map_partitions` and `read_files`, lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.graphs.work import build_call, build_work, build_works
from daskkit.lazy.arguments import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask.delayed import Delayed

__all__ = ["apply", "map_partitions", "read_files"]

_REFUSED = ("where", "progress", "timeout")


def apply(
    obj: Any,
    func: Any,
    *args: Any,
    elementwise: bool = False,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **kwargs: Any,
) -> Delayed:
    """Return ``obj.apply(func, *args, **kwargs)`` as a lazy Dask object.

    Parameters
    ----------
    obj : DataFrame, Series, DataFrameGroupBy, SeriesGroupBy, Rolling or Expanding
        As for `daskkit.apply`. Must not be changed before the result is computed.
    func, *args, elementwise, **kwargs
        As for `daskkit.apply`.
    npartitions, batch_size, name
        As for `map`; items are rows, columns, groups, elements or windows. Set a
        parameter of `func` of such a name by `functools.partial`.

    Returns
    -------
    dask.delayed.Delayed
        Its value is what pandas returns.

    Raises
    ------
    ArgumentError
        If `obj` is none of these, or an option can't be used.

    Notes
    -----
    Computes nothing, but asks pandas for the items: groups are sorted. Where pandas
    would do the whole by itself (see `daskkit.apply`) that is a single task.

    Examples
    --------
    >>> import pandas as pd
    >>> import daskkit as dk
    >>> frame = pd.DataFrame({"k": ["x", "y", "x"], "a": [1, 2, 3]})
    >>> spread = dk.lazy.apply(frame.groupby("k")["a"], lambda a: a.max() - a.min())
    >>> spread.compute(scheduler="synchronous")
    k
    x    2
    y    0
    Name: a, dtype: int64
    """
    refuse("apply", {key: kwargs[key] for key in _REFUSED if key in kwargs})
    from daskkit.lazy.replay import ApplyCall

    call = ApplyCall(obj, func, args, elementwise, kwargs)
    works = call.find_works()
    if works:
        return build_works(
            works,
            call.replay,
            npartitions=npartitions,
            batch_size=batch_size,
            name=name,
        )
    if name is None:
        name = func if isinstance(func, str) else getattr(func, "__name__", "apply")
    return build_call(call, name)


def map_partitions(
    frame: Any,
    func: Callable[[Any], Any],
    *,
    npartitions: int | None = None,
    batch_size: int = 1,
    name: str | None = None,
    **eager: Any,
) -> Delayed:
    """Return ``func(part)`` of consecutive rows, together, as a lazy Dask object.

    Parameters
    ----------
    frame, func, npartitions
        As for `daskkit.map_partitions`: how many parts the frame is cut into.
    batch_size : int, default 1
        Parts in a task.
    name, **eager
        As for `map`.

    Returns
    -------
    dask.delayed.Delayed
        Its value is what `daskkit.map_partitions` returns.

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Examples
    --------
    >>> import pandas as pd
    >>> import daskkit as dk
    >>> frame = pd.DataFrame({"a": [3, 1, 2]})
    >>> large = dk.lazy.map_partitions(frame, lambda part: part[part.a > 1])
    >>> large.compute(scheduler="synchronous").a.tolist()
    [3, 2]
    """
    refuse("map_partitions", eager)
    from daskkit.frames.partitions import describe_partitions

    work = describe_partitions(frame, func, npartitions)
    return build_work(work, batch_size=batch_size, name=name)


def read_files(
    paths: Any,
    reader: Callable[[Any], Any] | None = None,
    combine: Callable[[list[Any]], Any] | None = None,
    *,
    npartitions: int | None = None,
    batch_size: int | None = None,
    name: str | None = None,
    **eager: Any,
) -> Delayed:
    r"""Return the contents of many files, together, as a lazy Dask object.

    Parameters
    ----------
    paths, reader, combine
        As for `daskkit.read_files`. The files are looked for now, and read later.
    npartitions, batch_size, name, **eager
        As for `map`; items are files.

    Returns
    -------
    dask.delayed.Delayed
        Its value is what `daskkit.read_files` returns.

    Raises
    ------
    ArgumentError
        If an argument can't be used; the message says what is allowed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import daskkit as dk
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for n in range(3):
    ...         _ = pathlib.Path(folder, f"{n}.csv").write_text(f"n\n{n}\n")
    ...     frame = dk.lazy.read_files(f"{folder}/*.csv")
    ...     frame.compute(scheduler="synchronous").n.tolist()
    [0, 1, 2]
    """
    refuse("read_files", eager)
    from daskkit.frames.partitions import describe_files

    work = describe_files(paths, reader, combine)
    return build_work(work, npartitions=npartitions, batch_size=batch_size, name=name)
