"""Blocks with their halos out of an array, and results without them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from daskkit.arrays.masks import is_masked
from daskkit.errors import ArgumentError
from daskkit.transport.wire import describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from daskkit.arrays.blocks import Cut

__all__ = ["read_block", "trim"]


def read_block(array: NDArray[Any], cut: Cut, number: int) -> NDArray[Any]:
    """Return a block with its halo, to be read only.

    Parameters
    ----------
    array : numpy.ndarray
        The whole.
    cut : Cut
        How it is cut.
    number : int
        Which block.

    Returns
    -------
    numpy.ndarray
        A view of the array, and a copy only where the halo is beyond the array.

    Examples
    --------
    >>> from daskkit.arrays.blocks import AxisCut, Cut
    >>> axis = AxisCut(0, length=6, n_blocks=2, overlap=1, beyond="periodic")
    >>> read_block(np.arange(6), Cut(1, (axis,)), 0)
    array([5, 0, 1, 2, 3])
    """
    inside = [slice(None)] * array.ndim
    # Pieces of each axis: where in the block, where from, and which constant.
    pieces: dict[int, list[tuple[slice, Any, Any]]] = {}
    for axis, k in cut.parts(number):
        span = axis.span(k)
        inside[axis.axis] = slice(span.start, span.stop)
        if span.n_before or span.n_after:
            middle = slice(span.n_before, span.n_before + span.stop - span.start)
            pieces[axis.axis] = [
                (middle, inside[axis.axis], None),
                *(
                    (slice(one.start, one.stop), one.sources, axis.beyond)
                    for one in axis.outside(k)
                ),
            ]
    block = array[tuple(inside)]
    if pieces:
        block = _put_together(array, inside, pieces)
    block.flags.writeable = False
    return block


def _put_together(
    array: NDArray[Any],
    inside: list[slice],
    pieces: dict[int, list[tuple[slice, Any, Any]]],
) -> NDArray[Any]:
    """Return a block made of what is inside the array and what is beyond its edges.

    In a corner a constant wins over what is in the array, and the constant of a later
    axis over that of an earlier one, as in `dask.array.overlap`.
    """
    lengths = list(array[tuple(inside)].shape)
    for axis, parts in pieces.items():
        lengths[axis] = max(where.stop for where, _, _ in parts)
    order: Any = "F" if array.flags.fnc else "C"
    block = np.empty(lengths, array.dtype, order)
    for combination in itertools.product(*pieces.values()):
        target = [slice(None)] * array.ndim
        source = list(inside)
        taken: list[tuple[int, tuple[int, ...]]] = []
        constant: tuple[Any, ...] = ()
        for axis, (where, origin, beyond) in zip(pieces, combination, strict=True):
            target[axis] = where
            if origin is None:
                constant = (beyond,)
            elif isinstance(origin, tuple):
                source[axis] = slice(None)
                taken.append((axis, origin))
        if constant:
            block[tuple(target)] = constant[0]
            continue
        part = array[tuple(source)]
        for axis, places in taken:
            part = part.take(places, axis)
        block[tuple(target)] = part
    return block


def trim(result: Any, block: NDArray[Any], cut: Cut, number: int) -> NDArray[Any]:
    """Return what a function made of a block, without the halo.

    Parameters
    ----------
    result : object
        What the function returned.
    block : numpy.ndarray
        What it was given.
    cut : Cut
        How the array is cut.
    number : int
        Which block it was.

    Returns
    -------
    numpy.ndarray
        A view of the result.

    Raises
    ------
    ArgumentError
        If it has not the block's axes, or not its length along an axis that is cut.
    """
    if is_masked(result):
        msg = (
            f"func returned a masked array, {describe(result)}, for "
            f"{cut.describe(number)}, whose mask would be lost; return "
            "result.filled(...)"
        )
        raise ArgumentError(msg)
    array = np.asarray(result)
    ndim, lengths = block.ndim, block.shape
    if array.ndim != ndim or any(
        array.shape[axis.axis] != lengths[axis.axis] for axis in cut.axes
    ):
        along = ", ".join(
            f"{lengths[one.axis]} along axis {one.axis}" for one in cut.axes
        )
        msg = (
            f"func returned {describe(result)} for {cut.describe(number)}, which it "
            f"was given as an array of shape {lengths}; it has to return an array of "
            f"{ndim} axes and length {along}, the halo included. For a result that is "
            "no such array use dk.reduce_blocks"
        )
        raise ArgumentError(msg)
    region: list[slice] | None = None
    for axis, k in cut.parts(number):
        if axis.overlap:
            region = region or [slice(None)] * ndim
            before, after = axis.halo(k)
            region[axis.axis] = slice(before, lengths[axis.axis] - after)
    return array if region is None else array[tuple(region)]
