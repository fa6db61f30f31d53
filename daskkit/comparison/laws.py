r"""Laws of scaling, fitted to wall times at several numbers of workers; pure NumPy.

With :math:`S(n)` the speed-up on :math:`n` workers over one:

=================  =====================================================
Amdahl's law       :math:`S = n / (1 + \sigma (n - 1))`
Universal          :math:`S = n / (1 + \sigma (n - 1) + \kappa n (n - 1))`
Scalability Law
Gustafson's law    :math:`S = n - \sigma (n - 1)`, where the work grows with n
=================  =====================================================

:math:`\sigma` is contention: the share of the work that only one worker can do at a
time. :math:`\kappa` is crosstalk: each worker has to keep in step with each other one,
so that from :math:`n = \sqrt{(1 - \sigma) / \kappa}` on more workers are slower.

Both of the first two are linear in their parameters,
:math:`n / S - 1 = \sigma (n - 1) + \kappa n (n - 1)`, so least squares need no
iteration. A relative error of S is one of n / S in proportion to n / S; each equation
is weighted by S / n therefore.

References
----------
Amdahl (1967), Validity of the single processor approach to achieving large scale
computing capabilities, AFIPS '67, 483-485.
Gustafson (1988), Reevaluating Amdahl's law, Communications of the ACM 31(5), 532-533.
Gunther (2007), Guerrilla Capacity Planning, chapters 4 to 6, Springer.
Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
Loh (1987), Calibrating confidence coefficients, J. Amer. Statist. Assoc. 82(397).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np

from daskkit.accounts import Law, Point
from daskkit.comparison.stats import resample_medians
from daskkit.errors import ArgumentError
from daskkit.units import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    _Array = npt.NDArray[np.float64]

__all__ = ["LAW_NAMES", "fit_law", "fit_laws", "predict", "speedup"]

#: Laws by name, with what people call them.
LAW_NAMES: Final = {
    "amdahl": "Amdahl's law",
    "usl": "Universal Scalability Law",
    "gustafson": "Gustafson's law",
}

_N_RESAMPLES = 1_000
# A bootstrap of medians of 5 to 20 repeats is too wide: taken at 5 and 95 % it covered
# 93 to 97 % of log-normal and shifted exponential draws. Taken at 7.5 and 92.5 % it
# covers 86 to 93 % (calibration as in Loh, 1987; tests/test_laws.py).
_TAIL = 0.075
# Beyond this multiple of the largest measured number of workers no law is read.
_FARTHEST = 4
# Nor where the interval of the speed-up is wider than a factor of 1.5.
_WIDEST = 1.5
# A law that misses a measured speed-up by more than this doesn't describe the data.
_MISFIT = 0.1
# Curves have this many points.
_N_POINTS = 33
# Numbers of workers, one among them, that a law needs; with one more of them than it
# has parameters a misfit can show.
_N_NEEDED = {"amdahl": 2, "usl": 3, "gustafson": 2}


def speedup(name: str, n_workers: float, contention: float, crosstalk: float) -> float:
    """Return the speed-up on a number of workers that a law gives.

    Parameters
    ----------
    name : {"amdahl", "usl", "gustafson"}
        The law.
    n_workers : float
        At least 1.
    contention, crosstalk : float
        Its parameters; only ``"usl"`` uses the second one.

    Returns
    -------
    float
        Dimensionless.

    Examples
    --------
    >>> speedup("amdahl", 4, 0.2, 0.0), speedup("gustafson", 4, 0.25, 0.0)
    (2.5, 3.25)
    >>> speedup("usl", 2, 0.0, 0.5)
    1.0
    """
    values = _speedup(
        name, np.array(float(n_workers)), np.array(contention), np.array(crosstalk)
    )
    return float(values)


def fit_law(name: str, times: Mapping[int, Sequence[float]]) -> Law:
    """Return a law of scaling, fitted to wall times.

    Computes; the same times give the same law, because the resampling is seeded.

    Parameters
    ----------
    name : {"amdahl", "usl", "gustafson"}
        The law.
    times : mapping of int to sequence of float
        Repeats in seconds, all positive, by the number of workers; 1 is among them.
        For ``"gustafson"`` each is divided by the amount of work.

    Returns
    -------
    Law
        Its parameters are not negative, even where that would fit better. Intervals
        hold the true value in about 90 of 100 cases; with fewer than 5 repeats of each
        they are too narrow.

    Raises
    ------
    ArgumentError
        If there is no such law, a time isn't positive, or there are too few numbers
        of workers.

    Examples
    --------
    >>> law = fit_law("amdahl", {1: [1.0] * 5, 2: [0.6] * 5, 4: [0.4] * 5})
    >>> round(law.contention, 6), law.peak_workers
    (0.2, inf)
    """
    counts, values = _check(name, times)
    medians = np.array([np.median(value) for value in values])
    contention, crosstalk = _solve(name, counts, medians)
    draws = _solve(name, counts, _resample(values))
    peak = float(_peak(contention, crosstalk))
    measured = tuple(int(n) for n in counts)
    limit, refusal = _find_limit(name, counts, medians, (contention, crosstalk), draws)
    grid = np.unique(np.append(np.geomspace(1, limit, _N_POINTS), counts))
    return Law(
        name,
        measured,
        float(contention),
        *_interval(draws[0]),
        float(crosstalk),
        *_interval(draws[1]),
        peak,
        *_interval(_peak(*draws)),
        limit,
        refusal,
        tuple(_draw(name, grid, (contention, crosstalk), draws)),
    )


def fit_laws(times: Mapping[int, Sequence[float]]) -> tuple[Law, ...]:
    """Return Amdahl's law and, where the data suffice, the Universal Scalability Law.

    Parameters
    ----------
    times : mapping of int to sequence of float
        See `fit_law`.

    Returns
    -------
    tuple of Law
        None with a single number of workers, one with two. Where crosstalk is certain,
        Amdahl's law, which has none, is not read beyond the measurements.

    Raises
    ------
    ArgumentError
        See `fit_law`.

    Examples
    --------
    >>> times = {n: [(1 + 0.1 * (n - 1)) / n] * 5 for n in (1, 2, 4, 8)}
    >>> [law.name for law in fit_laws(times)]
    ['amdahl', 'usl']
    >>> fit_laws({1: [1.0]})
    ()
    """
    names = [name for name in ("amdahl", "usl") if len(times) >= _N_NEEDED[name]]
    laws = [fit_law(name, times) for name in names]
    if len(laws) > 1 and laws[1].crosstalk_low > 0:
        laws[0] = _cut(
            laws[0], "more workers cost more than it allows: there is crosstalk"
        )
    return tuple(laws)


def predict(law: Law, n_workers: int) -> Point:
    """Return the speed-up that a law predicts, or refuse.

    Parameters
    ----------
    law : Law
    n_workers : int
        From 1 to `Law.limit`.

    Returns
    -------
    Point
        With a 90 % interval.

    Raises
    ------
    ArgumentError
        If the data don't bear a statement about so many workers; the message says why.

    Examples
    --------
    >>> law = fit_law("amdahl", {1: [1.0] * 5, 2: [0.6] * 5, 4: [0.4] * 5})
    >>> round(predict(law, 8).speedup, 3)
    3.333
    """
    if n_workers < 1:
        msg = f"n_workers must be at least 1, received {n_workers!r}"
        raise ArgumentError(msg)
    if n_workers > law.limit:
        msg = (
            f"{LAW_NAMES[law.name]} can't say what {n_workers:,} workers would bring: "
            f"{law.refusal}; it was fitted to {_join(law.measured)} workers and may be "
            f"read up to {law.limit:,}; measure more of them"
        )
        raise ArgumentError(msg)
    at = [point.n_workers for point in law.curve]
    low = np.interp(n_workers, at, [point.low for point in law.curve])
    high = np.interp(n_workers, at, [point.high for point in law.curve])
    middle = speedup(law.name, n_workers, law.contention, law.crosstalk)
    return Point(n_workers, middle, min(float(low), middle), max(float(high), middle))


def _check(
    name: str, times: Mapping[int, Sequence[float]]
) -> tuple[_Array, list[_Array]]:
    """Return the numbers of workers in order and their times, or raise."""
    if name not in LAW_NAMES:
        msg = f"unknown law {name!r}; available: {', '.join(LAW_NAMES)}"
        raise ArgumentError(msg)
    counts = sorted(times)
    if not counts or counts[0] != 1 or len(counts) < _N_NEEDED[name]:
        msg = (
            f"{LAW_NAMES[name]} needs times for 1 worker and for "
            f"{_N_NEEDED[name] - 1} or more other numbers of workers, received those "
            f"of {_join(counts)}"
        )
        raise ArgumentError(msg)
    values = [np.asarray(times[n], dtype=float) for n in counts]
    for n, value in zip(counts, values, strict=True):
        if not value.size or not (np.isfinite(value) & (value > 0)).all():
            msg = (
                f"times must be positive numbers of seconds, received "
                f"{list(times[n])!r} for {format_count(n, 'worker')}"
            )
            raise ArgumentError(msg)
    return np.array(counts, dtype=float), values


def _speedup(name: str, n: _Array, contention: _Array, crosstalk: _Array) -> _Array:
    if name == "gustafson":
        return np.asarray(n - contention * (n - 1))
    return np.asarray(n / (1 + contention * (n - 1) + crosstalk * n * (n - 1)))


def _solve(name: str, counts: _Array, times: _Array) -> tuple[_Array, _Array]:
    """Return parameters by weighted least squares; `times` may have leading axes."""
    n = counts[1:]
    ratio = times[..., :1] / times[..., 1:]
    if name == "gustafson":
        weight = ratio**-2
        slope = _sum(weight * (n - 1) * (n - ratio)) / _sum(weight * (n - 1) ** 2)
        return np.clip(slope, 0.0, 1.0), np.zeros_like(slope)
    weight = (ratio / n) ** 2
    left, right, y = n - 1, n * (n - 1), n / ratio - 1
    ll, lr, rr = (
        _sum(weight * a * b) for a, b in ((left, left), (left, right), (right, right))
    )
    ly, ry = _sum(weight * left * y), _sum(weight * right * y)
    alone = np.maximum(ly / ll, 0.0)
    if name == "amdahl":
        return np.minimum(alone, 1.0), np.zeros_like(alone)
    # Least squares with both parameters at least 0: where the plain solution has a
    # negative one, the best has a zero there.
    determinant = ll * rr - lr**2
    contention = (ly * rr - ry * lr) / determinant
    crosstalk = (ry * ll - ly * lr) / determinant
    only_crosstalk = np.maximum(ry / rr, 0.0)
    return (
        np.where(crosstalk < 0, alone, np.maximum(contention, 0.0)),
        np.where(
            crosstalk < 0, 0.0, np.where(contention < 0, only_crosstalk, crosstalk)
        ),
    )


def _sum(values: _Array) -> _Array:
    return np.asarray(values.sum(axis=-1))


def _resample(values: Sequence[_Array]) -> _Array:
    """Return medians of resamples, one column a number of workers."""
    columns = (
        resample_medians(value, _N_RESAMPLES, seed) for seed, value in enumerate(values)
    )
    return np.stack(list(columns), axis=1)


def _peak(contention: _Array, crosstalk: _Array) -> _Array:
    """Return the workers beyond which more is slower, at least 1."""
    divisor = np.where(crosstalk > 0, crosstalk, 1.0)
    peak = np.sqrt(np.maximum(1 - contention, 0.0) / divisor)
    return np.where(crosstalk > 0, np.maximum(peak, 1.0), np.inf)


def _interval(draws: _Array) -> tuple[float, float]:
    """Return the ends of a 90 % interval; draws may be infinite."""
    low, high = np.quantile(draws, [_TAIL, 1 - _TAIL], method="nearest")
    return float(low), float(high)


def _band(
    name: str, grid: _Array, draws: tuple[_Array, _Array]
) -> tuple[_Array, _Array]:
    """Return the ends of the intervals of the speed-up along a grid of workers."""
    curves = _speedup(name, grid[:, None], draws[0][None, :], draws[1][None, :])
    low, high = np.quantile(curves, [_TAIL, 1 - _TAIL], axis=1)
    return low, high


def _draw(
    name: str,
    grid: _Array,
    best: tuple[_Array, _Array],
    draws: tuple[_Array, _Array],
) -> list[Point]:
    middle = _speedup(name, grid, *best)
    rows = zip(grid, middle, *_band(name, grid, draws), strict=True)
    return [Point(*map(float, row)) for row in rows]


def _find_limit(
    name: str,
    counts: _Array,
    medians: _Array,
    best: tuple[_Array, _Array],
    draws: tuple[_Array, _Array],
) -> tuple[int, str]:
    """Return up to how many workers a law may be read, and why no farther."""
    largest = int(counts[-1])
    n_free = len(counts) - _N_NEEDED[name]
    if n_free < 1:
        return largest, (
            f"{format_count(len(counts), 'number')} of workers can't show whether "
            "the law holds"
        )
    measured = medians[0] / medians
    misfit = np.abs(_speedup(name, counts, *best) / measured - 1).max()
    if misfit > _MISFIT:
        return largest, f"it misses a measured speed-up by {100 * misfit:.0f} %"
    grid = np.unique(np.geomspace(largest, _FARTHEST * largest, _N_POINTS).round())
    low, high = _band(name, grid, draws)
    with np.errstate(divide="ignore"):
        wide = np.flatnonzero(high / low > _WIDEST)
    if wide.size:
        limit = int(grid[max(wide[0] - 1, 0)])
        return limit, (
            f"beyond {limit:,} the 90 % interval is wider than a factor of {_WIDEST:g}"
        )
    return _FARTHEST * largest, (
        f"it is read to {_FARTHEST} times what was measured at most"
    )


def _cut(law: Law, refusal: str) -> Law:
    """Return a law that is read no farther than it was measured."""
    limit = law.measured[-1]
    curve = tuple(point for point in law.curve if point.n_workers <= limit)
    return dataclasses.replace(law, limit=limit, refusal=refusal, curve=curve)


def _join(counts: Sequence[int]) -> str:
    texts = [f"{n:,}" for n in counts]
    return (
        f"{', '.join(texts[:-1])} and {texts[-1]}"
        if len(texts) > 1
        else (texts[0] if texts else "no")
    )
