"""`Series.apply`, `Series.map` and `DataFrame.map`: one item for each element.

The seam is ``Series._map_values``, which both methods of Series call.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from daskkit.arguments import name_of
from daskkit.frames.seam import has_seam, name_label, replace
from daskkit.run.work import Work

if TYPE_CHECKING:
    import pandas as pd

    from daskkit.frames.seam import Run

__all__ = ["apply_series", "map_frame", "map_series"]


def apply_series(
    run: Run, series: pd.Series[Any], func: Any, *args: Any, **options: Any
) -> Any:
    """Return what ``series.apply(func, ...)`` returns.

    Parameters
    ----------
    run : callable
        Executes the items.
    series : pandas.Series
        Whose elements are the items.
    func, *args, **options
        As for `pandas.Series.apply`. Names, lists and NumPy's functions go by pandas
        alone.

    Returns
    -------
    object
    """
    if not callable(func):
        return series.apply(func, *args, **options)
    return _with_seam(run, series, func).apply(func, *args, **options)


def map_series(
    run: Run, series: pd.Series[Any], func: Any, *args: Any, **options: Any
) -> Any:
    """Return what ``series.map(func, ...)`` returns; as `apply_series`."""
    if not callable(func):
        return series.map(func, *args, **options)
    return _with_seam(run, series, func).map(func, *args, **options)


def map_frame(
    run: Run, frame: pd.DataFrame, func: Any, na_action: Any = None, **kwargs: Any
) -> Any:
    """Return what ``frame.map(func, na_action, **kwargs)`` returns.

    Parameters
    ----------
    run : callable
        Executes the items.
    frame : pandas.DataFrame
        Whose elements are the items, column by column.
    func, na_action, **kwargs
        As for `pandas.DataFrame.map`.

    Returns
    -------
    pandas.DataFrame
    """
    if (
        not callable(func)
        or na_action not in {None, "ignore"}
        or frame.size == 0
        or not has_seam(frame.iloc[:, 0], "_map_values")
    ):
        return frame.map(func, na_action=na_action, **kwargs)
    call = functools.partial(func, **kwargs) if kwargs else func
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    found = [_find_elements(column, na_action) for column in columns]
    elements = [element for part in found for element in part]
    starts = [0]
    for part in found:
        starts.append(starts[-1] + len(part))

    def describe(index: int, item: Any) -> str:
        del item
        number = next(i for i, start in enumerate(starts[1:]) if index < start)
        where = name_label("column", number, frame.columns[number])
        if len(found[number]) != len(frame):
            return f"an element of {where}"
        row = index - starts[number]
        return f"{name_label('row', row, frame.index[row])} of {where}"

    results = run(Work(name_of(func), call, elements, describe=describe))
    numbers = iter(range(len(columns)))

    def infer(column: pd.Series[Any]) -> Any:
        i = next(numbers)
        return _rebuild(column, results[starts[i] : starts[i + 1]], na_action, {})

    return frame.apply(infer).__finalize__(frame, method="map")


def _with_seam(run: Run, series: pd.Series[Any], func: Any) -> Any:
    """Return a copy of a Series that maps its elements by `run`; shares its values."""
    copy: Any = series.copy(deep=False)
    if not has_seam(copy, "_map_values"):
        return copy

    def describe(index: int, item: Any) -> str:
        del item
        return name_label("element", index, series.index[index])

    def map_values(mapper: Any, na_action: Any = None, **options: Any) -> Any:
        if not callable(mapper):
            return series._map_values(mapper, na_action, **options)
        elements = _find_elements(series, na_action)
        # Of a categorical, each category is one.
        is_each = len(elements) == len(series)
        name = name_of(func)
        work = Work(name, mapper, elements, describe=describe if is_each else None)
        return _rebuild(series, run(work), na_action, options)

    replace(copy, "_map_values", map_values)
    return copy


def _find_elements(series: Any, na_action: Any) -> list[Any]:
    """Return what pandas would call the function with, in order."""
    import numpy as np

    values = series._values
    if na_action is None and isinstance(values, np.ndarray):
        # What `pandas.core.algorithms.map_array` does.
        elements: list[Any] = values.astype(object, copy=False).tolist()
        return elements
    recorded: list[Any] = []
    series._map_values(recorded.append, na_action=na_action)
    return recorded


def _rebuild(
    series: Any, results: list[Any], na_action: Any, options: dict[str, Any]
) -> Any:
    """Return the array that pandas makes of the results."""
    import numpy as np
    from pandas._libs import lib

    is_plain = na_action is None and isinstance(series._values, np.ndarray)
    if is_plain and options.get("convert", True):
        # Numbers need nothing but what pandas does in the end.
        objects = np.fromiter(results, object, len(results))
        array = lib.maybe_convert_objects(objects)  # type: ignore[attr-defined] # no stub
        if array.dtype.kind in "biufc":
            return array
    # The element that pandas calls it with takes the place of next's default.
    replay = functools.partial(next, iter(results))
    return series._map_values(replay, na_action=na_action, **options)
