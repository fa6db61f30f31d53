"""Sample `pi`: an estimate from random points in a square.

What is pi? The textbook Monte Carlo loop, one point at a time. Each item is a block of
points with a random stream of its own, named by its number; the answer is therefore the
same for every partitioning and number of workers, to the last point. The vectorised
form draws the very same numbers into arrays and counts them at once. The compiled form
is the loop once more, made into machine code by Numba.

No data; nothing to license.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from daskkit.records import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "SIZES",
    "SUMMARY",
    "Block",
    "Tally",
    "add_tallies",
    "compile_count",
    "count_hits",
    "count_hits_at_once",
    "make_workload",
]

SUMMARY: Final = "pi by Monte Carlo, point by point (random streams)"

#: How many blocks, and how many points in each.
SIZES: Final[Mapping[str, tuple[int, int]]] = {
    "small": (100, 2_000),
    "full": (400, 10_000),
}

#: Root of all streams; any number would do.
SEED: Final = 31_415

# Points that the vectorised form holds at once: 16 MB. Larger arrays leave the
# processor's cache and gain nothing.
_POINTS_AT_ONCE: Final = 1_000_000


class Block(NamedTuple):
    """One item: a number of points from one random stream."""

    #: The seed that all streams share.
    entropy: int
    #: Which child of the seed: ``SeedSequence(entropy).spawn(n)[spawn_key]``, for
    #: every ``n`` above it.
    spawn_key: int
    #: Points to draw.
    points: int


class Tally(NamedTuple):
    """How many points fell into the quarter of the unit circle."""

    #: Points at a distance of at most 1 from the origin.
    hits: int
    #: Points drawn.
    points: int

    @property
    def pi(self) -> float:
        """The estimate, dimensionless; NaN before the first point."""
        return 4 * self.hits / self.points if self.points else float("nan")


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is a `Tally`.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`: two hundred thousand points, or four million.

    Returns
    -------
    Workload
        Counts of points are integers, so that the answers are compared exactly.
    """
    n_blocks, points = SIZES[size]
    return Workload(
        name="pi",
        func=count_hits,
        items=[Block(SEED, key, points) for key in range(n_blocks)],
        combine=add_tallies,
        vectorized=count_hits_at_once,
        compiled=compile_count,
    )


def count_hits(block: Block) -> Tally:
    """Return how many points of a block fall into the quarter circle.

    Parameters
    ----------
    block : Block
        Stream and number of points.

    Returns
    -------
    Tally

    Examples
    --------
    >>> tally = count_hits(Block(entropy=1, spawn_key=0, points=1_000))
    >>> tally.points, 3 < tally.pi < 3.3
    (1000, True)
    """
    random = _make_stream(block).random
    hits = 0
    for _ in range(block.points):
        x = random()
        y = random()
        hits += x * x + y * y <= 1.0
    return Tally(hits, block.points)


def compile_count() -> Callable[[Block], Tally]:
    """Return `count_hits`, compiled by Numba.

    Returns
    -------
    callable
        ``func(block)``; it releases the GIL. The numbers are the loop's: Numba draws
        them from the same stream.

    Notes
    -----
    Takes a second or two: the compiler works here, not in the first call.
    """
    import numba

    stream = numba.typeof(np.random.default_rng(0))

    signature = numba.int64(stream, numba.int64)
    count = numba.njit(signature, nogil=True)(_count_inside_one_by_one)

    def count_compiled(block: Block) -> Tally:
        return Tally(int(count(_make_stream(block), block.points)), block.points)

    return count_compiled


def add_tallies(tallies: list[Tally]) -> Tally:
    """Return the sum of tallies; (0, 0) for none.

    Parameters
    ----------
    tallies : list of Tally
        In any order, themselves sums or not.

    Returns
    -------
    Tally
    """
    return Tally(
        sum(tally.hits for tally in tallies), sum(tally.points for tally in tallies)
    )


def count_hits_at_once(items: Sequence[Block]) -> Tally:
    """Return the tally of all blocks, in NumPy.

    Parameters
    ----------
    items : sequence of Block
        Any blocks.

    Returns
    -------
    Tally
        What the loop returns, to the last point: a stream yields the same numbers one
        by one or in an array, and the same operations decide on them.

    Notes
    -----
    Computes on one core, in at most 16 MB or the size of one block.
    """
    hits = 0
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for block in items:
        waiting.append(_make_stream(block).random((block.points, 2)))
        n_waiting += block.points
        if n_waiting >= _POINTS_AT_ONCE:
            hits += _count_inside(waiting)
            waiting, n_waiting = [], 0
    if waiting:
        hits += _count_inside(waiting)
    return Tally(hits, sum(block.points for block in items))


# Numba compiles this for `compile_count`.
def _count_inside_one_by_one(stream: np.random.Generator, points: int) -> int:
    hits = 0
    for _ in range(points):
        x = stream.random()
        y = stream.random()
        hits += x * x + y * y <= 1.0
    return hits


def _count_inside(parts: list[np.ndarray]) -> int:
    x, y = np.concatenate(parts).T
    return int(np.count_nonzero(x * x + y * y <= 1.0))


def _make_stream(block: Block) -> np.random.Generator:
    seed = np.random.SeedSequence(block.entropy, spawn_key=(block.spawn_key,))
    return np.random.default_rng(seed)
