"""How an array is cut into blocks, and what a block's halo is: pure arithmetic.

Knows shapes and numbers only; `halo` reads the blocks, `arguments` checks what users
say.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AxisCut", "Beyond", "Cut", "Outside", "Span", "choose_blocks"]

#: What is beyond an array's edges: nothing, the array itself in one of three ways, or
#: a constant.
Beyond = Literal["reflect", "periodic", "nearest"] | complex | Any | None

# A block of so many bytes stays in the processor's cache while it is worked on.
_BLOCK_BYTES = 4 * 2**20
# So many blocks keep tens of workers busy to the end, if they are not tiny.
_MANY = 64
_TINY_BYTES = 2**16
# Halos make up at most so large a part of the work, if the number of blocks is free.
_HALO_SHARE = 0.25


class Outside(NamedTuple):
    """Neighbouring places of a block, along one axis, that are beyond the array."""

    #: From where to where in the block, halo included.
    start: int
    stop: int
    #: Where the array holds what belongs there; None for a constant.
    sources: tuple[int, ...] | None


class Span(NamedTuple):
    """One axis of a block, halo included."""

    #: From where to where it lies within the array.
    start: int
    stop: int
    #: How much halo is before that, and after, beyond the array.
    n_before: int
    n_after: int


@dataclasses.dataclass(frozen=True)
class AxisCut:
    """How one axis is cut.

    Examples
    --------
    >>> axis = AxisCut(0, length=10, n_blocks=3, overlap=2, beyond="reflect")
    >>> [axis.core(k) for k in range(3)]
    [(0, 3), (3, 6), (6, 10)]
    >>> axis.span(0), axis.halo(0)
    (Span(start=0, stop=5, n_before=2, n_after=0), (2, 2))
    >>> axis.outside(0)
    [Outside(start=0, stop=2, sources=(1, 0))]
    """

    #: Which axis, from 0.
    axis: int
    length: int
    n_blocks: int
    #: How far a block reaches into its neighbours, on both sides.
    overlap: int = 0
    #: What is beyond the edges, see `Beyond`.
    beyond: Beyond = None
    #: Length of each block but the last, where that was asked for; None for lengths
    #: that differ by one at most.
    size: int | None = None

    def core(self, k: int) -> tuple[int, int]:
        """Return from where to where a block goes, without its halo."""
        if self.size is not None:
            return self.size * k, min(self.size * (k + 1), self.length)
        n = self.n_blocks
        return self.length * k // n, self.length * (k + 1) // n

    def span(self, k: int) -> Span:
        """Return from where to where a block goes, with its halo."""
        start, stop = self.core(k)
        if not self.overlap:
            return Span(start, stop, 0, 0)
        first, end = start - self.overlap, stop + self.overlap
        n_before, n_after = max(0, -first), max(0, end - self.length)
        if self.beyond is None:
            n_before = n_after = 0
        return Span(max(0, first), min(self.length, end), n_before, n_after)

    def halo(self, k: int) -> tuple[int, int]:
        """Return how much halo is before a block's core, and after it."""
        (start, stop), span = self.core(k), self.span(k)
        before = start - span.start + span.n_before
        return before, span.stop - stop + span.n_after

    def outside(self, k: int) -> list[Outside]:
        """Return the parts of a block that are beyond the array."""
        span = self.span(k)
        inner = span.n_before + span.stop - span.start
        parts = []
        if span.n_before:
            sources = self._sources(-span.n_before, 0)
            parts.append(Outside(0, span.n_before, sources))
        if span.n_after:
            sources = self._sources(self.length, self.length + span.n_after)
            parts.append(Outside(inner, inner + span.n_after, sources))
        return parts

    def _sources(self, start: int, stop: int) -> tuple[int, ...] | None:
        if not isinstance(self.beyond, str):
            return None
        n = self.length
        places = range(start, stop)
        if self.beyond == "periodic":
            return tuple(place % n for place in places)
        if self.beyond == "nearest":
            return tuple(min(max(place, 0), n - 1) for place in places)
        # A mirror between two cells, as in dask.array: -1 is 0, -2 is 1.
        folded = (place % (2 * n) for place in places)
        return tuple(min(place, 2 * n - 1 - place) for place in folded)


