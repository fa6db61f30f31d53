"""The size of the next batch, checked as a state machine and by simulation."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskkit.run.batches import Batches


@given(
    n_workers=st.integers(1, 2_000),
    item_s=st.floats(0, 1e3),
    n_left=st.integers(1, 10**9),
)
def test_size_is_possible(n_workers, item_s, n_left):
    """A batch has at least one item and never more than there are."""
    assert 1 <= Batches(n_workers, item_s).next_size(n_left) <= n_left


def test_size_follows_the_cost():
    """Ten times the cost makes a batch of a tenth of the items."""
    sizes = [Batches(2, item_s).next_size(10**6) for item_s in (1e-4, 1e-3)]
    assert sizes == [2_000, 200]


def test_many_workers_get_longer_batches():
    """The scheduler never becomes the limit: 1,000 workers, batches of half a second."""
    assert Batches(1_000, 0.001).next_size(10**7) == 500


def test_cost_is_learned_from_what_ended():
    """A drift of the cost changes the size, a single freak doesn't decide."""
    batches = Batches(2, 0.001)
    batches.ended(10, 1.0)
    assert 0.001 < batches.item_s < 0.1
    for _ in range(20):
        batches.ended(10, 1.0)
    assert batches.item_s == pytest.approx(0.1, rel=0.01)


def _simulate(costs, n_workers, hand_over_s=0.002):
    """Return wall time over ideal time of a schedule on simulated workers."""
    batches = Batches(n_workers, float(np.mean(costs[:10])))
    workers = [(0.0, i) for i in range(n_workers)]
    position, end_s = 0, 0.0
    while position < len(costs):
        free_s, worker = heapq.heappop(workers)
        size = batches.next_size(len(costs) - position)
        wall_s = float(np.sum(costs[position : position + size]))
        position += size
        batches.ended(size, wall_s)
        end_s = max(end_s, free_s + hand_over_s + wall_s)
        heapq.heappush(workers, (free_s + hand_over_s + wall_s, worker))
    ideal_s = max(float(np.sum(costs)) / n_workers, float(np.max(costs)))
    return end_s / ideal_s


@pytest.mark.parametrize("n_workers", [1, 2, 16, 200, 2_000])
@pytest.mark.parametrize("kind", ["even", "skewed", "rising", "one giant"])
def test_schedule_is_close_to_ideal(kind, n_workers):
    """Uneven and drifting costs stay within 15 % of a perfect division of the work."""
    rng = np.random.default_rng(1)
    n = 2_000 * n_workers
    costs = {
        "even": np.full(n, 0.001),
        "skewed": rng.lognormal(-7, 1, n),
        "rising": np.linspace(0.0005, 0.002, n),
        "one giant": np.r_[np.full(n - 1, 0.001), 0.5],
    }[kind]
    assert _simulate(costs, n_workers) < (1.5 if kind == "one giant" else 1.15)
