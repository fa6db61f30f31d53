"""Medians, bootstrap intervals and what they allow to be said; pure functions."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from daskkit.records import FEWEST_ROUNDS, Run, Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    _Ranks = npt.NDArray[np.int64]
    _Values = npt.NDArray[np.float64]

__all__ = [
    "differ",
    "median_interval",
    "ratio_interval",
    "resample_medians",
    "summarize",
]

_N_RESAMPLES = 2_000
# The plain percentile interval of a ratio of two medians is too wide for 5 to 20
# repeats: taken at 2.5 and 97.5 % it covered 96 to 97 % of log-normal, shifted
# exponential and Student-t draws. Taken at 3.5 and 96.5 % it covers 94 to 96.5 %
# (calibration as in Loh, 1987; tests/test_stats.py).
_TAIL = 0.035
# Two processes that do the same differ by a per cent or two for as long as they live:
# memory layout, page colouring. Repeats within a process can't show that, so a
# difference below this factor is not claimed (benchmarks/same_twice.py).
_PROCESS_EFFECT = 1.03
# Of an interval between two repeats; what 5 repeats can reach.
_LEAST_COVERAGE = 0.9375


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """Return an interval that holds a median with a probability of about 95 %.

    Its ends are two of the repeats, the innermost two for which the probability,
    which is exact for any distribution, is at least 93.75 %. (Resampling a single
    median is erratic for so few repeats: 86 % for 7 of them.)

    Parameters
    ----------
    times : sequence of float
        Repeats, in seconds.

    Returns
    -------
    tuple of float
        Lower and upper end, in seconds; both NaN for fewer than 5 repeats, the
        fewest that reach 93.75 %.

    References
    ----------
    Conover (1999), Practical Nonparametric Statistics, 3rd edition, section 3.2.

    Examples
    --------
    >>> median_interval([1.0, 5.0, 2.0, 4.0, 3.0])
    (1.0, 5.0)
    """
    n = len(times)
    # cut[k] is the probability that fewer than k + 1 of n repeats lie below the median.
    cut = np.cumsum([math.comb(n, k) / 2**n for k in range(n)])
    n_outside = int(np.count_nonzero(1 - 2 * cut[: n // 2] >= _LEAST_COVERAGE))
    if n_outside == 0:
        return math.nan, math.nan
    ordered = sorted(times)
    return ordered[n_outside - 1], ordered[n - n_outside]


def ratio_interval(
    numerator: Sequence[float], denominator: Sequence[float]
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a ratio of two medians.

    Both samples are resampled by themselves. Rounds are interleaved, so a drift of
    the machine widens both samples alike and makes the interval wider than needed,
    never too narrow.

    Parameters
    ----------
    numerator, denominator : sequence of float
        Repeats, in seconds, all positive.

    Returns
    -------
    tuple of float
        Lower and upper end, dimensionless; both NaN for fewer than `FEWEST_ROUNDS`
        repeats of either.

    References
    ----------
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3;
    Loh (1987), Calibrating confidence coefficients, J. Amer. Statist. Assoc.
    82(397), 155-162.

    Examples
    --------
    >>> ratio_interval([2.0] * 5, [1.0] * 5)
    (2.0, 2.0)
    """
    if min(len(numerator), len(denominator)) < FEWEST_ROUNDS:
        return math.nan, math.nan
    return _percentiles(
        resample_medians(numerator, _N_RESAMPLES, seed=1)
        / resample_medians(denominator, _N_RESAMPLES, seed=2)
    )


def resample_medians(
    values: Sequence[float] | _Values, n_resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return medians of resamples, for a bootstrap.

    Parameters
    ----------
    values : sequence of float
        In any order, which makes no difference.
    n_resamples : int
        How many.
    seed : int
        The same one gives the same resamples; several samples need several.

    Returns
    -------
    numpy.ndarray of float
        Of shape ``(n_resamples,)``.

    Examples
    --------
    >>> resample_medians([1.0, 3.0, 2.0], n_resamples=4, seed=0)
    array([2., 1., 1., 3.])
    """
    low, high = _median_ranks(len(values), n_resamples, seed)
    ordered = np.sort(np.asarray(values, dtype=float))
    return np.asarray((ordered[low] + ordered[high]) / 2)


@functools.lru_cache(maxsize=64)
def _median_ranks(size: int, n_resamples: int, seed: int) -> tuple[_Ranks, _Ranks]:
    """Return which two of a sorted sample the median of each resample lies between."""
    drawn = np.random.default_rng(seed).integers(0, size, (n_resamples, size))
    drawn.sort(axis=1)
    return drawn[:, (size - 1) // 2].copy(), drawn[:, size // 2].copy()


def differ(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether the repeats show that one median is not the other.

    False does not prove that they are equal: more repeats may show a difference.

    Parameters
    ----------
    one, other : sequence of float
        Repeats, in seconds, all positive.

    Returns
    -------
    bool
        True if the 95 % interval of the ratio of the medians lies wholly outside
        1 / 1.03 to 1.03. Always False for fewer than `FEWEST_ROUNDS` repeats.

    References
    ----------
    Kalibera and Jones (2013), Rigorous benchmarking in reasonable time, ISMM '13:
    repeats within one process don't show what varies between processes.

    Examples
    --------
    >>> differ([1.0, 1.1, 1.2, 1.0, 1.1], [2.0, 2.1, 2.0, 2.2, 2.1])
    True
    """
    low, high = ratio_interval(one, other)  # NaN compares as False
    return low > _PROCESS_EFFECT or high < 1 / _PROCESS_EFFECT


def summarize(run: Run, loop: Run) -> Summary:
    """Return the table's row of a back end.

    Parameters
    ----------
    run : Run
        What was measured of it.
    loop : Run
        What was measured of the plain loop in the same comparison.

    Returns
    -------
    Summary
        What a back end that isn't "ok" lacks is NaN.
    """
    walls = run.walls if run.status == "ok" else []
    median_s = float(np.median(walls)) if walls else math.nan
    low_s, high_s = median_interval(walls)
    speedup = float(np.median(loop.walls)) / median_s if walls else math.nan
    low, high = ratio_interval(loop.walls, walls)
    if run is loop and not math.isnan(low):
        low, high = 1.0, 1.0
    return Summary(
        backend=run.backend,
        workers=run.workers,
        setting=run.setting,
        status=run.status,
        cold_s=run.cold_s if walls else math.nan,
        median_s=median_s,
        low_s=low_s,
        high_s=high_s,
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        efficiency=speedup / run.workers,
        cpu_s=float(np.median([r.cpu_s for r in run.repeats])) if walls else math.nan,
        peak_memory_bytes=run.peak_memory_bytes,
        error=run.error,
    )


def _percentiles(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    return float(low), float(high)
