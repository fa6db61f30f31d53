"""`apply`: what pandas' own `apply` returns, computed in parallel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskkit.errors import ArgumentError
from daskkit.loop import short_repr
from daskkit.run.work import run_items

if TYPE_CHECKING:
    from daskkit.frames.seam import Run
    from daskkit.run.options import Where
    from daskkit.run.work import Work

__all__ = ["apply", "apply_by"]


def apply(
    obj: Any,
    func: Any,
    *args: Any,
    elementwise: bool = False,
    where: Where = "auto",
    batch_size: int | None = None,
    progress: bool = False,
    timeout: float | None = None,
    name: str | None = None,
    **kwargs: Any,
) -> Any:
    """Return ``obj.apply(func, *args, **kwargs)``, in parallel where that is faster.

    Parameters
    ----------
    obj : DataFrame, Series, DataFrameGroupBy, SeriesGroupBy, Rolling or Expanding
        An object of pandas. Items are its rows (``axis=1``) or columns, its elements,
        its groups or its windows; windows also per group
        (``frame.groupby(key).rolling(n)``).
    func : callable
        As for that object's own `apply`.
    *args, **kwargs
        What the object's own `apply` takes after `func`: ``axis``, ``raw``,
        ``result_type`` and ``args`` of a DataFrame, arguments of `func` of a GroupBy,
        and so on, with the defaults of the installed pandas.
    elementwise : bool, default False
        Call `func` with each element: ``DataFrame.map`` or ``Series.map``, which take
        ``na_action``.
    where, batch_size, progress, timeout, name
        As for `map`. Set a parameter of `func` of such a name by `functools.partial`.

    Returns
    -------
    object
        What pandas returns: the same type, index, columns, dtypes, names and order.
        pandas itself makes it of the results.

    Raises
    ------
    ArgumentError
        If `obj` is none of these, or an option can't be used.
    Exception
        What `func` raised, with a note that names the row, column, group, element or
        window; and what pandas raises on its own account.

    Warns
    -----
    RuntimeWarning
        If the installed pandas isn't known and does the whole by itself; or as `map`.

    Notes
    -----
    Computes at once; starts threads and processes as `map` does. The data are shared
    with them, not sent item by item: a worker cuts rows and groups itself, each private
    to the process, so that a `func` that changes its argument never changes `obj`. A
    group of many times the mean size is begun with.

    Left to pandas on one core are names of methods (``"sum"``), lists and dicts of
    functions, NumPy's own functions, ``result_type="broadcast"`` and ``engine``.

    Examples
    --------
    >>> import pandas as pd
    >>> import daskkit as dk
    >>> frame = pd.DataFrame({"k": ["x", "y", "x"], "a": [1, 2, 3], "b": [4, 5, 6]})
    >>> dk.apply(frame[["a", "b"]], lambda row: row.a * row.b, axis=1).tolist()
    [4, 10, 18]
    >>> dk.apply(frame.groupby("k")["a"], lambda group: group.max() - group.min())
    k
    x    2
    y    0
    Name: a, dtype: int64
    """

    def run(work: Work) -> Any:
        return run_items(
            work,
            where=where,
            batch_size=batch_size,
            progress=progress,
            timeout=timeout,
            name=name,
        )

    return apply_by(run, obj, func, *args, elementwise=elementwise, **kwargs)


def apply_by(
    run: Run, obj: Any, func: Any, *args: Any, elementwise: bool = False, **kwargs: Any
) -> Any:
    """Return what `apply` returns, the items being executed by a function.

    Parameters
    ----------
    run : callable
        ``run(work)`` returns the results of all items of a `Work`, as a list or, if it
        has a `combine`, combined. It may be called several times, or not at all.
    obj, func, *args, elementwise, **kwargs
        As for `apply`.

    Returns
    -------
    object

    Examples
    --------
    >>> import pandas as pd
    >>> series = pd.Series([1, 2], name="n")
    >>> apply_by(lambda work: [-item for item in work.items], series, abs).tolist()
    [-1, -2]
    """
    import pandas as pd
    from pandas.core.groupby import GroupBy
    from pandas.core.window.rolling import RollingAndExpandingMixin

    if isinstance(obj, pd.DataFrame):
        if elementwise:
            from daskkit.frames.elements import map_frame

            return map_frame(run, obj, func, *args, **kwargs)
        from daskkit.frames.rows import apply_frame

        return apply_frame(run, obj, func, *args, **kwargs)
    if isinstance(obj, pd.Series):
        from daskkit.frames.elements import apply_series, map_series

        of_series = map_series if elementwise else apply_series
        return of_series(run, obj, func, *args, **kwargs)
    if elementwise:
        msg = (
            "elementwise=True is for a DataFrame or a Series, received "
            f"{type(obj).__name__}; leave it out to apply func to groups or windows"
        )
        raise ArgumentError(msg)
    if isinstance(obj, GroupBy):
        from daskkit.frames.groups import apply_groups

        return apply_groups(run, obj, func, *args, **kwargs)
    if isinstance(obj, RollingAndExpandingMixin):
        from daskkit.frames.windows import apply_windows

        return apply_windows(run, obj, func, *args, **kwargs)
    what = short_repr(obj)
    if callable(obj):
        what += " (the object of pandas comes first, then the function)"
    msg = (
        "apply takes a DataFrame, a Series, a group-by of one, or a rolling or "
        f"expanding window, received {what} of type {type(obj).__name__}; for other "
        "sequences use daskkit.map, for arrays daskkit.map_blocks"
    )
    raise ArgumentError(msg)
