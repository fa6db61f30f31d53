"""Fits of scaling laws: known parameters come back, intervals cover, limits hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daskkit.comparison.laws import LAW_NAMES, fit_law, fit_laws, predict, speedup
from daskkit.errors import ArgumentError

COUNTS = (1, 2, 4, 8, 16)
# Shapes of timing noise with a median of 1.
NOISE = {
    "log-normal": lambda rng, n: np.exp(0.03 * rng.standard_normal(n)),
    "exponential": lambda rng, n: (
        (1 + 0.06 * rng.exponential(size=n)) / (1 + 0.06 * math.log(2))
    ),
}


def make_times(name, contention, crosstalk=0.0, *, counts=COUNTS, n=5, draw=None):
    """Return repeats at each number of workers that follow a law."""
    draw = draw or np.ones
    return {k: list(draw(n) / speedup(name, k, contention, crosstalk)) for k in counts}


@pytest.mark.parametrize(
    ("name", "contention", "crosstalk"),
    [
        ("amdahl", 0.05, 0.0),
        ("amdahl", 0.0, 0.0),
        ("amdahl", 1.0, 0.0),
        ("usl", 0.05, 0.002),
        ("usl", 0.0, 0.01),
        ("usl", 0.1, 0.0),
        ("gustafson", 0.1, 0.0),
    ],
)
def test_exact_data_give_exact_parameters(name, contention, crosstalk):
    """Without noise the parameters are those that the data were made with."""
    law = fit_law(name, make_times(name, contention, crosstalk))
    assert law.contention == pytest.approx(contention, abs=1e-9)
    assert law.crosstalk == pytest.approx(crosstalk, abs=1e-9)
    assert law.contention_low == pytest.approx(law.contention_high, abs=1e-9)
    assert law.measured == COUNTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "contention", "crosstalk", "noise", "n"),
    [
        ("amdahl", 0.05, 0.0, "log-normal", 5),
        ("usl", 0.05, 0.002, "log-normal", 5),
        ("usl", 0.05, 0.002, "exponential", 7),
        ("usl", 0.02, 0.005, "log-normal", 15),
    ],
)
def test_intervals_cover_the_truth(name, contention, crosstalk, noise, n):
    """The 90 % intervals hold known parameters in 85 to 95 % of 1,000 draws."""
    rng = np.random.default_rng(20_260)
    draw = lambda size: NOISE[noise](rng, size)
    peak = math.sqrt((1 - contention) / crosstalk) if crosstalk else math.inf
    covered = []
    for _ in range(1_000):
        law = fit_law(name, make_times(name, contention, crosstalk, n=n, draw=draw))
        covered.append(
            (
                law.contention_low <= contention <= law.contention_high,
                law.crosstalk_low <= crosstalk <= law.crosstalk_high,
                law.peak_low <= peak <= law.peak_high,
            )
        )
    shares = np.mean(covered, axis=0)
    assert 0.85 <= shares[0] <= 0.95
    if name == "usl":
        assert 0.85 <= shares[1] <= 0.95
        assert 0.85 <= shares[2] <= 0.95


def test_parameters_are_never_negative():
    """Faster than linear is reported as no contention and no crosstalk."""
    times = {n: [1 / n**1.1] * 5 for n in COUNTS}
    for name in LAW_NAMES:
        law = fit_law(name, times)
        assert (law.contention, law.crosstalk) == (0.0, 0.0)


@pytest.mark.parametrize(("contention", "crosstalk"), [(0.3, -0.002), (-0.01, 0.01)])
def test_constrained_fit_is_the_best_of_all_that_are_allowed(contention, crosstalk):
    """Where least squares would go below 0, no allowed parameters fit better."""
    counts = np.array(COUNTS[1:], dtype=float)
    y = contention * (counts - 1) + crosstalk * counts * (counts - 1)
    times = {1: [1.0] * 5}
    times |= {int(n): [float((1 + v) / n)] * 5 for n, v in zip(counts, y, strict=True)}
    law = fit_law("usl", times)

    def miss(a, b):
        fitted = a * (counts - 1) + b * counts * (counts - 1)
        return float((((fitted - y) / (1 + y)) ** 2).sum())

    grid = [(a, b) for a in np.linspace(0, 0.5, 51) for b in np.linspace(0, 0.02, 41)]
    assert miss(law.contention, law.crosstalk) <= min(miss(*p) for p in grid) + 1e-12
    assert 0 in {law.contention, law.crosstalk}


def test_peak_is_where_more_is_slower():
    """Beyond the peak the law's speed-up falls; Amdahl's law has none."""
    law = fit_law("usl", make_times("usl", 0.05, 0.002))
    assert law.peak_workers == pytest.approx(math.sqrt(0.95 / 0.002))
    at = [speedup("usl", law.peak_workers + k, 0.05, 0.002) for k in (-1, 0, 1)]
    assert at[1] == max(at)
    assert fit_law("amdahl", make_times("amdahl", 0.05)).peak_workers == math.inf


def test_same_times_give_the_same_law():
    """The resampling is seeded."""
    draw = NOISE["log-normal"]
    times = make_times(
        "usl", 0.05, 0.002, draw=lambda n: draw(np.random.default_rng(n), n)
    )
    assert fit_law("usl", times) == fit_law("usl", times)


def test_steady_data_are_read_up_to_four_times_as_far():
    """Without noise a law is read to 4 times the largest number of workers, not beyond."""
    law = fit_law("amdahl", make_times("amdahl", 0.05))
    assert law.limit == 64
    assert predict(law, 64).speedup == pytest.approx(speedup("amdahl", 64, 0.05, 0.0))
    with pytest.raises(
        ArgumentError, match=r"65 workers would bring.*to 4 times what was measured"
    ):
        predict(law, 65)


def test_noisy_data_are_not_read_so_far():
    """Where the interval grows wider than a factor of 1.5, the law is refused."""
    rng = np.random.default_rng(5)
    draw = lambda n: np.exp(0.05 * rng.standard_normal(n))
    law = fit_law("usl", make_times("usl", 0.01, 0.001, counts=(1, 2, 4, 8), draw=draw))
    assert 8 <= law.limit < 32
    with pytest.raises(ArgumentError, match=r"wider than a factor of 1\.5"):
        predict(law, 32)


def test_two_numbers_of_workers_bear_nothing_beyond():
    """One and two workers fit Amdahl's law exactly, so nothing is said about three."""
    (law,) = fit_laws({1: [1.0] * 5, 2: [0.6] * 5})
    assert (law.name, law.limit) == ("amdahl", 2)
    with pytest.raises(ArgumentError, match="2 numbers of workers can't show whether"):
        predict(law, 3)


