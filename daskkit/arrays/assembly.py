"""The results of blocks, put together to one array while they are computed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from daskkit.errors import ArgumentError
from daskkit.run.work import Work, run_items
from daskkit.transport.output import Layout, Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskkit.arrays.blocks import Cut
    from daskkit.run.work import Options

__all__ = ["ArrayWork", "Assembly", "execute_into_array", "join"]


@dataclasses.dataclass(frozen=True)
class Assembly:
    """Computes blocks and puts them where they belong in the whole.

    The result of the first block decides what the whole is like. It is executed by the
    caller, as a rule; until it is done, and where a process has no access to the
    caller's memory, results travel and `finish` puts them in their places.
    """

    #: ``func(number)``: the result of a block, an array of the block's length along the
    #: axes that are cut.
    func: Callable[[int], NDArray[Any]]
    cut: Cut
    output: Output

    def __call__(self, number: int) -> NDArray[Any] | None:
        """Return the result of a block, or None if that is in its place already."""
        result = self.func(number)
        if number == 0 and self.output.is_mine:
            self.begin(result)
        return None if self.put(number, result) else result

    def finish(self, results: list[NDArray[Any] | None]) -> NDArray[Any]:
        """Return the whole.

        Parameters
        ----------
        results : list
            What calls have returned, for all blocks.

        Returns
        -------
        numpy.ndarray

        Raises
        ------
        ArgumentError
            If a block's result doesn't fit to that of the first.
        """
        is_used = any(result is None for result in results)
        if results[0] is not None:
            self.begin(results[0])
        for number, result in enumerate(results):
            if result is not None:
                self.put(number, result)
                results[number] = None  # its memory isn't needed twice
        return self.output.finish(is_used=is_used)

    def begin(self, first: NDArray[Any]) -> None:
        """Make the whole for a first block like this, unless it is there."""
        if self.output.layout is not None:
            return
        shape = list(first.shape)
        for axis in self.cut.axes:
            shape[axis.axis] = axis.length
        order = "F" if first.flags.fnc else "C"
        self.output.allocate(Layout(tuple(shape), first.dtype, order))

    def put(self, number: int, result: NDArray[Any]) -> bool:
        """Put a block in its place; return False if this process can't.

        Raises
        ------
        ArgumentError
            If it doesn't fit to the first block.
        """
        layout = self.output.layout
        if layout is None:
            return False
        shape = list(layout.shape)
        region = [slice(None)] * len(shape)
        for axis, k in self.cut.parts(number):
            start, stop = axis.core(k)
            region[axis.axis] = slice(start, stop)
            shape[axis.axis] = stop - start
        if result.shape != tuple(shape):
            msg = (
                f"func returned an array of shape {result.shape}, halo not counted, "
                f"for {self.cut.describe(number)}; after what it returned for the "
                f"first block it has to be {tuple(shape)}"
            )
            raise ArgumentError(msg)
        # As an assignment casts, but one that would cut off longer texts.
        casting: Any = "safe" if layout.dtype.kind in "SU" else "same_kind"
        if result.dtype != layout.dtype and not np.can_cast(
            result.dtype, layout.dtype, casting
        ):
            msg = (
                f"func returned dtype {result.dtype} for {self.cut.describe(number)}, "
                f"which can't be put into the {layout.dtype} that it returned for the "
                "first block; return the same dtype for all blocks"
            )
            raise ArgumentError(msg)
        return self.output.put(region, result)


@dataclasses.dataclass(frozen=True)
class ArrayWork(Work):
    """Work whose answer is one array, put together from the results of all blocks.

    Its items are the numbers of the blocks, its results the blocks without their halos.
    """

    #: How the array is cut.
    cut: Cut = dataclasses.field(kw_only=True)


def join(cut: Cut, results: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the array of all blocks, which travelled: the end of an `ArrayWork`.

    Parameters
    ----------
    cut : Cut
        How it is cut.
    results : list of numpy.ndarray
        Of all blocks.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    ArgumentError
        As `Assembly.finish`.

    Examples
    --------
    >>> from daskkit.arrays.blocks import AxisCut, Cut
    >>> join(Cut(1, (AxisCut(0, length=3, n_blocks=2),)), [np.ones(1), np.zeros(2)])
    array([1., 0., 0.])
    """
    # Nothing is left to be computed.
    return Assembly(_no_block, cut, Output("the result")).finish(list(results))


def _no_block(number: int) -> NDArray[Any]:
    raise NotImplementedError(number)


def execute_into_array(work: ArrayWork, **options: Unpack[Options]) -> NDArray[Any]:
    """Return the answer of a work, with no results that travel if that can be.

    Parameters
    ----------
    work : ArrayWork
        What is to be done.
    **options
        As for `daskkit.map`.

    Returns
    -------
    numpy.ndarray
        As `daskkit.run.work.execute` returns it.

    Raises
    ------
    ArgumentError
        If an option can't be used, or a result doesn't fit to the first one.
    Exception
        What an item raised, with a note that names the block.
    """
    output = Output(f"the result of {work.name}")
    assembly = Assembly(work.func, work.cut, output)
    rest = dataclasses.replace(work, func=assembly, before_leaving=output.share)
    results: list[NDArray[Any] | None] = []
    try:
        if options.get("where") == "cluster" or options.get("timeout") is not None:
            # No item is executed here; but one has to be known to make the array.
            is_alone = len(work.items) == 1
            shown = options.get("progress", False) and is_alone
            quiet: Options = {**options, "progress": shown}
            first = dataclasses.replace(work, items=work.items[:1])
            (head,) = run_items(first, **quiet)
            assembly.begin(head)
            assembly.put(0, head)
            results.append(None)
            rest = dataclasses.replace(rest, items=work.items[1:], n_before=1)
        if len(rest.items):
            results += run_items(rest, **options)
        return assembly.finish(results)
    finally:
        output.close()
