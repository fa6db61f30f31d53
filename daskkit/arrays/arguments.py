"""What users say of an array and how to cut it, checked and made into a `Cut`."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from daskkit.arguments import check_whole
from daskkit.arrays.blocks import AxisCut, Cut, choose_blocks
from daskkit.arrays.masks import is_masked
from daskkit.errors import ArgumentError
from daskkit.loop import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskkit.arrays.blocks import Beyond

__all__ = ["make_cut", "to_array"]

_MODES = ("reflect", "periodic", "nearest")


def to_array(value: Any) -> NDArray[Any]:
    """Return an array, or an array-like object, as a NumPy array.

    Parameters
    ----------
    value : array_like
        A `dask.array.Array` is computed, a pandas object gives its values.

    Returns
    -------
    numpy.ndarray
        Of at least one axis; not a copy, if it is one already.

    Raises
    ------
    ArgumentError
        If it has no axis, or a mask that would be lost.

    Examples
    --------
    >>> to_array([1, 2])
    array([1, 2])
    """
    if is_masked(value):
        msg = (
            "array must not be masked, as blocks are plain arrays and the mask would "
            "be lost; pass array.filled(...)"
        )
        raise ArgumentError(msg)
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        msg = f"array must be an array, received {short_repr(value)}: {error}"
        raise ArgumentError(msg) from error
    if array.ndim == 0:
        msg = (
            f"array must have at least one axis to be cut, received {short_repr(value)}"
        )
        raise ArgumentError(msg)
    return array


def make_cut(
    array: NDArray[Any], axis: Any, overlap: Any, boundary: Any, blocks: Any
) -> Cut:
    """Return how an array is to be cut, from what `daskkit.map_blocks` was told.

    Parameters
    ----------
    array : numpy.ndarray
        From `to_array`.
    axis, overlap, boundary, blocks : object
        As `daskkit.map_blocks` takes them.

    Returns
    -------
    Cut

    Raises
    ------
    ArgumentError
        If one of them can't be used.

    Examples
    --------
    >>> make_cut(np.zeros((4, 6)), -1, 1, None, 2).axes
    (AxisCut(axis=1, length=6, n_blocks=2, overlap=1, beyond=None, size=None),)
    """
    named = axis if isinstance(axis, tuple) else (axis,)
    axes = [_check_axis(one, array.ndim) for one in named]
    if not axes or len(set(axes)) < len(axes):
        msg = f"axis must name one axis or several different ones, received {axis!r}"
        raise ArgumentError(msg)
    per_axis = functools.partial(_per_axis, axes=axes, ndim=array.ndim)
    overlaps = per_axis("overlap", overlap, 0, _check_overlap)
    counts = per_axis("blocks", blocks, None, _check_blocks)
    check = functools.partial(_check_boundary, dtype=array.dtype)
    beyond = per_axis("boundary", boundary, None, check)
    axes.sort()
    # Nothing is in an empty array, and nothing around it.
    overlaps = {i: overlaps[i] if array.shape[i] else 0 for i in axes}
    free = [i for i in axes if counts[i] is None]
    chosen = choose_blocks(
        [array.shape[i] for i in free], [overlaps[i] for i in free], array.nbytes
    )
    counts |= dict(zip(free, chosen, strict=True))
    return Cut(
        array.ndim,
        tuple(
            AxisCut(
                i,
                length=array.shape[i],
                # At least a row each, and one block of nothing for an empty array.
                n_blocks=max(1, min(counts[i], array.shape[i])),
                overlap=overlaps[i],
                beyond=beyond[i],
            )
            for i in axes
        ),
    )


def _check_axis(value: Any, ndim: int) -> int:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or not -ndim <= value < ndim:
        msg = (
            f"axis must be a whole number from {-ndim} to {ndim - 1}, or a tuple of "
            f"these, for an array of {ndim} axes; received {short_repr(value)}"
        )
        raise ArgumentError(msg)
    return int(value) % ndim


def _per_axis(
    name: str,
    value: Any,
    default: Any,
    check: Callable[[Any, str], Any],
    *,
    axes: list[int],
    ndim: int,
) -> dict[int, Any]:
    """Return an option for each axis that is cut: from one value, a tuple or a dict."""
    if isinstance(value, Mapping):
        given = {_check_axis(key, ndim): one for key, one in value.items()}
        unknown = sorted(set(given) - set(axes))
        if unknown:
            msg = (
                f"{name} names axis {unknown[0]}, which isn't cut; cut are {axes}. "
                "Leave it out, or name the axis in axis, too"
            )
            raise ArgumentError(msg)
        return {i: check(given[i], name) if i in given else default for i in axes}
    if isinstance(value, tuple):
        if len(value) != len(axes):
            msg = (
                f"{name} must be one value, or a tuple of one for each axis that is "
                f"cut, {len(axes)}; received {short_repr(value)}"
            )
            raise ArgumentError(msg)
        return {i: check(one, name) for i, one in zip(axes, value, strict=True)}
    return dict.fromkeys(axes, check(value, name))


def _check_overlap(value: Any, name: str) -> int:
    return check_whole(value, name, 0)


def _check_blocks(value: Any, name: str) -> int | None:
    return None if value is None else check_whole(value, name, 1)


def _check_boundary(value: Any, name: str, dtype: np.dtype[Any]) -> Beyond:
    """Return what is beyond the edges; a number has to be one of the array's."""
    if value is None or (isinstance(value, str) and value == "none"):
        return None
    if isinstance(value, str) and value in _MODES:
        return value
    if not isinstance(value, (numbers.Number, np.generic)):
        texts = ", ".join(repr(mode) for mode in _MODES)
        msg = (
            f"{name} must be None, {texts} or a number, received {short_repr(value)}; "
            "for different ones pass a tuple or a dict by axis"
        )
        raise ArgumentError(msg)
    try:
        is_held = _can_hold(dtype, value)
    except (TypeError, ValueError, OverflowError):  # nan and inf among them
        is_held = False
    if not is_held:
        msg = f"{name} is {value!r}, which an array of dtype {dtype} can't hold"
        raise ArgumentError(msg)
    return value


def _can_hold(dtype: np.dtype[Any], value: Any) -> bool:
    """Return whether an array can hold a number; a float may lose digits."""
    if dtype.kind == "b":
        return bool(value in {0, 1})
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return bool(value == int(value) and limits.min <= value <= limits.max)
    if dtype.kind == "f":
        float(value)
    else:
        np.full((), value, dtype)
    return True