def test_a_law_that_misses_the_data_is_not_read_beyond_them():
    """A speed-up that jumps follows no law, and none is extrapolated."""
    times = {1: [1.0] * 5, 2: [0.9] * 5, 4: [0.3] * 5, 8: [0.25] * 5}
    law = fit_law("amdahl", times)
    assert law.limit == 8
    with pytest.raises(ArgumentError, match="misses a measured speed-up by"):
        predict(law, 16)


def test_amdahl_is_not_read_beyond_the_data_where_there_is_crosstalk():
    """It would promise what the Universal Scalability Law knows to be wrong."""
    times = make_times("usl", 0.02, 0.0005)
    amdahl, usl = fit_laws(times)
    assert amdahl.limit == 16
    assert "crosstalk" in amdahl.refusal
    assert amdahl.curve[-1].n_workers == 16
    assert usl.limit == 64


def test_one_number_of_workers_is_no_law():
    """With nothing to compare, nothing is fitted."""
    assert fit_laws({1: [1.0] * 5}) == ()


def test_curves_begin_at_one_and_have_intervals():
    """A law's curve goes from 1 worker to its limit, through all that was measured."""
    rng = np.random.default_rng(1)
    draw = lambda n: np.exp(0.02 * rng.standard_normal(n))
    for law in fit_laws(make_times("usl", 0.05, 0.002, draw=draw)):
        at = [point.n_workers for point in law.curve]
        assert (at[0], at[-1]) == (1.0, law.limit)
        assert set(COUNTS) <= set(at)
        assert at == sorted(at)
        assert all(point.low <= point.high for point in law.curve)
        for n in COUNTS:
            point = predict(law, n)
            assert point.low <= point.speedup <= point.high


@pytest.mark.parametrize(
    ("name", "times", "message"),
    [
        ("moore", {1: [1.0]}, "unknown law 'moore'; available: amdahl, usl, gustafson"),
        ("amdahl", {}, "needs times for 1 worker .* received those of no"),
        ("amdahl", {2: [1.0], 4: [1.0]}, "for 1 worker .* received those of 2 and 4"),
        ("usl", {1: [1.0], 2: [1.0]}, "for 2 or more other numbers"),
        ("amdahl", {1: [1.0], 2: [0.0]}, r"received \[0.0\] for 2 workers"),
        ("amdahl", {1: [math.nan], 2: [1.0]}, r"received \[nan\] for 1 worker"),
        ("amdahl", {1: [1.0], 2: []}, r"received \[\] for 2 workers"),
    ],
)
def test_unusable_times_are_refused(name, times, message):
    """What can't be fitted is named, with what was received and what is needed."""
    with pytest.raises(ArgumentError, match=message):
        fit_law(name, times)
