"""`Rolling.apply` and `Expanding.apply`, also per group: one item for each window.

The seam is the function that pandas hands to its window machinery, which has found the
bounds of all windows by then.
"""

from __future__ import annotations

import array
import copy
import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from daskkit.arguments import name_of
from daskkit.frames.seam import has_seam, name_label, replace
from daskkit.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from daskkit.frames.seam import Run

__all__ = ["apply_windows"]


def apply_windows(run: Run, rolling: Any, func: Any, *args: Any, **options: Any) -> Any:
    """Return what ``rolling.apply(func, ...)`` returns.

    Parameters
    ----------
    run : callable
        Executes the items.
    rolling : pandas.api.typing.Rolling, Expanding, RollingGroupby or ExpandingGroupby
        Whose windows are the items, those of one column after those of another.
    func, *args, **options
        As for `apply` of that class.

    Returns
    -------
    pandas.Series or pandas.DataFrame
    """
    engine = args[1] if len(args) > 1 else options.get("engine")
    if (
        not callable(func)
        or engine not in {None, "cython"}
        or getattr(rolling, "method", "single") != "single"
        or not has_seam(rolling, "_generate_cython_apply_func")
    ):
        return rolling.apply(func, *args, **options)
    rolling = copy.copy(rolling)

    def generate(
        args: tuple[Any, ...], kwargs: dict[str, Any], raw: bool, function: Any
    ) -> Callable[..., Any]:
        def apply_func(
            values: Any, begin: Any, end: Any, min_periods: int, raw: bool = raw
        ) -> Any:
            windows = _Windows(
                values if raw else _as_series(values, rolling._on),
                np.asarray(begin),
                np.asarray(end),
                find_full(values, begin, end, min_periods),
                function,
                args,
                kwargs,
            )
            return _run_windows(run, windows, rolling._on)

        return apply_func

    replace(rolling, "_generate_cython_apply_func", generate)
    return rolling.apply(func, *args, **options)


def find_full(
    values: NDArray[np.float64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    min_periods: int,
) -> NDArray[np.bool_]:
    """Return which windows hold enough finite values for the function to be called.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (n,)
        The column.
    begin, end : numpy.ndarray of int, shape (n_windows,)
        First index of each window, and the one after its last.
    min_periods : int
        How many finite values are enough.

    Returns
    -------
    numpy.ndarray of bool, shape (n_windows,)

    Examples
    --------
    >>> values = np.array([1.0, np.nan, 3.0])
    >>> find_full(values, np.array([0, 0, 1]), np.array([1, 2, 3]), 1)
    array([ True,  True,  True])
    >>> find_full(values, np.array([0, 0, 1]), np.array([1, 2, 3]), 2)
    array([False, False, False])
    """
    is_finite = np.isfinite(values)
    if is_finite.all():
        return np.asarray(end - begin >= min_periods)
    n_finite = np.concatenate([[0], np.cumsum(is_finite)])
    return np.asarray(n_finite[end] - n_finite[begin] >= min_periods)


def _run_windows(run: Run, windows: _Windows, labels: Any) -> NDArray[np.float64]:
    def describe(index: int, item: Any) -> str:
        last = int(windows.end[item]) - 1
        if len(labels) != len(windows.values) or last < 0:
            return f"window {index}"
        return name_label("window", index, labels[last]).replace("label", "ending at")

    function = windows.function
    items = range(len(windows.begin))
    name = name_of(function)
    found = run(
        Work(name, function, items, each=windows, describe=describe, combine=_join)
    )
    return np.array(found, dtype=np.float64)


def _join(results: Sequence[Any]) -> NDArray[np.float64]:
    """Return the results of neighbouring windows, or such arrays, as one array."""
    if isinstance(results[0], np.ndarray):
        return np.concatenate(results)
    return np.fromiter(results, np.float64, len(results))


def _as_series(values: Any, index: Any) -> Any:
    import pandas as pd

    return pd.Series(values, index=index, copy=False)


@dataclasses.dataclass(frozen=True)
class _Windows:
    """Cuts windows and calls the function with them."""

    #: A plain array, or a Series of it.
    values: Any
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    #: Whether the function is called for a window.
    full: NDArray[np.bool_]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, items: Sequence[Any], results: list[Any]) -> None:
        """Append the result of each window, NaN for one that is not full."""
        first, stop = items[0], items[-1] + 1
        begin = self.begin[first:stop].tolist()
        end = self.end[first:stop].tolist()
        full = self.full[first:stop].tolist()
        rows = self.values if isinstance(self.values, np.ndarray) else self.values.iloc
        function = self.function
        if self.args or self.kwargs:
            function = functools.partial(function, *self.args, **self.kwargs)
        # Takes what a C double can be made of, as pandas' own loop does.
        numbers = array.array("d")
        append, nan = numbers.append, np.nan
        try:
            with np.errstate(all="ignore"):
                for a, b, is_full in zip(begin, end, full, strict=True):
                    append(function(rows[a:b]) if is_full else nan)
        finally:
            results.extend(numbers)
