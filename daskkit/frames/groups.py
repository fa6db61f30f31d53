"""`DataFrameGroupBy.apply` and `SeriesGroupBy.apply`: one item for each group.

The seam is ``BaseGrouper.apply_groupwise``. The rows are brought into the order of the
groups once, as pandas does; a group is a slice of them, cut where it is needed.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from daskkit.arguments import name_of
from daskkit.frames.seam import has_seam, name_label, replace
from daskkit.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from daskkit.frames.seam import Run

__all__ = ["apply_groups", "order_by_size"]

# A group of so many times the mean size is begun with.
_GIANT = 3


def apply_groups(run: Run, grouped: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what ``grouped.apply(func, *args, **kwargs)`` returns.

    Parameters
    ----------
    run : callable
        Executes the items.
    grouped : pandas.api.typing.DataFrameGroupBy or SeriesGroupBy
        Whose groups are the items.
    func, *args, **kwargs
        As for `apply` of that class. Names of methods go by pandas alone.

    Returns
    -------
    object
    """
    # pandas 2.1 called it so; in 2.2 that name is a property which warns.
    attribute = "grouper" if "grouper" in vars(grouped) else "_grouper"
    is_ours = callable(func) and getattr(grouped, "axis", 0) == 0
    if not is_ours or not has_seam(grouped, attribute):
        return grouped.apply(func, *args, **kwargs)
    grouper = getattr(grouped, attribute)
    if not has_seam(grouper, "apply_groupwise", "_get_splitter"):
        return grouped.apply(func, *args, **kwargs)
    # What belongs to this call alone; cached properties are shared.
    grouped, grouper = copy.copy(grouped), copy.copy(grouper)
    original = grouper.apply_groupwise

    def apply_groupwise(func: Any, data: Any, *axis: Any) -> tuple[list[Any], bool]:
        splitter = grouper._get_splitter(data)
        if any(axis) or not splitter.ngroups or not has_seam(splitter, "_slabels"):
            found: tuple[list[Any], bool] = original(func, data, *axis)
            return found
        return _run_groups(run, grouper, splitter, func)

    replace(grouper, "apply_groupwise", apply_groupwise)
    replace(grouped, attribute, grouper)
    return grouped.apply(func, *args, **kwargs)


def _run_groups(
    run: Run, grouper: Any, splitter: Any, func: Callable[..., Any]
) -> tuple[list[Any], bool]:
    """Return the results of all groups, and whether one has another index than its."""
    numbers = np.arange(splitter.ngroups)
    labels = splitter._slabels
    starts = np.searchsorted(labels, numbers, side="left")
    stops = np.searchsorted(labels, numbers, side="right")
    keys = getattr(grouper, "group_keys_seq", None)
    keys = list(grouper.result_index if keys is None else keys)
    order = order_by_size(stops - starts)

    def describe(index: int, item: Any) -> str:
        del index
        return name_label("group", int(item), keys[item]).replace("label", "key")

    each = _Groups(splitter._sorted_data, starts, stops, keys, func)
    found = run(Work(name_of(func), func, order, each=each, describe=describe))
    values: list[Any] = [None] * len(found)
    mutated = False
    for item, (result, is_like) in zip(order, found, strict=True):
        values[item] = result
        mutated = mutated or not is_like
    return values, mutated


def order_by_size(sizes: NDArray[np.intp]) -> Sequence[int]:
    """Return the numbers of all groups, giants first, the others as they are.

    A giant that is begun last keeps one core busy while the others idle.

    Parameters
    ----------
    sizes : numpy.ndarray of int
        Rows of each group.

    Returns
    -------
    sequence of int

    Examples
    --------
    >>> order_by_size(np.array([1, 1, 30, 1, 40, 1, 1, 1, 1, 1]))
    [4, 2, 0, 1, 3, 5, 6, 7, 8, 9]
    >>> order_by_size(np.array([3, 4]))
    range(0, 2)
    """
    numbers = range(len(sizes))
    if not len(sizes) or sizes.max() <= _GIANT * sizes.mean():
        return numbers
    is_giant = sizes > _GIANT * sizes.mean()
    giants = np.flatnonzero(is_giant)
    giants = giants[np.argsort(-sizes[giants], kind="stable")]
    others = np.flatnonzero(~is_giant)
    return [*giants.tolist(), *others.tolist()]


@dataclasses.dataclass(frozen=True)
class _Groups:
    """Cuts groups and calls the function with them."""

    data: Any
    starts: NDArray[np.intp]
    stops: NDArray[np.intp]
    keys: list[Any]
    func: Callable[..., Any]

    def __call__(self, items: Sequence[Any], results: list[Any]) -> None:
        """Append for each group its result, and whether that is indexed as it."""
        data, func = self.data, self.func
        # What `iloc` does with a slice, without finding out that it is one.
        cut = getattr(data, "_slice", None)
        with _no_copy_warnings():
            for item in items:
                rows = slice(int(self.starts[item]), int(self.stops[item]))
                group = data.iloc[rows] if cut is None else cut(rows)
                # Not as a column of that name.
                object.__setattr__(group, "name", self.keys[item])
                axes = group.axes  # of what the function is going to change
                result = func(group)
                results.append((result, _is_indexed_like(result, axes)))


def _is_indexed_like(result: Any, axes: list[Any]) -> bool:
    """Return whether a result has its group's index, as pandas asks it."""
    import pandas as pd

    if isinstance(result, pd.Series):
        return len(axes) == 1 and bool(result.index.equals(axes[0]))
    if isinstance(result, pd.DataFrame):
        return bool(result.index.equals(axes[0]))
    return False


def _no_copy_warnings() -> contextlib.AbstractContextManager[Any]:
    """Return the context in which pandas 2 applies functions to groups."""
    import pandas as pd

    if pd.__version__.startswith("2."):
        return pd.option_context("mode.chained_assignment", None)
    return contextlib.nullcontext()