@dataclasses.dataclass(frozen=True)
class Cut:
    """How an array is cut into blocks, which are numbered in C order.

    Examples
    --------
    >>> cut = Cut(2, (AxisCut(0, length=4, n_blocks=2), AxisCut(1, 9, n_blocks=3)))
    >>> cut.n_blocks, cut.position(4), cut.core(4)
    (6, (1, 1), (slice(2, 4, None), slice(3, 6, None)))
    >>> cut.describe(4)
    'block (1, 1) [2:4, 3:6]'
    """

    #: Axes of the array.
    ndim: int
    #: Those that are cut, in ascending order.
    axes: tuple[AxisCut, ...]

    @functools.cached_property
    def n_blocks(self) -> int:
        """How many blocks there are."""
        return math.prod(axis.n_blocks for axis in self.axes)

    def position(self, number: int) -> tuple[int, ...]:
        """Return which block along each cut axis a block is."""
        places = []
        for axis in reversed(self.axes):
            number, k = divmod(number, axis.n_blocks)
            places.append(k)
        return tuple(reversed(places))

    def parts(self, number: int) -> list[tuple[AxisCut, int]]:
        """Return the cut axes, each with which block along it a block is."""
        return list(zip(self.axes, self.position(number), strict=True))

    def core(self, number: int) -> tuple[slice, ...]:
        """Return where in the whole a block lies, without its halo."""
        region = [slice(None)] * self.ndim
        for axis, k in self.parts(number):
            region[axis.axis] = slice(*axis.core(k))
        return tuple(region)

    def describe(self, number: int) -> str:
        """Return what a block is called in messages: its position, and what it is of.

        Axes that are not cut show as ``:``.
        """
        texts = [":"] * self.ndim
        for axis, k in self.parts(number):
            texts[axis.axis] = "{}:{}".format(*axis.core(k))
        return f"block {self.position(number)} [{', '.join(texts)}]"


def choose_blocks(
    lengths: Sequence[int], overlaps: Sequence[int], n_bytes: int
) -> tuple[int, ...]:
    """Return how many blocks to make along each axis that is cut.

    Depends on sizes alone, so that the blocks, and whatever depends on where an array
    is cut, are the same on every machine.

    Parameters
    ----------
    lengths, overlaps : sequence of int
        Of each axis that is cut.
    n_bytes : int
        Size of the array.

    Returns
    -------
    tuple of int
        Blocks of at most 4 MiB; at least 64 of them if they then have 64 KiB. Fewer
        where their halos would be more than a quarter of a block.

    Examples
    --------
    >>> choose_blocks([1_000_000], [0], 8_000_000)
    (64,)
    >>> choose_blocks([21_600], [1], 933_120_000)
    (223,)
    >>> choose_blocks([1000, 1000], [0, 0], 8_000_000)
    (8, 8)
    >>> choose_blocks([100], [0], 800)
    (1,)
    """
    wanted = max(
        1,
        math.ceil(n_bytes / _BLOCK_BYTES),
        min(_MANY, math.ceil(n_bytes / _TINY_BYTES)),
    )
    most = [
        max(1, min(length, int(length * _HALO_SHARE / (2 * overlap))))
        if overlap
        else max(1, length)
        for length, overlap in zip(lengths, overlaps, strict=True)
    ]
    chosen = dict.fromkeys(range(len(lengths)), 1)
    # Blocks about as long in each direction; short axes first, as what they can't
    # contribute the others have to.
    order = sorted(chosen, key=lambda i: most[i])
    for done, i in enumerate(order):
        rest = order[done:]
        area = math.prod(max(1, lengths[j]) for j in rest)
        side = (area / wanted) ** (1 / len(rest))
        chosen[i] = max(1, min(most[i], round(lengths[i] / side)))
        wanted = max(1, math.ceil(wanted / chosen[i]))
    return tuple(chosen[i] for i in range(len(lengths)))
