"""Successive halving finds the best setting with few measurements."""

from __future__ import annotations

import collections
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.comparison.halving import find_best, list_chunksizes


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=20))
def test_without_noise_the_fastest_wins(times):
    """The winner has the shortest time; of equals it is the first."""
    best = find_best(range(len(times)), lambda i: times[i])
    assert best == times.index(min(times))


@pytest.mark.parametrize(
    ("n_settings", "counts"),
    [
        (1, {}),
        (2, {0: 1, 1: 1}),
        (4, {0: 3, 1: 3, 2: 1, 3: 1}),
        (8, {0: 7, 1: 7, 2: 3, 3: 3, 4: 1, 5: 1, 6: 1, 7: 1}),
    ],
)
def test_the_better_half_is_measured_again(n_settings, counts):
    """Each rung halves the settings and doubles their measurements."""
    measured = collections.Counter()

    def measure(setting):
        measured[setting] += 1
        return setting

    assert find_best(range(n_settings), measure) == 0
    assert measured == counts


def test_settings_take_turns():
    """A disturbance of some length hits all settings of a rung, and not one of them."""
    order = []
    find_best("abcd", lambda s: order.append(s) or "abcd".index(s))
    assert "".join(order) == "abcd" + "abab"


def test_disturbances_are_forgiven():
    """The shortest time of a setting counts: noise that only adds hides no large lead."""
    noise = random.Random(1)
    true = {"slow": 2.0, "fast": 1.0, "middling": 1.5, "worst": 9.0}
    assert find_best(list(true), lambda s: true[s] + noise.random() / 3) == "fast"


def test_no_settings_are_an_error():
    """There is nothing to choose from, and the message says so."""
    with pytest.raises(ValueError, match="at least one setting"):
        find_best([], float)


@given(st.integers(0, 10**7), st.integers(1, 200))
def test_chunk_sizes_are_worth_a_trial(n_items, n_workers):
    """From 256 chunks a worker at most to one a worker, growing, few of them."""
    sizes = list_chunksizes(n_items, n_workers)
    assert sizes == sorted(set(sizes))
    assert sizes[0] >= 1
    assert sizes[-1] * n_workers >= n_items
    assert n_items <= sizes[0] * n_workers * 256
    assert 1 <= len(sizes) <= 6
