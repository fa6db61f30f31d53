"""`DataFrame.apply`: one item for each row or column.

The seam is the loop of ``pandas.core.apply.FrameApply``: `apply_series_generator`, or
`apply_raw` for plain arrays. What it returns is wrapped by pandas.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from daskkit.arguments import name_of
from daskkit.frames.gathered import Gathered, gather
from daskkit.frames.seam import has_seam, name_label, replace
from daskkit.run.work import Work
from daskkit.transport.scalars import find_scalars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import pandas as pd

    from daskkit.frames.seam import Run

__all__ = ["apply_frame"]

_NONE: Any = None
# A loop is prepared for so many rows at least; each next one for more, up to the most.
_FEWEST_ROWS = 512
_MOST_ROWS = 8_192
_GROWTH = 4


def apply_frame(  # noqa: PLR0917 - the parameters of DataFrame.apply
    run: Run,
    frame: pd.DataFrame,
    func: Any,
    axis: Any = 0,
    raw: bool = False,
    result_type: Any = None,
    args: tuple[Any, ...] = (),
    by_row: Any = "compat",
    engine: Any = None,
    engine_kwargs: Any = None,
    **kwargs: Any,
) -> Any:
    """Return what ``frame.apply(func, ...)`` returns.

    Parameters
    ----------
    run : callable
        Executes the items.
    frame : pandas.DataFrame
        Whose rows or columns are the items.
    func, axis, raw, result_type, args, by_row, engine, engine_kwargs, **kwargs
        As for `pandas.DataFrame.apply`. By pandas alone go ``result_type="broadcast"``,
        an `engine` and functions that are no Python function of a row.

    Returns
    -------
    object
    """
    operation = None
    if engine in {None, "python"} and result_type != "broadcast":
        options = {"result_type": result_type, "by_row": by_row, "kwargs": kwargs}
        operation = _prepare(frame, func, axis=axis, raw=raw, args=args, **options)
    if operation is None:
        options = {"engine": engine, "engine_kwargs": engine_kwargs}
        given = {name: value for name, value in options.items() if value is not None}
        return frame.apply(
            func,
            axis=axis,
            raw=raw,
            result_type=result_type,
            args=args,
            by_row=by_row,
            **given,
            **kwargs,
        )
    # pandas' own reading of the function and its arguments.
    call = _Call(operation.func, tuple(operation.args), dict(operation.kwargs))
    by_axis = 1 if operation.axis == 1 else 0
    labels = frame.index if by_axis else frame.columns

    def describe(index: int, item: Any) -> str:
        return name_label("row" if by_axis else "column", index, labels[item])

    def work(each: Callable[[Sequence[Any], list[Any]], None]) -> Work:
        items = range(len(labels))
        name = name_of(func)
        return Work(name, func, items, each=each, describe=describe, combine=gather)

    def loop() -> tuple[Any, Any]:
        return run(work(_Rows(frame, by_axis, call))), operation.result_index

    def wrap(found: list[Any] | Gathered, index: Any) -> Any:
        results = _compress(found)
        if isinstance(results, list) and _is_sequence(results[0]):
            numbered = dict(enumerate(results))
            return type(operation).wrap_results(operation, numbered, index)
        # What pandas does by a dict, of which it makes an index that it throws away:
        # 5 % of the whole for a function of some microseconds.
        sliced: Any = frame._constructor_sliced
        series = sliced(results)
        series.index = index
        return series

    def loop_raw(*args: Any, **kwargs: Any) -> Any:
        results = _compress_raw(run(work(_RawRows(operation.values, by_axis, call))))
        if not isinstance(results, list):
            sliced: Any = frame._constructor_sliced
            return sliced(results, index=operation.agg_axis)
        replayed = iter(results)
        operation.func = lambda *_args, **_kwargs: next(replayed)
        return type(operation).apply_raw(operation, *args, **kwargs)

    replace(operation, "apply_series_generator", loop)
    replace(operation, "wrap_results", wrap)
    replace(operation, "apply_raw", loop_raw)
    return operation.apply().__finalize__(frame, method="apply")


def _prepare(frame: pd.DataFrame, func: Any, **options: Any) -> Any:
    """Return what pandas makes of the arguments, or None if it is to do the whole."""
    import numpy as np
    from pandas.core.apply import frame_apply

    if not callable(func) or isinstance(func, np.ufunc) or frame.size == 0:
        return None
    operation: Any = frame_apply(frame, func=func, **options)
    seams = ("apply_series_generator", "series_generator", "wrap_results")
    return operation if has_seam(operation, *seams) else None


def _is_sequence(result: Any) -> bool:
    """Return whether pandas makes a row or a list of a result, or an element."""
    try:
        iter(result)
        len(result)
    except (TypeError, AttributeError):
        return False
    return not isinstance(result, (str, bytes))


def _compress(found: list[Any] | Gathered) -> Any:
    """Return results as an array where that makes the same Series, else as a list."""
    if not isinstance(found, Gathered):
        return found
    array = found.to_array()
    return found.to_list() if array is None else array


def _compress_raw(found: list[Any] | Gathered) -> Any:
    """Return results as an array where `numpy.apply_along_axis` does, else a list."""
    results = _compress(found)
    # Other than a Series it keeps their own dtype.
    scalars = find_scalars(results) if isinstance(results, list) else None
    return results if scalars is None else scalars


@dataclasses.dataclass(frozen=True)
class _Call:
    """A function with the arguments that follow the row."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Rows:
    """Calls the function with rows or columns, as pandas itself cuts them.

    What pandas prepares for its loop takes as long as dozens of rows, so the loop over
    some rows is kept for those that follow, and goes on where it was.
    """

    def __init__(self, frame: pd.DataFrame, axis: int, call: _Call) -> None:
        self._frame = frame
        self._axis = axis
        self._call = call
        # Loops by the number of their next row, with the end of their rows.
        self._loops: dict[int, tuple[Iterator[Any], int]] = {}
        self._n_rows = _FEWEST_ROWS

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loops": {}, "_n_rows": _FEWEST_ROWS}

    def __call__(self, items: Sequence[Any], results: list[Any]) -> None:
        """Append the results of some rows or columns."""
        import pandas as pd

        start, stop = items[0], items[-1] + 1
        func, args, kwargs = self._call.func, self._call.args, self._call.kwargs
        while start < stop:
            # Taken out: several threads may be here, and an error ends the loop.
            rows, end = self._loops.pop(start, _NONE) or self._open(start, stop)
            n_rows = min(stop, end) - start
            # pandas makes one Series and changes its values from row to row.
            for row in itertools.islice(rows, n_rows):
                result = func(row, *args, **kwargs)
                if isinstance(result, pd.Series):
                    result = result.copy(deep=False)
                results.append(result)
            start += n_rows
            if start < end:
                self._loops[start] = rows, end

    def _open(self, start: int, stop: int) -> tuple[Iterator[Any], int]:
        """Return a loop from a row on, and the end of its rows."""
        from pandas.core.apply import frame_apply

        end = min(max(stop, start + self._n_rows), self._frame.shape[1 - self._axis])
        self._n_rows = min(_GROWTH * self._n_rows, _MOST_ROWS)
        cut = slice(start, end)
        part = self._frame.iloc[cut] if self._axis else self._frame.iloc[:, cut]
        operation: Any = frame_apply(
            part,
            func=self._call.func,
            axis=self._axis,
            args=self._call.args,
            kwargs=self._call.kwargs,
        )
        return iter(operation.series_generator), end


@dataclasses.dataclass(frozen=True)
class _RawRows:
    """Calls the function with rows or columns as plain arrays."""

    values: np.ndarray[Any, Any]
    axis: int
    call: _Call

    def __call__(self, items: Sequence[Any], results: list[Any]) -> None:
        """Append the results of some rows or columns."""
        func, args, kwargs = self.call.func, self.call.args, self.call.kwargs
        rows = self.values if self.axis else self.values.T
        for item in items:
            results.append(func(rows[item], *args, **kwargs))  # noqa: PERF401 - see Job
