"""Intervals that are as wide as they say, and the rows of the table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daskkit.comparison.stats import (
    differ,
    median_interval,
    ratio_interval,
    summarize,
)
from daskkit.records import Repeat, Run

# Shapes of timing noise, each with its median: symmetric on a log scale; a floor that
# is exceeded now and then; heavy tails.
NOISE = {
    "log-normal": (lambda rng, shape: np.exp(0.05 * rng.standard_normal(shape)), 1.0),
    "exponential": (
        lambda rng, shape: 1 + 0.1 * rng.exponential(size=shape),
        1 + 0.1 * math.log(2),
    ),
    "student": (lambda rng, shape: np.exp(0.03 * rng.standard_t(3, shape)), 1.0),
}


def _coverage(noise: str, n_repeats: int, n_draws: int = 2_000) -> float:
    """Return the share of draws whose interval holds the true ratio of medians, 2."""
    draw, median = NOISE[noise]
    rng = np.random.default_rng(20_260)
    loops = 2 * draw(rng, (n_draws, n_repeats)) / median
    others = draw(rng, (n_draws, n_repeats)) / median
    intervals = [ratio_interval(a, b) for a, b in zip(loops, others, strict=True)]
    return float(np.mean([low <= 2 <= high for low, high in intervals]))


@pytest.mark.slow
@pytest.mark.parametrize("n_repeats", [5, 10, 20])
@pytest.mark.parametrize("noise", NOISE)
def test_interval_covers_the_true_ratio(noise, n_repeats):
    """The 95 % interval holds a known ratio in 93 to 97 % of 2,000 draws."""
    assert 0.93 <= _coverage(noise, n_repeats) <= 0.97


@pytest.mark.parametrize("n_repeats", [5, 6, 7, 10, 20])
def test_interval_of_a_median_covers_it(n_repeats):
    """It holds the median in at least 93.75 % of all draws, and in 98.5 % at most."""
    rng = np.random.default_rng(7)
    draws = rng.exponential(size=(4_000, n_repeats))
    intervals = np.array([median_interval(list(draw)) for draw in draws])
    covered = (intervals[:, 0] <= math.log(2)) & (math.log(2) <= intervals[:, 1])
    assert 0.93 <= covered.mean() <= 0.99


def test_interval_is_the_same_twice():
    """The same repeats give the same interval: the resampling is seeded."""
    times = [1.0, 1.3, 1.1, 0.9, 1.2]
    assert ratio_interval(times, times[::-1]) == ratio_interval(times, times[::-1])


def test_order_of_repeats_makes_no_difference():
    """An interval is one of a set of repeats."""
    times = [1.0, 1.3, 1.1, 0.9, 1.2]
    assert ratio_interval(times, times) == ratio_interval(times[::-1], sorted(times))


def test_interval_of_constants_has_no_width():
    """Without noise the interval is the ratio."""
    assert ratio_interval([3.0] * 5, [1.5] * 5) == (2.0, 2.0)
    assert median_interval([3.0] * 5) == (3.0, 3.0)


def test_four_repeats_have_no_interval():
    """Fewer than 5 repeats can't reach 95 %."""
    assert all(map(math.isnan, ratio_interval([1.0] * 9, [2.0] * 4)))
    assert all(map(math.isnan, median_interval([1.0] * 4)))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0, 1.0], [2.0] * 5, True),
        ([2.0] * 5, [1.0] * 5, True),
        ([1.0] * 5, [1.0] * 5, False),
        ([1.0] * 5, [1.02] * 5, False),  # within what two processes differ by
        ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 3.0, 4.0, 5.0, 6.0], False),
        ([1.0] * 4, [2.0] * 4, False),  # too few to claim anything
    ],
)
def test_differ_claims_only_what_the_interval_allows(one, other, expected):
    """A difference has to be outside the interval and beyond a process's own effect."""
    assert differ(one, other) is expected


def _run(name: str, walls: list[float], **fields) -> Run:
    repeats = tuple(Repeat(i, wall, 2 * wall) for i, wall in enumerate(walls))
    fields = {"status": "ok", "start_s": 0.5, "first_s": 1.0} | fields
    return Run(name, name, 2, "", repeats=repeats, **fields)


def test_summary_of_known_times():
    """Hand-computed: medians 4 s and 2 s, 2 workers."""
    loop = _run("serial", [3.0, 4.0, 5.0, 3.5, 4.5])
    row = summarize(_run("x", [1.0, 2.0, 3.0, 1.5, 2.5]), loop)
    assert (row.median_s, row.speedup, row.efficiency) == (2.0, 2.0, 1.0)
    assert (row.cold_s, row.cpu_s) == (1.5, 4.0)
    assert (row.low_s, row.high_s) == (1.0, 3.0)
    assert row.speedup_low <= 2.0 <= row.speedup_high


def test_loop_is_once_as_fast_as_itself():
    """The loop's own row has a speed-up of 1 without an interval."""
    loop = _run("serial", [3.0, 4.0, 5.0, 3.5, 4.5])
    row = summarize(loop, loop)
    assert (row.speedup, row.speedup_low, row.speedup_high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("status", ["failed", "wrong", "unavailable"])
def test_times_of_a_row_that_is_not_ok_do_not_count(status):
    """Whatever was timed before it failed is NaN in the table, its error is kept."""
    loop = _run("serial", [3.0] * 3)
    row = summarize(_run("x", [1.0] * 3, status=status, error="why"), loop)
    assert all(map(math.isnan, (row.median_s, row.speedup, row.cold_s, row.cpu_s)))
    assert row.error == "why"
